#include "ferry/telemetry/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace ferry::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A line of its own, so that `ferry_queues 1` is not found in `ferry_queues 10`.
std::string line(const std::string& text) {
    return "\n" + text + "\n";
}

QueueSample queue(std::string_view name, std::uint64_t published) {
    QueueSample sample;
    sample.name = name;
    sample.published = published;
    return sample;
}

TEST(Metrics, BrokerFiguresAppearInBaseUnits) {
    Metrics metrics(10, "1.2.3");
    BrokerSample broker;
    broker.published = 7;
    broker.log_file_bytes = 4096;
    broker.disk_full = true;
    QueueSample orders = queue("orders", 5);
    orders.oldest_unacked_ms = 1500;
    metrics.update(broker, {&orders, 1});
    const std::string text = metrics.render();
    EXPECT_THAT(text, HasSubstr(line("ferry_messages_published_total 7")));
    EXPECT_THAT(text, HasSubstr(line("ferry_log_file_bytes 4096")));
    EXPECT_THAT(text, HasSubstr(line("ferry_disk_full 1")));
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_published_total{queue=\"orders\"} 5")));
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_oldest_unacked_seconds{queue=\"orders\"} 1.5")));
    EXPECT_THAT(text, HasSubstr("version=\"1.2.3\""));
}

TEST(Metrics, ProcessFiguresAreThoseOfThisProcess) {
    const std::string text = Metrics(1).render();
    for (const char* name : {"process_cpu_seconds_total ", "process_resident_memory_bytes ",
                             "process_open_fds ", "process_start_time_seconds "}) {
        const auto at = text.find(std::string("\n") + name);
        ASSERT_NE(at, std::string::npos) << name;
        EXPECT_GT(std::stod(text.substr(at + 1 + std::string_view(name).size())), 0) << name;
    }
}

TEST(Metrics, QueuesOverTheBoundAreSummedUpAsOther) {
    Metrics metrics(2);
    const std::vector<QueueSample> queues{queue("a", 1), queue("b", 2), queue("c", 30),
                                          queue("d", 40)};
    metrics.update({}, queues);
    const std::string text = metrics.render();
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_published_total{queue=\"a\"} 1")));
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_published_total{queue=\"b\"} 2")));
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_published_total{queue=\"_other\"} 70")));
    EXPECT_THAT(text, Not(HasSubstr("queue=\"c\"")));
}

TEST(Metrics, AQueueThatVanishedIsNotShownAndItsPlaceIsGivenToAnother) {
    Metrics metrics(1);
    const std::vector<QueueSample> before{queue("a", 1), queue("b", 2)};
    metrics.update({}, before);
    const std::vector<QueueSample> after{queue("b", 3)};
    metrics.update({}, after);
    const std::string text = metrics.render();
    EXPECT_THAT(text, Not(HasSubstr("queue=\"a\"")));
    EXPECT_THAT(text, HasSubstr(line("ferry_queue_published_total{queue=\"b\"} 3")));
}

TEST(Metrics, TheTotalOfOtherQueuesNeverFallsWhenOneOfThemVanishes) {
    Metrics metrics(0);
    const std::vector<QueueSample> both{queue("a", 100), queue("b", 50)};
    metrics.update({}, both);
    const std::vector<QueueSample> one{queue("b", 50)};
    metrics.update({}, one);
    const std::vector<QueueSample> grown{queue("b", 60)};
    metrics.update({}, grown);
    EXPECT_THAT(metrics.render(),
                HasSubstr(line("ferry_queue_published_total{queue=\"_other\"} 160")));
}

TEST(Metrics, ABatchOfObservationsCountsEachMessage) {
    Metrics metrics(1);
    metrics.observe_confirm_us(150, 1000);
    metrics.observe_confirm_us(150);
    metrics.observe_delivery_us(20e6, 3);
    metrics.observe_sync(300'000, 512);
    const std::string text = metrics.render();
    EXPECT_THAT(text, HasSubstr(line("ferry_confirm_seconds_count 1001")));
    EXPECT_THAT(text, HasSubstr(line("ferry_confirm_seconds_bucket{le=\"0.0001\"} 0")));
    EXPECT_THAT(text, HasSubstr(line("ferry_confirm_seconds_bucket{le=\"0.0002\"} 1001")));
    EXPECT_THAT(text, HasSubstr(line("ferry_delivery_seconds_bucket{le=\"10\"} 0")));
    EXPECT_THAT(text, HasSubstr(line("ferry_delivery_seconds_bucket{le=\"+Inf\"} 3")));
    EXPECT_THAT(text, HasSubstr(line("ferry_log_fsync_seconds_bucket{le=\"0.0003\"} 1")));
    EXPECT_THAT(text, HasSubstr(line("ferry_log_fsync_messages_sum 512")));
}

TEST(Metrics, ScrapingWhileTheLoopUpdatesIsSafe) {
    Metrics metrics(4);
    std::atomic<bool> done{false};
    std::thread scraper([&] {
        while (!done.load()) EXPECT_THAT(metrics.render(), HasSubstr("ferry_queues "));
    });
    for (std::uint64_t i = 0; i < 300; ++i) {
        const std::vector<QueueSample> queues{queue(i % 2 == 0 ? "even" : "odd", i)};
        metrics.update({}, queues);
        metrics.observe_confirm_us(10, 5);
        metrics.observe_sync(1000, 5);
    }
    done.store(true);
    scraper.join();
    EXPECT_THAT(metrics.render(), HasSubstr(line("ferry_confirm_seconds_count 1500")));
}

}  // namespace
}  // namespace ferry::telemetry
