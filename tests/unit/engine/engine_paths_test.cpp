// The main paths of the engine, one promise of docs/protocol.md each.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class EnginePaths : public ::testing::Test {
protected:
    EnginePaths() { rig.engine().open_session(1); }
    ~EnginePaths() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with_producer() {
        rig.declare(1, "q");
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    Rig rig;
    std::uint64_t handle = 0;
};

// G1
TEST_F(EnginePaths, ConfirmsAPublishOnlyWhenItsRecordIsDurable) {
    queue_with_producer();
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.engine().dispatch(rig.now());
    EXPECT_THAT(rig.take<Confirm>(), IsEmpty());
    rig.sync();
    const auto confirms = rig.take<Confirm>();
    ASSERT_THAT(confirms, SizeIs(1));
    EXPECT_EQ(confirms[0].sequences, (Range<Sequence>{1, 2}));
    EXPECT_FALSE(confirms[0].duplicate);
}

TEST_F(EnginePaths, AnswersADeclarationOnlyWhenItIsDurable) {
    rig.engine().declare_queue(1, 7, "q", {}, rig.now());
    EXPECT_THAT(rig.effects(), IsEmpty());
    rig.sync();
    const auto answer = rig.take_answer<QueueAnswer>(1, 7);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->name, "q");
}

// G2, G7, G9
TEST_F(EnginePaths, DeliversInOrderOnceDurableAndOnlyWithinTheWindow) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 3);
    rig.send(1, handle, 1, "q", {"a", "b", "c", "d", "e"});
    rig.engine().dispatch(rig.now());
    EXPECT_THAT(rig.deliveries(), IsEmpty());
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a", "b", "c"));
    rig.ack(1, 1, 5, {{1, 1}});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("d"));
    EXPECT_EQ(rig.view("q").unacked, 3u);
    EXPECT_EQ(rig.view("q").ready, 1u);
}

// G3
TEST_F(EnginePaths, SettlesAnAckOnlyWhenItsRecordIsDurable) {
    queue_with_producer();
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    rig.ack(1, 9, 5, {{1, 2}});
    rig.engine().dispatch(rig.now());
    EXPECT_THAT(rig.take<Settled>(), IsEmpty());
    rig.sync();
    const auto settled = rig.take<Settled>();
    ASSERT_THAT(settled, SizeIs(1));
    EXPECT_EQ(settled[0].request, 9u);
    EXPECT_THAT(settled[0].lost, IsEmpty());
    EXPECT_EQ(rig.references(), 1u);
}

// An ack that nobody waits for needs no sync of its own; everything else does.
TEST_F(EnginePaths, SaysWhichRecordsSomebodyWaitsFor) {
    queue_with_producer();
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    const Position before = rig.journal().end();
    EXPECT_LT(rig.engine().awaited(), before);

    rig.ack(1, 0, 5, {{1, 1}});
    rig.engine().dispatch(rig.now());
    ASSERT_GT(rig.journal().end(), before) << "the ack is a record";
    EXPECT_LT(rig.engine().awaited(), before) << "and nobody waits for it";

    const Position asked = rig.journal().end();
    rig.ack(1, 9, 5, {{2, 2}});
    rig.engine().dispatch(rig.now());
    EXPECT_GE(rig.engine().awaited(), asked);

    const Position published = rig.journal().end();
    rig.send(1, handle, 4, "q", {"d"});
    EXPECT_GE(rig.engine().awaited(), published);
}

TEST_F(EnginePaths, ListsTagsThatAreNotHeldAsLost) {
    queue_with_producer();
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a", "b", "c", "d"});
    rig.settle();
    rig.ack(1, 1, 5, {{2, 3}});
    rig.settle();
    rig.effects().clear();
    rig.ack(1, 2, 5, {{1, 6}});
    rig.settle();
    const auto settled = rig.take<Settled>();
    ASSERT_THAT(settled, SizeIs(1));
    EXPECT_THAT(settled[0].lost, ElementsAre(Range<Tag>{2, 3}, Range<Tag>{5, 6}));
}

// G8
TEST_F(EnginePaths, GivesANackedMessageAgainFirstWithOneAttemptMoreAndALargerToken) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 2);
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    const auto first = rig.deliveries();
    ASSERT_THAT(first, SizeIs(2));
    const std::vector<Range<Tag>> tags{{1, 1}};
    rig.engine().nack(1, 3, 5, tags, true, rig.now());
    rig.settle();
    const auto again = rig.deliveries();
    ASSERT_THAT(again, SizeIs(1));
    EXPECT_EQ(again[0].payload, "a");
    EXPECT_EQ(again[0].attempt, 2u);
    EXPECT_GT(again[0].token, first[0].token);
}

TEST_F(EnginePaths, DropsARejectedMessage) {
    queue_with_producer();
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a"});
    rig.settle();
    const std::vector<Range<Tag>> tags{{1, 1}};
    rig.engine().nack(1, 3, 5, tags, false, rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").ready + rig.view("q").unacked, 0u);
    EXPECT_EQ(rig.references(), 0u);
}

// G6
TEST_F(EnginePaths, ReturnsWhatAClosedSessionHeldWithAttemptTwo) {
    queue_with_producer();
    rig.engine().open_session(2);
    rig.subscribe(2, 5, "q", 2);
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a", "b"));
    rig.engine().close_session(2, rig.now());
    rig.subscribe(1, 6, "q");
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(3));
    EXPECT_EQ(seen[0].payload, "a");
    EXPECT_EQ(seen[0].attempt, 2u);
    EXPECT_EQ(seen[1].attempt, 2u);
    EXPECT_EQ(seen[2].attempt, 1u);
}

// G8
TEST_F(EnginePaths, EndsALeaseByTickAndTellsTheLateAcker) {
    QueueOptions options;
    options.lease_ms = 1000;
    rig.declare(1, "q", options);
    handle = rig.producer(1, "p");
    rig.subscribe(1, 5, "q", 1);
    rig.send(1, handle, 1, "q", {"a"});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
    ASSERT_TRUE(rig.engine().next_timer());
    rig.advance_ms(999);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.view("q").unacked, 1u);
    rig.advance_ms(2);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.view("q").unacked, 0u);
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].attempt, 2u);
    EXPECT_EQ(seen[0].tag, 2u);
    rig.effects().clear();
    rig.ack(1, 4, 5, {{1, 1}});
    rig.settle();
    const auto settled = rig.take<Settled>();
    ASSERT_THAT(settled, SizeIs(1));
    EXPECT_THAT(settled[0].lost, ElementsAre(Range<Tag>{1, 1}));
}

// F10: leases go by the monotonic clock; somebody who sets the wall clock changes nothing.
TEST_F(EnginePaths, LeavesLeasesAndProducersInPeaceWhenTheWallClockJumps) {
    queue_with_producer();
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a"});
    rig.settle();
    ASSERT_THAT(rig.payloads(), ElementsAre("a"));
    constexpr std::uint64_t years = 10ULL * 365 * 24 * 3600 * 1000;
    Now now = rig.now();
    const std::uint64_t today = now.wall_ms;
    for (const std::uint64_t wall : {today + years, today - years, today}) {
        now.wall_ms = wall;
        now.mono.ns += 1'000'000'000;
        rig.engine().tick(now);
        rig.engine().dispatch(now);
        EXPECT_EQ(rig.view("q").unacked, 1U);
    }
    rig.advance_ms(10'000);  // past what the ticks above were told
    rig.send(1, handle, 2, "q", {"b"});
    rig.ack(1, 3, 5, {{1, 1}});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("b")) << "the producer is still known";
    const auto settled = rig.take<Settled>();
    ASSERT_THAT(settled, SizeIs(1));
    EXPECT_THAT(settled[0].lost, IsEmpty());
}

TEST_F(EnginePaths, KeepsAnExtendedLease) {
    QueueOptions options;
    options.lease_ms = 1000;
    rig.declare(1, "q", options);
    handle = rig.producer(1, "p");
    rig.subscribe(1, 5, "q");
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    rig.deliveries();
    const std::vector<Range<Tag>> tags{{2, 2}};
    rig.engine().extend(1, 4, 5, tags, 5000, rig.now());
    rig.advance_ms(1500);
    rig.engine().tick(rig.now());
    rig.settle();
    std::vector<std::string> again = rig.payloads();
    EXPECT_THAT(again, ElementsAre("a", "c"));
    rig.ack(1, 6, 5, {{2, 2}});
    rig.settle();
    EXPECT_EQ(rig.view("q").unacked, 2u);
}

TEST_F(EnginePaths, AnswersAPullAfterItsMessagesAndAtOnceWhenThereAreNone) {
    queue_with_producer();
    rig.engine().pull(1, 1, 8, "q", 10, 1 << 20, false, rig.now());
    rig.engine().dispatch(rig.now());
    const auto none = rig.take_answer<PullAnswer>(1, 1);
    ASSERT_TRUE(none);
    EXPECT_EQ(none->delivered, 0u);

    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.engine().pull(1, 2, 8, "q", 2, 1 << 20, false, rig.now());
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a", "b"));
    const auto some = rig.take_answer<PullAnswer>(1, 2);
    ASSERT_TRUE(some);
    EXPECT_EQ(some->delivered, 2u);
    EXPECT_EQ(some->ready, 1u);
    rig.ack(1, 3, 8, {{1, 2}});
    rig.settle();
    EXPECT_EQ(rig.view("q").unacked, 0u);
}

TEST_F(EnginePaths, CountsWhatAPullerHoldsAsAlive) {
    queue_with_producer();
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.engine().pull(1, 2, 8, "q", 2, 1 << 20, false, rig.now());
    rig.settle();
    const LiveSet live = rig.engine().live_in(0, rig.journal().end());
    ASSERT_THAT(live.extents, SizeIs(1));
    EXPECT_EQ(live.extents[0].count, 2u);
}

TEST_F(EnginePaths, PurgesWhatIsReadyAndNotWhatIsUnacked) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 2);
    rig.send(1, handle, 1, "q", {"a", "b", "c", "d", "e"});
    rig.settle();
    rig.engine().purge_queue(1, 11, "q", rig.now());
    rig.settle();
    const auto answer = rig.take_answer<CountAnswer>(1, 11);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->messages, 3u);
    EXPECT_EQ(rig.view("q").unacked, 2u);
    EXPECT_EQ(rig.references(), 2u);
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 2u);
    EXPECT_EQ(rig.references(), 2u);
}

TEST_F(EnginePaths, DeletesAQueueWithItsMessagesAndCancelsItsConsumers) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 1);
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.settle();
    rig.engine().delete_queue(1, 12, "q", true, false, rig.now());
    EXPECT_EQ(rig.failure(1, 12), Code::in_use);
    rig.engine().delete_queue(1, 13, "q", false, true, rig.now());
    EXPECT_EQ(rig.failure(1, 13), Code::not_empty);
    rig.engine().delete_queue(1, 14, "q", false, false, rig.now());
    rig.settle();
    EXPECT_THAT(rig.take<Cancelled>(), SizeIs(1));
    const auto answer = rig.take_answer<CountAnswer>(1, 14);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->messages, 2u);
    EXPECT_EQ(rig.references(), 0u);
    EXPECT_FALSE(rig.engine().queue("q", rig.now()));
    rig.crash();
    EXPECT_FALSE(rig.engine().queue("q", rig.now()));
}

TEST_F(EnginePaths, KeepsAnExclusiveQueueFromOthersAndDropsItWithItsConnection) {
    rig.engine().open_session(2);
    QueueOptions options;
    options.exclusive = true;
    rig.declare(2, "mine", options);
    rig.settle();
    SubscribeOptions subscribe;
    subscribe.window_messages = 1;
    subscribe.window_bytes = 1;
    rig.engine().subscribe(1, 20, 1, "mine", subscribe, rig.now());
    EXPECT_EQ(rig.failure(1, 20), Code::exclusive_elsewhere);
    rig.engine().pull(1, 21, 1, "mine", 1, 1, false, rig.now());
    EXPECT_EQ(rig.failure(1, 21), Code::exclusive_elsewhere);
    rig.engine().purge_queue(1, 22, "mine", rig.now());
    EXPECT_EQ(rig.failure(1, 22), Code::exclusive_elsewhere);
    rig.engine().close_session(2, rig.now());
    EXPECT_FALSE(rig.engine().queue("mine", rig.now()));
    rig.settle();
}

TEST_F(EnginePaths, DropsAnAutoDeleteQueueWithItsLastConsumer) {
    QueueOptions options;
    options.auto_delete = true;
    rig.declare(1, "passing", options);
    rig.subscribe(1, 1, "passing");
    rig.subscribe(1, 2, "passing");
    rig.settle();
    rig.engine().unsubscribe(1, 30, 1, rig.now());
    EXPECT_TRUE(rig.engine().queue("passing", rig.now()));
    rig.engine().unsubscribe(1, 31, 2, rig.now());
    EXPECT_FALSE(rig.engine().queue("passing", rig.now()));
    rig.settle();
    EXPECT_TRUE(rig.take_answer<Plain>(1, 31));
}

TEST_F(EnginePaths, DropsTransientAndExclusiveQueuesAtARestart) {
    QueueOptions transient;
    transient.durable = false;
    rig.declare(1, "transient", transient);
    QueueOptions exclusive;
    exclusive.exclusive = true;
    rig.declare(1, "exclusive", exclusive);
    rig.declare(1, "kept");
    rig.settle();
    rig.crash();
    EXPECT_FALSE(rig.engine().queue("transient", rig.now()));
    EXPECT_FALSE(rig.engine().queue("exclusive", rig.now()));
    EXPECT_TRUE(rig.engine().queue("kept", rig.now()));
}

// G6
TEST_F(EnginePaths, MarksWhatMayHaveBeenSeenAsRedeliveredAfterACrash) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 2);
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    const auto before = rig.deliveries();
    ASSERT_THAT(before, SizeIs(2));
    rig.crash();
    rig.engine().open_session(9);
    rig.subscribe(9, 1, "q");
    rig.settle();
    const auto after = rig.deliveries();
    ASSERT_THAT(after, SizeIs(3));
    EXPECT_GT(after[0].attempt, 1u);
    EXPECT_GT(after[1].attempt, 1u);
    EXPECT_GT(after[0].token, before[0].token);
    EXPECT_GT(after[1].token, before[1].token);
}

// G8
TEST_F(EnginePaths, GivesALargerTokenAfterEveryCrashEvenWhenNothingWasWrittenBetween) {
    queue_with_producer();
    rig.send(1, handle, 1, "q", {"a"});
    rig.settle();
    Position last = 0;
    for (SessionId session = 10; session < 14; ++session) {
        rig.engine().open_session(session);
        rig.subscribe(session, 1, "q");
        rig.settle();
        const auto seen = rig.deliveries();
        ASSERT_THAT(seen, SizeIs(1));
        EXPECT_GT(seen[0].token, last);
        last = seen[0].token;
        rig.crash();
    }
    rig.engine().open_session(20);
    rig.subscribe(20, 1, "q");
    rig.settle();
    last = rig.deliveries().at(0).token;
    rig.restart_cleanly();
    rig.engine().open_session(21);
    rig.subscribe(21, 1, "q");
    rig.settle();
    EXPECT_GT(rig.deliveries().at(0).token, last);
}

// G1, G3
TEST_F(EnginePaths, ForgetsNothingConfirmedAndRedeliversNothingSettledInACrash) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 10);
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    rig.deliveries();
    rig.ack(1, 1, 5, {{2, 2}});
    rig.settle();
    rig.send(1, handle, 4, "q", {"d"});  // never durable
    rig.crash();
    rig.engine().open_session(9);
    rig.subscribe(9, 1, "q");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a", "c"));
}

TEST_F(EnginePaths, ContinuesFromACheckpointAsFromTheWholeLog) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 2);
    rig.send(1, handle, 1, "q", {"a", "b", "c", "d"});
    rig.settle();
    rig.deliveries();
    rig.take_checkpoint();
    rig.ack(1, 1, 5, {{1, 1}});
    rig.send(1, handle, 5, "q", {"e"});
    rig.settle();
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 4u);
    EXPECT_EQ(rig.references(), 4u);
    rig.engine().open_session(9);
    rig.subscribe(9, 1, "q");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("b", "c", "d", "e"));
    rig.effects().clear();
    rig.engine().open_producer(9, 40, "p", std::nullopt, false, rig.now());
    rig.settle();
    const auto answer = rig.take_answer<ProducerAnswer>(9, 40);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->mark, 5u);
}

TEST_F(EnginePaths, StopsCleanlyWithoutMarkingWhatNobodySaw) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 1);
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
    rig.restart_cleanly();
    rig.engine().open_session(9);
    rig.subscribe(9, 1, "q");
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(2));
    EXPECT_EQ(seen[0].attempt, 2u);
    EXPECT_EQ(seen[1].attempt, 1u);
}

TEST_F(EnginePaths, DeliversWithoutAcksAndSettlesWhenTheDriverSaysSent) {
    queue_with_producer();
    rig.subscribe(1, 5, "q", 2, true);
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    const auto delivers = rig.take<Deliver>();
    ASSERT_FALSE(delivers.empty());
    EXPECT_TRUE(delivers[0].no_ack);
    rig.ack(1, 0, 5, {{1, 2}});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("c"));
    EXPECT_THAT(rig.take<Settled>(), IsEmpty());
}

TEST_F(EnginePaths, SaysNothingToAnAckWithoutRequestForAGoneSubscription) {
    rig.ack(1, 0, 77, {{1, 1}});
    EXPECT_THAT(rig.effects(), IsEmpty());
    rig.ack(1, 5, 77, {{1, 1}});
    EXPECT_EQ(rig.failure(1, 5), Code::no_such_subscription);
}

TEST_F(EnginePaths, LetsOneMessageThroughWhateverItsSize) {
    queue_with_producer();
    SubscribeOptions options;
    options.window_messages = 10;
    options.window_bytes = 100;
    rig.engine().subscribe(1, 1, 5, "q", options, rig.now());
    rig.send(1, handle, 1, "q", {std::string(5000, 'x'), std::string(5000, 'y')});
    rig.settle();
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
    rig.ack(1, 2, 5, {{1, 1}});
    rig.settle();
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
}

TEST_F(EnginePaths, LetsAnExclusiveConsumerBeTheOnlyOne) {
    queue_with_producer();
    rig.subscribe(1, 1, "q", 10, false, true);
    SubscribeOptions options;
    options.window_messages = options.window_bytes = 1;
    rig.engine().subscribe(1, 50, 2, "q", options, rig.now());
    EXPECT_EQ(rig.failure(1, 50), Code::exclusive_elsewhere);
    rig.engine().unsubscribe(1, 51, 1, rig.now());
    rig.engine().subscribe(1, 52, 2, "q", options, rig.now());
    EXPECT_EQ(rig.failure(1, 52), Code::ok);
}

TEST_F(EnginePaths, PeeksWithoutTaking) {
    queue_with_producer();
    rig.send(1, handle, 1, "q", {"a", "b", "c", "d"});
    rig.settle();
    const auto items = rig.engine().peek("q", 1, 2);
    ASSERT_THAT(items, SizeIs(1));
    EXPECT_EQ(items[0].extent.count, 2u);
    EXPECT_EQ(items[0].extent.index, 1u);
    EXPECT_THAT(rig.engine().peek("q", 0, 0), IsEmpty());
    EXPECT_EQ(rig.view("q").ready, 4u);
}

// G18
TEST_F(EnginePaths, RefusesAMalformedMessageAndAppliesNothing) {
    queue_with_producer();
    auto bad = message("", "q", "x");
    bad.pop_back();
    EXPECT_FALSE(rig.publish(1, handle, 1, {message("", "q", "a"), bad}));
    rig.settle();
    EXPECT_EQ(rig.view("q").ready, 0u);
    rig.send(1, handle, 1, "q", {"a"});
    rig.settle();
    EXPECT_EQ(rig.view("q").ready, 1u);
}

}  // namespace
}  // namespace ferry::engine::testing
