#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "ferry/transport/sequenced.hpp"

namespace ferry::outbox::relay {

using Range = transport::SequenceRange;

/// A set of row ids as sorted, disjoint, not adjacent ranges: its size in memory is the number of
/// holes, not of ids.
class IdRanges {
public:
    void add(Range range);
    void remove(Range range);
    void clear() {
        ranges_.clear();
        count_ = 0;
    }
    [[nodiscard]] bool contains(std::uint64_t id) const;
    [[nodiscard]] bool empty() const { return ranges_.empty(); }
    /// Ids, not ranges.
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// Requires  !empty().
    [[nodiscard]] std::uint64_t front() const { return ranges_.begin()->first; }
    /// Takes ranges off the front, at most so many ids of them.
    [[nodiscard]] std::vector<Range> take(std::uint64_t ids_max);
    [[nodiscard]] std::vector<Range> all() const;

private:
    std::map<std::uint64_t, std::uint64_t> ranges_;  // first -> last
    std::uint64_t count_ = 0;
};

}  // namespace ferry::outbox::relay
