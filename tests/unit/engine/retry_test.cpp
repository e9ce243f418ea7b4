// Failed deliveries: delays, counts, dead letters, and moving messages by hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Retries : public ::testing::Test {
protected:
    Retries() { rig.engine().open_session(1); }
    ~Retries() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with(const QueuePolicy& policy) {
        QueueOptions options;
        options.policy = policy;
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    void send(const std::vector<std::string>& payloads, std::string_view queue = "q") {
        rig.send(1, handle, next, queue, payloads);
        next += payloads.size();
        rig.settle();
    }
    void nack(Tag tag, bool requeue = true, std::optional<std::uint64_t> delay_ms = std::nullopt) {
        const std::vector<Range<Tag>> tags{{tag, tag}};
        rig.engine().nack(1, 0, 5, tags, requeue, rig.now(), delay_ms);
        rig.settle();
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        rig.engine().tick(rig.now());
        rig.settle();
    }
    // After a crash or a restart nobody is connected.
    void connect_again(SessionId session = 1) {
        rig.engine().open_session(session);
        handle = rig.producer(session, "p");
        rig.subscribe(session, 5, "q");
        rig.settle();
    }
    wire::Message letter(std::string_view queue) {
        const auto items = rig.engine().peek(queue, 0, 1);
        wire::Message out;
        if (items.empty()) {
            ADD_FAILURE() << "nothing lies ready in " << queue;
            return out;
        }
        std::vector<std::byte> scratch;
        const auto bytes = message_bytes(rig.journal().body_at(items[0].extent.record()),
                                         items[0].extent, 0, 1, scratch);
        EXPECT_TRUE(bytes.ok());
        wire::Cursor cursor(bytes.value());
        wire::MessageView view;
        EXPECT_TRUE(wire::read_message(cursor, view));
        EXPECT_TRUE(wire::read_properties(view.properties, out.properties));
        out.exchange = view.exchange;
        out.routing_key = view.routing_key;
        out.payload = as_text(view.payload);
        return out;
    }
    static std::string header(const wire::Message& message, std::string_view name) {
        for (const auto& [key, value] : message.properties.headers) {
            if (key != name) continue;
            if (const auto* text = std::get_if<std::string>(&value)) return *text;
            if (const auto* number = std::get_if<std::int64_t>(&value))
                return std::to_string(*number);
        }
        return {};
    }
    static QueuePolicy dead_letters(std::uint32_t max_deliveries = 0) {
        QueuePolicy policy;
        policy.dead_letter_key = "dead";
        policy.max_deliveries = max_deliveries;
        return policy;
    }
    std::uint64_t move(std::string_view from, std::string_view target, Position position = 0,
                       std::uint64_t most = 1000, bool parked = false) {
        rig.engine().move_messages(1, 77, from, target, position, most, parked, rig.now());
        rig.settle();
        const auto answer = rig.take_answer<CountAnswer>(1, 77);
        EXPECT_TRUE(answer);
        return answer ? answer->messages : 0;
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// ---- delays ----

// G23
TEST_F(Retries, ANackWithADelayComesBackAfterItAndNotBefore) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a", "b"});
    ASSERT_THAT(rig.payloads(), ElementsAre("a", "b"));
    nack(1, true, 500);
    EXPECT_EQ(rig.view("q").delayed, 1U);
    pass(499);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1);
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].payload, "a");
    EXPECT_EQ(seen[0].attempt, 2U);
    EXPECT_EQ(rig.view("q").delayed, 0U);
}

TEST_F(Retries, TheEngineSaysWhenItWantsToBeWokenForADelay) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, true, 500);
    const auto next_timer = rig.engine().next_timer();
    ASSERT_TRUE(next_timer);
    EXPECT_EQ(next_timer->ns, rig.now().mono.ns + 500'000'000);
}

// G23
TEST_F(Retries, ADelayedMessageAndItsCountSurviveACrash) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a"});
    const auto first = rig.deliveries();
    nack(1, true, 60'000);
    rig.crash();
    connect_again();
    EXPECT_EQ(rig.view("q").delayed, 1U);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(60'000);
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].attempt, 2U);
    EXPECT_GT(seen[0].token, first[0].token);
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    EXPECT_EQ(rig.references(), 0U);
}

TEST_F(Retries, ADelayGoesOnAfterACleanRestartWithoutBeginningAnew) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, true, 60'000);
    pass(59'000);
    rig.restart_cleanly();
    connect_again();
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1'000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
}

// F10 of the failure model.
TEST_F(Retries, JumpsOfTheWallClockNeitherHurryNorHoldARetry) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, true, 10'000);
    rig.jump_wall_ms(365LL * 24 * 3600 * 1000);
    pass(9'999);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    rig.jump_wall_ms(-2 * 365LL * 24 * 3600 * 1000);
    pass(1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
}

TEST_F(Retries, AJumpBeforeARestartIsNotTakenForTimeThatPassed) {
    queue_with({});
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, true, 10'000);
    rig.jump_wall_ms(3600 * 1000);
    pass(1'000);
    rig.crash();
    connect_again();
    pass(8'000);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1'000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
}

TEST_F(Retries, PolicyDelaysGrowUpToTheirCap) {
    QueuePolicy policy;
    policy.retry = RetryKind::fixed;
    policy.retry_delay_ms = 100;
    EXPECT_EQ(retry_delay_ms(policy, 1, 7), 100U);
    EXPECT_EQ(retry_delay_ms(policy, 9, 7), 100U);
    policy.retry = RetryKind::linear;
    EXPECT_EQ(retry_delay_ms(policy, 3, 7), 300U);
    EXPECT_EQ(retry_delay_ms(policy, UINT32_MAX, 7), limits::retry_delay_ms_max);
    policy.retry = RetryKind::exponential;
    policy.retry_delay_max_ms = 1000;
    EXPECT_EQ(retry_delay_ms(policy, 1, 7), 100U);
    EXPECT_EQ(retry_delay_ms(policy, 4, 7), 800U);
    EXPECT_EQ(retry_delay_ms(policy, 5, 7), 1000U);
    EXPECT_EQ(retry_delay_ms(policy, UINT32_MAX, 7), 1000U);
}

TEST_F(Retries, JitterShortensADelayByNoMoreThanItsShareAndTheSameEachTime) {
    QueuePolicy policy;
    policy.retry = RetryKind::fixed;
    policy.retry_delay_ms = 1000;
    policy.retry_jitter_percent = 30;
    std::set<std::uint64_t> seen;
    for (Position p = 1; p < 200; ++p) {
        const std::uint64_t delay = retry_delay_ms(policy, 2, p);
        EXPECT_GE(delay, 700U);
        EXPECT_LE(delay, 1000U);
        EXPECT_EQ(delay, retry_delay_ms(policy, 2, p));
        seen.insert(delay);
    }
    EXPECT_GT(seen.size(), 100U);
}

TEST_F(Retries, APolicyDelaysWhatIsNackedAndWhatLostItsLease) {
    QueuePolicy policy;
    policy.retry = RetryKind::linear;
    policy.retry_delay_ms = 2'000;
    queue_with(policy);
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1);
    pass(1'999);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
    pass(30ULL * 60 * 1000);  // the lease ends
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(4'000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a"));
    nack(3, true, 0);
    EXPECT_THAT(rig.payloads(), ElementsAre("a")) << "a delay of 0 overrides the policy";
}

TEST_F(Retries, EveryBadSettingIsRefusedWithTheRangeThatIsAllowed) {
    const auto refusal = [&](const QueuePolicy& policy) {
        QueueOptions options;
        options.policy = policy;
        rig.engine().declare_queue(1, 42, "bad", options, rig.now());
        const auto answer = rig.take_answer<Failure>(1, 42);
        return answer ? answer->text : std::string("accepted");
    };
    QueuePolicy policy;
    policy.retry = RetryKind::fixed;
    EXPECT_THAT(refusal(policy), HasSubstr("retry_delay_ms, 1 to 604800000"));
    policy.retry_delay_ms = 604'800'001;
    EXPECT_THAT(refusal(policy), HasSubstr("retry_delay_ms is 0 to 604800000"));
    policy.retry_delay_ms = 1;
    policy.retry_jitter_percent = 101;
    EXPECT_THAT(refusal(policy), HasSubstr("retry_jitter_percent is 0 to 100"));
    policy = {};
    policy.max_deliveries = 1'000'001;
    EXPECT_THAT(refusal(policy), HasSubstr("max_deliveries is 0 to 1000000"));
    policy = {};
    policy.dead_letter_exchange = "no good!";
    EXPECT_THAT(refusal(policy), HasSubstr("dead_letter_exchange"));
    policy = {};
    policy.dead_letter_key.assign(256, 'k');
    EXPECT_THAT(refusal(policy), HasSubstr("255"));
}

TEST_F(Retries, AQueueDeclaredWithAnotherPolicyIsDeclaredDifferently) {
    queue_with(dead_letters());
    rig.engine().declare_queue(1, 42, "q", {}, rig.now());
    EXPECT_EQ(rig.failure(1, 42), Code::declared_differently);
    rig.crash();
    rig.engine().open_session(1);
    QueueOptions same;
    same.policy = dead_letters();
    rig.engine().declare_queue(1, 43, "q", same, rig.now());
    EXPECT_EQ(rig.failure(1, 43), Code::ok);
}

// ---- dead letters ----

// G24, C7
TEST_F(Retries, ARejectedMessageBecomesADeadLetterThatTellsItsPast) {
    queue_with(dead_letters());
    rig.declare(1, "dead");
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, false);
    EXPECT_EQ(rig.view("q").ready + rig.view("q").unacked + rig.view("q").leaving, 0U);
    ASSERT_EQ(rig.view("dead").ready, 1U);
    const wire::Message dead = letter("dead");
    EXPECT_EQ(dead.payload, "a");
    EXPECT_EQ(dead.routing_key, "dead");
    EXPECT_EQ(header(dead, "ferry-death-reason"), "rejected");
    EXPECT_EQ(header(dead, "ferry-death-queue"), "q");
    EXPECT_EQ(header(dead, "ferry-death-routing-key"), "q");
    EXPECT_EQ(header(dead, "ferry-death-count"), "1");
    EXPECT_EQ(header(dead, "ferry-death-attempts"), "1");
    EXPECT_THAT(header(dead, "ferry-death-history"), HasSubstr("q rejected 1 "));
    EXPECT_EQ(rig.view("q").dead_lettered, 1U);
    EXPECT_EQ(rig.references(), 1U) << "the source holds nothing any more";
}

// G24
TEST_F(Retries, AMessageThatFailsTooOftenIsNotDeliveredAgain) {
    queue_with(dead_letters(3));
    rig.declare(1, "dead");
    rig.subscribe(1, 5, "q");
    send({"a"});
    for (Tag tag = 1; tag <= 3; ++tag) {
        ASSERT_THAT(rig.deliveries(), SizeIs(1)) << tag;
        nack(tag);
    }
    EXPECT_THAT(rig.deliveries(), IsEmpty());
    ASSERT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(header(letter("dead"), "ferry-death-reason"), "max_deliveries");
    EXPECT_EQ(header(letter("dead"), "ferry-death-attempts"), "3");
}

// G24, C7
TEST_F(Retries, AttemptsCountOverLostConnectionsAndCrashesOfTheBroker) {
    queue_with(dead_letters(3));
    rig.declare(1, "dead");
    rig.settle();
    rig.subscribe(1, 5, "q");
    send({"poison"});
    ASSERT_THAT(rig.deliveries(), SizeIs(1));
    rig.engine().close_session(1, rig.now());
    rig.settle();
    rig.engine().open_session(2);
    rig.subscribe(2, 5, "q");
    rig.settle();
    ASSERT_EQ(rig.deliveries().at(0).attempt, 2U);
    rig.crash();
    rig.engine().open_session(3);
    rig.subscribe(3, 5, "q");
    rig.settle();
    const auto third = rig.deliveries();
    ASSERT_LE(third.size(), 1U);
    if (!third.empty()) {
        EXPECT_EQ(third[0].attempt, 3U);
    }
    rig.crash();
    rig.engine().open_session(4);
    rig.subscribe(4, 5, "q");
    rig.settle();
    EXPECT_THAT(rig.deliveries(), IsEmpty());
    EXPECT_EQ(rig.view("dead").ready, 1U);
}

// G24
TEST_F(Retries, ACrashAtAnyRecordOfADeadLetterLeavesExactlyOneCopy) {
    for (int lost = 0; lost < 4; ++lost) {
        Rig r;
        r.engine().open_session(1);
        QueueOptions options;
        options.policy = dead_letters();
        r.declare(1, "q", options);
        r.declare(1, "dead");
        const std::uint64_t h = r.producer(1, "p");
        r.send(1, h, 1, "q", {"a"});
        r.subscribe(1, 5, "q");
        r.settle();
        r.deliveries();
        const std::vector<Range<Tag>> tags{{1, 1}};
        r.engine().nack(1, 0, 5, tags, false, r.now());
        for (int step = 0; step < lost; ++step) {
            r.engine().dispatch(r.now());
            if (step % 2 == 1) r.sync();
            r.answer_loads();
        }
        r.crash();
        r.engine().open_session(1);
        r.settle();
        EXPECT_EQ(r.view("q").ready + r.view("q").leaving + r.view("dead").ready, 1U) << lost;
        EXPECT_EQ(r.references(), 1U);
        EXPECT_THAT(r.problems(), IsEmpty());
    }
}

// G24
TEST_F(Retries, WithoutAQueueForItADeadLetterIsParkedInSightAndGoesOnWhenThereIsOne) {
    queue_with(dead_letters());
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, false);
    EXPECT_EQ(rig.view("q").parked, 1U);
    EXPECT_EQ(rig.view("q").leaving, 1U);
    rig.crash();
    rig.engine().open_session(1);
    rig.settle();
    EXPECT_EQ(rig.view("q").parked, 1U);
    rig.declare(1, "dead");
    pass(1'000);
    EXPECT_EQ(rig.view("q").parked, 0U);
    EXPECT_EQ(rig.view("q").leaving, 0U);
    EXPECT_EQ(rig.view("dead").ready, 1U);
}

TEST_F(Retries, MaxDeliveriesWithoutDeadLettersParksInsteadOfDropping) {
    QueuePolicy policy;
    policy.max_deliveries = 1;
    queue_with(policy);
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1);
    EXPECT_EQ(rig.view("q").parked, 1U);
    rig.declare(1, "other");
    rig.settle();
    EXPECT_EQ(move("q", "other", 0, 10, true), 1U);
    EXPECT_EQ(rig.view("q").leaving, 0U);
    EXPECT_EQ(rig.view("other").ready, 1U);
}

TEST_F(Retries, WhatCannotBeReadStaysParkedUntilItCan) {
    queue_with(dead_letters());
    rig.declare(1, "dead");
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    rig.bodies_unreadable = true;
    nack(1, false);
    EXPECT_EQ(rig.view("q").parked, 1U);
    rig.bodies_unreadable = false;
    rig.declare(1, "anything");  // the topology changed: tried again
    pass(1'000);
    EXPECT_EQ(rig.view("dead").ready, 1U);
}

TEST_F(Retries, ALoopOfDeadLettersEnds) {
    QueuePolicy policy;
    policy.dead_letter_key = "q";  // to itself
    queue_with(policy);
    rig.subscribe(1, 5, "q");
    send({"a"});
    Tag tag = 1;
    for (; tag < 200; ++tag) {
        if (rig.deliveries().empty()) break;
        nack(tag, false);
    }
    EXPECT_EQ(tag - 1, limits::deaths_max + 1);
    EXPECT_EQ(rig.view("q").parked, 1U);
}

TEST_F(Retries, ADeadLetterGoesThroughTheExchangeWithItsOwnKey) {
    QueuePolicy policy;
    policy.dead_letter_exchange = "amq.topic";
    queue_with(policy);
    rig.declare(1, "dead");
    rig.declare(1, "copy");
    rig.engine().bind(1, 50, {"amq.topic", "dead", false, "q", {}});
    rig.engine().bind(1, 51, {"amq.topic", "copy", false, "#", {}});
    rig.subscribe(1, 5, "q");
    send({"a"});
    rig.deliveries();
    nack(1, false);
    EXPECT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(rig.view("copy").ready, 1U);
    EXPECT_EQ(letter("dead").routing_key, "q");
}

// ---- by hand ----

// C7: replaying dead letters is no duplicate, and does it once.
TEST_F(Retries, RedriveSendsDeadLettersBackWhereTheyDiedLookingAsBefore) {
    queue_with(dead_letters());
    rig.declare(1, "dead");
    rig.subscribe(1, 5, "q");
    send({"a", "b"});
    rig.deliveries();
    nack(1, false);
    nack(2, false);
    ASSERT_EQ(rig.view("dead").ready, 2U);
    EXPECT_EQ(move("dead", ""), 2U);
    const auto back = rig.deliveries();
    ASSERT_THAT(back, SizeIs(2));
    EXPECT_EQ(back[0].payload, "a");
    EXPECT_EQ(back[0].attempt, 1U);
    EXPECT_EQ(rig.view("dead").ready + rig.view("dead").leaving, 0U);
    nack(3, false);
    const wire::Message again = letter("dead");
    EXPECT_EQ(header(again, "ferry-death-count"), "2");
    EXPECT_EQ(header(again, "ferry-death-routing-key"), "q");
    EXPECT_THAT(header(again, "ferry-death-history"), HasSubstr("q rejected 2 "));
}

TEST_F(Retries, OneMessageCanBeMovedAndOneDroppedByPosition) {
    queue_with({});
    rig.declare(1, "other");
    send({"a", "b", "c"});
    const auto items = rig.engine().peek("q", 0, 10);
    ASSERT_FALSE(items.empty());
    const Position a = items[0].extent.first;
    EXPECT_EQ(move("q", "other", a + 1), 1U);
    rig.engine().drop_message(1, 78, "q", a, rig.now());
    rig.engine().drop_message(1, 79, "q", a, rig.now());
    rig.settle();
    EXPECT_TRUE(rig.take_answer<CountAnswer>(1, 78));
    EXPECT_EQ(rig.failure(1, 79), Code::no_such_message);
    EXPECT_EQ(rig.view("other").ready, 1U);
    rig.crash();
    connect_again();
    EXPECT_THAT(rig.payloads(), ElementsAre("c"));
    EXPECT_EQ(rig.view("other").ready, 1U);
}

TEST_F(Retries, MovingToAQueueThatIsNotThereIsRefused) {
    queue_with({});
    send({"a"});
    rig.engine().move_messages(1, 80, "q", "nowhere", 0, 1, false, rig.now());
    EXPECT_EQ(rig.failure(1, 80), Code::no_such_queue);
    EXPECT_EQ(move("q", ""), 1U) << "it never died, so it has nowhere to go back to: parked";
    EXPECT_EQ(rig.view("q").parked, 1U);
}

TEST_F(Retries, PurgeAndDeleteLeaveNothingBehind) {
    queue_with(dead_letters());
    rig.subscribe(1, 5, "q");
    send({"a", "b", "c"});
    rig.deliveries();
    nack(1, true, 10'000);
    nack(2, false);
    rig.engine().purge_queue(1, 81, "q", rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").delayed, 0U);
    EXPECT_EQ(rig.view("q").parked, 1U);
    rig.engine().delete_queue(1, 82, "q", false, false, rig.now());
    rig.settle();
    EXPECT_EQ(rig.references(), 0U);
    EXPECT_FALSE(rig.engine().next_timer());
    rig.crash();
    EXPECT_EQ(rig.references(), 0U);
}

}  // namespace
}  // namespace ferry::engine::testing
