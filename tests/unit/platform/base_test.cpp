#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <vector>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/bytes.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/fault_point.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/platform/sim/sim_clock.hpp"

namespace ferry {
namespace {

TEST(Assert, tells_condition_reason_and_place_before_it_aborts) {
    const bool sky_is_green = false;
    EXPECT_DEATH(FERRY_ASSERT(sky_is_green, "it should be"),
                 "base_test.cpp:.*sky_is_green.*it should be");
}

TEST(Result, aborts_when_the_wrong_half_is_asked_for) {
    const Result<int> good(1);
    const Result<int> bad(Error{Errc::corrupt, 0, 42, "test"});
    EXPECT_DEATH(static_cast<void>(good.error()), "of a successful result");
    EXPECT_DEATH(static_cast<void>(bad.value()), "of a failed result");
    EXPECT_EQ(bad.error().position, 42U);
}

TEST(Bytes, are_loaded_and_stored_in_the_stated_order_at_odd_places) {
    std::byte buffer[9] = {};
    store_be32(buffer + 1, 0x01020304);
    EXPECT_EQ(buffer[1], std::byte{1});
    EXPECT_EQ(buffer[4], std::byte{4});
    EXPECT_EQ(load_be32(buffer + 1), 0x01020304U);
    store_le<std::uint64_t>(buffer + 1, 0x0102030405060708);
    EXPECT_EQ(buffer[1], std::byte{8});
    EXPECT_EQ(load_be64(buffer + 1), 0x0807060504030201U);
    store_be16(buffer, 0xABCD);
    EXPECT_EQ(load_be16(buffer), 0xABCD);
}

TEST(SystemClock, moves_forward_and_knows_the_century) {
    const Now before = system_clock().now();
    const Now after = system_clock().now();
    EXPECT_LE(before.mono, after.mono);
    EXPECT_GT(before.wall_ms, 1'600'000'000'000U);
}

TEST(SimClock, moves_only_when_told_and_keeps_the_monotonic_clock_out_of_wall_clock_jumps) {
    sim::SimClock clock(1000);
    const Now start = clock.now();
    EXPECT_EQ(clock.now().mono, start.mono);
    clock.advance_ms(5);
    EXPECT_EQ(clock.now().mono.ns, start.mono.ns + 5'000'000);
    EXPECT_EQ(clock.now().wall_ms, 1005U);
    clock.set_wall_ms(3);
    EXPECT_EQ(clock.now().mono.ns, start.mono.ns + 5'000'000);
    EXPECT_EQ(clock.now().wall_ms, 3U);
}

// Reference values of the published C code of xoshiro256** with the state 1, 2, 3, 4 need that
// state, so this fixes our own sequence instead: recorded seeds of failing runs must keep their
// meaning.
TEST(SeededRandom, gives_the_same_numbers_for_ever) {
    SeededRandom zero(0);
    EXPECT_EQ(zero.next(), 0x99EC5F36CB75F2B4ULL);
    EXPECT_EQ(zero.next(), 0xBF6E1F784956452AULL);
    SeededRandom a(8123);
    SeededRandom b(8123);
    SeededRandom c(8124);
    EXPECT_EQ(a.next(), b.next());
    EXPECT_NE(a.next(), c.next());
    for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(7), 7U);
}

TEST(SystemRandom, does_not_repeat_itself) {
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(system_random().next());
    EXPECT_EQ(seen.size(), 1000U);
}

TEST(FaultPointDeathTest, kills_the_process_at_the_wanted_passage_and_only_there) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto pass = [](const char* wish, int passages) {
        setenv("FERRY_FAULT", wish, 1);
        for (int i = 0; i < passages; ++i) fault_point("log.sync");
        fault_point("other");
        std::exit(0);
    };
    EXPECT_EXIT(pass("log.sync", 1), testing::KilledBySignal(SIGKILL), "");
    EXPECT_EXIT(pass("log.sync:3", 3), testing::KilledBySignal(SIGKILL), "");
    EXPECT_EXIT(pass("log.sync:3", 2), testing::ExitedWithCode(0), "");
    EXPECT_EXIT(pass("log", 5), testing::ExitedWithCode(0), "");
    EXPECT_EXIT(pass("", 5), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ferry
