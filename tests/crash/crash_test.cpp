// Power cuts at every moment of every short life of a log: whatever was confirmed is there,
// unchanged, and whatever was not is there whole or not at all. The names of the large runs begin
// with Slow.

#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <unordered_set>
#include <vector>

#include "explorer.hpp"

namespace ferry::crash {
namespace {

constexpr std::uint64_t states_goal = 200'000;
constexpr std::uint64_t deeper_one_in = 20;  // crashed again during recovery: 5 %
constexpr sim::CrashLimits deeper_limits{
    .exhaustive_max = 2, .samples = 2, .states_max = 6, .seed = 1};

// Disks that were opened by all tests of this program, each counted once.
std::unordered_set<std::uint64_t>& all_states() {
    static std::unordered_set<std::uint64_t> states;
    return states;
}

// Of a goal that is not reached the test says so by failing: a test that silently stopped testing
// is worse than none.
void expect_clean(const Explorer& explorer, std::uint64_t goal) {
    std::cout << explorer.summary() << std::endl;
    EXPECT_EQ(explorer.counts().failures, 0U) << explorer.failures();
    EXPECT_GE(explorer.distinct() * 10, goal * 8) << "the goal is " << goal << " distinct states";
    all_states().insert(explorer.states().begin(), explorer.states().end());
}

void for_all_sequences(std::size_t length,
                       const std::function<void(const std::vector<Step>&)>& act) {
    std::vector<Step> steps(length);
    std::size_t count = 1;
    for (std::size_t i = 0; i < length; ++i) count *= basic_steps;
    for (std::size_t number = 0; number < count; ++number) {
        std::size_t rest = number;
        for (Step& step : steps) {
            step = static_cast<Step>(rest % basic_steps);
            rest /= basic_steps;
        }
        act(steps);
    }
}

std::vector<Step> random_steps(std::uint64_t seed, std::size_t count) {
    SeededRandom random(seed);
    std::vector<Step> steps(count);
    for (Step& step : steps) step = static_cast<Step>(random.below(11));
    return steps;
}

TEST(Crash, while_a_log_is_created_loses_nothing) {
    Explorer explorer({.limits = {.states_max = 400}, .deeper_one_in = 10});
    explorer.run({empty_disk(), {}}, {Step::publish_small}, true);
    expect_clean(explorer, 100);
}

// G1, G4, G14
TEST(Crash, during_any_two_steps_loses_nothing) {
    Explorer explorer({.limits = {.samples = 30, .states_max = 60}, .deeper_one_in = 200});
    const Aged aged = aged_log();
    explorer.run(aged, {}, true);
    for (std::size_t length = 1; length <= 2; ++length) {
        for_all_sequences(length, [&](const auto& steps) { explorer.run(aged, steps, false); });
    }
    EXPECT_EQ(explorer.counts().workloads, 1U + 8 + 64);
    expect_clean(explorer, 1000);
}

TEST(Crash, during_compaction_and_orderly_stops_loses_nothing) {
    Explorer explorer({.limits = {.samples = 30, .states_max = 60}, .deeper_one_in = 50});
    const Aged aged = aged_log();
    explorer.run(aged, {Step::compact}, true);
    explorer.run(aged, {Step::close}, true);
    explorer.run(aged, {Step::compact, Step::reopen, Step::publish_small}, true);
    explorer.run(aged, {Step::roll, Step::checkpoint, Step::checkpoint, Step::compact, Step::drop},
                 true);
    expect_clean(explorer, 300);
}

TEST(Crash, while_dropped_segments_are_used_again_loses_nothing) {
    Explorer explorer({.limits = {.samples = 20, .states_max = 40}});
    explorer.run(aged_log(),
                 {Step::roll, Step::roll, Step::checkpoint, Step::ack, Step::checkpoint,
                  Step::roll_bare, Step::roll_bare, Step::drop, Step::drop, Step::drop, Step::drop,
                  Step::roll_bare, Step::roll_bare, Step::roll_bare},
                 true);
    expect_clean(explorer, 200);
}

TEST(SlowCrash, during_any_three_steps_loses_nothing) {
    Explorer explorer({.limits = {.samples = 300, .states_max = 1000},
                       .deeper_one_in = deeper_one_in,
                       .deeper_limits = deeper_limits});
    const Aged aged = aged_log();
    explorer.run(aged, {}, true);
    for (std::size_t length = 1; length <= 3; ++length) {
        for_all_sequences(length, [&](const auto& steps) { explorer.run(aged, steps, false); });
    }
    EXPECT_EQ(explorer.counts().workloads, 1U + 584);
    expect_clean(explorer, 25'000);
}

TEST(SlowCrash, during_the_first_two_steps_of_a_new_log_loses_nothing) {
    Explorer explorer({.limits = {.samples = 300, .states_max = 1000},
                       .deeper_one_in = deeper_one_in,
                       .deeper_limits = deeper_limits});
    for_all_sequences(2, [&](const auto& steps) { explorer.run({empty_disk(), {}}, steps, true); });
    expect_clean(explorer, 3'500);
}

TEST(SlowCrash, during_long_random_runs_loses_nothing) {
    Explorer explorer({.limits = {.samples = 40, .states_max = 80},
                       .deeper_one_in = deeper_one_in,
                       .deeper_limits = deeper_limits});
    const Aged aged = aged_log();
    for (std::uint64_t seed = 1; seed <= 14; ++seed) {
        explorer.run(aged, random_steps(seed, 60), true);
    }
    expect_clean(explorer, 180'000);
}

TEST(SlowCrash, on_tamer_file_systems_loses_nothing) {
    const Aged aged = aged_log();
    for (const sim::Profile profile : {sim::Profile::ext4_ordered, sim::Profile::prefix_only}) {
        Explorer explorer(
            {.profile = profile, .limits = {.states_max = 200}, .deeper_one_in = 200});
        for_all_sequences(2, [&](const auto& steps) { explorer.run(aged, steps, false); });
        expect_clean(explorer, 600);
    }
}

// Last of them: what all large runs together reached.
TEST(SlowCrashEvidence, is_as_much_as_is_promised) {
    if (all_states().empty()) GTEST_SKIP() << "the large runs were not asked for";
    std::cout << "evidence: crash states reached " << all_states().size() << " of " << states_goal
              << std::endl;
    EXPECT_GE(all_states().size() * 10, states_goal * 8);
}

}  // namespace
}  // namespace ferry::crash
