#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "core.hpp"

namespace ferry::log {

/// Reads sealed segments from front to back, a little at a time, and compares every CRC, so that
/// rot is found while there is still a backup or a producer that knows the message.
///
/// Threads   turn() on the housekeeper's, because only that thread recycles segments; the rest on
/// any.
class Scrubber {
public:
    explicit Scrubber(Core& core) : core_(core) {}

    /// Reads the next piece if it is due. False: nothing is due.
    bool turn();
    /// The housekeeper's thread: when turn() has something to do again.
    [[nodiscard]] Instant due_at() const { return due_at_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t passes() const { return passes_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t damaged() const { return damaged_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::vector<DamagedRange> damage() const;

private:
    bool next_segment();
    void end_pass(Instant now);
    Result<std::uint64_t> read_plain();
    Result<std::uint64_t> read_compacted_block();
    void report(Position first, Position end);

    Core& core_;
    SegmentTable::Entry entry_;  // segment null: between segments
    Position at_ = 0;            // where reading goes on
    Instant due_at_{};
    Instant pass_began_{};
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> passes_{0};
    std::atomic<std::uint64_t> damaged_{0};  // how many there are in damage_

    mutable std::mutex mutex_;
    std::vector<DamagedRange> damage_;
};

}  // namespace ferry::log
