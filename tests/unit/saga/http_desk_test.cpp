#include "http_desk.hpp"

#include "saga_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

/// Servers that answer when a test says so.
class FakeCalls final : public HttpCalls {
public:
    struct Call {
        HttpRequest request;
        Callback done;
    };
    [[nodiscard]] std::string refuses(const std::string& url) const override {
        return url.find("forbidden") == std::string::npos ? "" : "calls there are not allowed";
    }
    [[nodiscard]] std::size_t at_once() const override { return 4; }
    void start(HttpRequest request, Callback done) override {
        const std::scoped_lock lock(mutex_);
        calls_.push_back({std::move(request), std::move(done)});
        most_ = std::max(most_, calls_.size() - answered_);
        ++keys_[header(calls_.back(), "Idempotency-Key")];
    }
    static std::string header(const Call& call, std::string_view name) {
        for (const auto& [key, value] : call.request.headers) {
            if (key == name) return value;
        }
        return {};
    }
    [[nodiscard]] std::size_t started() const {
        const std::scoped_lock lock(mutex_);
        return calls_.size();
    }
    [[nodiscard]] std::size_t most() const {
        const std::scoped_lock lock(mutex_);
        return most_;
    }
    [[nodiscard]] int times(const std::string& key) const {
        const std::scoped_lock lock(mutex_);
        const auto found = keys_.find(key);
        return found == keys_.end() ? 0 : found->second;
    }
    [[nodiscard]] HttpRequest request(std::size_t at) const {
        const std::scoped_lock lock(mutex_);
        return calls_.at(at).request;
    }
    void answer(std::size_t at, int status, std::string body = {}) {
        Callback done;
        {
            const std::scoped_lock lock(mutex_);
            done = std::move(calls_.at(at).done);
            ++answered_;
        }
        HttpAnswer out;
        out.kind = HttpAnswer::Kind::answered;
        out.status = status;
        out.body = std::move(body);
        done(std::move(out));
    }

private:
    mutable std::mutex mutex_;
    std::vector<Call> calls_;
    std::size_t answered_ = 0;
    std::size_t most_ = 0;
    std::map<std::string, int> keys_;
};

class SagaHttpDesk : public SagaRig {
protected:
    void start_calling(const std::string& name = "one") {
        OrchestratorOptions options;
        options.name = name;
        options.http = calls;
        start_orchestrator(options);
    }
    static Definition paying(const std::string& host = "127.0.0.1") {
        Builder b("pay");
        b.deadline(1h)
            .step("charge")
            .http("http://" + host + "/charge")
            .http_undo("http://" + host + "/charge", "DELETE")
            .timeout(30s)
            .retry({10, 100, 5})
            .step("a")
            .command("a")
            .compensation("undo");
        return b.build().value();
    }
    std::int64_t wanted() { return number(*saga_db, "SELECT count(*) FROM ferry_saga_call"); }

    std::shared_ptr<FakeCalls> calls = std::make_shared<FakeCalls>();
};

// G90: one call per attempt, with all that a server needs to make it once.
TEST_F(SagaHttpDesk, AStepIsACallWithItsKeyAndItsAnswerIsTheResult) {
    start_calling();
    must(orchestrator->add(paying()));
    start("s1", "pay", R"({"cents":990})");
    ASSERT_TRUE(until([&] { return calls->started() == 1; }));
    const HttpRequest request = calls->request(0);
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.url, "http://127.0.0.1/charge");
    EXPECT_EQ(request.body, R"({"cents":990})");
    EXPECT_GT(request.timeout, 20s);
    EXPECT_LE(request.timeout, 30s);
    const std::map<std::string, std::string> headers(request.headers.begin(),
                                                     request.headers.end());
    EXPECT_EQ(headers.at("Idempotency-Key"), "s1/charge/act");
    EXPECT_EQ(headers.at("ferry-saga-step"), "charge");
    EXPECT_EQ(headers.at("ferry-saga-op"), "act");
    EXPECT_EQ(headers.at("ferry-saga-attempt"), "1");
    EXPECT_EQ(headers.at("ferry-saga-token"), "1");
    EXPECT_EQ(headers.at("ferry-saga-definition"), "pay/1");
    EXPECT_EQ(headers.at("traceparent").substr(3, 32), admin().show("s1").value().trace);
    EXPECT_EQ(admin().show("s1").value().row.waits_for,
              "an answer from POST http://127.0.0.1/charge");
    EXPECT_EQ(wanted(), 1) << "on disk while it is under way";
    calls->answer(0, 201, R"({"charge":7})");
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(admin().show("s1").value().steps[0].result, R"({"charge":7})");
    EXPECT_EQ(wanted(), 0);
    EXPECT_NE(orchestrator->metrics().find("ferry_saga_http_calls_total{outcome=\"done\"} 1"),
              std::string::npos);
}

TEST_F(SagaHttpDesk, ACompensationIsACallToo) {
    fail = "a";
    start_calling();
    must(orchestrator->add(paying()));
    start("s1", "pay");
    ASSERT_TRUE(until([&] { return calls->started() == 1; }));
    calls->answer(0, 200);
    ASSERT_TRUE(until([&] { return calls->started() == 2; }));
    EXPECT_EQ(calls->request(1).method, "DELETE");
    EXPECT_EQ(calls->times("s1/charge/undo"), 1);
    calls->answer(1, 500);
    ASSERT_TRUE(until([&] { return calls->started() == 3; }));
    EXPECT_EQ(calls->times("s1/charge/undo"), 2) << "the same key";
    calls->answer(2, 204);
    ASSERT_TRUE(comes_to("s1", SagaState::compensated));
}

// G91: the intent is on disk before the call, and is there until its answer is recorded.
TEST_F(SagaHttpDesk, ACallWhoseAnswerWasNotRecordedIsMadeAgainWithTheSameKey) {
    start_calling();
    must(orchestrator->add(paying()));
    start("s1", "pay");
    ASSERT_TRUE(until([&] { return calls->started() == 1; }));
    orchestrator.reset();  // between the call and its record
    EXPECT_EQ(wanted(), 1);
    start_calling("two");
    ASSERT_TRUE(until([&] { return calls->started() == 2; }));
    EXPECT_EQ(calls->times("s1/charge/act"), 2);
    // It may be at work on the first one still: that is not a failure.
    calls->answer(1, 409);
    ASSERT_TRUE(until([&] { return calls->started() == 3; }));
    calls->answer(2, 200);
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
}

TEST_F(SagaHttpDesk, SagasOfTheCommandLineAreCalledForByAnOrchestrator) {
    start_calling();
    must(orchestrator->add(paying()));
    ASSERT_TRUE(admin().start("pay", "s1", "{}", {}).ok());
    ASSERT_TRUE(until([&] { return calls->started() == 1; }));
    calls->answer(0, 200);
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(calls->started(), 1U);
}

// G92
TEST_F(SagaHttpDesk, NoMoreCallsThanAllowedAreUnderWayAndNoneIsForgotten) {
    start_calling();
    must(orchestrator->add(paying()));
    for (int i = 0; i < 30; ++i) start("s" + std::to_string(i), "pay");
    std::size_t answered = 0;
    ASSERT_TRUE(until([&] {
        while (answered < calls->started()) calls->answer(answered++, 200);
        return answered == 30;
    }));
    for (int i = 0; i < 30; ++i) {
        ASSERT_TRUE(comes_to("s" + std::to_string(i), SagaState::completed)) << i;
    }
    EXPECT_LE(calls->most(), 4U);
}

// G83: one that was put out records nothing; who takes over asks the server again.
TEST_F(SagaHttpDesk, TheAnswerOfOneThatLostItsLeaseIsRecordedByWhoTookTheCall) {
    start_calling("one");
    must(orchestrator->add(paying()));
    start("s1", "pay");
    ASSERT_TRUE(until([&] { return calls->started() == 1; }));
    OrchestratorOptions options;
    options.database = path("saga.db");
    options.name = "two";
    options.http = calls;
    auto other = Orchestrator::open(options);
    ASSERT_TRUE(other.ok());
    ASSERT_TRUE(other.value()->run(queues[orchestrator->queue()].source()).ok());
    // As the other one does when the first is put out, which would join and take it back by itself.
    must(
        saga_db->run("UPDATE ferry_saga_call SET repeated = 1, fence = (SELECT fence FROM "
                     "ferry_saga_member WHERE owner = 'two')"));
    ASSERT_TRUE(until([&] { return calls->started() == 2; }));
    calls->answer(0, 422);  // comes to whoever was put out
    calls->answer(1, 200);
    ASSERT_TRUE(comes_to("s1", SagaState::completed));
    EXPECT_EQ(calls->times("s1/charge/act"), 2);
}

// G92
TEST_F(SagaHttpDesk, WhatIsNotAllowedIsRefusedAtOnceAndNeverCalled) {
    start_calling();
    const auto refused = orchestrator->add(paying("forbidden.example"));
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().text.find("steps.charge: calls there are not allowed"),
              std::string::npos);
    start_orchestrator();
    EXPECT_NE(orchestrator->add(paying()).error().text.find("makes no HTTP calls"),
              std::string::npos);
}

TEST_F(SagaHttpDesk, ADefinitionThatWasLetInBeforeIsNotCalledWhereItIsForbiddenNow) {
    {
        auto store_directly = open("saga.db");
        auto store = Store::open(store_directly);
        ASSERT_TRUE(store.ok());
        ASSERT_TRUE(store.value()->add_definition(paying("forbidden.example"), 1).ok());
    }
    start_calling();
    start("s1", "pay");
    ASSERT_TRUE(comes_to("s1", SagaState::compensated));
    EXPECT_EQ(calls->started(), 0U);
    EXPECT_EQ(admin().show("s1").value().row.reason, "step charge: calls there are not allowed");
}

}  // namespace
}  // namespace ferry::saga
