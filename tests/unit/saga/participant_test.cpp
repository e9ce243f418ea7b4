#include "ferry/sqlite/database.hpp"
#include "saga_rig.hpp"

namespace ferry::saga {
namespace {

class ParticipantBarrier : public SagaRig {
protected:
    ParticipantBarrier() {
        participant.reset();
        ParticipantOptions options;
        options.database = path("shop.db");
        options.name = "direct";
        participant = std::move(Participant::open(options)).value();
        participant->act("a", [this](Call& call) {
            ++acts;
            call.effects.run("INSERT INTO effect VALUES(?1, ?2, 1)", std::string_view(call.saga),
                             std::string_view(call.step));
            if (says == Said::Kind::again) return Said::again("later");
            if (says == Said::Kind::failed) return Said::failed("never");
            return Said::done("17");
        });
        participant->undo("a", [](Call& call) {
            EXPECT_EQ(call.result, "17");
            call.effects.run("DELETE FROM effect WHERE saga = ?1", std::string_view(call.saga));
            return Said::done();
        });
        consumer::InboxOptions inbox_options;
        inbox_options.consumer = "direct";
        inbox = std::move(consumer::Inbox::open(path("shop.db"), inbox_options)).value();
    }
    ~ParticipantBarrier() override { inbox.reset(); }

    /// The answer: "done", "failed", "again", or "" for none.
    std::string tell(const std::string& op, std::int64_t token, bool retriable = false) {
        test::Sent sent;
        sent.routing_key = "a";
        sent.id = "m" + std::to_string(++messages);
        sent.correlation_id = "s1";
        sent.reply_to = "replies";
        sent.payload = "{}";
        sent.headers = {{"ferry-saga-step", std::string("a")},
                        {"ferry-saga-op", op},
                        {"ferry-saga-attempt", std::int64_t{1}},
                        {"ferry-saga-token", token}};
        if (retriable) sent.headers.emplace_back("ferry-saga-retriable", true);
        const std::int64_t before = number(*shop_db, "SELECT count(*) FROM ferry_outbox");
        const auto handled = inbox->apply(test::make_incoming(sent), [this](consumer::Effects& e) {
            return participant->handle(e);
        });
        EXPECT_EQ(handled.kind, consumer::Handled::Kind::done) << handled.reason;
        if (number(*shop_db, "SELECT count(*) FROM ferry_outbox") == before) return "";
        return shop_db
            ->text(
                "SELECT json_extract(headers, '$.ferry-saga-answer') FROM ferry_outbox ORDER "
                "BY id DESC LIMIT 1")
            .value()
            .value_or("?");
    }

    std::unique_ptr<consumer::Inbox> inbox;
    Said::Kind says = Said::Kind::done;
    int acts = 0;
    int messages = 0;
};

// S8, S9, G84
TEST_F(ParticipantBarrier, ACompensationBeforeItsStepIsNothingAndTheStepIsRefusedThen) {
    EXPECT_EQ(tell("undo", 5), "done");
    EXPECT_EQ(tell("act", 6), "failed");
    EXPECT_EQ(tell("act", 1), "") << "from an older state of the saga";
    EXPECT_EQ(acts, 0);
    EXPECT_EQ(participant->figures().empty, 1U);
    EXPECT_EQ(participant->figures().hanging, 1U);
}

// S10
TEST_F(ParticipantBarrier, RepeatsAreAnsweredAgainAndNotDoneAgain) {
    EXPECT_EQ(tell("act", 1), "done");
    EXPECT_EQ(tell("act", 3), "done");
    EXPECT_EQ(acts, 1);
    EXPECT_EQ(effects("s1"), 1);
    EXPECT_EQ(tell("undo", 5), "done");
    EXPECT_EQ(tell("undo", 7), "done");
    EXPECT_EQ(effects("s1"), 0);
    EXPECT_EQ(participant->figures().repeats, 2U);
}

TEST_F(ParticipantBarrier, AFailureWritesNothingAndStaysTheAnswer) {
    says = Said::Kind::failed;
    EXPECT_EQ(tell("act", 1), "failed");
    says = Said::Kind::done;
    EXPECT_EQ(tell("act", 3), "failed");
    EXPECT_EQ(effects("s1"), 0);
    EXPECT_EQ(acts, 1);
    EXPECT_EQ(tell("undo", 5), "done");
}

TEST_F(ParticipantBarrier, ARetriableStepMayFailAndWorkLater) {
    says = Said::Kind::failed;
    EXPECT_EQ(tell("act", 1, true), "failed");
    says = Said::Kind::done;
    EXPECT_EQ(tell("act", 3, true), "done");
    EXPECT_EQ(effects("s1"), 1);
}

TEST_F(ParticipantBarrier, ARepeatBehindNotNowIsNotDone) {
    says = Said::Kind::again;
    EXPECT_EQ(tell("act", 1), "again");
    says = Said::Kind::done;
    EXPECT_EQ(tell("act", 1), "") << "the saga knows that this attempt had no effect";
    EXPECT_EQ(effects("s1"), 0);
    EXPECT_EQ(tell("act", 4), "done");
    EXPECT_EQ(effects("s1"), 1);
}

TEST_F(ParticipantBarrier, WhatIsNoCommandIsPoison) {
    test::Sent sent;
    sent.id = "x";
    sent.routing_key = "a";
    const auto handled = inbox->apply(
        test::make_incoming(sent), [this](consumer::Effects& e) { return participant->handle(e); });
    EXPECT_EQ(handled.kind, consumer::Handled::Kind::poison);
}

}  // namespace
}  // namespace ferry::saga
