#include "writer.hpp"

#include <algorithm>

#include "ferry/platform/fault_point.hpp"
#include "ferry/platform/planted.hpp"

// One turn of the writer.
//
//   1 take what was handed over since the last turn
//   2 a batch of a new segment: sync the old one, take a spare, header, sync, rename, sync the
//   directory 3 seal the headers: what is known to be synced, the CRC before, the CRC 4 one write,
//   one sync, publish
//
// A later segment's existence therefore proves that everything before its base was synced. A failed
// sync or write ends the log: the first failure is final. A full disk does not: the batches are
// held, not one of them is confirmed, and the same bytes are written again when there is room.
namespace ferry::log {

namespace {
constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t held_retry_ms = 100;
constexpr std::uint64_t idle_wait_ms = 60'000;
}  // namespace

Writer::Writer(Core& core, HandOver& hand_over, SparePool& spares, SegmentRef active,
               std::uint32_t previous_crc, bool unwitnessed)
    : core_(core),
      hand_over_(hand_over),
      spares_(spares),
      active_(std::move(active)),
      previous_crc_(previous_crc),
      written_(hand_over.next.load()),
      seal_(new std::byte[format::batch_alignment]),
      unwitnessed_(unwitnessed) {
    last_sync_ = core_.clock.now().mono;
    last_write_ = last_sync_;
}

Writer::~Writer() {
    stop();
}

bool Writer::refill() {
    if (taken_at_ < taken_.size()) return true;
    taken_.clear();
    taken_at_ = 0;
    const std::lock_guard lock(hand_over_.mutex);
    taken_.swap(hand_over_.queue);
    return !taken_.empty();
}

bool Writer::turn() {
    if (core_.failed.load(std::memory_order_acquire)) return false;
    if (!refill() && !idle_turn()) return false;
    if (taken_at_ == taken_.size()) return true;  // the idle turn was a sync
    const ClosedBatch& first = taken_[taken_at_];
    if (first.segment != active_->header.base && !roll(first.segment)) return false;
    const std::size_t behind = run_behind(taken_at_);
    if (!write_run(taken_at_, behind)) return false;
    taken_at_ = behind;
    held_ = false;
    if (on_turn_) on_turn_();
    return true;
}

// Batches that follow one another in memory and on disk are one write.
std::size_t Writer::run_behind(std::size_t first) const {
    std::size_t behind = first + 1;
    while (behind < taken_.size() && taken_[behind].segment == taken_[first].segment &&
           taken_[behind].data == taken_[behind - 1].data + taken_[behind - 1].span())
        ++behind;
    return behind;
}

bool Writer::write_run(std::size_t first, std::size_t behind) {
    const ClosedBatch& front = taken_[first];
    const Now now = core_.clock.now();
    const Position synced = FERRY_PLANTED("log-durable-mark-not-written")
                                ? 0
                                : core_.synced.load(std::memory_order_relaxed);
    std::uint32_t crc = previous_crc_;
    std::uint64_t records = 0;
    for (std::size_t i = first; i < behind; ++i) {
        const ClosedBatch& batch = taken_[i];
        const BatchHeader header{0,           core_.epoch, batch.position, synced, batch.length,
                                 batch.count, crc,         now.wall_ms};
        crc =
            seal_batch(header, MutableBytes(batch.data, format::batch_header_bytes + batch.length));
        records += batch.count;
    }
    const Position end = taken_[behind - 1].position + taken_[behind - 1].span();
    const Bytes bytes(front.data, end - front.position);
    FERRY_FAULT_POINT("log.write.before");
    const std::uint64_t offset =
        format::segment_header_bytes + (front.position - active_->header.base);
    const bool synced_before = FERRY_PLANTED("log-sync-begins-before-the-write");
    if (synced_before) active_->file->sync_data().ignore("a planted mistake");
    auto status = active_->file->write_at(offset, bytes);
    if (FERRY_PLANTED("log-short-write-ignored") && !status.ok()) status = ok_status();
    if (!status.ok()) return hold_or_fail(status.error(), front.position);
    FERRY_FAULT_POINT("log.write.after");
    previous_crc_ = crc;
    written_ = end;
    last_write_ = now.mono;
    unwitnessed_ = records > 0;
    core_.batches.fetch_add(behind - first, std::memory_order_relaxed);
    core_.records.fetch_add(records, std::memory_order_relaxed);
    core_.bytes_written.fetch_add(bytes.size(), std::memory_order_relaxed);
    if (FERRY_PLANTED("log-confirm-before-sync")) publish(written_);
    if (core_.options.durability == Durability::fsync) return sync();
    publish(written_);
    const std::uint64_t due = last_sync_.ns + core_.options.interval_ms * ns_per_ms;
    return now.mono.ns < due || sync();
}

bool Writer::sync() {
    const Instant before = core_.clock.now().mono;
    const bool none =
        FERRY_PLANTED("log-no-sync") || FERRY_PLANTED("log-sync-begins-before-the-write");
    auto status = none ? ok_status() : active_->file->sync_data();
    if (FERRY_PLANTED("log-sync-retried") && !status.ok()) status = active_->file->sync_data();
    if (!status.ok()) {
        Error error = status.error();
        error.position = core_.synced.load(std::memory_order_relaxed);
        core_.fail(error);
        return false;
    }
    FERRY_FAULT_POINT("log.sync.after");
    last_sync_ = core_.clock.now().mono;
    core_.sync_ns_last.store(last_sync_.ns - before.ns, std::memory_order_relaxed);
    core_.syncs.fetch_add(1, std::memory_order_relaxed);
    core_.synced.store(written_, std::memory_order_release);
    publish(written_);
    return true;
}

void Writer::publish(Position upto) {
    if (core_.durable.load(std::memory_order_relaxed) == upto) return;
    core_.durable.store(upto, std::memory_order_release);
    core_.notify();
}

bool Writer::hold_or_fail(const Error& error, Position position) {
    if (error.code == Errc::out_of_space) {
        held_ = true;
        return false;
    }
    Error with_position = error;
    with_position.position = position;
    core_.fail(with_position);
    return false;
}

bool Writer::roll(Position base) {
    if (core_.synced.load(std::memory_order_relaxed) != written_ && !sync()) return false;
    auto spare = spares_.take();
    if (!spare.ok()) return hold_or_fail(spare.error(), base);
    SegmentRef segment;
    SpareFile& file = spare.value();
    if (auto status = make_segment(base, file, segment); !status.ok()) {
        const std::string name = file.name;
        file.file.reset();
        if (status.error().code == Errc::out_of_space)
            core_.files.remove(core_.path(name)).ignore("deleted at the next start");
        return hold_or_fail(status.error(), base);
    }
    core_.table.attach(base, segment);
    active_ = std::move(segment);
    return true;
}

Status Writer::make_segment(Position base, SpareFile& spare, SegmentRef& out) {
    out = std::make_shared<Segment>();
    out->header.log_id = core_.log_id;
    out->header.epoch = core_.epoch;
    out->header.base = base;
    out->header.capacity = core_.options.segment_bytes;
    out->header.previous_crc = previous_crc_;
    out->name = file_name(base, core_.epoch, ".seg");
    out->file_bytes = spare.file_bytes;
    std::vector<std::byte> bytes(format::segment_header_bytes);
    encode_segment_header(out->header, bytes);
    if (auto status = spare.file->write_at(0, bytes); !status.ok()) return status;
    if (!FERRY_PLANTED("log-segment-header-not-synced")) {
        if (auto status = spare.file->sync_data(); !status.ok()) return status;
    }
    FERRY_FAULT_POINT("log.roll.header");
    if (auto status = core_.files.rename(core_.path(spare.name), core_.path(out->name));
        !status.ok())
        return status;
    FERRY_FAULT_POINT("log.roll.renamed");
    if (!FERRY_PLANTED("log-no-directory-sync")) {
        if (auto status = core_.files.sync_directory(core_.directory); !status.ok()) return status;
    }
    out->file = std::move(spare.file);
    return ok_status();
}

bool Writer::idle_turn() {
    if (core_.synced.load(std::memory_order_relaxed) != written_) {
        const std::uint64_t due = last_sync_.ns + core_.options.interval_ms * ns_per_ms;
        if (core_.clock.now().mono.ns < due && !drain_) return false;
        return sync();
    }
    return (seal_due() || (drain_ && unwitnessed_)) && prepare_seal();
}

bool Writer::seal_due() const {
    const std::uint64_t due = last_write_.ns + core_.options.seal_after_ms * ns_per_ms;
    return unwitnessed_ && core_.clock.now().mono.ns >= due;
}

// A seal is a batch like any other, only that the writer takes the positions for it.
bool Writer::prepare_seal() {
    const std::lock_guard lock(hand_over_.mutex);
    const Position position = hand_over_.next.load(std::memory_order_relaxed);
    const bool room =
        position - hand_over_.segment + format::batch_alignment <= hand_over_.capacity;
    const bool idle = !hand_over_.owner_open && hand_over_.queue.empty();
    if (!room) unwitnessed_ = false;  // the next start copies the last batch once more: no harm
    if (!room || !idle) return false;
    hand_over_.next.store(position + format::batch_alignment, std::memory_order_release);
    std::memset(seal_.get(), 0, format::batch_alignment);
    taken_.push_back(ClosedBatch{seal_.get(), position, 0, 0, hand_over_.segment});
    return true;
}

void Writer::start() {
    thread_ = std::thread([this] { run(); });
}

void Writer::wake() {
    bool waiting = false;
    {
        const std::lock_guard lock(hand_over_.mutex);
        waiting = waiting_;
    }
    if (waiting) ready_.notify_one();
}

void Writer::space_changed() {
    {
        const std::lock_guard lock(hand_over_.mutex);
        poked_ = true;
    }
    ready_.notify_one();
}

std::uint64_t Writer::wait_ms() const {
    if (core_.failed.load(std::memory_order_relaxed)) return idle_wait_ms;
    if (held_) return held_retry_ms;
    if (core_.synced.load(std::memory_order_relaxed) != written_) return core_.options.interval_ms;
    if (unwitnessed_) return core_.options.seal_after_ms;
    return idle_wait_ms;
}

void Writer::run() {
    for (;;) {
        bool stopping = false;
        {
            std::unique_lock lock(hand_over_.mutex);
            waiting_ = true;
            const auto pending = [this] {
                return stop_ || poked_ ||
                       (!held_ && !core_.failed.load(std::memory_order_relaxed) &&
                        !hand_over_.queue.empty());
            };
            const auto timeout = std::chrono::milliseconds(std::max<std::uint64_t>(1, wait_ms()));
            ready_.wait_for(lock, timeout, pending);
            waiting_ = false;
            poked_ = false;
            stopping = stop_;
        }
        if (stopping && !drain_) return;
        while (turn()) {
        }
        if (stopping) return;
    }
}

void Writer::drain_and_stop() {
    if (!thread_.joinable()) {
        drain_ = true;
        while (turn()) {
        }
        return;
    }
    {
        const std::lock_guard lock(hand_over_.mutex);
        drain_ = true;
        stop_ = true;
    }
    ready_.notify_one();
    thread_.join();
}

void Writer::stop() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(hand_over_.mutex);
        stop_ = true;
    }
    ready_.notify_one();
    thread_.join();
}

}  // namespace ferry::log
