// Delayed publishes, times to live, and queues that nobody uses.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Times : public ::testing::Test {
protected:
    Times() { rig.engine().open_session(1); }
    ~Times() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with(const QueuePolicy& policy) {
        QueueOptions options;
        options.policy = policy;
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    void send(std::string_view payload, const wire::Properties& properties = {}) {
        ASSERT_TRUE(rig.publish(1, handle, next++, {message("", "q", payload, properties)}));
        rig.settle();
    }
    [[nodiscard]] wire::Properties deliver_in(std::uint64_t ms, std::string id = {}) const {
        wire::Properties properties;
        properties.deliver_at_ms = rig.now().wall_ms + ms;
        properties.id = std::move(id);
        return properties;
    }
    [[nodiscard]] wire::Properties expires_in(std::uint64_t ms) const {
        wire::Properties properties;
        properties.expires_at_ms = rig.now().wall_ms + ms;
        return properties;
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        rig.engine().tick(rig.now());
        rig.settle();
    }
    void connect_again() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
        rig.subscribe(1, 5, "q");
        rig.settle();
    }
    std::uint64_t cancel(std::string_view id) {
        rig.engine().cancel(1, 66, "q", id, rig.now());
        rig.settle();
        const auto answer = rig.take_answer<CountAnswer>(1, 66);
        return answer ? answer->messages : UINT64_MAX;
    }
    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// ---- delayed ----

// G25
TEST_F(Times, ADelayedMessageIsDeliveredAtItsTimeAndLaterOnesPassIt) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send("later", deliver_in(1000));
    send("now");
    EXPECT_THAT(rig.payloads(), ElementsAre("now"));
    EXPECT_EQ(rig.view("q").delayed, 1U);
    pass(999);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1);
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].payload, "later");
    EXPECT_EQ(seen[0].attempt, 1U);
}

TEST_F(Times, ATimeInThePastIsNow) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    wire::Properties properties;
    properties.deliver_at_ms = 5;
    send("a", properties);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
}

TEST_F(Times, AMessageMayWaitForYearsAndNotForCenturies) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    constexpr std::uint64_t year = 365ULL * 24 * 3600 * 1000;
    send("a", deliver_in(10 * year));
    send("b", deliver_in(101 * year));
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::bad_option);
    ASSERT_TRUE(rig.engine().next_timer());
    pass(10 * year);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
}

// G25
TEST_F(Times, DelayedMessagesSurviveACrashAndACheckpointAndComeOnce) {
    queue_with({});
    send("a", deliver_in(1000));
    send("b", deliver_in(2000));
    rig.take_checkpoint();
    send("c", deliver_in(3000));
    rig.crash();
    connect_again();
    EXPECT_EQ(rig.view("q").delayed, 3U);
    pass(2000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a", "b"));
    rig.ack(1, 0, 5, {{1, 2}});
    rig.settle();
    rig.crash();
    connect_again();
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1000);
    EXPECT_THAT(rig.payloads(), ElementsAre("c"));
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    EXPECT_EQ(rig.references(), 0U);
}

// G25, F10 of the failure model.
TEST_F(Times, AForwardJumpOfTheWallClockDeliversWhatIsDueOnceAndABackwardJumpWaits) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send("a", deliver_in(3'600'000));
    rig.jump_wall_ms(-1000);
    pass(1000);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    rig.jump_wall_ms(3'600'000);
    pass(1000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
    rig.jump_wall_ms(-7'200'000);
    pass(1000);
    rig.jump_wall_ms(7'200'000);
    pass(1000);
    EXPECT_THAT(rig.payloads(), IsEmpty());
}

TEST_F(Times, ADelayedMessageIsCancelledByItsIdUntilItIsDue) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send("a", deliver_in(1000, "one"));
    send("b", deliver_in(1000, "two"));
    EXPECT_EQ(cancel("one"), 1U);
    EXPECT_EQ(cancel("one"), 0U);
    EXPECT_EQ(cancel("nobody"), 0U);
    EXPECT_EQ(rig.view("q").delayed, 1U);
    rig.crash();
    connect_again();
    EXPECT_EQ(rig.view("q").delayed, 1U);
    pass(1000);
    EXPECT_THAT(rig.payloads(), ElementsAre("b"));
    EXPECT_EQ(cancel("two"), 0U);
    EXPECT_EQ(rig.references(), 1U);
}

TEST_F(Times, ACancelledOneOfManyAtOneTimeLeavesTheOthers) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    std::vector<std::vector<std::byte>> batch;
    for (int i = 0; i < 5; ++i)
        batch.push_back(
            message("", "q", std::to_string(i), deliver_in(500, "m" + std::to_string(i))));
    ASSERT_TRUE(rig.publish(1, handle, 1, batch));
    rig.settle();
    EXPECT_EQ(cancel("m2"), 1U);
    rig.restart_cleanly();
    connect_again();
    EXPECT_EQ(cancel("m4"), 1U) << "ids are in the checkpoint";
    pass(500);
    EXPECT_THAT(rig.payloads(), ElementsAre("0", "1", "3"));
}

TEST_F(Times, ManyTimersFireInOrderAndEachOnce) {
    queue_with({});
    rig.subscribe(1, 5, "q", 100'000);
    SeededRandom random(3);
    std::vector<std::vector<std::byte>> batch;
    for (int i = 0; i < 3000; ++i)
        batch.push_back(message("", "q", std::to_string(i), deliver_in(1 + random.below(5000))));
    ASSERT_TRUE(rig.publish(1, handle, 1, batch));
    rig.settle();
    std::size_t seen = 0;
    for (int i = 0; i < 50; ++i) {
        pass(100);
        seen += rig.payloads().size();
    }
    EXPECT_EQ(seen, 3000U);
    EXPECT_EQ(rig.view("q").delayed, 0U);
}

// ---- times to live ----

// G26
TEST_F(Times, AnExpiredMessageIsNotDelivered) {
    queue_with({});
    send("a", expires_in(1000));
    send("b");
    pass(1000);
    EXPECT_EQ(rig.view("q").ready, 1U);
    EXPECT_EQ(rig.view("q").expired, 1U);
    rig.crash();
    connect_again();
    EXPECT_THAT(rig.payloads(), ElementsAre("b"));
}

TEST_F(Times, AMessageThatIsBeingHandledExpiresOnlyWhenItComesBack) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send("a", expires_in(1000));
    send("b", expires_in(1000));
    ASSERT_THAT(rig.payloads(), SizeIs(2));
    pass(2000);
    rig.ack(1, 9, 5, {{1, 1}});
    rig.settle();
    const auto settled = rig.take<Settled>();
    ASSERT_THAT(settled, SizeIs(1));
    EXPECT_THAT(settled[0].lost, IsEmpty());
    const std::vector<Range<Tag>> tags{{2, 2}};
    rig.engine().nack(1, 0, 5, tags, true, rig.now());
    rig.settle();
    EXPECT_THAT(rig.deliveries(), IsEmpty());
    EXPECT_EQ(rig.view("q").expired, 1U);
    EXPECT_EQ(rig.references(), 0U);
}

// G26
TEST_F(Times, AQueuesTimeToLiveCountsFromThePublishAndIsNeverShort) {
    QueuePolicy policy;
    policy.message_ttl_ms = 10'000;
    queue_with(policy);
    for (int i = 0; i < 10; ++i) {
        send(std::to_string(i));
        pass(100);
    }
    pass(8'999);  // the first is 9,999 ms old
    EXPECT_EQ(rig.view("q").ready, 10U);
    pass(41);
    EXPECT_EQ(rig.view("q").ready, 9U);
    pass(1'000);
    EXPECT_EQ(rig.view("q").ready, 0U);
    EXPECT_EQ(rig.view("q").expired, 10U);
    EXPECT_EQ(rig.references(), 0U);
}

TEST_F(Times, ADelayedMessageLivesFromTheTimeItIsDue) {
    QueuePolicy policy;
    policy.message_ttl_ms = 1'000;
    queue_with(policy);
    send("a", deliver_in(5'000));
    pass(5'500);
    EXPECT_EQ(rig.view("q").ready, 1U);
    pass(600);
    EXPECT_EQ(rig.view("q").ready, 0U);
}

// F10 of the failure model.
TEST_F(Times, AForwardJumpOfTheWallClockExpiresNothingEarly) {
    QueuePolicy policy;
    policy.message_ttl_ms = 60'000;
    queue_with(policy);
    send("a");
    send("b", expires_in(60'000));
    rig.jump_wall_ms(365LL * 24 * 3600 * 1000);
    pass(1'000);
    EXPECT_EQ(rig.view("q").ready, 2U);
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 2U);
    rig.engine().open_session(1);
    pass(60'000);
    EXPECT_EQ(rig.view("q").ready, 0U);
}

// G24, G26
TEST_F(Times, AnExpiredMessageBecomesADeadLetterThatDoesNotExpireAgain) {
    QueuePolicy policy;
    policy.dead_letter_key = "dead";
    queue_with(policy);
    rig.declare(1, "dead");
    send("a", expires_in(1'000));
    pass(1'000);
    ASSERT_EQ(rig.view("dead").ready, 1U);
    pass(10'000);
    EXPECT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(rig.view("q").dead_lettered, 1U);
}

TEST_F(Times, TimesToLiveAreKeptByCheckpoints) {
    QueuePolicy policy;
    policy.message_ttl_ms = 10'000;
    queue_with(policy);
    send("a");
    send("b", expires_in(3'000));
    rig.restart_cleanly();
    rig.engine().open_session(1);
    pass(3'000);
    EXPECT_EQ(rig.view("q").ready, 1U);
    pass(7'100);
    EXPECT_EQ(rig.view("q").ready, 0U);
}

// ---- queues ----

// G26
TEST_F(Times, AQueueThatNobodyUsesGoesWhenItsTimeIsOver) {
    QueuePolicy policy;
    policy.expires_ms = 10'000;
    queue_with(policy);
    rig.subscribe(1, 5, "q");
    pass(60'000);
    EXPECT_EQ(rig.view("q").name, "q") << "it has a consumer";
    rig.engine().unsubscribe(1, 70, 5, rig.now());
    send("a");
    pass(9'999);
    EXPECT_EQ(rig.view("q").name, "q");
    pass(1);
    EXPECT_EQ(rig.view("q").name, "");
    EXPECT_EQ(rig.references(), 0U);
    rig.crash();
    EXPECT_EQ(rig.view("q").name, "");
}

}  // namespace
}  // namespace ferry::engine::testing
