// Queues with priorities under load: whole runs, the share of the oldest, and the horizon.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine_rig.hpp"
#include "records.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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
    [[nodiscard]] std::ptrdiff_t horizon_records() {
        const auto& records = rig.journal().records();
        return std::count_if(records.begin(), records.end(), [](const auto& record) {
            return record.body[0] == static_cast<std::byte>(RecordType::horizon);
        });
    }

    /// After a crash this message is the first one, and marked as what may have been seen.
    void expect_again_after_a_crash(std::string_view payload) {
        rig.crash();
        rig.engine().open_session(2);
        rig.subscribe(2, 5, "q", 1);
        rig.settle();
        const std::vector<Seen> again = rig.deliveries();
        ASSERT_THAT(again, SizeIs(1));
        EXPECT_EQ(again[0].payload, payload);
        EXPECT_EQ(again[0].attempt, 2U);
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

TEST_F(PrioritiesUnderLoad, WhatIsUrgentDoesNotWaitForTheHorizonBehindALongBacklog) {
    const std::string long_one(200'000, 'x');  // 30 of them are more than counts as delivered
    for (int i = 0; i < 30; ++i) publish(i == 0 ? 1 : 0, long_one);
    rig.settle();
    rig.subscribe(1, 5, "q", 1);
    rig.settle();
    ASSERT_THAT(rig.payloads(), SizeIs(1));
    const std::ptrdiff_t before = horizon_records();
    for (Tag tag = 1; tag <= 20; ++tag) {
        publish(9, "urgent " + std::to_string(tag));
        rig.ack(1, 0, 5, {{tag, tag}});
        rig.sync();
        rig.engine().dispatch(rig.now());
        ASSERT_THAT(rig.payloads(), ElementsAre("urgent " + std::to_string(tag)));
    }
    EXPECT_EQ(horizon_records(), before);
    // The log says all the same who may have been delivered.
    rig.sync();
    expect_again_after_a_crash("urgent 20");
}

TEST_F(PrioritiesUnderLoad, AStepOfTheHorizonIsWaitedForThoughALaterPublishGoesBeyondIt) {
    publish(5, "waits");
    rig.settle();
    rig.subscribe(1, 5, "q", 1);
    rig.engine().dispatch(rig.now());  // the step is in the log, but not durable
    ASSERT_EQ(horizon_records(), 1);
    publish(0, "later");
    rig.engine().dispatch(rig.now());
    EXPECT_THAT(rig.payloads(), IsEmpty());
    rig.sync();
    rig.engine().dispatch(rig.now());
    EXPECT_THAT(rig.payloads(), ElementsAre("waits"));
    expect_again_after_a_crash("waits");
}

}  // namespace
}  // namespace ferry::engine::testing
