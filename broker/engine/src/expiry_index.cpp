#include "expiry_index.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::engine {

void ExpiryIndex::add(Position first, Position end, std::uint64_t due) {
    if (!ranges_.empty()) {
        Range& last = ranges_.rbegin()->second;
        if (last.due == due && first >= last.end && awake_.count({due, last.first}) != 0) {
            last.end = end;
            return;
        }
        if (first < last.end) return;  // a checkpoint of another log; its records are refused
    }
    ranges_.emplace(first, Range{first, end, due});
    awake_.insert({due, first});
}

const ExpiryIndex::Range* ExpiryIndex::front() const {
    if (awake_.empty()) return nullptr;
    return &ranges_.at(awake_.begin()->second);
}

void ExpiryIndex::put_front_to_sleep() {
    FERRY_ASSERT(!awake_.empty(), "there is a range to put to sleep");
    awake_.erase(awake_.begin());
}

void ExpiryIndex::wake(Position first, Position end) {
    auto at = ranges_.upper_bound(first);
    if (at != ranges_.begin()) --at;
    for (; at != ranges_.end() && at->first < end; ++at) {
        if (at->second.end > first) awake_.insert({at->second.due, at->first});
    }
}

void ExpiryIndex::forget_below(Position floor) {
    while (!ranges_.empty() && ranges_.begin()->second.end <= floor) {
        const Range& range = ranges_.begin()->second;
        awake_.erase({range.due, range.first});
        ranges_.erase(ranges_.begin());
    }
}

void ExpiryIndex::clear() {
    ranges_.clear();
    awake_.clear();
}

void ExpiryIndex::save(std::vector<std::byte>& out) const {
    put_varint(out, ranges_.size());
    Position end = 0;
    for (const auto& [first, range] : ranges_) {
        put_varint(out, range.first - end);
        put_varint(out, range.end - range.first);
        put_varint(out, range.due);
        end = range.end;
    }
}

bool ExpiryIndex::load(Reader& in) {
    const std::size_t count = in.count(3);
    Position end = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::uint64_t gap = in.varint();
        const std::uint64_t length = in.varint();
        const std::uint64_t due = in.varint();
        const Position first = end + gap;
        if (first < end || length == 0 || first + length < first) in.reject();
        if (!in.ok()) return false;
        end = first + length;
        ranges_.emplace(first, Range{first, end, due});
        awake_.insert({due, first});  // whoever slept may have come back
    }
    return in.ok();
}

}  // namespace ferry::engine
