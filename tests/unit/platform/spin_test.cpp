#include "ferry/platform/spin.hpp"

#include <gtest/gtest.h>

namespace ferry {
namespace {

constexpr std::uint64_t us = 1'000;

/// A loop in virtual time.
struct Loop {
    explicit Loop(std::uint32_t limit_us = 50, unsigned processors = 2)
        : spin(limit_us, processors) {}
    /// A turn in which so much was read, so long after the one before.
    bool read(std::size_t bytes, std::uint64_t after_ns) {
        now_ns += after_ns;
        return spin.looks_again(bytes, now_ns);
    }
    /// A turn without anything.
    bool nothing(std::uint64_t after_ns) { return read(0, after_ns); }
    /// Question and answer, until it stays awake.
    void learn() {
        for (int i = 0; i < 20; ++i) static_cast<void>(read(200, 30 * us));
    }

    Spin spin;
    std::uint64_t now_ns = 1'000'000'000;
};

TEST(Spin, SleepsWhileNothingComes) {
    Loop loop;
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(loop.nothing(us));
}

TEST(Spin, StaysAwakeForItsLimitOnceShortMessagesComeQuickly) {
    Loop loop;
    EXPECT_FALSE(loop.read(200, 1'000'000 * us));
    EXPECT_FALSE(loop.read(200, 100 * us));
    EXPECT_TRUE(loop.read(200, 100 * us)) << "a sleep was in the gap, and it is quick all the same";
    EXPECT_TRUE(loop.nothing(10 * us));
    EXPECT_TRUE(loop.nothing(39 * us));
    EXPECT_FALSE(loop.nothing(2 * us));
}

TEST(Spin, GoesToSleepAtOnceWhenItWasAwakeInVain) {
    Loop loop;
    loop.learn();
    int awake = 0;
    while (loop.read(200, 1'000 * us)) {
        ++awake;
        static_cast<void>(loop.nothing(60 * us));
    }
    EXPECT_LE(awake, 8) << "what it had learned is forgotten after a few gaps";
    EXPECT_FALSE(loop.read(200, 1'000 * us));
}

TEST(Spin, SleepsAtOnceBehindALongRead) {
    Loop loop;
    loop.learn();
    EXPECT_TRUE(loop.read(4'096, 10 * us));
    EXPECT_FALSE(loop.read(4'097, 10 * us));
    EXPECT_FALSE(loop.nothing(us));
}

TEST(Spin, NeverWhereItIsTurnedOffOrWouldStandInTheWay) {
    for (Loop loop : {Loop(0), Loop(50, 1)}) {
        loop.learn();
        EXPECT_FALSE(loop.read(200, us));
        EXPECT_FALSE(loop.nothing(us));
    }
}

TEST(Spin, AnEndlessLimitIsCut) {
    Loop loop(4'000'000'000);
    loop.learn();
    EXPECT_TRUE(loop.nothing(999 * us));
    EXPECT_FALSE(loop.nothing(2 * us));
}

}  // namespace
}  // namespace ferry
