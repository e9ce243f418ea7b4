#include "saga_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

// G82, S1-S3: the saga, its command and its time are one transaction; answers come by the inbox.
TEST_F(SagaRig, ASagaRunsToItsEnd) {
    start_orchestrator();
    must(orchestrator->add(three()));
    start("s1");
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(effects("s1"), 3);
    const auto view = admin().show("s1");
    EXPECT_EQ(view.value().steps[2].result, R"({"step":"c"})");
    EXPECT_EQ(view.value().row.waits_for, "nothing: it has ended");
    EXPECT_EQ(number(*saga_db, "SELECT count(*) FROM ferry_saga WHERE due_ms IS NOT NULL"), 0);
    EXPECT_NE(orchestrator->metrics().find("ferry_saga_completed_total{saga=\"three\""),
              std::string::npos);
}

TEST_F(SagaRig, AFailedStepUndoesTheOthers) {
    fail = "c";
    start_orchestrator();
    must(orchestrator->add(three()));
    for (int i = 0; i < 20; ++i) start("s" + std::to_string(i));
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(comes_to("s" + std::to_string(i), SagaState::compensated));
        EXPECT_EQ(effects("s" + std::to_string(i)), 0);
    }
    EXPECT_EQ(participant->figures().undone, 40U);
    EXPECT_EQ(admin().show("s3").value().row.reason, "step c: no c");
}

// S4, S10: repeats, as the same message and as others that say the same.
TEST_F(SagaRig, RepeatedMessagesHaveOneEffect) {
    twice = true;
    start_orchestrator();
    must(orchestrator->add(three()));
    start("s1");
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(effects("s1"), 3);
    EXPECT_GE(participant->figures().repeats + participant->figures().stale, 1U);
}

// S22
TEST_F(SagaRig, TheSameIdIsOneSaga) {
    start_orchestrator();
    must(orchestrator->add(three()));
    std::vector<std::thread> threads;
    std::atomic<int> created{0};
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            auto started = orchestrator->start("three", "s1", R"({"x":1})");
            if (started.ok() && started.value().created) ++created;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(created, 1);
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    const auto again_started = orchestrator->start("three", "s1", R"({ "x": 1 })");
    ASSERT_TRUE(again_started.ok());
    EXPECT_FALSE(again_started.value().created);
    EXPECT_EQ(again_started.value().state, SagaState::completed);
    const auto other = orchestrator->start("three", "s1", R"({"x":2})");
    ASSERT_FALSE(other.ok());
    EXPECT_EQ(other.error().kind, sqlite::Kind::conflict);
}

TEST_F(SagaRig, BadStartsAreRefusedWithASentence) {
    start_orchestrator();
    must(orchestrator->add(three()));
    EXPECT_EQ(orchestrator->start("none", "s1", "{}").error().kind, sqlite::Kind::not_found);
    EXPECT_EQ(orchestrator->start("three", "", "{}").error().kind, sqlite::Kind::refused);
    EXPECT_EQ(orchestrator->start("three", "s1", "{").error().kind, sqlite::Kind::refused);
    EXPECT_EQ(orchestrator->start("three", "s\xff", "{}").error().kind, sqlite::Kind::refused);
    const std::string deep(2000, '[');
    EXPECT_FALSE(orchestrator->start("three", "s1", deep).ok());
}

// One that cannot be done is found out after it has written; it takes nobody with it.
TEST_F(SagaRig, AStartThatCannotBeStoredIsUndoneAloneInItsTransaction) {
    must(saga_db->run("UPDATE ferry_outbox_state SET value = 50 WHERE name = 'payload_bytes_max'"));
    start_orchestrator();
    must(orchestrator->add(three()));
    const std::string large = R"({"x":")" + std::string(60, 'x') + "\"}";
    std::atomic<int> good{0}, bad{0};
    const auto start_some = [&](const std::string& prefix) {
        for (int i = 0; i < 20; ++i) {
            orchestrator->start_async("three", prefix + std::to_string(i), i == 7 ? large : "{}",
                                      [&](const auto& done) { ++(done.ok() ? good : bad); });
        }
    };
    // While the database is locked, they gather.
    must(saga_db->run("BEGIN IMMEDIATE"));
    start_some("s");
    must(saga_db->run("COMMIT"));
    ASSERT_TRUE(until([&] { return good + bad == 20; }));
    EXPECT_EQ(bad, 1);
    EXPECT_EQ(orchestrator->figures().started, 19U);
    EXPECT_EQ(number(*saga_db, "SELECT count(*) FROM ferry_saga"), 19);
    EXPECT_EQ(number(*saga_db, "SELECT count(*) FROM ferry_outbox WHERE routing_key = 'a'"), 19);
    EXPECT_EQ(orchestrator->figures().lease_losses, 0U);

    must(saga_db->run("BEGIN IMMEDIATE"));
    for (int i = 0; i < 20; ++i) {
        test::Sent sent;
        sent.id = test::outbox_id(static_cast<std::uint64_t>(i) + 1, 1, 'e');
        sent.correlation_id = "m" + std::to_string(i);
        sent.payload = i == 7 ? large : "{}";
        sent.headers.emplace_back("ferry-saga-start", std::string("three"));
        queues[orchestrator->queue()].send(sent);
    }
    must(saga_db->run("COMMIT"));
    ASSERT_TRUE(until([&] { return orchestrator->figures().started == 38; }));
    EXPECT_EQ(number(*saga_db, "SELECT count(*) FROM ferry_saga"), 38);
    EXPECT_FALSE(admin().show("m7").ok());
    EXPECT_TRUE(comes_to("m19", SagaState::completed));
}

// S15, S27: times are in the database.
TEST_F(SagaRig, TimersSurviveARestart) {
    Definition d = three();
    for (Step& step : d.steps) step.timeout_ms = 300;
    d.steps[0].retry.attempts = 2;
    hold = {"a"};
    start_orchestrator();
    must(orchestrator->add(d));
    start("s1");
    orchestrator.reset();
    pump();
    start_orchestrator();
    ASSERT_TRUE(until([&] { return admin().show("s1").value().steps[0].attempts == 2; }));
    ASSERT_TRUE(comes_to("s1", SagaState::compensated)) << "nobody answered: it is undone";
    EXPECT_EQ(effects("s1"), 0);
    EXPECT_EQ(participant->figures().empty, 1U);
}

// S14, G83: one that was put out changes nothing until it has joined again.
TEST_F(SagaRig, AnOrchestratorThatLostItsLeaseJoinsAgainBeforeItChangesAnything) {
    OrchestratorOptions options;
    options.name = "one";
    options.lease = 60s;
    start_orchestrator(options);
    must(orchestrator->add(three()));
    must(saga_db->run("DELETE FROM ferry_saga_member"));
    start("s1");
    EXPECT_EQ(orchestrator->figures().lease_losses, 1U);
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_GE(number(*saga_db, "SELECT value FROM ferry_saga_state WHERE name = 'fence'"), 2);
}

TEST_F(SagaRig, TwoOrchestratorsShareTheWork) {
    start_orchestrator();
    must(orchestrator->add(three()));
    OrchestratorOptions options;
    options.database = path("saga.db");
    options.name = "other";
    auto other = Orchestrator::open(options);
    ASSERT_TRUE(other.ok());
    ASSERT_TRUE(other.value()->run(queues[orchestrator->queue()].source()).ok());
    for (int i = 0; i < 40; ++i) {
        Orchestrator& one = i % 2 == 0 ? *orchestrator : *other.value();
        ASSERT_TRUE(one.start("three", "s" + std::to_string(i), "{}").ok());
    }
    for (int i = 0; i < 40; ++i) {
        ASSERT_TRUE(comes_to("s" + std::to_string(i), SagaState::completed)) << i;
    }
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM effect WHERE times <> 1"), 0);
    EXPECT_EQ(number(*shop_db, "SELECT count(*) FROM effect"), 120);
}

// S21
TEST_F(SagaRig, ARunningSagaKeepsItsDefinition) {
    hold = {"b"};
    start_orchestrator();
    must(orchestrator->add(three()));
    start("s1");
    ASSERT_TRUE(
        until([&] { return admin().show("s1").value().steps[0].state == StepState::done; }));
    Definition changed = three();
    changed.steps.pop_back();
    const auto refused = orchestrator->add(changed);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().kind, sqlite::Kind::conflict);
    changed.version = 2;
    changed.steps[1].name = "renamed";
    must(orchestrator->add(changed));
    start_orchestrator();
    hold.clear();
    start("s2");
    EXPECT_EQ(admin().show("s2").value().row.version, 2U);
    queues["b"].send({});  // wakes nobody: it is no command
    must(admin().cancel("s1", "test", "done with it"));
    EXPECT_EQ(admin().show("s1").value().row.version, 1U);
    ASSERT_TRUE(comes_to("s2", SagaState::completed));
}

// S11: parked, with audit.
TEST_F(SagaRig, AParkedSagaWaitsForAnOperator) {
    Definition d = three();
    for (Step& step : d.steps) step.undo = {10, 20, 50};
    fail = "b";
    stubborn = true;
    start_orchestrator();
    must(orchestrator->add(d));
    for (const char* id : {"s1", "s2", "s3"}) start(id);
    for (const char* id : {"s1", "s2", "s3"}) ASSERT_TRUE(comes_to(id, SagaState::parked));
    ListFilter filter;
    filter.state = SagaState::parked;
    EXPECT_EQ(admin().list(filter).value().size(), 3U);
    must(admin().force("s1", SagaState::compensated, "ada", "refunded by hand"));
    must(admin().skip("s2", "", "ada", "was never reserved"));
    stubborn = false;
    must(admin().retry("s3", "ada", "fixed"));
    for (const char* id : {"s1", "s2", "s3"}) {
        ASSERT_TRUE(comes_to(id, SagaState::compensated)) << id;
    }
    EXPECT_EQ(effects("s3"), 0);
    const auto view = admin().show("s1");
    ASSERT_EQ(view.value().audit.size(), 2U);
    EXPECT_EQ(view.value().audit[0].what, "parked");
    EXPECT_EQ(view.value().audit[1].who, "ada");
    EXPECT_TRUE(view.value().row.forced);
    EXPECT_EQ(admin().retry("s1", "ada", "").error().kind, sqlite::Kind::conflict);
}

// S7, S23 and starts by message.
TEST_F(SagaRig, MessagesStartSignalAndCancelAndWhatIsUnknownIsCounted) {
    Builder b("human");
    b.deadline(1h).step("a").command("a").compensation("undo").signal("approve");
    start_orchestrator();
    must(orchestrator->add(b.build().value()));
    const auto tell = [&](const std::string& id, const char* header, const std::string& value,
                          const std::string& payload) {
        test::Sent sent;
        static int number = 0;
        sent.id = "m" + std::to_string(++number);
        sent.correlation_id = id;
        sent.payload = payload;
        sent.headers.emplace_back(header, value);
        queues[orchestrator->queue()].send(sent);
    };
    tell("nobody", "ferry-saga-answer", "done", "");
    test::Sent answer;
    answer.id = "x";
    answer.correlation_id = "nobody";
    answer.headers = {{"ferry-saga-answer", std::string("done")},
                      {"ferry-saga-op", std::string("act")}};
    queues[orchestrator->queue()].send(answer);
    ASSERT_TRUE(until([&] { return orchestrator->figures().unknown == 1; }));
    tell("s1", "ferry-saga-start", "human", R"({"x":1})");
    tell("s2", "ferry-saga-start", "human", "{}");
    ASSERT_TRUE(until([&] { return orchestrator->figures().started == 2; }));
    tell("s1", "ferry-saga-signal", "approve", R"({"by":"ada"})");
    tell("s2", "ferry-saga-cancel", "no", "");
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    ASSERT_TRUE(comes_to("s2", SagaState::compensated));
    EXPECT_EQ(orchestrator->signal("s1", "approve", "{}").error().kind, sqlite::Kind::conflict);
}

// S20
TEST_F(SagaRig, ASubSagaEndsWithItsParentAndIsUndoneWithIt) {
    start_orchestrator();
    must(orchestrator->add(three("inner")));
    Builder b("outer");
    b.deadline(1h).saga("first", "inner").step("x").command("a").compensation("undo");
    must(orchestrator->add(b.build().value()));
    start("good", "outer");
    ASSERT_TRUE(comes_to("good", SagaState::completed));
    EXPECT_EQ(state("good/first"), SagaState::completed);
    EXPECT_EQ(effects("good/first"), 3);
    fail = "x";
    start("bad", "outer");
    ASSERT_TRUE(comes_to("bad", SagaState::compensated));
    EXPECT_EQ(state("bad/first"), SagaState::compensated);
    EXPECT_EQ(effects("bad/first"), 0);
}

// S24
TEST_F(SagaRig, ADamagedSagaHoldsUpNoOther) {
    Definition d = three();
    for (Step& step : d.steps) step.timeout_ms = 100;
    hold = {"a"};
    start_orchestrator();
    must(orchestrator->add(d));
    start("damaged");
    start("healthy");
    must(saga_db->run("UPDATE ferry_saga SET body = x'0102' WHERE id = 'damaged'"));
    hold.clear();
    ASSERT_TRUE(comes_to("healthy", SagaState::completed));
    EXPECT_EQ(admin().show("damaged").error().kind, sqlite::Kind::corrupt);
}

TEST_F(SagaRig, WhatHasEndedIsForgottenAfterItsTime) {
    OrchestratorOptions options;
    options.retain = 1ms;
    start_orchestrator(options);
    must(orchestrator->add(three()));
    start("s1");
    ASSERT_TRUE(until([&] { return orchestrator->figures().completed == 1; }));
    start_orchestrator(options);
    ASSERT_TRUE(until([&] { return number(*saga_db, "SELECT count(*) FROM ferry_saga") == 0; }));
}

}  // namespace
}  // namespace ferry::saga
