#include "id_ranges.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "ferry/platform/random.hpp"

namespace ferry::outbox::relay {
namespace {

using ::testing::ElementsAre;

TEST(IdRanges, NeighboursBecomeOneRange) {
    IdRanges ids;
    ids.add({5, 6});
    ids.add({1, 2});
    ids.add({3, 4});
    EXPECT_THAT(ids.all(), ElementsAre(Range{1, 6}));
    EXPECT_EQ(ids.count(), 6u);
}

TEST(IdRanges, AgreesWithASetOfNumbers) {
    SeededRandom random(11);
    IdRanges ids;
    std::set<std::uint64_t> model;
    for (int i = 0; i < 20000; ++i) {
        const std::uint64_t first = 1 + random.below(60);
        const Range range{first, first + random.below(8)};
        const bool adds = random.below(2) == 0;
        adds ? ids.add(range) : ids.remove(range);
        for (std::uint64_t id = range.first; id <= range.last; ++id) {
            adds ? static_cast<void>(model.insert(id)) : static_cast<void>(model.erase(id));
        }
        ASSERT_EQ(ids.count(), model.size());
        ASSERT_EQ(ids.empty(), model.empty());
        if (!model.empty()) {
            ASSERT_EQ(ids.front(), *model.begin());
        }
        const std::uint64_t probe = random.below(70);
        ASSERT_EQ(ids.contains(probe), model.contains(probe));
        std::uint64_t before = 0;
        for (const Range& part : ids.all()) {
            ASSERT_TRUE(before == 0 || part.first > before + 1) << "touching ranges are merged";
            before = part.last;
        }
    }
}

TEST(IdRanges, AreTakenOffTheFrontInBoundedSteps) {
    IdRanges ids;
    ids.add({1, 10});
    ids.add({20, 21});
    EXPECT_THAT(ids.take(4), ElementsAre(Range{1, 4}));
    EXPECT_THAT(ids.take(7), ElementsAre(Range{5, 10}, Range{20, 20}));
    EXPECT_EQ(ids.count(), 1u);
}

}  // namespace
}  // namespace ferry::outbox::relay
