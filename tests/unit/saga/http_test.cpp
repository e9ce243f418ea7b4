#include "http_reply.hpp"

#include "machine_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

HttpAnswer answered(int status, std::string body = {}) {
    HttpAnswer out;
    out.kind = HttpAnswer::Kind::answered;
    out.status = status;
    out.body = std::move(body);
    return out;
}

// G90: what an answer says is what the step becomes.
TEST(SagaHttp, AStatusIsDoneFailedAgainOrUnknown) {
    for (const int status : {200, 201, 204, 299}) {
        EXPECT_EQ(reply_of(answered(status), false).answer, Answer::done) << status;
    }
    for (const int status : {301, 307, 400, 401, 403, 404, 409, 410, 422}) {
        EXPECT_EQ(reply_of(answered(status), false).answer, Answer::failed) << status;
    }
    for (const int status : {408, 425, 429, 503}) {
        EXPECT_EQ(reply_of(answered(status), false).answer, Answer::again) << status;
    }
    for (const int status : {500, 502, 504, 599}) {
        EXPECT_EQ(reply_of(answered(status), false).answer, Answer::unknown) << status;
    }
    HttpAnswer lost;
    EXPECT_EQ(reply_of(lost, false).answer, Answer::unknown);
    lost.kind = HttpAnswer::Kind::not_sent;
    EXPECT_EQ(reply_of(lost, false).answer, Answer::again);
}

TEST(SagaHttp, AConflictIsAFailureUnlessTheCallMayBeUnderWayAlready) {
    EXPECT_EQ(reply_of(answered(409), false).answer, Answer::failed);
    EXPECT_EQ(reply_of(answered(409), true).answer, Answer::unknown);
    HttpAnswer waits = answered(409);
    waits.retry_after_ms = 2'000;
    EXPECT_EQ(reply_of(waits, true).answer, Answer::again);
    EXPECT_EQ(reply_of(waits, false).wait_ms, 2'000U);
}

TEST(SagaHttp, AResultIsJsonOrLeftOut) {
    EXPECT_EQ(reply_of(answered(200, R"({"id":7})"), false).result, R"({"id":7})");
    const Reply text = reply_of(answered(200, "<html>"), false);
    EXPECT_EQ(text.answer, Answer::done);
    EXPECT_EQ(text.result, "");
    EXPECT_NE(text.reason.find("no JSON"), std::string::npos);
    HttpAnswer long_one = answered(200);
    long_one.body_cut = true;
    EXPECT_EQ(reply_of(long_one, false).answer, Answer::done);
    EXPECT_NE(reply_of(long_one, false).reason.find("more than 1048576 bytes"), std::string::npos);
}

TEST(SagaHttp, AFailureSaysWhatTheServerSaid) {
    EXPECT_EQ(reply_of(answered(422, R"({"detail":"no money"})"), false).reason,
              "HTTP 422: no money");
    EXPECT_EQ(reply_of(answered(404, "not\nhere"), false).reason, "HTTP 404: not here");
    EXPECT_EQ(reply_of(answered(400), false).reason, "HTTP 400");
    EXPECT_NE(reply_of(answered(302), false).reason.find("not followed"), std::string::npos);
}

TEST(SagaHttp, TheKeyIsTheSameForEveryAttemptAndFitsAHeader) {
    EXPECT_EQ(idempotency_key("order-17", "charge", Op::act), "order-17/charge/act");
    EXPECT_EQ(idempotency_key("a b%\r\n\xc3\xa9", "x", Op::undo), "a%20b%25%0D%0A%C3%A9/x/undo");
}

TEST(SagaHttp, OnlyPlainUrlsAreUrls) {
    const auto host = [](std::string_view url) {
        const auto parts = split_url(url);
        return parts ? parts->host + ":" + std::to_string(parts->port) : std::string("none");
    };
    EXPECT_EQ(host("http://Shop.example/pay?x=1"), "shop.example:80");
    EXPECT_EQ(host("https://shop.example"), "shop.example:443");
    EXPECT_EQ(host("http://[::1]:8080/"), "::1:8080");
    EXPECT_EQ(host("http://127.0.0.1:8080/a@b"), "none");
    for (const char* bad :
         {"", "http://", "ftp://x/", "file:///etc/passwd", "http://user:secret@host/",
          "http://a b/", "http://host:0/", "http://host:70000/", "http://host:/", "http://host:8x/",
          "http://host\\@other/", "http://[::1", "http://[::1]x/", "http://h\r\nX: y/",
          "http://host/#part", "http://\xc3\xa9/", "HTTP://host/", "//host/"}) {
        EXPECT_EQ(host(bad), "none") << bad;
    }
    EXPECT_EQ(host("http://h/" + std::string(2'000, 'x')), "none");
}

// ---- what the state machine makes of it ----

Builder calls() {
    Builder b("calls");
    b.deadline(1h)
        .step("charge")
        .http("http://127.0.0.1/charge")
        .http_undo("http://127.0.0.1/refund")
        .timeout(10s)
        .retry({100, 5'000, 3})
        .step("ship")
        .command("ship")
        .pivot();
    return b;
}

Reply said(Rig& rig, Answer answer, std::uint64_t wait_ms = 0, Op op = Op::act) {
    Reply reply;
    reply.step = 0;
    reply.op = op;
    reply.answer = answer;
    reply.attempt = rig.instance.steps[0].attempt;
    reply.wait_ms = wait_ms;
    reply.reason = "no luck";
    return reply;
}

// G91
TEST(SagaHttp, AnUnknownEndOfAnAttemptIsNoFailure) {
    Rig rig(Rig::must(calls()));
    rig.begin();
    rig.feed(said(rig, Answer::unknown));
    EXPECT_EQ(rig.state_of("charge"), StepState::backing_off);
    rig.wait();
    rig.feed(said(rig, Answer::again));
    rig.wait();
    rig.feed(said(rig, Answer::again));
    // Later attempts had no effect, but the first may have had one.
    EXPECT_EQ(rig.state_of("charge"), StepState::undoing);
    EXPECT_EQ(rig.sent.back(), "undo charge");
}

TEST(SagaHttp, WithoutAnyUnknownThereIsNothingToUndo) {
    Rig rig(Rig::must(calls()));
    rig.begin();
    for (int i = 0; i < 3; ++i) {
        if (i != 0) rig.wait();
        rig.feed(said(rig, Answer::again));
    }
    EXPECT_EQ(rig.state_of("charge"), StepState::failed);
    EXPECT_EQ(rig.instance.state, SagaState::compensated);
    EXPECT_EQ(rig.sent, (Sent{"charge", "charge", "charge"}));
}

TEST(SagaHttp, RetryAfterIsWaitedForUpToTheCap) {
    Rig rig(Rig::must(calls()));
    rig.begin();
    rig.feed(said(rig, Answer::again, 3'000));
    EXPECT_EQ(rig.instance.steps[0].due_ms, rig.now + 3'000);
    rig.wait();
    rig.feed(said(rig, Answer::again, 3'600'000));
    EXPECT_EQ(rig.instance.steps[0].due_ms, rig.now + 5'000);
    rig.wait();
    rig.done("charge");
    rig.failed("ship");
    EXPECT_EQ(rig.state_of("charge"), StepState::undoing);
    rig.feed(said(rig, Answer::unknown, 60'000, Op::undo));
    EXPECT_EQ(rig.instance.steps[0].due_ms, rig.now + 60'000);
}

TEST(SagaHttp, DefinitionsAreCheckedAndReadBack) {
    const Definition d = Rig::must(calls());
    const auto read = from_canonical_text(canonical_text(d));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value(), d);
    EXPECT_TRUE(calls_http(d));
    const auto complaint = [](Route route) {
        Definition bad = Rig::must(calls());
        bad.steps[0].command = std::move(route);
        const auto all = check(bad);
        return all.empty() ? std::string("fine") : all.front().where + ": " + all.front().what;
    };
    EXPECT_NE(complaint({{}, {}, "http://me:pw@x/", "POST"}).find("is no URL"), std::string::npos);
    EXPECT_NE(complaint({{}, {}, "http://x/", "GET"}).find("must be POST, PUT"), std::string::npos);
    EXPECT_NE(complaint({{}, "queue", "http://x/", "POST"}).find("not both"), std::string::npos);
    EXPECT_NE(complaint({{}, "queue", {}, "PUT"}).find("a method goes with http"),
              std::string::npos);
}

}  // namespace
}  // namespace ferry::saga
