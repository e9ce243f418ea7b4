#include "housekeeper.hpp"

#include <algorithm>
#include <chrono>

#include "backup.hpp"

namespace ferry::log {

namespace {
constexpr std::uint64_t turn_ms = 1000;
constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t ballast_bytes_max = 1U << 20;
constexpr std::string_view ballast_name = "ballast";
}  // namespace

Housekeeper::Housekeeper(Core& core, SparePool& spares, RecoveredLog& recovered)
    : core_(core),
      spares_(spares),
      scrubber_(core),
      kept_(std::move(recovered.checkpoints)),
      gone_(std::move(recovered.gone)),
      ballast_(recovered.ballast) {
    if (kept_.size() == 2) core_.floor.store(kept_.front().header.at);
}

Housekeeper::~Housekeeper() {
    stop(true);
}

void Housekeeper::request(CheckpointJob job) {
    {
        const std::lock_guard lock(mutex_);
        checkpoint_ = std::move(job);  // one that was not written yet is not needed any more
        checkpoint_waits_.store(true, std::memory_order_release);
        poked_ = true;
    }
    ready_.notify_one();
}

void Housekeeper::request(CompactJob job) {
    {
        const std::lock_guard lock(mutex_);
        compactions_.push_back(std::move(job));
    }
    ready_.notify_one();
}

void Housekeeper::request(BackupJob job) {
    {
        const std::lock_guard lock(mutex_);
        backups_.push_back(std::move(job));
    }
    ready_.notify_one();
}

void Housekeeper::drop(SegmentTable::Entry entry) {
    {
        const std::lock_guard lock(mutex_);
        drops_.push_back(std::move(entry));
    }
    ready_.notify_one();
}

bool Housekeeper::checkpoint_pending() const {
    const std::lock_guard lock(mutex_);
    return checkpoint_.has_value() || checkpoint_running_;
}

bool Housekeeper::compaction_pending() const {
    const std::lock_guard lock(mutex_);
    return !compactions_.empty() || compaction_running_;
}

void Housekeeper::poke() {
    const bool spare_is_due =
        spares_.wants_more() && !core_.space_full.load(std::memory_order_relaxed);
    if (!checkpoint_waits_.load(std::memory_order_acquire) && !spare_is_due) return;
    {
        const std::lock_guard lock(mutex_);
        poked_ = true;
    }
    ready_.notify_one();
}

bool Housekeeper::turn() {
    if (core_.failed.load(std::memory_order_acquire)) return false;
    watch_space();
    return checkpoint_turn() || drop_turn() || spare_turn() || ballast_turn() || compact_turn() ||
           backup_turn() || scrubber_.turn();
}

// Before the disk is full for others too: publishers can be asked to wait, a database cannot.
void Housekeeper::watch_space() {
    const std::uint64_t mark = core_.options.low_water_bytes;
    if (mark == 0) return;
    const Instant now = core_.clock.now().mono;
    if (space_looked_at_.ns != 0 && now.ns - space_looked_at_.ns < turn_ms * ns_per_ms) return;
    space_looked_at_ = now;
    const auto space = core_.files.space(core_.directory);
    if (!space.ok()) return;  // nothing is known; a full disk shows itself soon enough
    const std::uint64_t low = std::min(mark, space.value().total_bytes / low_water_share);
    const std::uint64_t available = space.value().available_bytes;
    if (available < low) spares_.set_low(true);
    if (available >= low + low / 5) spares_.set_low(false);
}

bool Housekeeper::retry_is_due(Instant& last) const {
    if (!started_.load(std::memory_order_relaxed) || last.ns == 0) return true;
    return core_.clock.now().mono.ns - last.ns >= turn_ms * ns_per_ms;
}

bool Housekeeper::spare_turn() {
    if (!spares_.wants_more() || !retry_is_due(last_spare_failure_)) return false;
    if (auto status = spares_.prepare(); !status.ok()) {
        // Not a failure of the log: nothing that was promised depends on it. It is tried again.
        last_spare_failure_ = core_.clock.now().mono;
        return false;
    }
    last_spare_failure_ = Instant{};
    if (on_space_) on_space_();
    return true;
}

// A small file that is given up when a checkpoint finds the disk full.
bool Housekeeper::ballast_turn() {
    if (ballast_ || core_.space_full.load(std::memory_order_relaxed) || spares_.wants_more() ||
        !retry_is_due(last_ballast_failure_))
        return false;
    const std::string path = core_.path(ballast_name);
    const std::uint64_t bytes = std::min(ballast_bytes_max, core_.options.segment_bytes);
    auto file = core_.files.open(path + ".tmp", FileSystem::Open::create);
    Status status = file.ok() ? fill_with_zeros(*file.value(), bytes) : Status(file.error());
    if (status.ok()) status = core_.files.rename(path + ".tmp", path);
    if (!status.ok()) {
        core_.files.remove(path + ".tmp").ignore("the next start deletes it too");
        last_ballast_failure_ = core_.clock.now().mono;
        return false;
    }
    ballast_ = true;
    return true;
}

bool Housekeeper::drop_turn() {
    SegmentTable::Entry entry;
    {
        const std::lock_guard lock(mutex_);
        if (drops_.empty()) return false;
        entry = std::move(drops_.front());
        drops_.pop_front();
    }
    if (auto status = remove_segment(std::move(entry)); !status.ok()) core_.fail(status.error());
    last_spare_failure_ = Instant{};  // there is room now, perhaps
    return true;
}

bool Housekeeper::backup_turn() {
    BackupJob job;
    {
        const std::lock_guard lock(mutex_);
        if (backups_.empty()) return false;
        job = std::move(backups_.front());
        backups_.pop_front();
    }
    job.done(copy_log(core_, job.target, kept_, gone_, [this] { spare_turn(); }));
    return true;
}

void Housekeeper::start() {
    started_.store(true);
    thread_ = std::thread([this] { run(); });
}

// Until the next look at the disk, or the next piece of the scrubber if that is due before.
std::chrono::nanoseconds Housekeeper::rest() const {
    constexpr std::chrono::nanoseconds longest = std::chrono::milliseconds(turn_ms);
    if (core_.options.scrub_bytes_per_second == 0) return longest;
    const std::uint64_t now = core_.clock.now().mono.ns;
    const std::uint64_t due = scrubber_.due_at().ns;
    const std::chrono::nanoseconds left(due > now ? due - now : 0);
    return std::min(left, longest);
}

void Housekeeper::run() {
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            ready_.wait_for(lock, rest(), [this] {
                if (stop_) return true;
                if (core_.failed.load(std::memory_order_relaxed)) return false;
                return poked_ || !drops_.empty() || !compactions_.empty() || !backups_.empty();
            });
            poked_ = false;
            if (stop_) return;
        }
        while (turn()) {
            const std::lock_guard lock(mutex_);
            if (stop_) return;
        }
    }
}

void Housekeeper::stop(bool discard) {
    if (thread_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        ready_.notify_one();
        thread_.join();
    }
    if (!discard && !core_.failed.load(std::memory_order_acquire)) {
        while (checkpoint_turn() || drop_turn()) {
        }
    }
    std::deque<BackupJob> left;
    {
        const std::lock_guard lock(mutex_);
        left.swap(backups_);
        compactions_.clear();
    }
    for (BackupJob& job : left)
        job.done(Error{Errc::rejected, 0, 0, "the log was closed before the backup began"});
}

}  // namespace ferry::log
