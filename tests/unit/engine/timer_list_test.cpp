// The list of waiting messages against a plain map.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "ferry/platform/random.hpp"
#include "timer_list.hpp"

namespace ferry::engine {
namespace {

Extent extent_at(Position first, std::uint32_t count = 1) {
    Extent e;
    e.first = first;
    e.set_count(count);
    e.bytes = 10 * count;
    return e;
}

TEST(TimerList, GivesBackInOrderOfTimeThenPositionWhateverTheOrderOfAdding) {
    TimerList list;
    EXPECT_TRUE(list.add(30, 0, extent_at(1)));
    EXPECT_TRUE(list.add(10, 2, extent_at(9)));
    EXPECT_TRUE(list.add(10, 0, extent_at(3)));
    EXPECT_FALSE(list.add(10, 0, extent_at(3))) << "one key, one entry";
    EXPECT_EQ(list.pop_front().extent.first, 3U);
    const TimerList::Entry second = list.pop_front();
    EXPECT_EQ(second.extent.first, 9U);
    EXPECT_EQ(second.attempts, 2U);
    EXPECT_EQ(list.pop_front().extent.first, 1U);
    EXPECT_TRUE(list.empty());
    EXPECT_EQ(list.messages(), 0U);
}

TEST(TimerList, TakesOneMessageOutOfARunAndKeepsTheRest) {
    TimerList list;
    ASSERT_TRUE(list.add(10, 0, extent_at(100, 5)));
    EXPECT_FALSE(list.take(10, 99));
    EXPECT_FALSE(list.take(10, 105));
    EXPECT_FALSE(list.take(11, 102));
    const auto taken = list.take(10, 102);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->extent.first, 102U);
    EXPECT_EQ(taken->extent.count, 1U);
    EXPECT_EQ(list.messages(), 4U);
    EXPECT_EQ(list.pop_front().extent, part_of(extent_at(100, 5), 0, 2));
    EXPECT_EQ(list.pop_front().extent.first, 103U);
}

TEST(TimerList, RefusesATimeThatItCannotHold) {
    TimerList list;
    EXPECT_FALSE(list.add(TimerList::due_max + 1, 0, extent_at(1)));
    EXPECT_TRUE(list.add(TimerList::due_max, 100'000, extent_at(1)));
    EXPECT_EQ(list.front()->attempts, 65'535U);
}

TEST(TimerList, DoesWhatAMapDoesOverManyBlocks) {
    SeededRandom random(5);
    for (int round = 0; round < 20; ++round) {
        TimerList list;
        std::map<TimerList::Key, std::uint32_t> map;
        Position next = 1;
        for (int step = 0; step < 4000; ++step) {
            const std::uint64_t dice = random.below(10);
            if (dice < 7) {
                const std::uint64_t due = round % 2 == 0 ? random.below(5000) : next + 1000;
                ASSERT_TRUE(list.add(due, 1, extent_at(next)));
                map[{due, next}] = 1;
                next += 1 + random.below(3);
            } else if (dice < 9 && !map.empty()) {
                ASSERT_EQ(list.front()->key(), map.begin()->first);
                list.pop_front();
                map.erase(map.begin());
            } else if (!map.empty()) {
                auto at = map.lower_bound({random.below(5000), random.below(next)});
                if (at == map.end()) at = map.begin();
                ASSERT_TRUE(list.take(at->first.due, at->first.first));
                map.erase(at);
            }
            ASSERT_EQ(list.entries(), map.size());
            const TimerList::Key any{random.below(5000), random.below(next)};
            ASSERT_EQ(list.contains(any), map.count(any) != 0);
            if (!map.empty()) {
                ASSERT_EQ(list.front()->key(), map.begin()->first);
                const TimerList::Key known =
                    map.lower_bound(std::min(any, map.rbegin()->first))->first;
                ASSERT_FALSE(list.add(known.due, 1, extent_at(known.first)));
            }
        }
        std::vector<std::byte> saved;
        list.save(saved);
        TimerList copy;
        Reader in(saved);
        ASSERT_TRUE(copy.load(in));
        for (const auto& entry : map) {
            ASSERT_EQ(list.pop_front().key(), entry.first);
            ASSERT_EQ(copy.pop_front().key(), entry.first);
        }
    }
}

TEST(TimerList, KeepsManyThatComeInAnyOrderInTheirs) {
    SeededRandom random(6);
    TimerList list;
    std::vector<TimerList::Key> keys;
    for (Position p = 1; p <= 20'000; ++p) {
        keys.push_back({random.below(1'000'000), p});
        ASSERT_TRUE(list.add(keys.back().due, 0, extent_at(p)));
    }
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(list.last_due(keys[9'999].due, 100'000), keys[9'999]);
    std::vector<TimerList::Key> visited;
    list.visit([&](const TimerList::Entry& e) { visited.push_back(e.key()); });
    EXPECT_EQ(visited, keys);
    for (const TimerList::Key& key : keys) ASSERT_EQ(list.pop_front().key(), key);
}

TEST(TimerList, FindsTheLastOfThoseThatAreDue) {
    TimerList list;
    for (Position p = 1; p <= 1000; ++p) ASSERT_TRUE(list.add(p / 10, 0, extent_at(p)));
    EXPECT_EQ(list.last_due(50, 100'000), (TimerList::Key{50, 509}));
    EXPECT_EQ(list.last_due(50, 3), (TimerList::Key{0, 3}));
}

}  // namespace
}  // namespace ferry::engine
