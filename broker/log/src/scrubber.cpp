#include "scrubber.hpp"

#include <algorithm>

#include "batch_scanner.hpp"
#include "compacted_file.hpp"

namespace ferry::log {
namespace {

constexpr std::uint64_t piece_bytes = 256U << 10;
constexpr std::uint64_t ns_per_second = 1'000'000'000;
constexpr std::uint64_t ns_per_ms = 1'000'000;

}  // namespace

bool Scrubber::turn() {
    const std::uint64_t rate = core_.options.scrub_bytes_per_second;
    if (rate == 0) return false;
    const Instant now = core_.clock.now().mono;
    if (now < due_at_) return false;
    if (entry_.segment == nullptr && !next_segment()) {
        end_pass(now);
        return false;
    }
    const auto read = entry_.segment->header.compacted ? read_compacted_block() : read_plain();
    if (!read.ok()) {
        // What cannot be read is as lost as what is wrong; the next segment may be well.
        report(at_, entry_.end);
        at_ = entry_.end;
    }
    const std::uint64_t got = read.ok() ? read.value() : piece_bytes;
    bytes_.fetch_add(got, std::memory_order_relaxed);
    due_at_ = Instant{now.ns + got * ns_per_second / rate};
    if (at_ >= entry_.end) {
        // Not held longer than it is read: one that is dropped while it is held is deleted, not
        // used again.
        entry_.segment.reset();
    }
    return true;
}

// The first sealed and durable segment at or behind at_; a segment that was dropped or replaced
// meanwhile is begun again or left out.
bool Scrubber::next_segment() {
    for (SegmentTable::Entry& entry : core_.table.snapshot()) {
        if (entry.base < at_ || entry.end == 0 || entry.segment == nullptr) continue;
        if (entry.end > core_.synced.load(std::memory_order_acquire)) break;
        if (pass_began_.ns == 0) pass_began_ = core_.clock.now().mono;
        entry_ = std::move(entry);
        at_ = entry_.base;
        return true;
    }
    return false;
}

void Scrubber::end_pass(Instant now) {
    if (at_ != 0) passes_.fetch_add(1, std::memory_order_relaxed);
    at_ = 0;
    const Instant next{pass_began_.ns + core_.options.scrub_every_ms * ns_per_ms};
    // A log that has nothing sealed yet is looked at again soon.
    due_at_ = pass_began_.ns == 0 ? Instant{now.ns + ns_per_second} : std::max(next, now);
    pass_began_ = Instant{};
}

Result<std::uint64_t> Scrubber::read_plain() {
    BatchScanner scanner(*entry_.segment, at_, entry_.end);
    const Position from = at_;
    while (at_ < entry_.end && at_ - from < piece_bytes) {
        auto batch = scanner.next();
        if (!batch.ok()) return batch.error();
        if (batch.value()) {
            at_ = scanner.position();
            continue;
        }
        auto behind = scanner.look_behind();
        if (!behind.ok()) return behind.error();
        const Position end = behind.value().found ? behind.value().first : entry_.end;
        report(at_, end);
        at_ = end;
        scanner.rewind(end);
    }
    return at_ - from;
}

// Only whole blocks can be checked here, so a damaged one ends the walk through its segment.
Result<std::uint64_t> Scrubber::read_compacted_block() {
    const Segment& segment = *entry_.segment;
    if (segment.header.entries_end <= format::segment_header_bytes) {
        at_ = entry_.end;
        return std::uint64_t{0};
    }
    auto block = read_compacted(segment, at_, piece_bytes);
    if (!block.ok()) return block.error();
    at_ = std::max(block.value().next, at_ + 1);
    return static_cast<std::uint64_t>(block.value().bytes.size());
}

// The same place is found again in every pass: it is listed once.
void Scrubber::report(Position first, Position end) {
    const std::lock_guard lock(mutex_);
    for (const DamagedRange& known : damage_) {
        if (first < known.end && known.first < end) return;
    }
    if (damage_.size() == damaged_ranges_max) return;
    damage_.push_back({entry_.segment->name, first, end});
    damaged_.store(damage_.size(), std::memory_order_relaxed);
}

std::vector<DamagedRange> Scrubber::damage() const {
    const std::lock_guard lock(mutex_);
    return damage_;
}

}  // namespace ferry::log
