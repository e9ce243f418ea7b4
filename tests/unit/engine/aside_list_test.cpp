// Runs that lie aside, against a list that is as simple as can be.

#include "aside_list.hpp"

#include <gtest/gtest.h>

#include <map>

#include "ferry/platform/random.hpp"

namespace ferry::engine {
namespace {

AsideList::Place lay(AsideList& list, Position first, std::uint32_t count) {
    Extent extent;
    extent.first = first;
    extent.set_count(count);
    extent.bytes = 10 * count;
    return list.add(extent, static_cast<std::uint32_t>(first % 3), 0);
}

class Simple {
public:
    void add(Position first, std::uint32_t count, AsideList::Place place) {
        for (std::uint32_t i = 0; i < count; ++i) places_[first + i] = place;
    }
    [[nodiscard]] std::optional<Position> next(Position first, Position end) const {
        const auto at = places_.lower_bound(first);
        if (at == places_.end() || at->first >= end) return std::nullopt;
        return at->first;
    }
    std::map<Position, AsideList::Place> places_;  // of each message, as it was when it came
};

TEST(AsideList, GivesBackWhatLiesThereWhateverTheOrderAndTheHints) {
    SeededRandom random(3);
    AsideList list;
    Simple simple;
    Position end = 1'000;
    for (int step = 0; step < 200'000; ++step) {
        const auto what = random.below(100);
        if (what < 40 || simple.places_.empty()) {
            // Mostly at the end, seldom into a gap of what was there.
            Position first = end;
            auto count = static_cast<std::uint32_t>(1 + random.below(3));
            if (what == 0 && end > 40'000) {
                first = end - random.below(30'000);
                while (simple.next(first, first + count) && count > 0) --count;
                if (count == 0) continue;
            }
            simple.add(first, count, lay(list, first, count));
            end = std::max(end, first + count + random.below(2));
        } else {
            // One of the older ones or of all: some lie here long, and gaps are closed around them.
            const Position from = what < 90 ? simple.places_.begin()->first + random.below(300)
                                            : end - random.below(20'000);
            const auto wanted = simple.next(from, from + 500);
            const auto hint = wanted ? simple.places_.at(*wanted) : AsideList::Place{7};
            const auto found = list.next(from, from + 500, hint);
            ASSERT_EQ(found.has_value(), wanted.has_value()) << step;
            if (!wanted || step % 17 == 0) continue;
            ASSERT_EQ(found->position, *wanted) << step;
            const auto taken = list.take(*wanted, step % 2 == 0 ? hint : found->place);
            ASSERT_TRUE(taken.has_value()) << step;
            ASSERT_EQ(taken->extent.first, *wanted);
            ASSERT_EQ(taken->extent.count, 1U);
            ASSERT_FALSE(list.take(*wanted, hint).has_value()) << "it is taken once";
            simple.places_.erase(*wanted);
        }
        ASSERT_EQ(list.messages(), simple.places_.size());
        ASSERT_EQ(list.empty(), simple.places_.empty());
        if (list.empty()) continue;
        ASSERT_EQ(list.front().first, simple.places_.begin()->first) << step;
    }
    while (const auto part = list.take_part(0, UINT64_MAX)) {
        for (Position at = part->extent.first; at < part->extent.end(); ++at)
            ASSERT_EQ(simple.places_.erase(at), 1U);
    }
    EXPECT_TRUE(simple.places_.empty());
    EXPECT_EQ(list.runs(), 0U);
}

TEST(AsideList, AHintHoldsWhileTheOldestGoAndIsOnlyAHintAfterwards) {
    AsideList list;
    std::map<Position, AsideList::Place> places;
    for (Position at = 0; at < 100'000; at += 2) places[at] = lay(list, at, 1);
    // The first stays, so gaps lie behind it until they are closed.
    for (Position at = 2; at < 90'000; at += 2)
        ASSERT_TRUE(list.take(at, places[at]).has_value()) << at;
    EXPECT_EQ(list.runs(), 5'001U);
    EXPECT_EQ(list.front().first, 0U);
    for (Position at = 90'000; at < 100'000; at += 2) {
        const auto found = list.next(at - 1, at + 1, places[at]);
        ASSERT_TRUE(found.has_value()) << at;
        EXPECT_EQ(found->position, at);
        ASSERT_TRUE(list.take(at, found->place).has_value()) << at;
    }
    ASSERT_TRUE(list.take_front(5).has_value());
    EXPECT_TRUE(list.empty());
    const auto place = lay(list, 7, 2);
    EXPECT_EQ(list.take(8, place)->extent.first, 8U);
    EXPECT_EQ(list.front().first, 7U);
}

}  // namespace
}  // namespace ferry::engine
