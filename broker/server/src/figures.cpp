#include "figures.hpp"

#include <algorithm>

namespace ferry::server {

void Arrivals::note(std::uint64_t end, Instant at) {
    if (count_ != 0 && ring_[(count_ - 1) % size].end >= end) return;
    ring_[count_++ % size] = Entry{end, at};
}

Instant Arrivals::of(std::uint64_t position) const {
    const std::uint64_t oldest = count_ > size ? count_ - size : 0;
    // The first entry whose end lies behind the position; entries are in order of end.
    std::uint64_t low = oldest;
    std::uint64_t high = count_;
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        if (ring_[middle % size].end > position) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // The oldest entry says nothing about when its own beginning was written.
    if (low == count_ || low == oldest) return Instant{};
    return ring_[low % size].at;
}

}  // namespace ferry::server
