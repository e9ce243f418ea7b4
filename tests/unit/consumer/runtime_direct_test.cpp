#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>

#include "fake_source.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/wire/limits.hpp"

// One worker that takes and handles in turns, for sources that keep what they gave.
namespace ferry::consumer {
namespace {

using test::eventually;
using test::FakeQueue;

constexpr std::size_t window = 100;

RuntimeOptions single(std::uint32_t batch) {
    RuntimeOptions options;
    options.name = "test";
    options.threads = 1;
    options.batch = batch;
    options.retry.first = Duration(1);
    options.retry.cap = Duration(5);
    options.retry.attempts_max = 1000;
    options.retry.later_first = Duration(1);
    options.retry.later_cap = Duration(5);
    return options;
}

TEST(RuntimeDirect, HandlesEveryMessageOnceInBatchesAndAcksIt) {
    FakeQueue queue;
    for (int i = 0; i < 300; ++i) queue.send({std::to_string(i)});
    std::atomic<std::size_t> handled{0};
    std::atomic<std::size_t> largest{0};
    auto runtime = Runtime::start_batched(
        queue.source(window, true),
        [&](std::span<const Incoming> messages, std::span<Handled>) {
            handled += messages.size();
            largest = std::max(largest.load(), messages.size());
        },
        single(20));
    ASSERT_TRUE(runtime.ok());
    EXPECT_TRUE(eventually([&] { return runtime.value()->figures().acks_settled == 300; }));
    EXPECT_EQ(handled, 300U);
    EXPECT_EQ(queue.unsettled(), 0U);
    EXPECT_EQ(largest, 20U);
    EXPECT_EQ(queue.late_reads, 0U);  // nobody asked
}

TEST(RuntimeDirect, ReadsWhatIsLateWhenAHandlerAsksAndBeforeAMessageIsKept) {
    FakeQueue queue;
    const std::uint64_t now = system_clock().now().wall_ms;
    queue.send({.payload = "reads", .id = "id-1", .key = "a", .published_at_ms = now});
    queue.send({.payload = "fails", .id = "id-2", .key = "b", .headers = {{"n", true}}});
    std::atomic<std::size_t> before{0};
    std::atomic<std::size_t> asked{0};
    std::atomic<std::size_t> kept{0};
    std::atomic<int> failures{0};
    auto runtime = Runtime::start(
        queue.source(window, true),
        [&](const Incoming& message) {
            const std::string_view payload = message.payload();
            if (payload == "reads") {
                before = queue.late_reads.load();
                EXPECT_EQ(message.ordering_key(), "a");
                EXPECT_EQ(message.published_at_ms(), now);
                EXPECT_EQ(message.tag().generation, 1U);
                const std::uint64_t position = message.position();
                EXPECT_EQ(queue.late_reads, before);
                EXPECT_EQ(message.id(), "id-1");
                EXPECT_EQ(message.routing_key(), "queue");
                EXPECT_EQ(message.delivery().position, position);
                EXPECT_EQ(payload, "reads");
                asked = queue.late_reads.load();
                return Handled::done();
            }
            if (failures++ == 0) return Handled::retry("once");
            kept = queue.late_reads.load();
            EXPECT_EQ(message.properties().headers.size(), 1U);
            EXPECT_EQ(message.id(), "id-2");
            EXPECT_EQ(message.ordering_key(), "b");
            return Handled::done();
        },
        single(1));
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(before, 0U);
    EXPECT_EQ(asked, 1U);
    EXPECT_EQ(kept, 2U);
    EXPECT_EQ(queue.late_reads, 2U);
}

TEST(RuntimeDirect, GoesOnInThePlaceOfWhatIsDoneWhileItsAckWaits) {
    FakeQueue queue;
    queue.settle_pause = Duration(3'600'000);
    for (int i = 0; i < 300; ++i) queue.send({std::to_string(i)});
    std::atomic<std::size_t> handled{0};
    auto runtime = Runtime::start_batched(
        queue.source(window, true),
        [&](std::span<const Incoming> messages, std::span<Handled>) { handled += messages.size(); },
        single(10));
    ASSERT_TRUE(runtime.ok());
    // The first acks go out at once, the next ones when nothing comes any more: that is once, if a
    // window, which is much less, was never full.
    ASSERT_TRUE(eventually([&] { return handled == 300; }));
    EXPECT_TRUE(runtime.value()->stop(Duration(20'000)).ok());  // does not wait for the hour
    EXPECT_EQ(queue.unsettled(), 0U);
    EXPECT_LE(queue.settles(), 3U);
    EXPECT_EQ(runtime.value()->figures().acks_settled, 300U);
}

TEST(RuntimeDirect, WhatIsDoneIsSettledWhenNothingComesAnyMore) {
    FakeQueue queue;
    queue.settle_pause = Duration(3'600'000);
    auto runtime = Runtime::start(
        queue.source(window, true), [](const Incoming&) { return Handled::done(); }, single(1));
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 3; ++i) {
        queue.send({"now and then"});
        ASSERT_TRUE(eventually([&] { return runtime.value()->figures().acks_settled == i; })) << i;
    }
    EXPECT_EQ(queue.unsettled(), 0U);
}

/// More than its window of messages, which it gives as fast as they are taken.
class FullSource final : public Source {
public:
    Result<transport::Received> next(Duration) override {
        return Error{Errc::would_block, 0, 0, "all came"};
    }
    Status next_late(Duration timeout, std::size_t at_most, std::vector<Incoming>& out) override {
        // What comes first is settled at once; the pause begins then.
        if (given_ == at_most) eventually([&] { return settled > 0; });
        if (given_ == ferry::limits::window_messages_max) {
            went_on = eventually([&] { return settled >= given_ / 2; });
        }
        if (given_ > ferry::limits::window_messages_max) return next(timeout).error();
        for (std::size_t i = 0; i < at_most; ++i) {
            transport::LateReceived one;
            one.delivery.tag = {1, ++given_, 1};
            one.delivery.position = given_;
            one.delivery.message.properties = as_bytes("\x80");  // an empty map
            out.emplace_back(one);
        }
        return ok_status();
    }
    Result<std::vector<transport::DeliveryTag>> settle(
        std::span<const transport::DeliveryTag> tags) override {
        settled += tags.size();
        return std::vector<transport::DeliveryTag>{};
    }
    [[nodiscard]] Duration settle_pause() const override { return Duration{3'600'000}; }
    Status give_back(const transport::DeliveryTag&, Duration) override { return ok_status(); }
    Status extend(std::span<const transport::DeliveryTag>, Duration) override {
        return ok_status();
    }
    Status dead_letter(const Incoming&, std::string_view) override { return ok_status(); }
    Result<Place> place() override { return Place{}; }
    std::vector<transport::DeliveryTag> lost() override { return {}; }
    [[nodiscard]] bool connected() const override { return true; }
    [[nodiscard]] bool keeps_what_it_gave() const override { return true; }
    void close() override {}

    std::atomic<std::size_t> settled{0};
    std::atomic<bool> went_on{false};

private:
    std::uint64_t given_ = 0;
};

TEST(RuntimeDirect, SettlesBeforeAWindowIsFullHoweverLongThePause) {
    auto owned = std::make_unique<FullSource>();
    FullSource& source = *owned;
    auto runtime = Runtime::start_batched(
        std::move(owned), [](std::span<const Incoming>, std::span<Handled>) {}, single(1'000));
    ASSERT_TRUE(runtime.ok());
    constexpr std::size_t all = ferry::limits::window_messages_max + 1'000;
    EXPECT_TRUE(eventually([&] { return source.settled == all; }));
    EXPECT_TRUE(source.went_on);
}

TEST(RuntimeDirect, AsksAgainForAcksThatWereRefusedAndLosesNone) {
    FakeQueue queue;
    queue.refuse_acks(true);
    for (int i = 0; i < 30; ++i) queue.send({std::to_string(i)});
    std::atomic<std::size_t> handled{0};
    std::mutex mutex;
    std::vector<std::string> said;
    auto options = single(10);
    options.on_event = [&](std::string_view text) {
        const std::scoped_lock lock(mutex);
        said.emplace_back(text);
    };
    auto runtime = Runtime::start_batched(
        queue.source(window, true),
        [&](std::span<const Incoming> messages, std::span<Handled>) { handled += messages.size(); },
        options);
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return handled == 30 && queue.settles() > 3; }));
    EXPECT_EQ(runtime.value()->figures().acks_settled, 0U);
    queue.refuse_acks(false);
    EXPECT_TRUE(eventually([&] { return runtime.value()->figures().acks_settled == 30; }));
    EXPECT_EQ(queue.unsettled(), 0U);
    EXPECT_EQ(runtime.value()->figures().leases_lost, 0U);
    EXPECT_EQ(handled, 30U);
    const std::scoped_lock lock(mutex);
    ASSERT_EQ(said.size(), 1U);  // not for each time
    EXPECT_NE(said[0].find("no connection"), std::string::npos);
}

TEST(RuntimeDirect, EndsAlsoWhenItsAcksAreRefusedForEver) {
    FakeQueue queue;
    queue.refuse_acks(true);
    queue.send({"x"});
    auto runtime = Runtime::start(
        queue.source(window, true), [](const Incoming&) { return Handled::done(); }, single(1));
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.settles() > 1; }));
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
    EXPECT_EQ(runtime.value()->figures().leases_lost, 1U);
}

TEST(RuntimeDirect, CountsTheTimeToTheEffectOfEachMessageOfABatchThatIsDone) {
    FakeQueue queue;
    const std::uint64_t now = system_clock().now().wall_ms;
    for (int i = 0; i < 3; ++i) queue.send({.payload = "old", .published_at_ms = now - 20'000});
    for (int i = 0; i < 2; ++i) queue.send({.payload = "older", .published_at_ms = now - 200'000});
    queue.send({.payload = "of no time"});
    queue.send({.payload = "poison", .published_at_ms = now - 20'000});
    std::atomic<std::size_t> largest{0};
    auto runtime = Runtime::start_batched(
        queue.source(window, true),
        [&](std::span<const Incoming> messages, std::span<Handled> handled) {
            largest = std::max(largest.load(), messages.size());
            for (std::size_t i = 0; i < messages.size(); ++i) {
                if (messages[i].payload() == "poison") handled[i] = Handled::poison("it is");
            }
        },
        single(20));
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return runtime.value()->figures().dead_lettered == 1; }));
    EXPECT_GT(largest, 1U);
    const std::string metrics = runtime.value()->metrics();
    const std::string name = "ferry_consumer_commit_to_effect_seconds";
    EXPECT_NE(metrics.find(name + "_count{consumer=\"test\"} 5\n"), std::string::npos) << metrics;
    EXPECT_NE(metrics.find(name + "_bucket{consumer=\"test\",le=\"5\"} 0\n"), std::string::npos);
    EXPECT_NE(metrics.find(name + "_bucket{consumer=\"test\",le=\"30\"} 3\n"), std::string::npos);
    EXPECT_NE(metrics.find(name + "_bucket{consumer=\"test\",le=\"300\"} 5\n"), std::string::npos);
}

TEST(RuntimeDirect, KeepsTheOrderOfAKeyThroughRetriesWhileOtherKeysGoOn) {  // G37
    FakeQueue queue;
    std::mutex mutex;
    std::map<std::string, std::string> by_key;
    int failures = 0;
    auto runtime = Runtime::start(
        queue.source(window, true),
        [&](const Incoming& message) {
            const std::string& key = message.properties().ordering_key;
            const std::scoped_lock lock(mutex);
            if (key == "a" && message.payload() == "3" && failures++ < 5) {
                return Handled::retry("not yet");
            }
            by_key[key] += message.payload();
            return Handled::done();
        },
        single(1));
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 10; ++i) {
        for (const char* key : {"a", "b", "c"}) queue.send({std::to_string(i), "", key});
    }
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    const std::scoped_lock lock(mutex);
    for (const char* key : {"a", "b", "c"}) EXPECT_EQ(by_key[key], "0123456789");
    EXPECT_EQ(runtime.value()->figures().retried, 5U);
}

TEST(RuntimeDirect, OfABatchOnlyWhatFailedComesAgain) {
    FakeQueue queue;
    for (int i = 0; i < 12; ++i) {
        queue.send({std::to_string(i), "", i % 3 == 0 ? "" : i % 3 == 1 ? "a" : "b"});
    }
    std::mutex mutex;
    std::map<std::string, int> times;
    auto runtime = Runtime::start_batched(
        queue.source(window, true),
        [&](std::span<const Incoming> messages, std::span<Handled> handled) {
            const std::scoped_lock lock(mutex);
            for (std::size_t i = 0; i < messages.size(); ++i) {
                const std::string payload(messages[i].payload());
                // Two of one key, one without: each fails once.
                const bool fails = payload == "1" || payload == "4" || payload == "6";
                if (times[payload]++ == 0 && fails) handled[i] = Handled::retry("the first time");
            }
        },
        single(12));
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    const std::scoped_lock lock(mutex);
    for (const auto& [payload, count] : times) {
        const bool failed = payload == "1" || payload == "4" || payload == "6";
        EXPECT_EQ(count, failed ? 2 : 1) << payload;
    }
    EXPECT_EQ(times.size(), 12U);
}

TEST(RuntimeDirect, GivesUpDelaysAndSurvivesHandlersThatThrow) {
    FakeQueue queue;
    for (const char* text : {"poison", "later", "throws", "fine"}) queue.send({text, "", "k"});
    std::atomic<int> later{0};
    std::atomic<int> thrown{0};
    auto runtime = Runtime::start(
        queue.source(window, true),
        [&](const Incoming& message) -> Handled {
            if (message.payload() == "poison") return Handled::poison("never");
            if (message.payload() == "later" && later++ < 3) return Handled::later("busy");
            if (message.payload() == "throws" && thrown++ < 2) throw std::runtime_error("oh");
            return Handled::done();
        },
        single(1));
    ASSERT_TRUE(runtime.ok());
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    ASSERT_EQ(queue.dead().size(), 1U);
    EXPECT_EQ(queue.dead().front().first, "poison");
    EXPECT_EQ(runtime.value()->figures().later, 3U);
    EXPECT_EQ(runtime.value()->figures().retried, 2U);
    EXPECT_EQ(later, 4);
    EXPECT_EQ(thrown, 3);
}

TEST(RuntimeDirect, StopsWhenWhatRunsHasEndedAndShowsItInHealth) {
    FakeQueue queue;
    std::atomic<bool> inside{false};
    std::atomic<bool> go_on{false};
    auto options = single(1);
    options.stuck_after = Duration(1);
    auto runtime = Runtime::start(
        queue.source(window, true),
        [&](const Incoming&) {
            inside = true;
            eventually([&] { return go_on.load(); });
            return Handled::done();
        },
        options);
    ASSERT_TRUE(runtime.ok());
    for (int i = 0; i < 3; ++i) queue.send({std::to_string(i)});
    ASSERT_TRUE(eventually([&] { return inside.load(); }));
    EXPECT_EQ(runtime.value()->health().running, 1U);
    EXPECT_TRUE(eventually([&] { return runtime.value()->health().stuck == 1; }));
    EXPECT_FALSE(runtime.value()->stop(Duration(1)).ok());
    go_on = true;
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
    EXPECT_EQ(runtime.value()->figures().done, 1U);
    EXPECT_EQ(queue.unsettled(), 2U);
    EXPECT_EQ(queue.unacked(), 0U);
}

TEST(RuntimeDirect, RandomFailuresLoseNothingAndKeepTheOrderOfKeys) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        FakeQueue queue;
        SeededRandom random(seed);
        std::map<std::string, std::vector<int>> sent;
        for (int i = 0; i < 200; ++i) {
            const std::string key = i % 4 == 0 ? "" : "k" + std::to_string(random.next() % 5);
            sent[key].push_back(i);
            queue.send({std::to_string(i), "", key});
        }
        std::mutex mutex;
        std::map<std::string, std::vector<int>> done;
        auto runtime = Runtime::start(
            queue.source(window, true),
            [&](const Incoming& message) {
                const std::scoped_lock lock(mutex);
                const auto dice = random.next() % 10;
                if (dice == 0) return Handled::retry("again");
                if (dice == 1) return Handled::later("later");
                done[message.properties().ordering_key].push_back(
                    std::stoi(std::string(message.payload())));
                return Handled::done();
            },
            single(1));
        ASSERT_TRUE(runtime.ok());
        ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; })) << "seed " << seed;
        runtime.value().reset();
        for (auto& [key, list] : sent) {
            if (key.empty()) std::sort(done[key].begin(), done[key].end());
            EXPECT_EQ(done[key], list) << "key " << key << ", seed " << seed;
        }
    }
}

}  // namespace
}  // namespace ferry::consumer
