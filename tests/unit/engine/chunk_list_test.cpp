#include "chunk_list.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ferry/platform/random.hpp"

namespace ferry::engine {
namespace {

Chunk chunk_of(Position first, std::uint32_t count) {
    Chunk chunk;
    chunk.extent.first = first;
    chunk.extent.set_count(count);
    return chunk;
}

using Parts = std::vector<std::pair<Tag, std::uint32_t>>;

Parts all_of(const ChunkList& list) {
    Parts parts;
    for (const auto& [first, chunk] : list) parts.emplace_back(first, chunk.extent.count);
    return parts;
}

Parts take(ChunkList& list, Range<Tag> tags) {
    Parts parts;
    list.take(tags, [&](Tag first, const Chunk& chunk) {
        EXPECT_EQ(chunk.extent.first, 1000 + first) << "a part begins where its first tag lies";
        parts.emplace_back(first, chunk.extent.count);
    });
    return parts;
}

TEST(ChunkList, DividesWhatIsTakenInPart) {
    ChunkList list;
    list.add(1, chunk_of(1001, 10));
    list.add(11, chunk_of(1011, 500));
    EXPECT_EQ(take(list, {3, 4}), (Parts{{3, 2}}));
    EXPECT_EQ(take(list, {400, 402}), (Parts{{400, 3}}));
    EXPECT_EQ(all_of(list), (Parts{{1, 2}, {5, 6}, {11, 389}, {403, 108}}));
    EXPECT_EQ(take(list, {2, 11}), (Parts{{2, 1}, {5, 6}, {11, 1}}));
    EXPECT_EQ(all_of(list), (Parts{{1, 1}, {12, 388}, {403, 108}}));
    EXPECT_EQ(take(list, {300, 300}), (Parts{{300, 1}})) << "from a chunk that began pages before";
    EXPECT_EQ(take(list, {300, 300}), Parts{});
    EXPECT_EQ(take(list, {1, UINT64_MAX - 1}), (Parts{{1, 1}, {12, 288}, {301, 99}, {403, 108}}));
    EXPECT_TRUE(list.empty());
}

TEST(ChunkList, TakesBackWhatWasTaken) {
    ChunkList list;
    list.add(1, chunk_of(1001, 200));
    std::vector<ChunkList::Item> taken;
    list.take({10, 100}, [&](Tag first, const Chunk& part) { taken.push_back({first, part}); });
    ASSERT_EQ(taken.size(), 1U);
    list.add(taken[0].first, taken[0].chunk);
    EXPECT_EQ(all_of(list), (Parts{{1, 9}, {10, 91}, {101, 100}}));
}

TEST(ChunkList, TakesByCondition) {
    ChunkList list;
    for (Tag tag = 1; tag <= 300; ++tag) {
        Chunk chunk = chunk_of(1000 + tag, 1);
        chunk.deadline.ns = tag % 100;
        list.add(tag, chunk);
    }
    list.take_if([](const Chunk& chunk) { return chunk.deadline.ns != 7; });
    EXPECT_EQ(all_of(list), (Parts{{7, 1}, {107, 1}, {207, 1}}));
    list.take_if([](const Chunk&) { return true; });
    EXPECT_TRUE(list.empty());
    EXPECT_TRUE(list.begin() == list.end());
}

// Against a list of single tags.
TEST(ChunkList, HoldsWhatWasNotTaken) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        SeededRandom random(seed);
        ChunkList list;
        std::vector<bool> held(1, false);
        for (int step = 0; step < 300; ++step) {
            const Tag next = held.size();
            if (random.below(2) == 0) {
                const auto count = static_cast<std::uint32_t>(
                    1 + (random.below(4) == 0 ? random.below(300) : random.below(2)));
                list.add(next, chunk_of(1000 + next, count));
                held.insert(held.end(), count, true);
                continue;
            }
            const Tag first = 1 + random.below(next);
            const Tag last = first + random.below(random.below(2) == 0 ? 3 : 400);
            std::uint64_t seen = 0;
            list.visit({first, last}, [&](const ChunkList::Item& item) {
                seen += std::min(item.end(), last + 1) - std::max(item.first, first);
            });
            std::uint64_t taken = 0;
            for (const auto& [tag, count] : take(list, {first, last})) {
                for (Tag at = tag; at < tag + count; ++at) {
                    ASSERT_TRUE(held.at(at) && at >= first && at <= last) << "seed " << seed;
                    held[at] = false;
                    ++taken;
                }
            }
            EXPECT_EQ(seen, taken);
            std::vector<bool> left(held.size(), false);
            for (const auto& [tag, chunk] : list) {
                for (Tag at = tag; at < tag + chunk.extent.count; ++at) left.at(at) = true;
            }
            ASSERT_EQ(left, held) << "seed " << seed << " after step " << step;
            ASSERT_EQ(list.empty(), std::count(held.begin(), held.end(), true) == 0);
        }
    }
}

}  // namespace
}  // namespace ferry::engine
