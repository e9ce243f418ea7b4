#include "bench/kafka_bench.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/process.hpp"
#include "bench/publisher.hpp"
#include "bench/signal.hpp"
#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/subscription.hpp"

namespace ferry::cli::bench {
namespace {

namespace kafka = transport::kafka;
using std::chrono::milliseconds;
using transport::Answer;
using transport::ClientError;

constexpr milliseconds silence_max{30'000};
constexpr std::size_t settle_every = 1'000;

ClientError broken(std::string why) {
    return {Errc::unreachable, wire::Code::ok, std::move(why)};
}

std::vector<std::string> topics_of(const Settings& settings) {
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < settings.queues; ++i) {
        // Fresh ones: Kafka cannot empty a topic at once.
        names.push_back(settings.prefix + "-" + std::to_string(::getpid()) + "-" +
                        std::to_string(i));
    }
    return names;
}

/// Publishes all; latencies from the call to the confirm.
class Producer {
public:
    Answer<Done> connect(const Context& context, const Settings& settings) {
        kafka::PublisherOptions options;
        options.url = context.url;
        options.window_messages = settings.window;
        options.on_confirm = [this](std::uint64_t first, std::uint64_t last,
                                    const transport::Outcome& outcome) {
            if (!outcome.ok()) failed_ = true;
            const std::uint64_t now = now_ns();
            for (std::uint64_t s = first; s <= last; ++s) {
                const std::uint64_t sent = sent_ns_[s % sent_ns_.size()].load();
                latency_.add(now > sent ? now - sent : 0, 1);
            }
            confirmed_ += last - first + 1;
        };
        sent_ns_ = std::vector<std::atomic<std::uint64_t>>(std::size_t{settings.window} * 2 + 1);
        auto made = kafka::make_publisher(std::move(options));
        if (!made.ok()) return made.error();
        publisher_ = std::move(made).value();
        return Done{};
    }
    Answer<Done> run(const Settings& settings, const std::vector<std::string>& topics) {
        std::vector<std::byte> payload(settings.size, std::byte{'x'});
        wire::Properties properties;
        SeededRandom random{1};
        for (std::uint64_t i = 0; i < settings.count; ++i) {
            const std::uint64_t now = now_ns();
            sent_ns_[(i + 1) % sent_ns_.size()] = now;
            if (payload.size() >= sizeof now) std::memcpy(payload.data(), &now, sizeof now);
            if (settings.keys > 0) {
                properties.ordering_key = "key-" + std::to_string(random.below(settings.keys));
            }
            const auto taken =
                publisher_->publish_async("", topics[i % topics.size()], properties, payload, {});
            if (!taken.ok()) return broken("publishing: " + std::string(taken.error().what));
        }
        const auto flushed = publisher_->flush(silence_max);
        if (!flushed.ok() || failed_) return broken("not every message was confirmed");
        return Done{};
    }
    [[nodiscard]] const Histogram& latency() const { return latency_; }

private:
    std::vector<std::atomic<std::uint64_t>> sent_ns_;
    Histogram latency_;
    std::atomic<std::uint64_t> confirmed_{0};
    std::atomic<bool> failed_{false};
    std::unique_ptr<kafka::Publisher> publisher_;
};

/// Takes and commits from one topic until all have come.
Answer<Done> drain(const Context& context, const Settings& settings, const std::string& topic,
                   std::uint64_t count, Histogram& age) {
    kafka::SubscriptionOptions options;
    options.url = context.url;
    options.queue = topic;
    options.prefetch = settings.prefetch;
    auto reading = kafka::subscribe(std::move(options));
    if (!reading.ok()) return reading.error();
    std::vector<transport::DeliveryTag> tags;
    for (std::uint64_t taken = 0; taken < count;) {
        auto received = reading.value()->next(silence_max);
        if (!received.ok()) return broken("messages stopped coming");
        const Bytes payload = received.value().delivery.message.payload;
        std::uint64_t sent = 0;
        if (payload.size() >= sizeof sent) {
            std::memcpy(&sent, payload.data(), sizeof sent);
            const std::uint64_t now = now_ns();
            age.add(now > sent ? now - sent : 0, 1);
        }
        tags.push_back(received.value().delivery.tag);
        ++taken;
        if (tags.size() < settle_every && taken < count) continue;
        const auto settled = reading.value()->settle(tags, silence_max);
        if (!settled.ok()) return settled.error();
        tags.clear();
    }
    return Done{};
}

Answer<Histogram> drain_all(const Context& context, const Settings& settings,
                            const std::vector<std::string>& topics) {
    std::vector<Histogram> ages(topics.size());
    std::vector<std::string> wrong(topics.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < topics.size(); ++i) {
        const std::uint64_t count =
            settings.count / topics.size() + (i < settings.count % topics.size() ? 1 : 0);
        threads.emplace_back([&, i, count] {
            auto drained = drain(context, settings, topics[i], count, ages[i]);
            if (!drained.ok()) wrong[i] = drained.error().text;
        });
    }
    for (std::thread& thread : threads) thread.join();
    Histogram all;
    for (std::size_t i = 0; i < topics.size(); ++i) {
        if (!wrong[i].empty()) return broken(wrong[i]);
        all.add(ages[i]);
    }
    return all;
}

}  // namespace

Answer<Outcome> run_on_kafka(const Context& context, const Settings& settings) {
    if (settings.mode == "ping" || settings.ordered || settings.consumers != 1 ||
        settings.queues > 64) {
        return ClientError{Errc::not_found, wire::Code::not_supported,
                           "on Kafka there are --mode produce, consume and e2e, up to 64 --queues "
                           "and one consumer for each"};
    }
    const std::vector<std::string> topics = topics_of(settings);
    if (auto made = kafka::make_topics(context.url, topics, {3, 1}); !made.ok()) {
        return made.error();
    }
    Producer producer;
    if (auto ready = producer.connect(context, settings); !ready.ok()) return ready.error();
    Outcome out;
    out.messages = settings.count;
    std::uint64_t began = now_ns();
    double cpu = own_cpu_seconds();
    if (settings.mode == "e2e") {
        std::string wrong;
        std::thread publishing([&] {
            auto done = producer.run(settings, topics);
            if (!done.ok()) wrong = done.error().text;
        });
        auto ages = drain_all(context, settings, topics);
        publishing.join();
        if (!wrong.empty()) return broken(wrong);
        if (!ages.ok()) return ages.error();
        out.deliver = ages.value();
        out.confirm = producer.latency();
    } else {
        if (auto done = producer.run(settings, topics); !done.ok()) return done.error();
        out.confirm = producer.latency();
        if (settings.mode == "consume") {
            out.confirm.reset();
            began = now_ns();
            cpu = own_cpu_seconds();
            auto ages = drain_all(context, settings, topics);
            if (!ages.ok()) return ages.error();
        }
    }
    out.seconds = static_cast<double>(now_ns() - began) / 1e9;
    out.client_cpu_s = own_cpu_seconds() - cpu;
    if (!settings.keep) {
        kafka::drop_topics(context.url, topics).ignore("a topic that is left over is harmless");
    }
    return out;
}

}  // namespace ferry::cli::bench
