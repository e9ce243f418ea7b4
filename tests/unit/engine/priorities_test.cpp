// Queues with priorities under load: whole runs and the share of the oldest.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::IsEmpty;

class PrioritiesUnderLoad : public ::testing::Test {
protected:
    PrioritiesUnderLoad() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
        QueueOptions options;
        options.policy.priorities = true;
        rig.declare(1, "q", options);
        rig.settle();
        rig.effects().clear();
    }
    ~PrioritiesUnderLoad() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void publish(std::uint8_t priority, std::string_view payload, std::size_t count = 1) {
        wire::Properties properties;
        properties.priority = priority;
        const std::vector<std::vector<std::byte>> all(count, message("", "q", payload, properties));
        ASSERT_TRUE(rig.publish(1, handle, next, all));
        next += count;
    }
    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// G68
TEST_F(PrioritiesUnderLoad, RunsStayWholeAndTheOldestGetTheirShare) {
    constexpr std::size_t run = 512;
    constexpr std::size_t low_runs = 3;
    constexpr std::size_t urgent_runs = 50;
    for (std::size_t i = 0; i < low_runs; ++i) publish(0, "low", run);
    for (std::size_t i = 0; i < urgent_runs; ++i) publish(9, "urgent", run);
    rig.settle();
    rig.subscribe(1, 5, "q", 2 * run);
    std::size_t frames = 0;
    std::size_t others = 0;  // since the last of the oldest
    std::size_t others_max = 0;
    std::size_t low = 0;
    for (Tag tag = 1; tag <= (low_runs + urgent_runs) * run;) {
        rig.settle();
        const auto& effects = rig.effects();
        frames += static_cast<std::size_t>(std::count_if(
            effects.begin(), effects.end(),
            [](const Effect& effect) { return std::holds_alternative<Deliver>(effect); }));
        const std::vector<Seen> seen = rig.deliveries();
        ASSERT_FALSE(seen.empty());
        for (const Seen& one : seen) {
            const bool is_low = one.payload == "low";
            low += is_low ? 1 : 0;
            others = is_low ? 0 : others + 1;
            if (low < low_runs * run) others_max = std::max(others_max, others);
        }
        rig.ack(1, 0, 5, {{tag, tag + seen.size() - 1}});
        tag += seen.size();
    }
    EXPECT_EQ(frames, low_runs + urgent_runs);
    EXPECT_GE(others_max, 15 * run);
    EXPECT_LE(others_max, 16 * run);
}

}  // namespace
}  // namespace ferry::engine::testing
