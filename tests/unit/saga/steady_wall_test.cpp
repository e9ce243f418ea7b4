#include "steady_wall.hpp"

#include <gtest/gtest.h>

namespace ferry::saga {
namespace {

class TwoClocks final : public Clock {
public:
    [[nodiscard]] Now now() const override { return {Instant{mono_ms * 1'000'000}, wall_ms}; }
    void pass(std::uint64_t ms) {
        mono_ms += ms;
        wall_ms += ms;
    }
    std::uint64_t mono_ms = 5'000;
    std::uint64_t wall_ms = 1'000'000;
};

// S15
TEST(SteadyWall, DoesNotFollowAJumpButDrawsNear) {
    TwoClocks clock;
    SteadyWall wall(clock);
    clock.pass(1'000);
    EXPECT_EQ(wall.now_ms(), 1'001'000U);
    clock.wall_ms += 3'600'000;
    EXPECT_LE(wall.now_ms(), 1'001'100U);
    for (int second = 0; second < 10; ++second) {
        clock.pass(1'000);
        static_cast<void>(wall.now_ms());
    }
    EXPECT_GE(wall.now_ms(), 1'011'900U);
    EXPECT_LE(wall.now_ms(), 1'012'200U);
}

TEST(SteadyWall, NeverGoesBack) {
    TwoClocks clock;
    SteadyWall wall(clock);
    clock.pass(1'000);
    const std::uint64_t before = wall.now_ms();
    clock.wall_ms -= 3'600'000;
    EXPECT_GE(wall.now_ms(), before);
    clock.pass(500);
    EXPECT_EQ(wall.now_ms(), before + 500);
}

TEST(SteadyWall, GoesOnFromTheLatestTimeThatWasNoted) {
    TwoClocks clock;
    SteadyWall wall(clock);
    wall.at_least(9'000'000);
    EXPECT_EQ(wall.now_ms(), 9'000'000U);
    clock.pass(500);
    EXPECT_EQ(wall.now_ms(), 9'000'500U);
    wall.at_least(9'000'100);
    EXPECT_EQ(wall.now_ms(), 9'000'500U);
}

}  // namespace
}  // namespace ferry::saga
