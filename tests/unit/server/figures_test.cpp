#include "figures.hpp"

#include <gtest/gtest.h>

namespace ferry::server {
namespace {

TEST(Arrivals, TellWhenARecordCame) {
    Arrivals arrivals;
    for (std::uint64_t turn = 1; turn <= 10; ++turn) arrivals.note(turn * 100, Instant{turn});
    EXPECT_EQ(arrivals.of(150).ns, 2U);
    EXPECT_EQ(arrivals.of(199).ns, 2U);
    EXPECT_EQ(arrivals.of(200).ns, 3U);
    EXPECT_EQ(arrivals.of(999).ns, 10U);
}

TEST(Arrivals, DoNotKnowWhatWasBeforeThemOrIsNotThere) {
    Arrivals arrivals;
    EXPECT_EQ(arrivals.of(0).ns, 0U);
    for (std::uint64_t turn = 1; turn <= 10'000; ++turn) arrivals.note(turn * 100, Instant{turn});
    EXPECT_EQ(arrivals.of(150).ns, 0U) << "long ago";
    EXPECT_EQ(arrivals.of(1'000'000).ns, 0U) << "not yet";
    EXPECT_EQ(arrivals.of(999'999).ns, 10'000U);
}

TEST(Arrivals, CountATurnThatWroteNothingAsNone) {
    Arrivals arrivals;
    arrivals.note(100, Instant{1});
    arrivals.note(200, Instant{2});
    arrivals.note(200, Instant{3});
    EXPECT_EQ(arrivals.of(150).ns, 2U);
}

}  // namespace
}  // namespace ferry::server
