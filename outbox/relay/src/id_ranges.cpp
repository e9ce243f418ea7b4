#include "id_ranges.hpp"

#include <algorithm>

namespace ferry::outbox::relay {

void IdRanges::add(Range range) {
    auto at = ranges_.upper_bound(range.first);
    if (at != ranges_.begin() && std::prev(at)->second + 1 >= range.first) --at;
    while (at != ranges_.end() && at->first <= range.last + 1) {
        range.first = std::min(range.first, at->first);
        range.last = std::max(range.last, at->second);
        count_ -= at->second - at->first + 1;
        at = ranges_.erase(at);
    }
    ranges_.emplace_hint(at, range.first, range.last);
    count_ += range.last - range.first + 1;
}

void IdRanges::remove(Range range) {
    auto at = ranges_.upper_bound(range.first);
    if (at != ranges_.begin()) --at;
    while (at != ranges_.end() && at->first <= range.last) {
        const Range old{at->first, at->second};
        if (old.last < range.first) {
            ++at;
            continue;
        }
        at = ranges_.erase(at);
        count_ -= old.last - old.first + 1;
        if (old.first < range.first) {
            ranges_.emplace(old.first, range.first - 1);
            count_ += range.first - old.first;
        }
        if (old.last > range.last) {
            at = ranges_.emplace(range.last + 1, old.last).first;
            count_ += old.last - range.last;
        }
    }
}

bool IdRanges::contains(std::uint64_t id) const {
    const auto at = ranges_.upper_bound(id);
    return at != ranges_.begin() && std::prev(at)->second >= id;
}

std::vector<Range> IdRanges::take(std::uint64_t ids_max) {
    std::vector<Range> taken;
    while (!ranges_.empty() && ids_max > 0) {
        Range range{ranges_.begin()->first, ranges_.begin()->second};
        if (range.last - range.first >= ids_max) range.last = range.first + ids_max - 1;
        ids_max -= range.last - range.first + 1;
        remove(range);
        taken.push_back(range);
    }
    return taken;
}

std::vector<Range> IdRanges::all() const {
    std::vector<Range> ranges;
    for (const auto& [first, last] : ranges_) ranges.push_back(Range{first, last});
    return ranges;
}

}  // namespace ferry::outbox::relay
