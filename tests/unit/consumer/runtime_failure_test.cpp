#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>

#include "fake_source.hpp"
#include "ferry/consumer/runtime.hpp"

namespace ferry::consumer {
namespace {

using test::eventually;
using test::FakeQueue;

RuntimeOptions quick() {
    RuntimeOptions options;
    options.retry.first = Duration(1);
    options.retry.cap = Duration(5);
    options.retry.later_first = Duration(1);
    options.retry.later_cap = Duration(2);
    return options;
}

TEST(RuntimeFailure, GivesUpAfterTheLastAttemptAndSaysWhy) {
    FakeQueue queue;
    std::atomic<int> calls{0};
    auto options = quick();
    options.retry.attempts_max = 3;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            EXPECT_EQ(message.attempt(), static_cast<std::uint64_t>(++calls));
            return Handled::retry("no stock");
        },
        options);
    ASSERT_TRUE(runtime.ok());
    queue.send({"order"});
    ASSERT_TRUE(eventually([&] { return queue.dead().size() == 1; }));
    EXPECT_EQ(queue.dead()[0].first, "order");
    EXPECT_EQ(queue.dead()[0].second, "no stock");
    EXPECT_EQ(calls, 3);
    EXPECT_TRUE(eventually([&] { return runtime.value()->figures().dead_lettered == 1; }));
}

// C7: the attempts of earlier processes count.
TEST(RuntimeFailure, CountsTheDeliveriesThatEarlierProcessesSaw) {
    FakeQueue queue;
    const std::uint64_t position = queue.send({"order"});
    {
        auto earlier = queue.source();
        for (int i = 0; i < 4; ++i) {
            ASSERT_TRUE(earlier->next(Duration(100)).ok());
            queue.break_connection();
        }
    }
    static_cast<void>(position);
    std::atomic<int> calls{0};
    auto options = quick();
    options.retry.attempts_max = 5;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            ++calls;
            EXPECT_EQ(message.attempt(), 5U);
            return Handled::retry("still no");
        },
        options);
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.dead().size() == 1; }));
    EXPECT_EQ(calls, 1);
}

// C7: a message whose handler ends the process is given up without being tried again.
TEST(RuntimeFailure, GivesUpUnseenWhatWasDeliveredTooOften) {
    FakeQueue queue;
    queue.send({"deadly"});
    auto earlier = queue.source();
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(earlier->next(Duration(100)).ok());
        queue.break_connection();
    }
    std::atomic<int> calls{0};
    auto options = quick();
    options.retry.deliveries_max = 10;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            ++calls;
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.dead().size() == 1; }));
    EXPECT_EQ(calls, 0);
    EXPECT_THAT(queue.dead()[0].second, testing::HasSubstr("delivered 11 times"));
}

// C11: a locked database is nobody's failure.
TEST(RuntimeFailure, LaterSpendsNoAttempt) {
    FakeQueue queue;
    std::atomic<int> calls{0};
    auto options = quick();
    options.retry.attempts_max = 2;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            EXPECT_EQ(message.attempt(), 1U);
            return ++calls < 20 ? Handled::later("database is locked") : Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    queue.send({"x"});
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(calls, 20);
    EXPECT_TRUE(queue.dead().empty());
    EXPECT_EQ(runtime.value()->figures().retried, 0U);
}

TEST(RuntimeFailure, TakesAThrowingHandlerForAFailedAttempt) {
    FakeQueue queue;
    std::atomic<int> calls{0};
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) -> Handled {
            if (++calls == 1) throw std::runtime_error("boom");
            return Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    queue.send({"x"});
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(runtime.value()->figures().retried, 1U);
}

TEST(RuntimeFailure, PoisonWithoutAPlaceIsTriedAgainAndShowsInHealth) {
    FakeQueue queue;
    queue.refuse_dead_letters(true);
    std::atomic<bool> repaired{false};
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) { return repaired ? Handled::done() : Handled::poison("unreadable"); },
        quick());
    ASSERT_TRUE(runtime.ok());
    queue.send({"x"});
    EXPECT_TRUE(eventually([&] { return runtime.value()->health().unplaced == 1; }));
    EXPECT_FALSE(runtime.value()->health().ok);
    repaired = true;
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_TRUE(eventually([&] { return runtime.value()->health().ok; }));
}

// C4: the lease ends while the handler runs, the message is delivered once more.
TEST(RuntimeFailure, ARedeliveryWhileTheHandlerRunsIsNotASecondCall) {
    FakeQueue queue;
    std::atomic<int> calls{0};
    std::atomic<bool> go_on{false};
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            ++calls;
            eventually([&] { return go_on.load(); });
            return Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    const std::uint64_t position = queue.send({"x"});
    ASSERT_TRUE(eventually([&] { return calls == 1; }));
    queue.end_lease(position);
    ASSERT_TRUE(eventually([&] { return runtime.value()->figures().redelivered_while_held == 1; }));
    go_on = true;
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(calls, 1);
}

TEST(RuntimeFailure, AfterABrokenConnectionEverythingIsDoneInTheOrderOfItsKey) {
    FakeQueue queue;
    std::mutex mutex;
    std::map<std::string, std::uint64_t> newest;
    std::atomic<std::size_t> calls{0};
    auto runtime = Runtime::start(
        queue.source(10),
        [&](const Incoming& message) {
            // Repeats are allowed here, gaps are not: a later one never runs before an earlier one
            // was there.
            const std::scoped_lock lock(mutex);
            auto& seen = newest[message.properties().ordering_key];
            const std::uint64_t number = std::stoull(std::string(message.payload()));
            EXPECT_LE(number, seen + 1);
            seen = std::max(seen, number);
            ++calls;
            return Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 300; ++i) {
        queue.send({std::to_string(i), "", "a"});
        queue.send({std::to_string(i), "", "b"});
        if (i % 20 == 0) queue.break_connection();
    }
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(newest["a"], 300U);
    EXPECT_EQ(newest["b"], 300U);
    EXPECT_GE(calls, 600U);
}

TEST(RuntimeFailure, AnAckThatIsRefusedBringsTheMessageAgain) {
    FakeQueue queue;
    std::atomic<int> calls{0};
    queue.refuse_acks(true);
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            ++calls;
            return Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    queue.send({"x"});
    ASSERT_TRUE(eventually([&] { return runtime.value()->figures().leases_lost == 1; }));
    queue.refuse_acks(false);
    queue.break_connection();
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(calls, 2);
}

// C14: effects outside of the database get a key that is the same each time.
TEST(RuntimeFailure, GivesTheSameIdempotencyKeyForEveryDelivery) {
    FakeQueue queue;
    std::mutex mutex;
    std::vector<std::string> keys;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            const std::scoped_lock lock(mutex);
            keys.push_back(message.idempotency_key("mailer"));
            return keys.size() < 3 ? Handled::retry("mail server away") : Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    queue.send({"x", test::outbox_id(7)});
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_THAT(keys, testing::Each("mailer/" + test::outbox_id(7)));
    EXPECT_EQ(keys.size(), 3U);
}

}  // namespace
}  // namespace ferry::consumer
