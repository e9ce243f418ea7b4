#include "live_space.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::engine {
namespace {
constexpr Position just_died = UINT64_MAX;
}  // namespace

void LiveSpace::note_place(const Journal::Place& place) {
    FERRY_ASSERT(place.position >= place.segment, "a record lies in its segment");
    if (some_just_died_) {
        for (SegmentLoad& s : segments_) {
            if (s.dead_since == just_died) s.dead_since = place.position + 1;
        }
        some_just_died_ = false;
    }
    if (segments_.empty() || segments_.back().base < place.segment) {
        SegmentLoad load;
        load.base = place.segment;
        load.dead_since = place.segment;
        segments_.push_back(load);
    }
    end_ = std::max(end_, place.position + 1);
}

SegmentLoad& LiveSpace::find(Position position) {
    FERRY_ASSERT(!segments_.empty() && segments_.front().base <= position, "the segment is known");
    const auto holds = [&](std::size_t i) {
        return segments_[i].base <= position &&
               (i + 1 == segments_.size() || position < segments_[i + 1].base);
    };
    if (last_found_ >= segments_.size() || !holds(last_found_)) {
        const auto next =
            std::upper_bound(segments_.begin(), segments_.end(), position,
                             [](Position p, const SegmentLoad& s) { return p < s.base; });
        last_found_ = static_cast<std::size_t>(next - segments_.begin()) - 1;
    }
    return segments_[last_found_];
}

Position LiveSpace::segment_of(Position position) {
    return find(position).base;
}

void LiveSpace::add(Position position, std::uint64_t references, std::uint64_t bytes) {
    SegmentLoad& segment = find(position);
    segment.references += references;
    segment.bytes += bytes;
    segment.dead_since = 0;
    live_bytes_ += bytes;
}

void LiveSpace::remove(Position position, std::uint64_t references, std::uint64_t bytes) {
    SegmentLoad& segment = find(position);
    FERRY_ASSERT(segment.references >= references, "nothing is released twice");
    segment.references -= references;
    if (segment.references == 0) {
        bytes = segment.bytes;  // what estimates left over
        // A checkpoint at the present end may have been taken a moment ago and still refer to it.
        segment.dead_since = just_died;
        some_just_died_ = true;
    }
    bytes = std::min(bytes, segment.bytes);
    segment.bytes -= bytes;
    live_bytes_ -= bytes;
}

void LiveSpace::forget(Position base) {
    const auto at = std::find_if(segments_.begin(), segments_.end(),
                                 [&](const SegmentLoad& s) { return s.base == base; });
    if (at == segments_.end()) return;
    FERRY_ASSERT(at->references == 0, "only dead segments are forgotten");
    segments_.erase(at);
    last_found_ = 0;
}

void LiveSpace::save(std::vector<std::byte>& out) const {
    put_varint(out, end_);
    put_varint(out, segments_.size());
    for (const SegmentLoad& s : segments_) {
        put_varint(out, s.base);
        put_varint(out, s.references);
        put_varint(out, s.bytes);
        put_varint(out, s.dead_since);
    }
}

bool LiveSpace::load(Reader& in) {
    end_ = in.varint();
    const std::size_t count = in.count(4);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        SegmentLoad s;
        s.base = in.varint();
        s.references = in.varint();
        s.bytes = in.varint();
        s.dead_since = in.varint();
        if (s.dead_since == just_died) some_just_died_ = true;
        if (!segments_.empty() && segments_.back().base >= s.base) in.reject();
        segments_.push_back(s);
        if (s.base > end_) in.reject();
        live_bytes_ += s.bytes;
    }
    return in.ok();
}

}  // namespace ferry::engine
