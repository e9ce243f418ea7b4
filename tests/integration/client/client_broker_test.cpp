#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "broker_client.hpp"
#include "ferry/transport/client.hpp"

// The client library against the real broker, which is killed now and then.
namespace ferry::transport {
namespace {

using test::BrokerProcess;
using test::connect;
using test::options_for;
constexpr Timeout long_enough{60000};

Message message_to(std::string queue, std::string payload) {
    Message message;
    message.routing_key = std::move(queue);
    message.payload = std::move(payload);
    return message;
}

std::uint64_t number_of(const MessageView& message) {
    std::uint64_t number = 0;
    EXPECT_EQ(message.payload.size(), sizeof number);
    std::memcpy(&number, message.payload.data(), sizeof number);
    return number;
}

/// Counts confirms and lets others wait for them.
class Confirms {
public:
    RangeCallback callback() {
        return [this](std::uint64_t first, std::uint64_t last, const Outcome& outcome) {
            const std::lock_guard lock(mutex_);
            (outcome.ok() ? good_ : bad_) += last - first + 1;
            changed_.notify_all();
        };
    }
    void wait_for(std::uint64_t good) {
        std::unique_lock lock(mutex_);
        ASSERT_TRUE(changed_.wait_for(lock, long_enough, [&] { return good_ >= good; }));
    }
    std::uint64_t good() {
        const std::lock_guard lock(mutex_);
        return good_;
    }
    std::uint64_t bad() {
        const std::lock_guard lock(mutex_);
        return bad_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t good_ = 0;
    std::uint64_t bad_ = 0;
};

TEST(ClientAndBroker, a_published_message_is_consumed_with_all_its_properties) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    ASSERT_TRUE(client->declare_queue("q").ok());
    Message message = message_to("q", "hello");
    message.properties.id = "id-1";
    message.properties.ordering_key = "customer-7";
    message.properties.headers = {{"n", std::int64_t{-3}}, {"s", std::string("text")}};
    message.properties.content_type = "text/plain";
    message.properties.published_at_ms = 1700000000000;
    message.properties.reply_to = "answers";
    message.properties.correlation_id = "c-1";
    const auto published = client->publish(message);
    ASSERT_TRUE(published.ok()) << published.error().text;
    const auto subscription = client->subscribe("q", {});
    ASSERT_TRUE(subscription.ok()) << subscription.error().text;
    const auto received = subscription.value()->next(long_enough);
    ASSERT_TRUE(received.ok());
    Message back;
    ASSERT_TRUE(to_message(received.value().delivery.message, back));
    EXPECT_EQ(back.payload, "hello");
    EXPECT_EQ(back.properties.id, "id-1");
    EXPECT_EQ(back.properties.ordering_key, "customer-7");
    EXPECT_EQ(back.properties.headers, message.properties.headers);
    EXPECT_EQ(back.properties.published_at_ms, 1700000000000U);
    EXPECT_EQ(back.properties.correlation_id, "c-1");
    EXPECT_EQ(received.value().delivery.attempt, 1U);
    const DeliveryTag tags[] = {received.value().delivery.tag};
    const auto lost = client->settle(tags);
    ASSERT_TRUE(lost.ok()) << lost.error().text;
    EXPECT_TRUE(lost.value().empty());
    const auto shown = client->show_queue("q");
    ASSERT_TRUE(shown.ok());
    EXPECT_EQ(shown.value().ready + shown.value().unacked, 0U);
    EXPECT_TRUE(client->close().ok());
}

TEST(ClientAndBroker, administration_goes_there_and_back) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    ASSERT_TRUE(client->declare_exchange("news", "topic").ok());
    ASSERT_TRUE(client->declare_queue("sport").ok());
    Binding binding;
    binding.source = "news";
    binding.destination = "sport";
    binding.key = "sport.#";
    const auto bound = client->bind(binding);
    ASSERT_TRUE(bound.ok()) << bound.error().text;
    Message message = message_to("sport.chess", "e4");
    message.exchange = "news";
    ASSERT_TRUE(client->publish(message).ok());
    const auto exchange = client->show_exchange("news");
    ASSERT_TRUE(exchange.ok()) << exchange.error().text;
    ASSERT_EQ(exchange.value().bindings.size(), 1U);
    EXPECT_EQ(exchange.value().bindings[0].destination, "sport");
    EXPECT_EQ(exchange.value().bindings[0].key, "sport.#");
    const auto queues = client->list_queues();
    ASSERT_TRUE(queues.ok()) << queues.error().text;
    ASSERT_EQ(queues.value().queues.size(), 1U);
    EXPECT_EQ(queues.value().queues[0].ready, 1U);
    const auto exchanges = client->list_exchanges();
    ASSERT_TRUE(exchanges.ok()) << exchanges.error().text;
    EXPECT_FALSE(exchanges.value().exchanges.empty());
    const auto peeked = client->peek_queue("sport", 0, 10);
    ASSERT_TRUE(peeked.ok()) << peeked.error().text;
    ASSERT_EQ(peeked.value().size(), 1U);
    EXPECT_EQ(peeked.value()[0].message.payload, "e4");
    const auto stats = client->stats();
    ASSERT_TRUE(stats.ok()) << stats.error().text;
    EXPECT_EQ(stats.value().figure("queues"), 1U);
    EXPECT_EQ(stats.value().figure("confirmed"), 1U);
    EXPECT_FALSE(client->server().log_id.empty());
    EXPECT_GT(client->ping().value(), 0U);
    const auto unbound = client->unbind(binding);
    EXPECT_TRUE(unbound.ok()) << unbound.error().text;
    EXPECT_EQ(client->unbind(binding).error().wire_code, wire::Code::no_such_binding);
    EXPECT_EQ(client->purge_queue("sport").value(), 1U);
    EXPECT_TRUE(client->delete_queue("sport").ok());
    EXPECT_EQ(client->show_queue("sport").error().code, Errc::not_found);
    EXPECT_TRUE(client->delete_exchange("news").ok());
    const auto backup = client->backup(broker.directory() + "/backup");
    ASSERT_TRUE(backup.ok()) << backup.error().text;
    EXPECT_GT(backup.value().files, 0U);
}

TEST(ClientAndBroker, pull_takes_what_is_ready_and_no_more) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    ASSERT_TRUE(client->declare_queue("q").ok());
    for (const char* payload : {"a", "b", "c"})
        ASSERT_TRUE(client->publish(message_to("q", payload)).ok());
    PullOptions options;
    options.messages = 2;
    const auto first = client->pull("q", options);
    ASSERT_TRUE(first.ok()) << first.error().text;
    ASSERT_EQ(first.value().messages.size(), 2U);
    EXPECT_EQ(first.value().ready, 1U);
    EXPECT_EQ(as_text(first.value().messages[1].delivery.message.payload), "b");
    ASSERT_TRUE(client->ack(first.value().messages[0].delivery.tag).ok());
    ASSERT_TRUE(client->nack(first.value().messages[1].delivery.tag, true).ok());
    const auto second = client->pull("q", options);
    ASSERT_TRUE(second.ok()) << second.error().text;
    ASSERT_EQ(second.value().messages.size(), 2U);
    EXPECT_EQ(as_text(second.value().messages[0].delivery.message.payload), "b");
    EXPECT_TRUE(second.value().messages[0].delivery.redelivered());
    for (const Received& received : second.value().messages) {
        EXPECT_TRUE(client->ack(received.delivery.tag).ok());
    }
    const auto nothing = client->pull("q", options);
    ASSERT_TRUE(nothing.ok());
    EXPECT_TRUE(nothing.value().messages.empty());
}

TEST(ClientAndBroker, a_mandatory_message_without_a_queue_is_refused) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    PublishOptions mandatory;
    mandatory.mandatory = true;
    const auto refused = client->publish(message_to("nowhere", "x"), mandatory);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().wire_code, wire::Code::no_route);
    ASSERT_TRUE(client->declare_queue("nowhere").ok());
    EXPECT_TRUE(client->publish(message_to("nowhere", "y"), mandatory).ok());
}

// G1, G3: the broker is killed again and again in the middle of a stream; each message is there
// once.
TEST(ClientAndBroker, a_stream_through_kills_is_confirmed_whole_and_stored_exactly_once) {
    constexpr std::uint64_t count = 60000;
    BrokerProcess broker;
    Confirms confirms;
    ClientOptions options = options_for(broker);
    options.window_messages = 2000;
    options.on_confirm = confirms.callback();
    const auto client = connect(options);
    ASSERT_TRUE(client->declare_queue("q").ok());
    std::thread publisher([&] {
        for (std::uint64_t i = 0; i < count; ++i) {
            std::byte payload[8];
            std::memcpy(payload, &i, sizeof i);
            ASSERT_TRUE(client->enqueue("", "q", Bytes(payload)).ok());
        }
    });
    for (const std::uint64_t at : {5000U, 17000U, 29000U, 41000U}) {
        confirms.wait_for(at);
        broker.kill();
        broker.start();
    }
    publisher.join();
    ASSERT_TRUE(client->flush(long_enough).ok());
    EXPECT_EQ(confirms.good(), count);
    EXPECT_EQ(confirms.bad(), 0U);

    std::mutex mutex;
    std::condition_variable all_there;
    std::vector<std::uint64_t> numbers;
    const auto reader = connect(options_for(broker));
    const auto subscription = reader->subscribe("q", {}, [&](std::span<const Delivery> deliveries) {
        const std::lock_guard lock(mutex);
        for (const Delivery& delivery : deliveries) numbers.push_back(number_of(delivery.message));
        EXPECT_TRUE(reader->ack(deliveries.front().tag).ok());
        for (const Delivery& delivery : deliveries.subspan(1)) {
            EXPECT_TRUE(reader->ack(delivery.tag).ok());
        }
        if (numbers.size() >= count) all_there.notify_all();
    });
    ASSERT_TRUE(subscription.ok());
    std::unique_lock lock(mutex);
    ASSERT_TRUE(all_there.wait_for(lock, long_enough, [&] { return numbers.size() >= count; }))
        << numbers.size() << " of " << count;
    lock.unlock();
    ASSERT_TRUE(reader->close(long_enough).ok());
    ASSERT_EQ(numbers.size(), count) << "some came twice";
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(numbers[i], i) << "out of order";
    const auto shown = client->show_queue("q");
    ASSERT_TRUE(shown.ok());
    EXPECT_EQ(shown.value().ready + shown.value().unacked, 0U) << "some came twice";
}

TEST(ClientAndBroker, what_was_settled_before_a_kill_does_not_come_again_and_the_rest_does) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    ASSERT_TRUE(client->declare_queue("q").ok());
    for (std::uint64_t i = 0; i < 100; ++i) {
        std::byte payload[8];
        std::memcpy(payload, &i, sizeof i);
        ASSERT_TRUE(client->enqueue("", "q", Bytes(payload)).ok());
    }
    ASSERT_TRUE(client->flush(long_enough).ok());
    const auto subscription = client->subscribe("q", {});
    ASSERT_TRUE(subscription.ok());
    std::vector<DeliveryTag> even;
    DeliveryTag odd;
    for (int i = 0; i < 100; ++i) {
        const auto received = subscription.value()->next(long_enough);
        ASSERT_TRUE(received.ok());
        (i % 2 == 0 ? even.emplace_back() : odd) = received.value().delivery.tag;
    }
    const auto lost = client->settle(even);
    ASSERT_TRUE(lost.ok()) << lost.error().text;
    EXPECT_TRUE(lost.value().empty());
    broker.kill();
    broker.start();
    std::set<std::uint64_t> again;
    for (int i = 0; i < 50; ++i) {
        const auto received = subscription.value()->next(long_enough);
        ASSERT_TRUE(received.ok()) << i;
        EXPECT_TRUE(received.value().delivery.redelivered());
        again.insert(number_of(received.value().delivery.message));
    }
    EXPECT_EQ(again.size(), 50U);
    for (const std::uint64_t number : again) EXPECT_EQ(number % 2, 1U) << "was settled";
    EXPECT_EQ(subscription.value()->ack(odd).error().code, Errc::indeterminate);
    EXPECT_EQ(subscription.value()->next(Timeout{0}).error().code, Errc::would_block);
}

TEST(ClientAndBroker, an_exclusive_queue_and_its_consumer_are_there_again_after_a_kill) {
    BrokerProcess broker;
    const auto client = connect(options_for(broker));
    ASSERT_TRUE(client->declare_exchange("all", "fanout").ok());
    QueueOptions exclusive;
    exclusive.durable = false;
    exclusive.exclusive = true;
    const auto queue = client->declare_queue("", exclusive);
    ASSERT_TRUE(queue.ok()) << queue.error().text;
    Binding binding;
    binding.source = "all";
    binding.destination = queue.value().name;
    ASSERT_TRUE(client->bind(binding).ok());
    const auto subscription = client->subscribe(queue.value().name, {});
    ASSERT_TRUE(subscription.ok()) << subscription.error().text;
    for (int round = 0; round < 3; ++round) {
        Message message = message_to("", "round " + std::to_string(round));
        message.exchange = "all";
        PublishOptions mandatory;
        mandatory.mandatory = true;
        const auto published = client->publish(message, mandatory);
        ASSERT_TRUE(published.ok()) << published.error().text;
        const auto received = subscription.value()->next(long_enough);
        ASSERT_TRUE(received.ok());
        EXPECT_EQ(as_text(received.value().delivery.message.payload), message.payload);
        ASSERT_TRUE(subscription.value()->ack(received.value().delivery.tag).ok());
        if (round == 2) break;
        broker.kill();
        broker.start();
    }
}

TEST(ClientAndBroker, a_clean_stop_ends_with_0_and_publishing_goes_on_after_the_restart) {
    BrokerProcess broker;
    Confirms confirms;
    ClientOptions options = options_for(broker);
    options.retry_refused = true;
    options.on_confirm = confirms.callback();
    const auto client = connect(options);
    ASSERT_TRUE(client->declare_queue("q").ok());
    std::atomic<bool> stop{false};
    std::thread publisher([&] {
        while (!stop.load()) ASSERT_TRUE(client->enqueue("", "q", as_bytes("x")).ok());
    });
    confirms.wait_for(1000);
    EXPECT_EQ(broker.stop(), 0);
    broker.start();
    confirms.wait_for(confirms.good() + 70000);
    stop.store(true);
    publisher.join();
    ASSERT_TRUE(client->flush(long_enough).ok());
    EXPECT_EQ(confirms.bad(), 0U);
    const auto shown = client->show_queue("q");
    ASSERT_TRUE(shown.ok());
    EXPECT_EQ(shown.value().ready, client->last_sequence());
}

TEST(ClientAndBroker, a_named_producer_goes_on_where_it_ended_and_a_newer_epoch_fences_it) {
    BrokerProcess broker;
    ClientOptions options = options_for(broker);
    options.producer = "orders";
    const auto setup = connect(options_for(broker));
    ASSERT_TRUE(setup->declare_queue("q").ok());
    {
        const auto client = connect(options);
        EXPECT_EQ(client->publish(message_to("q", "a")).value(), 1U);
        EXPECT_EQ(client->publish(message_to("q", "b")).value(), 2U);
        EXPECT_TRUE(client->close().ok());
    }
    broker.kill();
    broker.start();
    const auto old = connect(options);
    EXPECT_EQ(old->publish(message_to("q", "c")).value(), 3U);
    options.epoch = 5;
    const auto fresh = connect(options);
    EXPECT_EQ(fresh->publish(message_to("q", "d")).value(), 1U);
    const auto fenced = old->publish(message_to("q", "e"));
    ASSERT_FALSE(fenced.ok());
    EXPECT_EQ(fenced.error().wire_code, wire::Code::fenced);
    const auto shown = fresh->show_queue("q");
    ASSERT_TRUE(shown.ok());
    EXPECT_EQ(shown.value().ready, 4U);
}

}  // namespace
}  // namespace ferry::transport
