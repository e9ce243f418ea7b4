#include "codec.hpp"
#include "machine_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

TEST(Saga, RunsItsStepsOneAfterAnotherAndEndsOnce) {
    Rig rig(Rig::must(order()));
    rig.begin();
    EXPECT_EQ(rig.sent, Sent{"reserve"});
    rig.done("reserve");
    rig.done("charge");
    rig.done("ship");
    rig.done("mail");
    EXPECT_EQ(rig.sent, (Sent{"reserve", "charge", "ship", "mail"}));
    EXPECT_EQ(rig.instance.state, SagaState::completed);
    EXPECT_EQ(rig.ended_times, 1);
    EXPECT_EQ(due_ms(rig.instance), 0U);
}

// G80: what ran is undone, the last one first.
TEST(Saga, UndoesWhatRanInReverseOrderWhenAStepFails) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.done("reserve");
    rig.done("charge");
    rig.failed("ship");
    EXPECT_EQ(rig.sent, (Sent{"reserve", "charge", "ship", "undo charge"}));
    rig.undone("charge");
    EXPECT_EQ(rig.sent.back(), "undo reserve");
    rig.undone("reserve");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
    EXPECT_EQ(rig.ended_times, 1);
    EXPECT_EQ(rig.instance.reason, "step ship: no luck");
}

// S13, G81: silence is not failure.
TEST(Saga, TriesAgainAfterSilenceAndUndoesWhatMayHaveHappened) {
    Rig rig(Rig::must(order()));
    rig.begin();
    for (int attempt = 1; attempt < 5; ++attempt) {
        rig.wait();
        EXPECT_EQ(rig.state_of("reserve"), StepState::backing_off);
        rig.wait();
        EXPECT_EQ(rig.state_of("reserve"), StepState::running);
    }
    EXPECT_EQ(rig.sent, (Sent{"reserve", "reserve", "reserve", "reserve", "reserve"}));
    rig.wait();
    EXPECT_EQ(rig.state_of("reserve"), StepState::undoing) << "nobody knows whether it happened";
    rig.undone("reserve");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
}

TEST(Saga, AStepThatSurelyDidNotHappenIsNotUndone) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.done("reserve");
    for (int attempt = 1; attempt < 5; ++attempt) {
        rig.answer("charge", Answer::again);
        rig.wait();
    }
    rig.answer("charge", Answer::again);
    EXPECT_EQ(rig.state_of("charge"), StepState::failed);
    EXPECT_EQ(rig.sent.back(), "undo reserve");
}

// S6
TEST(Saga, UndoesAStepWhoseSuccessComesAfterItsTimeStartedTheCompensation) {
    Builder b = order();
    Definition d = Rig::must(b);
    d.steps[1].retry.attempts = 1;
    Rig rig(d);
    rig.begin();
    rig.done("reserve");
    rig.wait();
    EXPECT_EQ(rig.sent.back(), "undo charge");
    const Outcome late = rig.done("charge");
    EXPECT_FALSE(late.changed);
    EXPECT_FALSE(late.refused.empty());
    rig.undone("charge");
    rig.undone("reserve");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
}

TEST(Saga, ALateSuccessBeforeTheNextAttemptCounts) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.wait();
    rig.done("reserve");
    EXPECT_EQ(rig.state_of("reserve"), StepState::done);
    EXPECT_EQ(rig.sent, (Sent{"reserve", "charge"}));
}

// S4
TEST(Saga, ARepeatedAnswerChangesNothing) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.done("reserve");
    const std::uint64_t revision = rig.instance.revision;
    EXPECT_FALSE(rig.done("reserve").changed);
    EXPECT_EQ(rig.instance.revision, revision);
}

TEST(Saga, AnAnswerToAnEarlierAttemptDoesNotEndTheCurrentOne) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.wait();
    rig.wait();
    Reply stale;
    stale.answer = Answer::again;
    stale.attempt = 1;
    EXPECT_FALSE(rig.feed(stale).changed);
    EXPECT_EQ(rig.state_of("reserve"), StepState::running);
}

// S16: both orders of the deadline and the last answer.
TEST(Saga, ADeadlineAfterTheLastAnswerChangesNothing) {
    Builder b("two");
    b.deadline(5s).step("a").command("q").compensation("u").timeout(1min);
    Rig rig(Rig::must(b));
    rig.begin();
    rig.done("a");
    rig.now += 10'000;
    EXPECT_FALSE(rig.feed(Tick{}).changed);
    EXPECT_EQ(rig.instance.state, SagaState::completed);
}

TEST(Saga, ADeadlineBeforeTheLastAnswerWaitsForItAndUndoes) {
    Builder b("two");
    b.deadline(5s).step("a").command("q").compensation("u").timeout(1min);
    Rig rig(Rig::must(b));
    rig.begin();
    rig.wait();
    EXPECT_EQ(rig.instance.state, SagaState::aborting);
    rig.done("a");
    EXPECT_EQ(rig.sent.back(), "undo a");
    rig.undone("a");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
    EXPECT_EQ(rig.instance.reason, "the deadline passed");
}

// S17
TEST(Saga, ACancelUndoesBeforeThePivotAndIsRefusedBehindIt) {
    Rig early(Rig::must(order()));
    early.begin();
    early.done("reserve");
    EXPECT_TRUE(early.feed(Cancel{"changed my mind"}).changed);
    EXPECT_EQ(early.instance.state, SagaState::aborting);
    early.failed("charge");
    EXPECT_EQ(early.sent.back(), "undo reserve");

    Rig late(Rig::must(order()));
    late.begin();
    late.done("reserve");
    late.done("charge");
    const Outcome refused = late.feed(Cancel{"changed my mind"});
    EXPECT_FALSE(refused.changed);
    EXPECT_NE(refused.refused.find("pivot"), std::string::npos);
    late.done("ship");
    late.done("mail");
    EXPECT_FALSE(late.feed(Cancel{""}).changed) << "it has ended";
    EXPECT_EQ(late.instance.state, SagaState::completed);
}

// S18: behind the pivot there is only forward.
TEST(Saga, ParksBehindThePivotWhenAStepKeepsFailingAndGoesOnWhenRetried) {
    Rig rig(Rig::must(order()));
    rig.begin();
    for (const char* step : {"reserve", "charge", "ship"}) rig.done(step);
    for (int attempt = 1; attempt <= 5; ++attempt) {
        rig.failed("mail");
        if (attempt < 5) rig.wait();
    }
    EXPECT_EQ(rig.instance.state, SagaState::parked);
    EXPECT_EQ(rig.instance.reason, "step mail: no luck");
    EXPECT_FALSE(rig.feed(Cancel{""}).changed);
    EXPECT_TRUE(rig.feed(Retry{}).changed);
    EXPECT_EQ(rig.state_of("mail"), StepState::running);
    rig.done("mail");
    EXPECT_EQ(rig.instance.state, SagaState::completed);
}

TEST(Saga, NeverGuessesWhetherAnUnansweredPivotHappened) {
    Definition d = Rig::must(order());
    d.steps[2].retry.attempts = 2;
    Rig rig(d);
    rig.begin();
    rig.done("reserve");
    rig.done("charge");
    for (int i = 0; i < 3; ++i) rig.wait();
    EXPECT_EQ(rig.instance.state, SagaState::parked);
    Rig other = rig;
    rig.done("ship");
    EXPECT_EQ(rig.sent.back(), "mail") << "a late success resumes the saga";
    other.failed("ship");
    EXPECT_EQ(other.sent.back(), "undo charge") << "a late failure lets it be undone";
}

// S19
TEST(Saga, WaitsForTheOtherStepsOfAGroupBeforeItUndoes) {
    Builder b("par");
    b.deadline(1h);
    for (const char* name : {"a", "b", "c"}) {
        b.step(name).command("q").compensation("u").parallel("all").timeout(10s);
    }
    Rig rig(Rig::must(b));
    rig.begin();
    EXPECT_EQ(rig.sent, (Sent{"a", "b", "c"}));
    rig.failed("b");
    EXPECT_EQ(rig.instance.state, SagaState::aborting);
    EXPECT_EQ(rig.sent.size(), 3U) << "nothing is undone while others are in flight";
    rig.done("a");
    rig.wait();  // c never answers
    EXPECT_EQ(rig.sent.back(), "undo c");
    rig.undone("c");
    EXPECT_EQ(rig.sent.back(), "undo a");
    rig.undone("a");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
    EXPECT_EQ(rig.state_of("b"), StepState::failed) << "and b, which failed, is never undone";
}

// S11
TEST(Saga, ParksACompensationThatKeepsFailingAndLetsAnOperatorDecide) {
    Definition d = Rig::must(order());
    for (Step& step : d.steps) step.undo = {1'000, 4'000, 20'000};
    Rig rig(d);
    rig.begin();
    rig.done("reserve");
    rig.failed("charge");
    std::uint64_t attempts = 0;
    while (rig.instance.state != SagaState::parked) {
        rig.answer("reserve", Answer::failed, Op::undo);
        if (rig.instance.state == SagaState::parked) break;
        const std::uint64_t before = rig.now;
        rig.wait();
        EXPECT_LE(rig.now - before, 4'000U) << "the wait is capped";
        ASSERT_LT(++attempts, 50U);
    }
    EXPECT_GE(attempts, 5U);
    EXPECT_EQ(rig.instance.reason, "step reserve: no luck");
    Rig skipped = rig;
    EXPECT_TRUE(skipped.feed(Skip{}).changed);
    EXPECT_EQ(skipped.instance.state, SagaState::compensated);
    Rig forced = rig;
    EXPECT_TRUE(forced.feed(Force{SagaState::compensated, "by hand"}).changed);
    EXPECT_TRUE(forced.instance.forced);
    EXPECT_EQ(forced.ended_times, 1);
    EXPECT_TRUE(rig.feed(Retry{}).changed);
    rig.undone("reserve");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
}

// S23
TEST(Saga, ASignalCountsOnceBeforeOrWhileItIsWaitedFor) {
    Builder b("human");
    b.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .signal("approve")
        .step("z")
        .command("q")
        .compensation("u");
    Rig early(Rig::must(b));
    early.begin();
    EXPECT_TRUE(early.feed(Signal{"approve", R"({"by":"ada"})"}).changed);
    EXPECT_FALSE(early.feed(Signal{"approve", "{}"}).changed) << "twice";
    EXPECT_FALSE(early.feed(Signal{"other", "{}"}).changed) << "nobody waits for it";
    early.done("a");
    EXPECT_EQ(early.sent, (Sent{"a", "z"}));
    EXPECT_EQ(early.instance.steps[1].result, R"({"by":"ada"})");

    Rig late(Rig::must(b));
    late.begin();
    late.done("a");
    EXPECT_EQ(late.sent.size(), 1U);
    EXPECT_TRUE(late.feed(Signal{"approve", "{}"}).changed);
    late.done("z");
    EXPECT_FALSE(late.feed(Signal{"approve", "{}"}).changed) << "after the end";
}

TEST(Saga, ASignalThatDoesNotComeInTimeFailsTheStep) {
    Builder b("human");
    b.deadline(1h).step("a").command("q").compensation("u").signal("approve").timeout(1min);
    Rig rig(Rig::must(b));
    rig.begin();
    rig.done("a");
    rig.wait();
    EXPECT_EQ(rig.sent.back(), "undo a");
}

// T1, T2: after the decision nothing is cancelled.
TEST(Saga, TryConfirmCancelNeverCancelsBehindTheDecision) {
    Builder b("tcc");
    b.deadline(1h)
        .try_confirm_cancel("seat", "seat.try", "seat.confirm", "seat.cancel")
        .try_confirm_cancel("car", "car.try", "car.confirm", "car.cancel")
        .decided();
    Rig rig(Rig::must(b));
    rig.begin();
    EXPECT_EQ(rig.sent, (Sent{"seat", "car"}));
    rig.done("car");
    rig.done("seat");
    EXPECT_EQ(rig.state_of("decide"), StepState::done);
    EXPECT_EQ(rig.sent, (Sent{"seat", "car", "seat.confirm", "car.confirm"}));
    rig.done("car.confirm");
    for (int attempt = 1; attempt <= 5; ++attempt) {
        rig.failed("seat.confirm");
        if (attempt < 5) rig.wait();
    }
    EXPECT_EQ(rig.instance.state, SagaState::parked);
    for (const std::string& what : rig.sent) EXPECT_EQ(what.find("undo"), std::string::npos);
}

TEST(Saga, TryConfirmCancelCancelsWhatWasTriedWhenOneTryFails) {
    Builder b("tcc");
    b.deadline(1h)
        .try_confirm_cancel("seat", "seat.try", "seat.confirm", "seat.cancel")
        .try_confirm_cancel("car", "car.try", "car.confirm", "car.cancel")
        .decided();
    Rig rig(Rig::must(b));
    rig.begin();
    rig.done("seat");
    rig.failed("car");
    EXPECT_EQ(rig.sent.back(), "undo seat");
}

TEST(Saga, MapsInputAndEarlierResultsIntoCommandsAndSkipsByCondition) {
    Builder b("maps");
    b.deadline(1h)
        .step("price")
        .command("q")
        .without_undo()
        .step("gift")
        .command("q")
        .without_undo()
        .when({"/steps/price/total", Condition::Test::above, "100"})
        .step("pay")
        .command("q")
        .compensation("u")
        .input("/sum", "/steps/price/total")
        .input("/who/name", "/input/customer")
        .constant("/currency", "\"EUR\"")
        .optional_input("/coupon", "/input/coupon")
        .result("/total", "/steps/price/total");
    Rig rig(Rig::must(b));
    rig.begin(R"({"customer":"ada"})");
    rig.done("price", R"({"total":42})");
    EXPECT_EQ(rig.state_of("gift"), StepState::skipped);
    EXPECT_EQ(rig.payload(), R"({"currency":"EUR","sum":42,"who":{"name":"ada"}})");
    rig.done("pay");
    EXPECT_EQ(rig.instance.result, R"({"total":42})");
}

TEST(Saga, AnInputThatIsNotThereFailsTheStepAndNamesThePath) {
    Builder b("maps");
    b.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .step("b")
        .command("q")
        .compensation("u")
        .input("/sum", "/input/missing");
    Rig rig(Rig::must(b));
    rig.begin();
    rig.done("a");
    EXPECT_EQ(rig.sent.back(), "undo a");
    EXPECT_NE(rig.instance.reason.find("/input/missing"), std::string::npos);
}

TEST(Saga, ADeadlineBehindThePivotIsOnlyNoted) {
    Rig rig(Rig::must(order()));
    rig.begin();
    for (const char* step : {"reserve", "charge"}) rig.done(step);
    rig.now = rig.instance.deadline_ms;
    rig.feed(Tick{});
    EXPECT_TRUE(rig.instance.overdue);
    EXPECT_EQ(rig.instance.state, SagaState::running);
}

TEST(Saga, AResultThatIsTooLargeIsDroppedAndTheStepStillUndone) {
    Rig rig(Rig::must(order()));
    rig.begin();
    rig.done("reserve", "\"" + std::string(limits::data_bytes_max, 'x') + "\"");
    EXPECT_EQ(rig.state_of("reserve"), StepState::done);
    EXPECT_TRUE(rig.instance.steps[0].result.empty());
    rig.failed("charge");
    EXPECT_EQ(rig.sent.back(), "undo reserve");
}

TEST(Saga, BackoffDoublesUpToTheCapAndHalfOfItIsChance) {
    SeededRandom random(1);
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t third = backoff_ms(100, 1'000, 3, random);
        EXPECT_GE(third, 200U);
        EXPECT_LE(third, 400U);
        EXPECT_LE(backoff_ms(100, 1'000, 1'000'000, random), 1'000U);
    }
}

// S26
TEST(Saga, AThousandStepsWithAMegabyteOfResultsAreStoredAndReadAfterEach) {
    Builder b("long");
    b.deadline(1h);
    for (int i = 0; i < 1000; ++i) {
        b.step("s" + std::to_string(i)).command("q").compensation("u");
    }
    Rig rig(Rig::must(b));
    rig.begin();
    const std::string result = "\"" + std::string(1000, 'x') + "\"";
    std::string stored;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        Reply reply;
        reply.step = i;
        reply.result = result;
        ASSERT_TRUE(rig.feed(reply).changed);
        encode_body(rig.instance, stored);
        Instance read = rig.instance;
        read.steps.clear();
        ASSERT_TRUE(decode_body(as_bytes(stored), read));
        ASSERT_EQ(read.steps[i].result, result);
        rig.instance = std::move(read);
    }
    EXPECT_EQ(rig.instance.state, SagaState::completed);
}

TEST(Saga, DamagedBytesAreNoInstance) {
    Rig rig(Rig::must(order()));
    rig.begin(R"({"a":1})");
    rig.done("reserve", "1");
    std::string stored;
    encode_body(rig.instance, stored);
    Instance read;
    ASSERT_TRUE(decode_body(as_bytes(stored), read));
    for (std::size_t size = 0; size < stored.size(); ++size) {
        EXPECT_FALSE(decode_body(as_bytes(std::string_view(stored).substr(0, size)), read));
    }
    SeededRandom random(3);
    for (int i = 0; i < 20'000; ++i) {
        std::string other = stored;
        for (int n = 0; n < 3; ++n) {
            other[random.below(other.size())] = static_cast<char>(random.next());
        }
        static_cast<void>(decode_body(as_bytes(other), read));
    }
}

// S20
TEST(Saga, ASubSagaIsCancelledWithItsParentAndUndoneAfterItCompleted) {
    Builder b("parent");
    b.deadline(1h).saga("child", "other").step("b").command("q").compensation("u");
    Rig rig(Rig::must(b));
    rig.begin();
    ASSERT_EQ(rig.last.size(), 1U);
    EXPECT_TRUE(std::holds_alternative<StartChild>(rig.last[0]));
    Rig cancelled = rig;
    cancelled.feed(Cancel{"stop"});
    ASSERT_FALSE(cancelled.last.empty());
    EXPECT_EQ(std::get<CancelChild>(cancelled.last[0]).op, Op::act);
    cancelled.done("child");  // it completed while it was being cancelled
    EXPECT_EQ(std::get<CancelChild>(cancelled.last[0]).op, Op::undo);
    cancelled.undone("child");
    EXPECT_EQ(cancelled.instance.state, SagaState::compensated);
    rig.failed("child");
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
}

}  // namespace
}  // namespace ferry::saga
