#include <future>

#include "full_disk.hpp"
#include "saga_rig.hpp"
#include "shifted_clock.hpp"
#include "store.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

// S2, G82: what a transaction that was committed leaves is a state that a crash may leave. None of
// them has a saga that is ahead of its commands, or commands ahead of their saga.
TEST_F(SagaRig, S2_NoMomentHasASagaWithoutItsCommandsOrCommandsWithoutTheirSaga) {
    start_orchestrator();
    must(orchestrator->add(three()));
    sqlite::Database watching = open("saga.db");
    auto store = Store::open(watching);
    ASSERT_TRUE(store.ok());
    int sagas_seen = 0;
    int half_done = 0;
    const auto look = [&] {
        auto moment = sqlite::Transaction::begin(watching, sqlite::Transaction::Mode::read);
        ASSERT_TRUE(moment.ok());
        auto ids = watching.prepare("SELECT id FROM ferry_saga");
        ASSERT_TRUE(ids.ok());
        for (;;) {
            auto more = ids.value().step();
            ASSERT_TRUE(more.ok());
            if (!more.value()) return;
            const std::string id(ids.value().text(0));
            Store::Row row;
            ASSERT_TRUE(store.value()->load(id, row).ok());
            std::int64_t sent = 0;
            for (const StepRecord& step : row.instance.steps) sent += step.attempts;
            EXPECT_EQ(
                number(watching,
                       "SELECT count(*) FROM ferry_outbox WHERE correlation_id = '" + id + "'"),
                sent);
            ++sagas_seen;
            if (!ended(row.instance.state)) ++half_done;
        }
    };
    for (int i = 0; i < 40; ++i) {
        orchestrator->start_async("three", "s" + std::to_string(i), "{}", {});
    }
    ASSERT_TRUE(until([&] {
        look();
        return orchestrator->figures().completed == 40;
    }));
    EXPECT_GT(half_done, 0);
    EXPECT_GT(sagas_seen, 40);
}

class SagaOnAFullDisk : private test::FullDisk, public SagaRig {
protected:
    void fill(bool yes) { full(yes); }
};

// S24
TEST_F(SagaOnAFullDisk, S24_NothingIsHalfDoneAndEverythingGoesOnWhenThereIsRoom) {
    start_orchestrator();
    must(orchestrator->add(three()));
    hold = {"b"};
    for (int i = 0; i < 10; ++i) start("s" + std::to_string(i));
    ASSERT_TRUE(until([&] { return participant->figures().acted == 10; }));
    fill(true);
    const auto refused = orchestrator->start("three", "late", "{}");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().kind, sqlite::Kind::full);
    hold.clear();
    pump();
    EXPECT_EQ(admin().show("late").error().kind, sqlite::Kind::not_found);
    fill(false);
    start("late");
    // Those whose command was held back are asked again in their time; here they are cancelled.
    for (int i = 0; i < 10; ++i) {
        const std::string id = "s" + std::to_string(i);
        ASSERT_TRUE(until([&] {
            return admin().show(id).value().steps[0].state == StepState::done;
        })) << id;
    }
    ASSERT_TRUE(comes_to("late", SagaState::completed));
    EXPECT_EQ(effects("late"), 3);
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM effect WHERE times <> 1"), 0);
}

// S24
TEST_F(SagaRig, S24_ALockedDatabaseIsWaitedForAndALongLockIsToldAndChangesNothing) {
    start_orchestrator();
    must(orchestrator->add(three()));
    must(saga_db->run("BEGIN IMMEDIATE"));
    std::promise<sqlite::Answer<Started>> promise;
    auto started = promise.get_future();
    orchestrator->start_async(
        "three", "s1", "{}",
        [&promise](const sqlite::Answer<Started>& answer) { promise.set_value(answer); });
    EXPECT_EQ(started.wait_for(300ms), std::future_status::timeout);
    must(saga_db->run("COMMIT"));
    ASSERT_TRUE(started.get().ok());
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    must(saga_db->run("BEGIN IMMEDIATE"));
    const auto busy = orchestrator->start("three", "s2", "{}");
    must(saga_db->run("COMMIT"));
    ASSERT_FALSE(busy.ok());
    EXPECT_EQ(busy.error().kind, sqlite::Kind::busy);
    start("s2");
    ASSERT_TRUE(comes_to("s2", SagaState::completed));
    EXPECT_EQ(effects("s2"), 3);
}

class SagaForAWeek : public SagaRig {
protected:
    void start_shifted() {
        OrchestratorOptions options;
        options.clock = &clock;
        start_orchestrator(options);
    }
    ~SagaForAWeek() override { orchestrator.reset(); }
    /// Time passes in steps of an hour, until `days` have passed or it is so.
    bool passes(int days, const std::function<bool()>& condition) {
        for (int hour = 0; hour < days * 24; ++hour) {
            clock.pass(1h);
            // A request that comes to nothing makes it look at once.
            static_cast<void>(orchestrator->cancel("nobody", ""));
            static_cast<void>(orchestrator->cancel("nobody", ""));
            pump();
            if (condition()) return true;
        }
        return condition();
    }
    test::ShiftedClock clock;
};

// S25: asked again at the cap, never more often; then it is done as if nothing had been.
TEST_F(SagaForAWeek, S25_AParticipantThatIsGoneForAWeekIsAskedAtTheCapAndThenDoesIt) {
    Definition d = three();
    d.deadline_ms = 30ULL * 24 * 3600 * 1000;
    d.steps[1].timeout_ms = 3600ULL * 1000;
    d.steps[1].retry = {1000, 12ULL * 3600 * 1000, 100'000};
    hold = {"b"};
    start_shifted();
    must(orchestrator->add(d));
    start("s1");
    ASSERT_TRUE(until([&] { return admin().show("s1").value().steps[1].attempts == 1; }));
    EXPECT_FALSE(passes(7, [] { return false; }));
    const auto view = admin().show("s1").value();
    EXPECT_EQ(view.row.state, SagaState::running);
    EXPECT_GE(view.steps[1].attempts, 10U);
    EXPECT_LE(view.steps[1].attempts, 60U) << "an hour's silence and up to twelve of rest each";
    EXPECT_TRUE(view.steps[1].uncertain);
    ListFilter filter;
    filter.in_doubt = true;
    EXPECT_EQ(admin().list(filter).value().size(), 1U);
    hold.clear();
    ASSERT_TRUE(passes(2, [&] { return state("s1") == SagaState::completed; }) ||
                comes_to("s1", SagaState::completed));
    EXPECT_EQ(effects("s1"), 3);
}

// S12, S25: what cannot be undone for a day is parked, and an operator lets it go on.
TEST_F(SagaForAWeek,
       S25_ACompensationWhoseParticipantIsGoneIsParkedAfterItsTimeAndGoesOnWhenAsked) {
    fail = "b";
    hold = {"undo"};
    start_shifted();
    Definition d = three();
    d.deadline_ms = 30ULL * 24 * 3600 * 1000;
    must(orchestrator->add(d));
    start("s1");
    ASSERT_TRUE(until([&] { return state("s1") == SagaState::compensating; }));
    ASSERT_TRUE(passes(7, [&] { return state("s1") == SagaState::parked; }));
    EXPECT_NE(admin().show("s1").value().row.reason.find("no answer within"), std::string::npos);
    EXPECT_EQ(effects("s1"), 1);
    hold.clear();
    must(admin().retry("s1", "ada", "it is back"));
    ASSERT_TRUE(comes_to("s1", SagaState::compensated));
    EXPECT_EQ(effects("s1"), 0);
}

/// A participant whose reservations it may take back itself.
class SagaReservations : public SagaRig {
protected:
    SagaReservations() {
        participant.reset();
        must(shop_db->run("CREATE TABLE seat(saga TEXT PRIMARY KEY, sold INTEGER NOT NULL)"));
        ParticipantOptions options;
        options.database = path("shop.db");
        options.name = "seats";
        participant = std::move(Participant::open(options)).value();
        participant->act("a", [](Call& call) {
            call.effects.run("INSERT INTO seat VALUES(?1, 0)", std::string_view(call.saga));
            return Said::done(R"({"seat":"12A"})");
        });
        participant->act("b", [](Call& call) {
            call.effects.run("UPDATE seat SET sold = 1 WHERE saga = ?1",
                             std::string_view(call.saga));
            if (call.effects.changes() == 0) return Said::failed("the reservation has expired");
            return Said::done();
        });
        participant->undo("undo", [](Call& call) {
            call.effects.run("DELETE FROM seat WHERE saga = ?1", std::string_view(call.saga));
            return Said::done();
        });
        for (const char* queue : {"a", "b", "undo"}) {
            EXPECT_TRUE(participant->run(queues[queue].source(), queue).ok());
        }
    }
    static Definition trip() {
        Builder b("trip");
        b.deadline(1h).try_confirm_cancel("seat", "a", "b", "undo").decided();
        Definition d = b.build().value();
        for (Step& step : d.steps) step.retry = {10, 20, 3};
        return d;
    }
    std::size_t in_doubt() { return doubts(path("shop.db"), 100).value().size(); }
};

// T3, T1
TEST_F(SagaReservations,
       T3_AReservationThatExpiredBeforeItsConfirmParksTheSagaAndIsNeverCancelled) {
    hold = {"b"};
    start_orchestrator();
    must(orchestrator->add(trip()));
    start("s1", "trip");
    ASSERT_TRUE(until([&] { return admin().show("s1").value().steps[2].attempts == 1; }));
    must(shop_db->run("DELETE FROM seat"));  // its time is over
    hold.clear();
    clear_sent();
    ASSERT_TRUE(comes_to("s1", SagaState::parked));
    EXPECT_EQ(admin().show("s1").value().row.reason,
              "step seat.confirm: the reservation has expired");
    EXPECT_EQ(participant->figures().undone, 0U) << "behind the decision nothing is cancelled";
    EXPECT_EQ(in_doubt(), 1U);
    must(shop_db->run("INSERT INTO seat VALUES('s1', 0)"));  // somebody finds another seat
    must(admin().retry("s1", "ada", "seat 14C instead"));
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM seat WHERE sold = 1"), 1);
    EXPECT_EQ(in_doubt(), 0U);
}

// X1, G94: the participant's side of the in-doubt list.
TEST_F(SagaReservations, X1_WhatIsReservedAndNeitherConfirmedNorCancelledIsListed) {
    hold = {"b"};
    start_orchestrator();
    must(orchestrator->add(trip()));
    start("s1", "trip");
    ASSERT_TRUE(until([&] { return in_doubt() == 1; }));
    const auto list = doubts(path("shop.db"), 100).value();
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0].saga, "s1");
    EXPECT_EQ(list[0].step, "seat");
    EXPECT_EQ(list[0].result, R"({"seat":"12A"})");
    ListFilter filter;
    filter.in_doubt = true;
    ASSERT_TRUE(until([&] { return admin().list(filter).value().size() == 1; }))
        << "decided and not carried out";
    // The orchestrator is lost: nothing is decided without it, and it goes on when one is back.
    orchestrator.reset();
    EXPECT_EQ(in_doubt(), 1U);
    hold.clear();
    clear_sent();
    start_orchestrator();
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(in_doubt(), 0U);
    EXPECT_EQ(doubts(path("saga.db"), 100).error().kind, sqlite::Kind::schema);
}

// S28: who looks in between sees a reservation, and neither a sale nor a free seat.
TEST_F(SagaReservations, S28_HalfDoneWorkIsSeenAsAReservationAndTheSumIsConstant) {
    must(
        shop_db->run("CREATE TABLE seats(free INTEGER); INSERT INTO seats VALUES(5);"
                     "CREATE TRIGGER taken AFTER INSERT ON seat BEGIN UPDATE seats SET free = free "
                     "- 1; END;"
                     "CREATE TRIGGER given AFTER DELETE ON seat BEGIN UPDATE seats SET free = free "
                     "+ 1; END"));
    hold = {"b"};
    start_orchestrator();
    must(orchestrator->add(trip()));
    for (const char* id : {"s1", "s2"}) start(id, "trip");
    const auto sum = [&] {
        return number(*shop_db, "SELECT free + (SELECT count(*) FROM seat) FROM seats");
    };
    ASSERT_TRUE(until([&] {
        EXPECT_EQ(sum(), 5);
        return in_doubt() == 2;
    }));
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM seat WHERE sold = 0"), 2);
    EXPECT_EQ(number(*shop_db, "SELECT free FROM seats"), 3);
    hold.clear();
    clear_sent();
    for (const char* id : {"s1", "s2"}) ASSERT_TRUE(comes_to(id, SagaState::completed));
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM seat WHERE sold = 1"), 2);
    EXPECT_EQ(sum(), 5);
}

TEST_F(SagaReservations, ACancelledTryIsInDoubtNoMore) {
    Definition d = trip();
    Step other = d.steps[0];
    other.name = "car";
    other.command.key = "c";  // nobody takes it
    other.timeout_ms = 200;
    other.retry.attempts = 1;
    d.steps.insert(d.steps.begin() + 1, other);
    Step confirm = d.steps[3];
    confirm.name = "car.confirm";
    d.steps.push_back(confirm);
    start_orchestrator();
    must(orchestrator->add(d));
    start("s1", "trip");
    ASSERT_TRUE(comes_to("s1", SagaState::compensated));
    EXPECT_EQ(in_doubt(), 0U);
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM seat"), 0);
}

TEST_F(SagaRig, ASubSagaWithAPivotIsNotStartedWhereItMayHaveToBeUndone) {
    Builder inner("inner");
    inner.deadline(1h).step("a").command("a").compensation("undo").step("p").command("b").pivot();
    Builder outer("outer");
    outer.deadline(1h).saga("first", "inner").step("x").command("a").compensation("undo");
    start_orchestrator();
    must(orchestrator->add(outer.build().value()));
    const auto refused = orchestrator->add(inner.build().value());
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().text.find("outer.steps.first.saga: the saga inner has a pivot"),
              std::string::npos)
        << refused.error().text;
    // One that was let in by other means does not begin.
    auto direct = open("saga.db");
    auto store = Store::open(direct);
    ASSERT_TRUE(store.ok());
    ASSERT_TRUE(store.value()->add_definition(inner.build().value(), 1).ok());
    start("s1", "outer");
    ASSERT_TRUE(comes_to("s1", SagaState::compensated));
    EXPECT_NE(admin().show("s1").value().row.reason.find("has a pivot"), std::string::npos);
}

}  // namespace
}  // namespace ferry::saga
