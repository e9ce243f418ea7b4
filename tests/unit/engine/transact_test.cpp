// Transactions: publishes and acks in one record, all of it or nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "records.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Transactions : public ::testing::Test {
protected:
    Transactions() {
        rig.engine().open_session(1);
        QueueOptions letters;
        letters.policy.dead_letter_key = "dead";
        rig.declare(1, "in", letters);
        rig.declare(1, "out");
        rig.declare(1, "audit");
        rig.declare(1, "dead");
        handle = rig.producer(1, "tx");
        plain = rig.producer(1, "p");
        rig.effects().clear();
    }
    ~Transactions() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void hold_three() {
        rig.subscribe(1, 5, "in");
        rig.send(1, plain, 1, "in", {"a", "b", "c"});
        rig.settle();
        ASSERT_THAT(rig.payloads(), ElementsAre("a", "b", "c"));
        rig.effects().clear();
    }
    struct Part {
        std::uint64_t subscription = 5;
        std::vector<Range<Tag>> tags;
        bool reject = false;
    };
    bool transact(Sequence sequence, const std::vector<std::vector<std::byte>>& messages,
                  const std::vector<Part>& parts, std::uint64_t flags = wire::publish_mandatory,
                  SessionId session = 1) {
        std::vector<std::byte> all;
        for (const auto& m : messages) all.insert(all.end(), m.begin(), m.end());
        std::vector<TransactionPart> given;
        for (const Part& part : parts) given.push_back({part.subscription, part.reject, part.tags});
        TransactionCommand command;
        command.session = session;
        command.request = 70;
        command.producer = handle;
        command.sequence = sequence;
        command.flags = flags;
        command.parts = given;
        command.count = static_cast<std::uint32_t>(messages.size());
        command.messages = all;
        return rig.engine().transact(command, rig.now());
    }
    std::optional<bool> done() {  // whether it was there before
        const auto answer = rig.take_answer<TransactionAnswer>(1, 70);
        return answer ? std::optional(answer->duplicate) : std::nullopt;
    }
    Failure failed() { return rig.take_answer<Failure>(1, 70).value_or(Failure{}); }
    void reconnect(SessionId session) {
        rig.engine().open_session(session);
        handle = rig.producer(session, "tx");
    }

    Rig rig;
    std::uint64_t handle = 0;
    std::uint64_t plain = 0;
};

// G65
TEST_F(Transactions, PublishAndAckInOneRecordAndAreToldWhenItIsDurable) {
    hold_three();
    const std::size_t before = rig.journal().records().size();
    ASSERT_TRUE(transact(1, {message("", "out", "x"), message("", "audit", "y")}, {{5, {{1, 2}}}}));
    EXPECT_FALSE(done()) << "nothing is durable yet";
    EXPECT_EQ(rig.journal().records().size(), before + 1);
    rig.settle();
    EXPECT_EQ(done(), false);
    EXPECT_EQ(rig.view("in").unacked, 1U);
    EXPECT_EQ(rig.view("in").acked, 2U);
    EXPECT_EQ(rig.view("out").ready, 1U);
    EXPECT_EQ(rig.view("audit").ready, 1U);
    EXPECT_EQ(rig.engine().totals().transactions, 1U);
}

// G65
TEST_F(Transactions, AreThereAsAWholeAfterAPowerCutBehindTheirSync) {
    hold_three();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 3}}}}));
    rig.settle();
    rig.crash();
    EXPECT_EQ(rig.view("in").ready, 0U);
    EXPECT_EQ(rig.view("out").ready, 1U);
}

// G65
TEST_F(Transactions, AreNotThereAtAllAfterAPowerCutBeforeTheirSync) {
    hold_three();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 3}}}}));
    rig.crash();
    EXPECT_EQ(rig.view("in").ready, 3U);
    EXPECT_EQ(rig.view("out").ready, 0U);
}

// G65
TEST_F(Transactions, ALostLeaseRefusesTheWholeAndNamesTheTag) {
    hold_three();
    rig.ack(1, 0, 5, {{2, 2}});
    rig.settle();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 3}}}}));
    rig.settle();
    const Failure why = failed();
    EXPECT_EQ(why.code, Code::lease_lost);
    EXPECT_THAT(why.text, HasSubstr("tag 2 of subscription 5"));
    EXPECT_EQ(rig.view("out").ready, 0U);
    EXPECT_EQ(rig.view("in").unacked, 2U) << "the others are held as before";
    EXPECT_EQ(rig.engine().totals().transactions_refused, 1U);
    // The next one goes on.
    ASSERT_TRUE(transact(2, {message("", "out", "x")}, {{5, {{1, 1}, {3, 3}}}}));
    rig.settle();
    EXPECT_EQ(done(), false);
}

TEST_F(Transactions, AMessageWithoutARouteRefusesTheWholeIfItIsMandatory) {
    hold_three();
    const auto nowhere = message("", "nobody", "z");
    ASSERT_TRUE(transact(1, {message("", "out", "x"), nowhere}, {{5, {{1, 1}}}}));
    rig.settle();
    const Failure why = failed();
    EXPECT_EQ(why.code, Code::no_route);
    EXPECT_THAT(why.text, HasSubstr("message 2"));
    EXPECT_EQ(rig.view("out").ready, 0U);
    EXPECT_EQ(rig.view("in").unacked, 3U);
    ASSERT_TRUE(transact(2, {message("", "out", "x"), nowhere}, {{5, {{1, 1}}}}, 0));
    rig.settle();
    EXPECT_EQ(done(), false);
    EXPECT_EQ(rig.view("out").ready, 1U);
    EXPECT_EQ(rig.engine().totals().unroutable, 1U);
}

TEST_F(Transactions, WhatIsWrongWithThemIsSaid) {
    hold_three();
    ASSERT_TRUE(transact(1, {}, {{5, {{1, 2}, {2, 3}}}}));
    rig.settle();
    Failure why = failed();
    EXPECT_EQ(why.code, Code::bad_option);
    EXPECT_THAT(why.text, HasSubstr("twice"));
    ASSERT_TRUE(transact(2, {}, {{6, {{1, 1}}}}));
    rig.settle();
    why = failed();
    EXPECT_EQ(why.code, Code::lease_lost);
    EXPECT_THAT(why.text, HasSubstr("no subscription 6"));
    ASSERT_TRUE(transact(9, {message("", "out", "x")}, {}));
    EXPECT_EQ(failed().code, Code::sequence_gap);
    EXPECT_FALSE(transact(3, {std::vector<std::byte>(8, std::byte{0xff})}, {{5, {{1, 1}}}}))
        << "malformed";
    EXPECT_EQ(rig.view("in").unacked, 3U);
}

// G66
TEST_F(Transactions, SentAgainAfterALostConnectionAreOne) {
    hold_three();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 1}}}}));
    rig.settle();
    rig.effects().clear();  // the answer is lost
    rig.engine().close_session(1, rig.now());
    reconnect(2);
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 1}}}}, 1, 2));
    rig.settle();
    const auto answer = rig.take_answer<TransactionAnswer>(2, 70);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->duplicate);
    EXPECT_EQ(rig.view("out").ready, 1U);
    EXPECT_EQ(rig.view("in").ready, 2U);
}

// G66
TEST_F(Transactions, GivenUpWithHoldAreNeverCarriedOutWhateverTheOldConnectionBrings) {
    hold_three();
    const std::uint64_t old_handle = handle;
    reconnect(2);
    const Range<Sequence> held{1, 1};
    rig.engine().hold(2, 71, handle, std::span(&held, 1));
    rig.settle();
    rig.effects().clear();
    handle = old_handle;  // the frame was under way on the old connection
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 1}}}}));
    rig.settle();
    EXPECT_EQ(failed().code, Code::transaction_over);
    EXPECT_EQ(rig.view("out").ready, 0U);
    rig.crash();
    EXPECT_EQ(rig.view("in").ready, 3U);
}

TEST_F(Transactions, ARefusedOneCanNotBeSentAgainUnderItsSequence) {
    ASSERT_TRUE(transact(1, {message("", "nobody", "x")}, {}));
    rig.settle();
    EXPECT_EQ(failed().code, Code::no_route);
    rig.declare(1, "nobody");
    rig.settle();
    rig.effects().clear();
    ASSERT_TRUE(transact(1, {message("", "nobody", "x")}, {}));
    rig.settle();
    EXPECT_EQ(failed().code, Code::transaction_over);
    ASSERT_TRUE(transact(2, {message("", "nobody", "x")}, {}));
    rig.settle();
    EXPECT_EQ(done(), false);
}

// G65
TEST_F(Transactions, RejectedDeliveriesBecomeDeadLettersWithTheSameRecord) {
    hold_three();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{2, 2}}, true}, {5, {{1, 1}}}}));
    rig.settle();
    EXPECT_EQ(done(), false);
    EXPECT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(rig.view("in").dead_lettered, 1U);
    EXPECT_EQ(rig.view("in").unacked, 1U);
    rig.crash();
    EXPECT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(rig.view("in").ready, 1U);
    EXPECT_EQ(rig.view("out").ready, 1U);
}

TEST_F(Transactions, ARejectedDeliveryLeavesAfterACrashBeforeTheLetterWasWritten) {
    hold_three();
    ASSERT_TRUE(transact(1, {}, {{5, {{2, 2}}, true}}));
    rig.sync();
    rig.crash();
    EXPECT_EQ(rig.view("in").leaving, 1U);
    rig.settle();
    EXPECT_EQ(rig.view("dead").ready, 1U);
    EXPECT_EQ(rig.view("in").ready, 2U);
}

TEST_F(Transactions, SurviveACheckpoint) {
    hold_three();
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 2}}}}));
    rig.settle();
    rig.take_checkpoint();
    ASSERT_TRUE(transact(2, {message("", "out", "y")}, {{5, {{3, 3}}}}));
    rig.settle();
    rig.crash();
    EXPECT_EQ(rig.view("in").ready, 0U);
    EXPECT_EQ(rig.view("out").ready, 2U);
    EXPECT_EQ(rig.references(), 2U);
}

TEST_F(Transactions, AreRefusedWhileTheDiskIsFullUnlessTheyOnlyAck) {
    hold_three();
    rig.engine().set_disk_full(true);
    ASSERT_TRUE(transact(1, {message("", "out", "x")}, {{5, {{1, 1}}}}));
    EXPECT_EQ(failed().code, Code::disk_full);
    ASSERT_TRUE(transact(2, {}, {{5, {{1, 1}}}}));
    rig.settle();
    EXPECT_EQ(done(), false);
    EXPECT_EQ(rig.view("in").unacked, 2U);
}

}  // namespace
}  // namespace ferry::engine::testing
