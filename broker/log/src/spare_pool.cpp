#include "spare_pool.hpp"

#include <algorithm>

#include "ferry/platform/fault_point.hpp"

namespace ferry::log {

namespace {
constexpr std::uint64_t fill_bytes = 1U << 20;
constexpr std::uint64_t sync_every_bytes = 8U << 20;  // long syncs would hold up the writer's
constexpr std::uint64_t plenty_bytes = 64U << 20;
}  // namespace

Status fill_with_zeros(File& file, std::uint64_t bytes) {
    const std::vector<std::byte> zeros(std::min(fill_bytes, bytes));
    std::uint64_t unsynced = 0;
    for (std::uint64_t at = 0; at < bytes;) {
        const std::uint64_t piece = std::min<std::uint64_t>(zeros.size(), bytes - at);
        auto status = file.write_at(at, Bytes(zeros).first(piece));
        if (!status.ok()) return status;
        at += piece;
        unsynced += piece;
        if (unsynced < sync_every_bytes && at < bytes) continue;
        if (status = file.sync_data(); !status.ok()) return status;
        unsynced = 0;
    }
    return ok_status();
}

void SparePool::adopt(SpareFile spare) {
    const std::lock_guard lock(mutex_);
    ready_.push_back(std::move(spare));
}

bool SparePool::wants_more() const {
    return ready() < wanted();
}

std::size_t SparePool::ready() const {
    const std::lock_guard lock(mutex_);
    return ready_.size();
}

std::string SparePool::fresh_name() {
    for (;;) {
        std::string name;
        {
            const std::lock_guard lock(mutex_);
            name = "spare-" + std::to_string(next_number_++) + ".seg";
        }
        // Numbers start again with every run, and spares of the run before may still be there.
        const auto taken = core_.files.open(core_.path(name), FileSystem::Open::read);
        if (!taken.ok()) return name;
    }
}

Status SparePool::fill(const std::string& tmp, SpareFile& out) {
    auto file = core_.files.open(core_.path(tmp), FileSystem::Open::create);
    if (!file.ok()) return file.error();
    out.file = std::move(file).value();
    out.file_bytes = file_bytes();
    if (auto status = fill_with_zeros(*out.file, out.file_bytes); !status.ok()) return status;
    if (auto status = core_.files.rename(core_.path(tmp), core_.path(out.name)); !status.ok())
        return status;
    return core_.files.sync_directory(core_.directory);
}

Status SparePool::prepare() {
    SpareFile spare;
    spare.name = fresh_name();
    const std::string tmp = spare.name + ".tmp";
    const Status status = fill(tmp, spare);
    if (!status.ok()) {
        spare.file.reset();
        core_.files.remove(core_.path(tmp)).ignore("an unfinished file; the next start deletes it");
        if (status.error().code == Errc::out_of_space) set_disk_full(true);
        return status;
    }
    FERRY_FAULT_POINT("log.spare.ready");
    recycle(std::move(spare));
    return ok_status();
}

void SparePool::recycle(SpareFile spare) {
    adopt(std::move(spare));
    set_disk_full(false);
}

// Full means: preparing failed and only the reserve is left. It ends when there is one more than
// that.
void SparePool::set_disk_full(bool full) {
    bool changed = false;
    {
        const std::lock_guard lock(mutex_);
        disk_full_ = full;
        if (disk_full_ && ready_.size() <= 1) only_reserve_ = true;
        if (ready_.size() >= 2) only_reserve_ = false;
        changed = decide();
    }
    if (changed) core_.notify();
}

void SparePool::set_low(bool low) {
    bool changed = false;
    {
        const std::lock_guard lock(mutex_);
        low_ = low;
        changed = decide();
    }
    if (changed) core_.notify();
}

// Requires the lock. True if space() changed.
bool SparePool::decide() {
    const bool now = only_reserve_ || low_;
    return core_.space_full.exchange(now, std::memory_order_acq_rel) != now;
}

Result<SpareFile> SparePool::grow() {
    const auto space = core_.files.space(core_.directory);
    if (!space.ok()) return space.error();
    if (space.value().available_bytes < plenty_bytes + 4 * file_bytes())
        return Error{Errc::out_of_space, 0, 0, "no segment is ready and the disk is nearly full"};
    SpareFile spare;
    spare.name = fresh_name();
    auto file = core_.files.open(core_.path(spare.name), FileSystem::Open::create_exclusive);
    if (!file.ok()) return file.error();
    spare.file = std::move(file).value();
    spare.file_bytes = file_bytes();
    return spare;
}

Result<SpareFile> SparePool::take() {
    bool only_reserve = true;
    {
        const std::lock_guard lock(mutex_);
        only_reserve = ready_.size() <= 1;
        if (!only_reserve || (disk_full_ && !ready_.empty())) {
            SpareFile spare = std::move(ready_.back());
            ready_.pop_back();
            if (disk_full_ && ready_.size() <= 1) {
                only_reserve_ = true;
                decide();
            }
            return spare;
        }
    }
    auto grown = grow();
    if (grown.ok()) return grown;
    const std::lock_guard lock(mutex_);
    if (ready_.empty()) return grown;
    SpareFile spare = std::move(ready_.back());
    ready_.pop_back();
    return spare;
}

}  // namespace ferry::log
