#pragma once

#include <cstdint>
#include <vector>

namespace ferry::transport::native {

/// First and last, both included.
struct Range {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
};

/// Adds a range to a list; what follows on the last one is merged, which is how acks usually come.
inline void add_range(std::vector<Range>& ranges, std::uint64_t first, std::uint64_t last) {
    if (!ranges.empty() && ranges.back().last + 1 == first) {
        ranges.back().last = last;
    } else {
        ranges.push_back(Range{first, last});
    }
}

}  // namespace ferry::transport::native
