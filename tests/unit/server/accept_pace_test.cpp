#include "accept_pace.hpp"

#include <gtest/gtest.h>

namespace ferry::server {
namespace {

std::uint32_t taken_within(AcceptPace& pace, std::uint64_t from_ms, std::uint64_t to_ms) {
    std::uint32_t taken = 0;
    for (std::uint64_t now = from_ms; now < to_ms; ++now) {
        while (pace.take(now)) ++taken;
    }
    return taken;
}

TEST(AcceptPace, TakesABurstAtOnceAndThenItsRate) {
    AcceptPace pace(2'000, 100);
    EXPECT_EQ(taken_within(pace, 1'000, 1'001), 100U);
    EXPECT_EQ(taken_within(pace, 1'001, 2'001), 2'000U);
}

TEST(AcceptPace, AQuietTimeGivesNoMoreThanABurst) {
    AcceptPace pace(2'000, 100);
    EXPECT_EQ(taken_within(pace, 1'000, 1'001), 100U);
    EXPECT_EQ(taken_within(pace, 100'000, 100'001), 100U);
}

TEST(AcceptPace, SlowRatesTakeOneAtATime) {
    AcceptPace pace(1, 1);
    EXPECT_TRUE(pace.take(5'000));
    EXPECT_FALSE(pace.take(5'999));
    EXPECT_TRUE(pace.take(6'000));
}

}  // namespace
}  // namespace ferry::server
