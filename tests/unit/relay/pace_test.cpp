#include "pace.hpp"

#include <gtest/gtest.h>

namespace ferry::outbox::relay {
namespace {

std::uint64_t sent(Pace& pace, std::uint64_t from_ms, std::uint64_t for_ms) {
    std::uint64_t total = 0;
    for (std::uint64_t now = from_ms; now < from_ms + for_ms; ++now) {
        const std::uint64_t rows = pace.room(now);
        pace.spent(rows);
        total += rows;
    }
    return total;
}

TEST(Pace, LetsSoManyRowsGoInASecondInSmallPieces) {
    Pace pace(100'000);
    EXPECT_LE(pace.room(1'000'000), 1'000U);  // however long nothing went
    const std::uint64_t total = sent(pace, 1'000'000, 1'000);
    EXPECT_GE(total, 99'000U);
    EXPECT_LE(total, 101'100U);
}

TEST(Pace, LetsOneRowGoNowAndThenAtTheLowestRate) {
    Pace pace(1);
    const std::uint64_t total = sent(pace, 1'000'000, 10'000);
    EXPECT_GE(total, 9U);
    EXPECT_LE(total, 11U);
}

TEST(Pace, KeepsAheadOfAnApplicationThatAddsMore) {
    Pace pace(1'000);
    pace.follow(50'000, 10'000);
    pace.follow(80'000, 11'000);
    EXPECT_GE(sent(pace, 11'000, 1'000), 59'000U);
    pace.follow(80'001, 12'000);
    EXPECT_LE(sent(pace, 12'000, 1'000), 1'700U);
}

TEST(Pace, TakesNoHarmFromNumbersThatGoBack) {
    Pace pace(1'000);
    pace.follow(50'000, 10'000);
    pace.follow(7, 9'000);
    EXPECT_GE(sent(pace, 11'000, 1'000), 990U);
    EXPECT_LE(pace.room(3), 10U);
}

}  // namespace
}  // namespace ferry::outbox::relay
