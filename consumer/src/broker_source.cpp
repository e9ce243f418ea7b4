#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "dead_letter.hpp"
#include "ferry/consumer/source.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "ferry/wire/limits.hpp"
#include "kafka_source.hpp"

namespace ferry::consumer {
namespace {

using transport::DeliveryTag;

/// Filled by callbacks that may run after the source is gone.
struct LostTags {
    std::mutex mutex;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
};

class BrokerSource final : public Source {
public:
    BrokerSource(transport::Client& client, BrokerSourceOptions options,
                 std::shared_ptr<transport::Subscription> subscription,
                 std::shared_ptr<LostTags> lost, std::unique_ptr<transport::Client> owned)
        : owned_(std::move(owned)),
          client_(client),
          options_(std::move(options)),
          subscription_(std::move(subscription)),
          lost_(std::move(lost)) {}

    Result<transport::Received> next(Duration timeout) override {
        auto received = subscription_->next(timeout);
        if (received.ok()) {
            const std::scoped_lock lock(mutex_);
            newest_ = received.value().delivery.tag;
        }
        return received;
    }

    Result<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags) override {
        auto answer = client_.settle(tags, options_.request_timeout);
        if (!answer.ok()) return answer.error().error();
        return std::move(answer).value();
    }

    Status give_back(const DeliveryTag& tag, Duration delay) override {
        return subscription_->nack_later(tag, delay);
    }

    Status extend(std::span<const DeliveryTag> tags, Duration lease) override {
        std::vector<DeliveryTag> sorted(tags.begin(), tags.end());
        std::sort(sorted.begin(), sorted.end(), [](const DeliveryTag& a, const DeliveryTag& b) {
            return std::pair(a.generation, a.tag) < std::pair(b.generation, b.tag);
        });
        Status status = ok_status();
        for (std::size_t first = 0; first < sorted.size();) {
            std::size_t last = first;
            while (last + 1 < sorted.size() &&
                   sorted[last + 1].generation == sorted[first].generation &&
                   sorted[last + 1].tag == sorted[last].tag + 1) {
                ++last;
            }
            const auto extended = subscription_->extend(sorted[first], sorted[last],
                                                        static_cast<std::uint64_t>(lease.count()));
            if (!extended.ok()) status = extended;
            first = last + 1;
        }
        return status;
    }

    Status dead_letter(const Incoming& message, std::string_view reason) override {
        if (options_.dead_letter_queue.empty()) return reject(message);
        const transport::Message copy =
            dead_copy(message, reason, options_.queue, options_.dead_letter_queue);
        // Mandatory: a queue that is not there must be an error, not a place where letters vanish.
        const auto published =
            client_.publish(copy, transport::PublishOptions{true}, options_.request_timeout);
        if (!published.ok()) {
            if (published.error().wire_code == wire::Code::no_route) {
                return Error{Errc::not_found, 0, 0, "the dead-letter queue does not exist"};
            }
            return published.error().error();
        }
        const DeliveryTag tag = message.delivery().tag;
        const auto settled = settle({&tag, 1});
        if (!settled.ok()) return settled.error();
        return ok_status();
    }

    Result<Place> place() override {
        const auto queue = client_.show_queue(options_.queue, options_.request_timeout);
        if (!queue.ok()) return queue.error().error();
        Place place;
        place.queue = options_.queue;
        place.log_id = client_.server().log_id;
        place.floor = queue.value().floor;
        return place;
    }

    std::vector<DeliveryTag> lost() override {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
        {
            const std::scoped_lock lock(lost_->mutex);
            ranges.swap(lost_->ranges);
        }
        DeliveryTag like;
        {
            const std::scoped_lock lock(mutex_);
            like = newest_;
        }
        std::vector<DeliveryTag> tags;
        for (const auto& [first, last] : ranges) {
            for (std::uint64_t tag = first; tag <= last; ++tag) {
                if (tags.size() >= ferry::limits::window_messages_max) return tags;
                tags.push_back(DeliveryTag{like.subscription, tag, like.generation});
            }
        }
        return tags;
    }

    bool connected() const override { return client_.connected(); }

    void close() override {
        subscription_->unsubscribe(options_.request_timeout)
            .ignore("what is unacked returns when the connection ends, at the latest");
    }

private:
    /// Asked each time: without a place for dead letters a rejected message would be dropped.
    Status reject(const Incoming& message) {
        const auto queue = client_.show_queue(options_.queue, options_.request_timeout);
        if (!queue.ok()) return queue.error().error();
        for (const auto& [name, value] : queue.value().policy) {
            if (name.starts_with("dead_letter_")) {
                return subscription_->nack(message.delivery().tag, false);
            }
        }
        return Error{Errc::not_found, 0, 0, "the queue has no place for dead letters"};
    }

    const std::unique_ptr<transport::Client> owned_;  // null: the client is the caller's
    transport::Client& client_;
    const BrokerSourceOptions options_;
    const std::shared_ptr<transport::Subscription> subscription_;
    const std::shared_ptr<LostTags> lost_;
    std::mutex mutex_;
    DeliveryTag newest_;
};

transport::ClientError refuse(std::string text) {
    return {Errc::rejected, wire::Code::ok, std::move(text)};
}

std::optional<transport::ClientError> check(const BrokerSourceOptions& options) {
    if (!wire::valid_name(options.queue)) {
        return refuse("\"" + options.queue +
                      "\" is not a queue's name: use 1 to 255 of a-z A-Z 0-9 . _ -");
    }
    if (!options.dead_letter_queue.empty() && !wire::valid_name(options.dead_letter_queue)) {
        return refuse(
            "\"" + options.dead_letter_queue +
            "\" is not a name for the dead-letter queue: use 1 to 255 of a-z A-Z 0-9 . _ -");
    }
    if (options.prefetch == 0 || options.prefetch > limits::prefetch_max) {
        return refuse("prefetch is " + std::to_string(options.prefetch) + ": use 1 to " +
                      std::to_string(limits::prefetch_max));
    }
    const auto lease = static_cast<std::uint64_t>(std::max<std::int64_t>(0, options.lease.count()));
    if (lease < ferry::limits::lease_ms_min || lease > ferry::limits::lease_ms_max) {
        return refuse("the lease is " + std::to_string(lease) + " ms: use " +
                      std::to_string(ferry::limits::lease_ms_min) + " to " +
                      std::to_string(ferry::limits::lease_ms_max));
    }
    return std::nullopt;
}

transport::Answer<std::unique_ptr<Source>> subscribe_to(transport::Client& client,
                                                        const BrokerSourceOptions& options,
                                                        std::unique_ptr<transport::Client> owned) {
    if (auto wrong = check(options)) return std::move(*wrong);
    auto lost = std::make_shared<LostTags>();
    transport::SubscribeOptions subscribe;
    subscribe.window_messages = options.prefetch;
    subscribe.lease_ms = static_cast<std::uint64_t>(options.lease.count());
    subscribe.on_lease_lost = [lost](std::uint64_t first, std::uint64_t last) {
        const std::scoped_lock lock(lost->mutex);
        lost->ranges.emplace_back(first, last);
    };
    auto subscription = client.subscribe(options.queue, subscribe, {}, options.request_timeout);
    if (!subscription.ok()) return subscription.error();
    return std::unique_ptr<Source>(std::make_unique<BrokerSource>(
        client, options, std::move(subscription).value(), std::move(lost), std::move(owned)));
}

transport::Answer<std::unique_ptr<Source>> open_broker(const std::string& url,
                                                       const std::string& name,
                                                       const BrokerSourceOptions& options,
                                                       Duration patience) {
    if (auto wrong = check(options)) return std::move(*wrong);
    transport::ClientOptions connection;
    connection.url = url;
    connection.security = options.security;
    connection.name = name;
    connection.publisher = !options.dead_letter_queue.empty();
    connection.connect_retry = true;
    connection.connect_timeout_ms =
        static_cast<std::uint32_t>(std::max<std::int64_t>(patience.count(), 1));
    auto client = transport::Client::connect(std::move(connection));
    if (!client.ok()) return client.error();
    transport::Client& connected = *client.value();
    return subscribe_to(connected, options, std::move(client).value());
}

transport::Answer<Done> declare(const std::string& url, const std::string& name,
                                const std::vector<std::string>& queues, Duration patience,
                                const transport::Security& security) {
    transport::ClientOptions connection;
    connection.url = url;
    connection.security = security;
    connection.name = name;
    connection.publisher = false;
    connection.connect_retry = true;
    connection.connect_timeout_ms =
        static_cast<std::uint32_t>(std::max<std::int64_t>(patience.count(), 1));
    auto client = transport::Client::connect(std::move(connection));
    if (!client.ok()) return client.error();
    for (const std::string& queue : queues) {
        auto declared = client.value()->declare_queue(queue);
        if (!declared.ok()) return declared.error();
    }
    return Done{};
}

}  // namespace

Status Source::next_some(Duration timeout, std::size_t at_most,
                         std::vector<transport::Received>& out) {
    Duration wait = timeout;
    for (std::size_t taken = 0; taken < at_most; ++taken) {
        auto received = next(wait);
        if (!received.ok()) return taken == 0 ? Status(received.error()) : ok_status();
        out.push_back(std::move(received).value());
        wait = Duration{0};
    }
    return ok_status();
}

Status Source::next_late(Duration timeout, std::size_t at_most, std::vector<Incoming>& out) {
    std::vector<transport::Received> received;
    const Status got = next_some(timeout, at_most, received);
    for (transport::Received& one : received) out.emplace_back(std::move(one));
    return got;
}

transport::Answer<Done> ensure_queues(const std::string& url, const std::string& name,
                                      const std::vector<std::string>& queues, Duration patience,
                                      const transport::Security& security) {
    return transport::kafka::is_kafka_url(url) ? make_kafka_topics(url, queues, patience)
                                               : declare(url, name, queues, patience, security);
}

transport::Answer<std::unique_ptr<Source>> broker_source(transport::Client& client,
                                                         const BrokerSourceOptions& options) {
    return subscribe_to(client, options, nullptr);
}

transport::Answer<std::unique_ptr<Source>> open_source(const std::string& url,
                                                       const std::string& name,
                                                       const BrokerSourceOptions& options,
                                                       Duration patience) {
    return transport::kafka::is_kafka_url(url) ? open_kafka(url, name, options, patience)
                                               : open_broker(url, name, options, patience);
}

}  // namespace ferry::consumer
