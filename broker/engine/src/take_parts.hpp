#pragma once

#include <algorithm>
#include <vector>

#include "queue.hpp"

namespace ferry::engine {

inline Chunk part_of_chunk(const Chunk& chunk, std::uint32_t skip, std::uint32_t count) {
    Chunk part = chunk;
    part.extent = part_of(chunk.extent, skip, count);
    return part;
}

// Takes what lies in `tags` out of the subscription, part by part: on_part(first tag, chunk). Tags
// that are not there, because their lease ended before, are listed in `lost`.
template <class OnPart>
void take_parts(Subscription& s, Range<Tag> tags, std::vector<Range<Tag>>& lost, OnPart&& on_part) {
    Tag at = tags.first;
    auto it = s.chunks.upper_bound(tags.first);
    if (it != s.chunks.begin() &&
        std::prev(it)->first + std::prev(it)->second.extent.count > tags.first)
        --it;
    while (it != s.chunks.end() && it->first <= tags.last) {
        const Tag first = it->first;
        const Tag last = first + it->second.extent.count - 1;
        const Tag from = std::max(first, tags.first);
        const Tag upto = std::min(last, tags.last);
        if (from > at) lost.push_back({at, from - 1});
        at = upto + 1;
        const auto skip = static_cast<std::uint32_t>(from - first);
        const auto count = static_cast<std::uint32_t>(upto - from + 1);
        const Chunk whole = it->second;
        if (skip == 0 && upto == last) {
            it = s.chunks.erase(it);
        } else if (skip == 0) {
            auto node = s.chunks.extract(it++);
            node.key() = upto + 1;
            node.mapped() = part_of_chunk(whole, count, whole.extent.count - count);
            s.chunks.insert(it, std::move(node));
        } else {
            it->second = part_of_chunk(whole, 0, skip);
            ++it;
            if (upto < last) {
                s.chunks.emplace_hint(
                    it, upto + 1,
                    part_of_chunk(whole, skip + count, whole.extent.count - skip - count));
            }
        }
        const Chunk part = part_of_chunk(whole, skip, count);
        s.let_go(part.extent);
        on_part(from, part);
    }
    if (at <= tags.last) lost.push_back({at, tags.last});
}

/// The tags of `tags` that take_parts() would call lost, in order; nothing is changed. Returns in
/// how many parts the others lie.
inline std::size_t find_lost(const Subscription& s, Range<Tag> tags,
                             std::vector<Range<Tag>>& lost) {
    std::size_t parts = 0;
    Tag at = tags.first;
    auto it = s.chunks.upper_bound(tags.first);
    if (it != s.chunks.begin() &&
        std::prev(it)->first + std::prev(it)->second.extent.count > tags.first)
        --it;
    for (; it != s.chunks.end() && it->first <= tags.last; ++it) {
        const Tag from = std::max(it->first, tags.first);
        if (from > at) lost.push_back({at, from - 1});
        at = std::min(it->first + it->second.extent.count - 1, tags.last) + 1;
        ++parts;
    }
    if (at <= tags.last) lost.push_back({at, tags.last});
    return parts;
}

}  // namespace ferry::engine
