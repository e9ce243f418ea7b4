#pragma once

#include <map>
#include <set>

#include "records.hpp"

namespace ferry::engine {

/// When which messages of a queue expire, as ranges of positions: messages published in a row that
/// expire at one time are one range. A range may name messages that are gone; forget_below() drops
/// the ranges that lie behind.
///
/// A range is *awake* until its time comes, and again when a message of it comes back to the queue.
/// Times are those of the steady clock. Threads: the engine's.
class ExpiryIndex {
public:
    struct Range {
        Position first = 0;
        Position end = 0;
        std::uint64_t due = 0;
    };
    /// Positions behind all that were added before; the next range may continue the last one.
    void add(Position first, Position end, std::uint64_t due);
    /// The awake range with the earliest time.
    [[nodiscard]] const Range* front() const;
    /// It has been seen to.
    void put_front_to_sleep();
    /// Messages came back: if their time is over they are due now.
    void wake(Position first, Position end);
    void forget_below(Position floor);
    void clear();
    [[nodiscard]] bool empty() const { return ranges_.empty(); }
    [[nodiscard]] std::size_t size() const { return ranges_.size(); }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    std::map<Position, Range> ranges_;
    std::set<std::pair<std::uint64_t, Position>> awake_;
};

}  // namespace ferry::engine
