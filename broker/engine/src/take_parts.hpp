#pragma once

#include <vector>

#include "queue.hpp"

namespace ferry::engine {

// Takes what lies in `tags` out of the subscription, part by part: on_part(first tag, chunk). Tags
// that are not there, because their lease ended before, are listed in `lost`.
template <class OnPart>
void take_parts(Subscription& s, Range<Tag> tags, std::vector<Range<Tag>>& lost, OnPart&& on_part) {
    Tag at = tags.first;
    s.chunks.take(tags, [&](Tag from, const Chunk& part) {
        if (from > at) lost.push_back({at, from - 1});
        at = from + part.extent.count;
        s.let_go(part.extent);
        on_part(from, part);
    });
    if (at <= tags.last) lost.push_back({at, tags.last});
}

/// The tags of `tags` that take_parts() would call lost, in order; nothing is changed. Returns in
/// how many parts the others lie.
inline std::size_t find_lost(const Subscription& s, Range<Tag> tags,
                             std::vector<Range<Tag>>& lost) {
    std::size_t parts = 0;
    Tag at = tags.first;
    s.chunks.visit(tags, [&](const ChunkList::Item& item) {
        if (item.first > at) lost.push_back({at, item.first - 1});
        at = item.end();
        ++parts;
    });
    if (at <= tags.last) lost.push_back({at, tags.last});
    return parts;
}

}  // namespace ferry::engine
