#include "ferry/consumer/runtime.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>

#include "fake_source.hpp"

namespace ferry::consumer {
namespace {

using test::eventually;
using test::FakeQueue;

RuntimeOptions quick() {
    RuntimeOptions options;
    options.name = "test";
    options.retry.first = Duration(1);
    options.retry.cap = Duration(20);
    options.retry.later_first = Duration(1);
    options.retry.later_cap = Duration(5);
    return options;
}

struct Journal {
    std::mutex mutex;
    std::map<std::string, std::vector<std::string>> by_key;
    std::size_t total = 0;
    void add(const Incoming& message) {
        const std::scoped_lock lock(mutex);
        by_key[message.properties().ordering_key].emplace_back(message.payload());
        ++total;
    }
};

TEST(Runtime, HandlesEveryMessageOnceAndAcksIt) {
    FakeQueue queue;
    Journal journal;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            journal.add(message);
            return Handled::done();
        },
        quick());
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 200; ++i) queue.send({std::to_string(i)});
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(journal.total, 200U);
    EXPECT_EQ(runtime.value()->figures().done, 200U);
    EXPECT_TRUE(eventually([&] { return runtime.value()->figures().acks_settled == 200; }));
}

// G37
TEST(Runtime, KeepsTheOrderOfAKeyThroughRetriesWhileOtherKeysGoOn) {
    FakeQueue queue;
    Journal journal;
    std::atomic<int> failures{0};
    auto options = quick();
    options.retry.attempts_max = 1000;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming& message) {
            if (message.payload() == "3" && message.properties().ordering_key == "a" &&
                failures.fetch_add(1) < 5) {
                return Handled::retry("not yet");
            }
            journal.add(message);
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 10; ++i) {
        for (const char* key : {"a", "b", "c"}) queue.send({std::to_string(i), "", key});
    }
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    const std::vector<std::string> order{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    for (const char* key : {"a", "b", "c"}) EXPECT_EQ(journal.by_key[key], order);
    EXPECT_EQ(runtime.value()->figures().retried, 5U);
}

TEST(Runtime, RunsMessagesWithoutAKeyInParallel) {
    FakeQueue queue;
    std::atomic<int> inside{0};
    std::atomic<bool> all{false};
    auto options = quick();
    options.threads = 4;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            if (inside.fetch_add(1) + 1 == 4) all = true;
            eventually([&] { return all.load(); });
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 4; ++i) queue.send({"x"});
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_TRUE(all);
}

TEST(Runtime, HandsOverBatches) {
    FakeQueue queue;
    for (int i = 0; i < 50; ++i) queue.send({"x"});
    std::atomic<std::size_t> largest{0};
    auto options = quick();
    options.threads = 1;
    options.batch = 20;
    auto runtime = Runtime::start_batched(
        queue.source(),
        [&](std::span<const Incoming> messages, std::span<Handled>) {
            largest = std::max(largest.load(), messages.size());
            // The first call waits for the rest of the queue.
            eventually([&] { return queue.unacked() + 20 >= queue.unsettled(); });
        },
        options);
    ASSERT_TRUE(runtime.ok());
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_LE(largest, 20U);
    EXPECT_GT(largest, 1U);
}

TEST(Runtime, ExtendsTheLeaseOfASlowHandlerAndOfWhatWaitsBehindIt) {
    FakeQueue queue;
    auto options = quick();
    options.lease = Duration(30);
    options.threads = 1;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            eventually([&] { return queue.extended() >= 4; });
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    queue.send({"slow", "", "k"});
    queue.send({"next", "", "k"});
    EXPECT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_GE(runtime.value()->figures().leases_extended, 4U);
}

TEST(Runtime, StopsGracefullyFinishingWhatRunsAndGivingBackTheRest) {
    FakeQueue queue;
    std::atomic<bool> inside{false};
    std::atomic<bool> go_on{false};
    auto options = quick();
    options.threads = 1;
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            inside = true;
            eventually([&] { return go_on.load(); });
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 5; ++i) queue.send({"x"});
    ASSERT_TRUE(eventually([&] { return inside.load() && queue.unacked() == 5; }));
    EXPECT_EQ(runtime.value()->stop(Duration(20)).error().code, Errc::indeterminate);
    go_on = true;
    EXPECT_TRUE(runtime.value()->stop(Duration(20'000)).ok());
    EXPECT_EQ(queue.unsettled(), 4U);  // the one that ran is acked
    EXPECT_EQ(queue.unacked(), 0U);
    EXPECT_EQ(runtime.value()->figures().done, 1U);
}

TEST(Runtime, ReportsStuckHandlersAndALostSourceAsUnhealthy) {
    FakeQueue queue;
    std::atomic<bool> go_on{false};
    auto options = quick();
    options.stuck_after = Duration(5);
    auto runtime = Runtime::start(
        queue.source(),
        [&](const Incoming&) {
            eventually([&] { return go_on.load(); });
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    EXPECT_TRUE(runtime.value()->health().ok);
    queue.send({"x"});
    EXPECT_TRUE(eventually([&] { return runtime.value()->health().stuck == 1; }));
    EXPECT_THAT(runtime.value()->health().reason, testing::HasSubstr("longer than 5 ms"));
    go_on = true;
    EXPECT_TRUE(eventually([&] { return runtime.value()->health().ok; }));
    queue.finish();
    EXPECT_TRUE(eventually([&] { return runtime.value()->ended(); }));
    EXPECT_THAT(runtime.value()->health().reason, testing::HasSubstr("the queue is gone"));
}

TEST(Runtime, TellsPrometheus) {
    FakeQueue queue;
    auto runtime = Runtime::start(
        queue.source(), [](const Incoming&) { return Handled::done(); }, quick());
    ASSERT_TRUE(runtime.ok());
    queue.send({"x", "", "", {}, 1});
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_TRUE(eventually([&] { return runtime.value()->figures().done == 1; }));
    EXPECT_THAT(runtime.value()->metrics(),
                testing::HasSubstr("ferry_consumer_done_total{consumer=\"test\"} 1"));
    EXPECT_THAT(
        runtime.value()->metrics(),
        testing::HasSubstr("ferry_consumer_commit_to_effect_seconds_count{consumer=\"test\"} 1"));
}

TEST(Runtime, RefusesOptionsOutOfRange) {
    FakeQueue queue;
    const auto handler = [](const Incoming&) { return Handled::done(); };
    auto options = quick();
    options.threads = 0;
    EXPECT_EQ(Runtime::start(queue.source(), handler, options).error().code, Errc::rejected);
    options = quick();
    options.batch = 5;
    EXPECT_EQ(Runtime::start(queue.source(), handler, options).error().code, Errc::rejected);
    options = quick();
    options.retry.attempts_max = 0;
    EXPECT_EQ(Runtime::start(queue.source(), handler, options).error().code, Errc::rejected);
    EXPECT_EQ(Runtime::start(queue.source(), Handler(), quick()).error().code, Errc::rejected);
}

}  // namespace
}  // namespace ferry::consumer
