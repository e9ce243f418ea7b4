#include "kafka_source.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "dead_letter.hpp"
#include "ferry/transport/kafka/subscription.hpp"

namespace ferry::consumer {
namespace {

namespace kafka = transport::kafka;
using transport::DeliveryTag;

constexpr Duration connect_turn{5'000};
constexpr Duration again_after{200};
constexpr Duration commit_pause{
    50};  // a commit for each batch would cost Kafka more than the batch

class KafkaSource final : public Source {
public:
    KafkaSource(BrokerSourceOptions options, std::unique_ptr<kafka::Subscription> subscription)
        : options_(std::move(options)), subscription_(std::move(subscription)) {}

    Result<transport::Received> next(Duration timeout) override {
        return subscription_->next(timeout);
    }
    Status next_some(Duration timeout, std::size_t at_most,
                     std::vector<transport::Received>& out) override {
        return subscription_->next_some(timeout, at_most, out);
    }
    Status next_late(Duration timeout, std::size_t at_most, std::vector<Incoming>& out) override {
        return subscription_->next_late(
            timeout, at_most, [&](const transport::LateReceived& one) { out.emplace_back(one); });
    }
    Result<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags) override {
        auto lost = subscription_->settle(tags, options_.request_timeout);
        if (!lost.ok()) return lost.error().error();
        return std::move(lost).value();
    }
    void done(std::span<const DeliveryTag> tags) override { subscription_->done(tags); }
    Duration settle_pause() const override { return commit_pause; }
    Status give_back(const DeliveryTag& tag, Duration delay) override {
        return subscription_->nack_later(tag, delay);
    }
    /// A partition is ours until it is taken away, however long a handler runs.
    Status extend(std::span<const DeliveryTag> /*tags*/, Duration /*lease*/) override {
        return ok_status();
    }
    Status dead_letter(const Incoming& message, std::string_view reason) override {
        if (options_.dead_letter_queue.empty()) {
            return Error{Errc::not_found, 0, 0, "there is no dead-letter topic"};
        }
        return subscription_->dead_letter(
            message.delivery().tag,
            dead_copy(message, reason, options_.queue, options_.dead_letter_queue),
            options_.request_timeout);
    }
    Result<Place> place() override {
        // Positions of several partitions have no common floor: the inbox keeps exact ranges.
        Place place;
        place.queue = options_.queue;
        place.log_id = subscription_->place();
        return place;
    }
    std::vector<DeliveryTag> lost() override { return subscription_->lost(); }
    bool keeps_what_it_gave() const override { return true; }
    bool connected() const override { return subscription_->connected(); }
    std::string metrics() const override { return subscription_->metrics(); }
    void close() override { subscription_->close(); }

private:
    const BrokerSourceOptions options_;
    const std::unique_ptr<kafka::Subscription> subscription_;
};

bool goes_away(const transport::ClientError& error) {
    return error.code == Errc::unreachable || error.code == Errc::indeterminate;
}

}  // namespace

transport::Answer<Done> make_kafka_topics(const std::string& url,
                                          const std::vector<std::string>& queues,
                                          Duration patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        auto made = kafka::make_topics(url, queues);
        if (made.ok()) return Done{};
        if (!goes_away(made.error()) || std::chrono::steady_clock::now() >= deadline) {
            return made.error();
        }
        std::this_thread::sleep_for(again_after);
    }
}

transport::Answer<std::unique_ptr<Source>> open_kafka(const std::string& url,
                                                      const std::string& name,
                                                      const BrokerSourceOptions& options,
                                                      Duration patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        kafka::SubscriptionOptions wanted;
        wanted.url = url;
        wanted.queue = options.queue;
        wanted.name = name;
        wanted.connect_timeout_ms =
            static_cast<std::uint32_t>(std::clamp(patience, Duration{1}, connect_turn).count());
        wanted.prefetch = options.prefetch;
        wanted.retry_topic = options.retry_queue;
        wanted.dead_letter_topic = options.dead_letter_queue;
        auto subscription = kafka::subscribe(std::move(wanted));
        if (subscription.ok()) {
            return std::unique_ptr<Source>(
                std::make_unique<KafkaSource>(options, std::move(subscription).value()));
        }
        if (!goes_away(subscription.error()) || std::chrono::steady_clock::now() >= deadline) {
            return subscription.error();
        }
        std::this_thread::sleep_for(again_after);
    }
}

}  // namespace ferry::consumer
