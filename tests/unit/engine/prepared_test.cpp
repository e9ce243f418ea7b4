// Messages that wait for their producer to decide, and the checks that ask for them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PreparedMessage : public ::testing::Test {
protected:
    PreparedMessage() {
        rig.engine().open_session(1);
        rig.declare(1, "q");
        rig.declare(1, "checks");
        rig.settle();
        rig.effects().clear();
    }
    ~PreparedMessage() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    Prepared wanted(std::string id = "p", std::string_view payload = "hello") {
        Prepared out;
        out.id = std::move(id);
        out.producer = "orders";
        out.check_queue = "checks";
        out.message = message("", "q", payload);
        out.check_after_ms = 1000;
        out.max_checks = 3;
        return out;
    }
    enum class Said { done, again, failed };
    struct Outcome {
        Said said = Said::failed;
        Code code = Code::ok;
        std::string text;
    };
    Outcome outcome() {
        rig.settle();
        Outcome out;
        if (const auto done = rig.take_answer<PreparedAnswer>(1, 7)) {
            out.said = done->duplicate ? Said::again : Said::done;
        } else if (const auto failed = rig.take_answer<Failure>(1, 7)) {
            out.code = failed->code;
            out.text = failed->text;
        }
        return out;
    }
    Outcome prepare(Prepared p) {
        EXPECT_TRUE(rig.engine().prepare(1, 7, std::move(p), rig.now()));
        return outcome();
    }
    Outcome submit(std::string_view id = "p") {
        rig.engine().submit(1, 7, id, rig.now());
        return outcome();
    }
    Outcome drop(std::string_view id = "p") {
        rig.engine().drop_prepared(1, 7, id, rig.now());
        return outcome();
    }
    Outcome resume(std::string_view id = "p") {
        rig.engine().resume_prepared(1, 7, id, rig.now());
        return outcome();
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        look();
    }
    void look() {
        rig.engine().tick(rig.now());
        rig.settle();
    }
    void crash() {
        rig.crash();
        rig.engine().open_session(1);
        rig.settle();
    }
    std::uint64_t ready(std::string_view queue = "q") { return rig.view(queue).ready; }
    /// Ids of what lies ready in a queue.
    std::vector<std::string> ids(std::string_view queue) {
        std::vector<std::string> out;
        for (const PeekItem& item : rig.engine().peek(queue, 0, 1000)) {
            std::vector<std::byte> scratch;
            const auto bytes = message_bytes(rig.journal().body_at(item.extent.record()),
                                             item.extent, 0, 1, scratch);
            if (!bytes.ok()) continue;
            wire::Cursor cursor(bytes.value());
            wire::MessageView view;
            wire::Properties properties;
            if (wire::read_message(cursor, view) &&
                wire::read_properties(view.properties, properties))
                out.push_back(properties.id);
        }
        return out;
    }
    const Prepared* known(std::string_view id = "p") {
        const auto view = rig.engine().prepared(id);
        return view ? view->prepared : nullptr;
    }
    /// Somebody takes the checks and says nothing.
    void take_checks() {
        rig.subscribe(1, 5, "checks");
        rig.settle();
    }
    void ack_checks() {
        for (const Seen& seen : rig.deliveries())
            rig.ack(1, 0, seen.subscription, {{seen.tag, seen.tag}});
        rig.settle();
    }
    Rig rig;
};

// G85
TEST_F(PreparedMessage, IsInNoQueueBeforeItIsSubmittedAndThenThereOnce) {
    EXPECT_EQ(prepare(wanted()).said, Said::done);
    EXPECT_EQ(ready(), 0U);
    EXPECT_EQ(rig.engine().totals().prepared, 1U);
    EXPECT_EQ(submit().said, Said::done);
    EXPECT_EQ(ready(), 1U);
    EXPECT_EQ(rig.engine().totals().prepared, 0U);
    EXPECT_EQ(rig.engine().totals().prepared_bytes, 0U);
    rig.subscribe(1, 1, "q");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("hello"));
}

// G85
TEST_F(PreparedMessage, IsConfirmedWhenItIsDurableAndNotBefore) {
    ASSERT_TRUE(rig.engine().prepare(1, 7, wanted(), rig.now()));
    EXPECT_FALSE(rig.take_answer<PreparedAnswer>(1, 7).has_value());
    rig.sync();
    EXPECT_TRUE(rig.take_answer<PreparedAnswer>(1, 7).has_value());
    rig.engine().submit(1, 8, "p", rig.now());
    EXPECT_FALSE(rig.take_answer<PreparedAnswer>(1, 8).has_value());
    // A repeat is not confirmed before the first is durable either.
    rig.engine().submit(1, 9, "p", rig.now());
    EXPECT_FALSE(rig.take_answer<PreparedAnswer>(1, 9).has_value());
    rig.sync();
    EXPECT_TRUE(rig.take_answer<PreparedAnswer>(1, 8).has_value());
    EXPECT_TRUE(rig.take_answer<PreparedAnswer>(1, 9)->duplicate);
}

// G86
TEST_F(PreparedMessage, EveryDecisionMayBeRepeatedAndNoneBeContradicted) {
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    EXPECT_EQ(prepare(wanted()).said, Said::again);
    EXPECT_EQ(submit().said, Said::done);
    EXPECT_EQ(submit().said, Said::again);
    EXPECT_EQ(drop().code, Code::prepared_decided);
    EXPECT_EQ(prepare(wanted()).code, Code::prepared_decided);
    EXPECT_EQ(ready(), 1U);
    ASSERT_EQ(prepare(wanted("other")).said, Said::done);
    EXPECT_EQ(drop("other").said, Said::done);
    EXPECT_EQ(drop("other").said, Said::again);
    const Outcome late = submit("other");
    EXPECT_EQ(late.code, Code::prepared_decided);
    EXPECT_THAT(late.text, HasSubstr("was dropped before"));
    EXPECT_EQ(resume("other").code, Code::prepared_decided);
    EXPECT_EQ(submit("never").code, Code::no_such_prepared);
    EXPECT_EQ(resume("never").code, Code::no_such_prepared);
    EXPECT_EQ(ready(), 1U);
    crash();
    EXPECT_EQ(submit().said, Said::again);
    EXPECT_EQ(drop("other").said, Said::again);
    rig.restart_cleanly();
    rig.engine().open_session(1);
    EXPECT_EQ(submit().said, Said::again);
    EXPECT_EQ(submit("other").code, Code::prepared_decided);
}

// G86
TEST_F(PreparedMessage, AnotherMessageUnderItsIdIsRefused) {
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    EXPECT_EQ(prepare(wanted("p", "other")).code, Code::prepared_differently);
    EXPECT_EQ(submit().said, Said::done);
    rig.subscribe(1, 1, "q");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("hello"));
}

// G85
TEST_F(PreparedMessage, SurvivesCrashesAndRestartsWithAllThatIsKnownOfIt) {
    ASSERT_EQ(prepare(wanted("a")).said, Said::done);
    rig.take_checkpoint();
    ASSERT_EQ(prepare(wanted("b")).said, Said::done);
    pass(1000);
    crash();
    ASSERT_NE(known("a"), nullptr);
    ASSERT_NE(known("b"), nullptr);
    EXPECT_EQ(known("a")->asked, 1U);
    EXPECT_EQ(known("b")->asked, 0U) << "a check already lay there, and nobody took it";
    EXPECT_EQ(known("b")->producer, "orders");
    rig.restart_cleanly();
    rig.engine().open_session(1);
    EXPECT_EQ(submit("a").said, Said::done);
    EXPECT_EQ(submit("b").said, Said::done);
    EXPECT_EQ(ready(), 2U);
}

// G85
TEST_F(PreparedMessage, WhatCouldNotBePublishedIsNotPrepared) {
    Prepared lost = wanted();
    lost.message = message("", "nowhere", "x");
    EXPECT_EQ(prepare(lost).code, Code::no_route);
    lost.message = message("none", "q", "x");
    EXPECT_EQ(prepare(lost).code, Code::no_such_exchange);
    Prepared unasked = wanted();
    unasked.check_queue = "missing";
    EXPECT_EQ(prepare(unasked).code, Code::no_such_queue);
    Prepared bad = wanted("");
    EXPECT_EQ(prepare(bad).code, Code::bad_option);
    bad = wanted(std::string(201, 'x'));
    EXPECT_EQ(prepare(bad).code, Code::bad_option);
    bad = wanted();
    bad.check_after_ms = limits::check_after_ms_min - 1;
    EXPECT_EQ(prepare(bad).code, Code::bad_option);
    bad = wanted();
    bad.max_checks = limits::max_checks_max + 1;
    EXPECT_EQ(prepare(bad).code, Code::bad_option);
    rig.engine().set_disk_full(true);
    EXPECT_EQ(prepare(wanted()).code, Code::disk_full);
    EXPECT_EQ(rig.engine().totals().prepared, 0U);
}

// G86
TEST_F(PreparedMessage, ASubmitThatIsRefusedLeavesItPrepared) {
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    rig.engine().set_disk_full(true);
    EXPECT_EQ(submit().code, Code::disk_full);
    rig.engine().set_disk_full(false);
    rig.engine().delete_queue(1, 3, "q", false, false, rig.now());
    const Outcome refused = submit();
    EXPECT_EQ(refused.code, Code::no_route);
    EXPECT_THAT(refused.text, HasSubstr("stays prepared"));
    rig.declare(1, "q");
    EXPECT_EQ(submit().said, Said::done);
    EXPECT_EQ(ready(), 1U);
}

// G86
TEST_F(PreparedMessage, IsPublishedToManyQueuesWithItsPropertiesHeeded) {
    QueueOptions heeds;
    heeds.policy.priorities = true;
    heeds.policy.dedupe_window_ms = 60'000;
    rig.declare(1, "high", heeds);
    QueueOptions ordered;
    ordered.ordered = true;
    rig.declare(1, "keyed", ordered);
    rig.engine().bind(1, 2, {"amq.fanout", "high", false, "", {}});
    rig.engine().bind(1, 2, {"amq.fanout", "keyed", false, "", {}});
    rig.settle();
    wire::Properties properties;
    properties.id = "order-1";
    properties.priority = 7;
    properties.ordering_key = "k";
    Prepared p = wanted();
    p.message = message("amq.fanout", "", "both", properties);
    ASSERT_EQ(prepare(p).said, Said::done);
    ASSERT_EQ(submit().said, Said::done);
    EXPECT_EQ(ready("high"), 1U);
    EXPECT_EQ(ready("keyed"), 1U);
    crash();
    EXPECT_EQ(rig.view("high").ids, 1U) << "its id is remembered, also in replay";
    p.id = "again";
    ASSERT_EQ(prepare(p).said, Said::done);
    ASSERT_EQ(submit("again").said, Said::done);
    EXPECT_EQ(ready("high"), 1U) << "the queue had seen the message's id";
    EXPECT_EQ(ready("keyed"), 2U);
}

// G87
TEST_F(PreparedMessage, TheProducerIsAskedAtGrowingDistancesAndThenItIsParked) {
    take_checks();
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    EXPECT_EQ(rig.engine().next_timer()->ns, rig.now().mono.ns + 1'000'000'000U);
    pass(999);
    EXPECT_EQ(known()->asked, 0U);
    pass(1);
    EXPECT_EQ(known()->asked, 1U);
    ack_checks();
    pass(1999);
    EXPECT_EQ(known()->asked, 1U);
    pass(1);
    EXPECT_EQ(known()->asked, 2U);
    ack_checks();
    pass(4000);
    EXPECT_EQ(known()->asked, 3U);
    ack_checks();
    EXPECT_FALSE(known()->parked) << "the last one may still be answered";
    pass(8000);
    EXPECT_TRUE(known()->parked);
    EXPECT_EQ(rig.engine().totals().prepared_parked, 1U);
    pass(1'000'000);
    EXPECT_EQ(known()->asked, 3U) << "nobody is asked about what is parked";
    crash();
    EXPECT_TRUE(known()->parked);
    EXPECT_EQ(ready(), 0U) << "nothing was decided for the producer";
    EXPECT_EQ(submit().said, Said::done);
    EXPECT_EQ(ready(), 1U);
}

// G87
TEST_F(PreparedMessage, ACheckSaysWhatIsAskedAndIsAMessageLikeAnyOther) {
    ASSERT_EQ(prepare(wanted("order-7")).said, Said::done);
    pass(1000);
    EXPECT_THAT(ids("checks"), ElementsAre("order-7:check:1"));
    const auto item = rig.engine().peek("checks", 0, 1).front();
    std::vector<std::byte> scratch;
    const auto bytes =
        message_bytes(rig.journal().body_at(item.extent.record()), item.extent, 0, 1, scratch);
    ASSERT_TRUE(bytes.ok());
    EXPECT_NE(published_ms(rig.journal().body_at(item.extent.record())), 0U);
    wire::Cursor cursor(bytes.value());
    wire::MessageView view;
    wire::Properties properties;
    ASSERT_TRUE(wire::read_message(cursor, view));
    ASSERT_TRUE(wire::read_properties(view.properties, properties));
    EXPECT_EQ(properties.correlation_id, "order-7");
    const wire::Headers expected{
        {"ferry-check-id", std::string("order-7")},
        {"ferry-check-attempt", std::int64_t{1}},
        {"ferry-check-prepared-ms", static_cast<std::int64_t>(known("order-7")->prepared_ms)},
        {"ferry-check-producer", std::string("orders")}};
    EXPECT_EQ(properties.headers, expected);
}

// M4, G87
TEST_F(PreparedMessage, M4_AChecksQueueThatIsMissingOrFullCostsNoAttempts) {
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    rig.engine().delete_queue(1, 3, "checks", false, false, rig.now());
    rig.settle();
    constexpr std::uint64_t day = 24ULL * 3600 * 1000;
    for (std::uint64_t gone = 0; gone < day; gone += 600'000) pass(600'000);
    EXPECT_EQ(known()->asked, 0U);
    EXPECT_FALSE(known()->parked);
    EXPECT_EQ(rig.engine().prepared("p")->unasked, Unasked::no_queue);
    EXPECT_GT(rig.engine().totals().checks_not_put, 100U);
    QueueOptions small;
    small.policy.max_messages = 1;
    small.policy.overflow = Overflow::reject_publish;
    rig.declare(1, "checks", small);
    const auto producer = rig.producer(1, "p");
    rig.send(1, producer, 1, "checks", {"in the way"});
    rig.settle();
    take_checks();
    EXPECT_THAT(rig.payloads(), ElementsAre("in the way"));
    for (int i = 0; i < 100; ++i) pass(10'000);  // its lease goes on
    EXPECT_EQ(known()->asked, 0U);
    EXPECT_EQ(rig.engine().prepared("p")->unasked, Unasked::queue_full);
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    pass(10'000);
    EXPECT_EQ(known()->asked, 1U) << "as soon as there is room";
    EXPECT_EQ(rig.engine().prepared("p")->unasked, Unasked::none);
}

// M4, G87
TEST_F(PreparedMessage, M4_WhileNobodyAnswersOneCheckLiesThereAndNoMoreAreCounted) {
    ASSERT_EQ(prepare(wanted("a")).said, Said::done);
    ASSERT_EQ(prepare(wanted("b")).said, Said::done);
    for (int i = 0; i < 200; ++i) pass(600'000);
    EXPECT_EQ(ready("checks"), 1U);
    EXPECT_EQ(known("a")->asked + known("b")->asked, 1U);
    EXPECT_FALSE(known("a")->parked || known("b")->parked);
    EXPECT_EQ(rig.engine().prepared("b")->unasked, Unasked::nobody_there);
    take_checks();
    ack_checks();
    pass(10'000);
    ack_checks();
    EXPECT_GE(known("b")->asked, 1U);
}

// M4, G87
TEST_F(PreparedMessage, M4_ResumeAsksAnewFromTheFirstCheck) {
    take_checks();
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    for (int i = 0; i < 4; ++i) {
        pass(600'000);
        ack_checks();
    }
    ASSERT_TRUE(known()->parked);
    EXPECT_EQ(resume().said, Said::done);
    EXPECT_FALSE(known()->parked);
    rig.take_checkpoint();
    crash();
    take_checks();
    look();
    ASSERT_NE(known(), nullptr);
    EXPECT_EQ(known()->checks, 1U);
    EXPECT_EQ(known()->asked, 4U) << "ids of checks are not used again";
    EXPECT_THAT(rig.engine().prepared("", 10, true), IsEmpty());
}

// X1, G87
TEST_F(PreparedMessage, X1_WhatIsInDoubtIsListedAndStaysUntilSomebodyDecides) {
    take_checks();
    for (const char* id : {"a", "b", "c"}) ASSERT_EQ(prepare(wanted(id)).said, Said::done);
    for (int i = 0; i < 4; ++i) {
        pass(600'000);
        ack_checks();
    }
    EXPECT_THAT(rig.engine().prepared("", 10, true), SizeIs(3));
    for (int i = 0; i < 3; ++i) {
        rig.advance_ms(365ULL * 24 * 3600 * 1000);
        crash();
        look();
    }
    EXPECT_THAT(rig.engine().prepared("", 10, true), SizeIs(3)) << "time decides nothing";
    EXPECT_EQ(ready(), 0U);
    EXPECT_THAT(rig.engine().prepared("a", 1, false), SizeIs(1));
    EXPECT_EQ(rig.engine().prepared("a", 1, false)[0].prepared->id, "b");
    EXPECT_EQ(submit("a").said, Said::done);
    EXPECT_EQ(drop("b").said, Said::done);
    EXPECT_EQ(resume("c").said, Said::done);
    EXPECT_EQ(ready(), 1U);
    EXPECT_THAT(rig.engine().prepared("", 10, true), IsEmpty());
}

// G87
TEST_F(PreparedMessage, JumpsOfTheWallClockAskNobodyTooSoon) {
    ASSERT_EQ(prepare(wanted()).said, Said::done);
    rig.jump_wall_ms(3'600'000);
    look();
    EXPECT_EQ(known()->asked, 0U);
    rig.jump_wall_ms(-7'200'000);
    pass(999);
    EXPECT_EQ(known()->asked, 0U);
    pass(1);
    EXPECT_EQ(known()->asked, 1U);
}

// G87
TEST_F(PreparedMessage, ManyThatAreDueAtOnceAreAskedForInTurns) {
    take_checks();
    for (int i = 0; i < 600; ++i) {
        ASSERT_TRUE(rig.engine().prepare(1, 7, wanted("p" + std::to_string(i)), rig.now()));
    }
    rig.settle();
    pass(1000);
    EXPECT_EQ(rig.engine().totals().checks, 256U);
    EXPECT_GT(rig.engine().next_timer()->ns, rig.now().mono.ns) << "others have their turn";
    pass(20);
    pass(20);
    EXPECT_EQ(rig.engine().totals().checks, 600U);
}

// G85
TEST_F(PreparedMessage, BeyondTheLimitsNoMoreArePrepared) {
    Prepared large = wanted("large");
    large.message = message("", "q", std::string(900'000, 'x'));
    std::uint64_t taken = 0;
    Outcome last;
    for (int i = 0; i < 100; ++i) {
        large.id = "large" + std::to_string(i);
        last = prepare(large);
        if (last.said != Said::done) break;
        ++taken;
    }
    EXPECT_EQ(last.code, Code::limit_reached);
    EXPECT_EQ(taken, limits::prepared_bytes_max / large.message.size());
    EXPECT_EQ(drop("large0").said, Said::done);
    EXPECT_EQ(prepare(large).said, Said::done) << "what was decided makes room";
    crash();
    EXPECT_EQ(rig.engine().totals().prepared, taken);
}

// G86
TEST_F(PreparedMessage, DecisionsAreRememberedForADay) {
    ASSERT_EQ(prepare(wanted("a")).said, Said::done);
    ASSERT_EQ(submit("a").said, Said::done);
    rig.advance_ms(limits::prepared_decisions_ms - 1);
    ASSERT_EQ(prepare(wanted("b")).said, Said::done);
    ASSERT_EQ(drop("b").said, Said::done);
    EXPECT_EQ(submit("a").said, Said::again);
    rig.advance_ms(1);
    ASSERT_EQ(prepare(wanted("c")).said, Said::done);
    ASSERT_EQ(drop("c").said, Said::done);
    EXPECT_EQ(submit("a").code, Code::no_such_prepared);
    crash();
    EXPECT_EQ(submit("a").code, Code::no_such_prepared);
    EXPECT_EQ(drop("b").said, Said::again);
}

}  // namespace
}  // namespace ferry::engine::testing
