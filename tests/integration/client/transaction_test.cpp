#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "broker_client.hpp"
#include "ferry/transport/client.hpp"

// Transactions of the client library against the real broker, which is killed now and then.
namespace ferry::transport {
namespace {

using test::BrokerProcess;
constexpr Timeout long_enough{60000};

class TransactionsOfAClient : public ::testing::Test {
protected:
    TransactionsOfAClient() {
        client = connect();
        for (const char* queue : {"in", "out", "audit"})
            EXPECT_TRUE(client->declare_queue(queue).ok());
    }
    std::unique_ptr<Client> connect() const { return test::connect(test::options_for(broker)); }
    static Message message_to(std::string queue, std::string payload) {
        Message message;
        message.routing_key = std::move(queue);
        message.payload = std::move(payload);
        return message;
    }
    void fill(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::string payload = std::to_string(i);
            ASSERT_TRUE(client->enqueue("", "in", as_bytes(payload)).ok());
        }
        ASSERT_TRUE(client->flush(long_enough).ok());
    }
    std::uint64_t held(const char* queue) {
        const auto shown = client->show_queue(queue);
        EXPECT_TRUE(shown.ok());
        return shown.ok() ? shown.value().ready + shown.value().unacked : 0;
    }

    std::size_t different_payloads(const char* queue) {
        std::set<std::string> found;
        PullOptions all;
        all.messages = 10'000;
        all.bytes = 64U << 20;
        for (;;) {
            const auto pulled = client->pull(queue, all, long_enough);
            EXPECT_TRUE(pulled.ok());
            if (!pulled.ok() || pulled.value().messages.empty()) return found.size();
            for (const Received& r : pulled.value().messages)
                found.emplace(as_text(r.delivery.message.payload));
        }
    }

    BrokerProcess broker;
    std::unique_ptr<Client> client;
};

// G65
TEST_F(TransactionsOfAClient, ack_and_publish_at_once) {
    fill(2);
    const auto subscription = client->subscribe("in", {});
    ASSERT_TRUE(subscription.ok());
    Transaction tx = client->transaction();
    EXPECT_TRUE(tx.empty());
    const auto first = subscription.value()->next(long_enough);
    ASSERT_TRUE(first.ok());
    ASSERT_TRUE(tx.publish(message_to("out", "result")).ok());
    ASSERT_TRUE(tx.publish(message_to("audit", "entry")).ok());
    ASSERT_TRUE(tx.ack(first.value().delivery.tag).ok());
    EXPECT_EQ(tx.messages(), 2U);
    const auto committed = tx.commit(long_enough);
    ASSERT_TRUE(committed.ok()) << committed.error().text;
    EXPECT_FALSE(committed.value().found_again);
    EXPECT_TRUE(tx.empty());
    EXPECT_EQ(held("in"), 1U);
    EXPECT_EQ(held("out"), 1U);
    EXPECT_EQ(held("audit"), 1U);
    EXPECT_EQ(tx.commit().error().code, Errc::rejected) << "it is empty";
    broker.kill();
    broker.start();
    EXPECT_EQ(held("in"), 1U);
    EXPECT_EQ(held("out"), 1U);
}

// G65
TEST_F(TransactionsOfAClient, that_cannot_be_carried_out_change_nothing) {
    fill(2);
    const auto subscription = client->subscribe("in", {});
    ASSERT_TRUE(subscription.ok());
    const auto first = subscription.value()->next(long_enough);
    const auto second = subscription.value()->next(long_enough);
    ASSERT_TRUE(first.ok() && second.ok());
    const DeliveryTag settled[] = {first.value().delivery.tag};
    ASSERT_TRUE(client->settle(settled, long_enough).ok());
    Transaction tx = client->transaction();
    ASSERT_TRUE(tx.publish(message_to("out", "x")).ok());
    ASSERT_TRUE(tx.ack(first.value().delivery.tag).ok());
    ASSERT_TRUE(tx.ack(second.value().delivery.tag).ok());
    auto committed = tx.commit(long_enough);
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().wire_code, wire::Code::lease_lost) << committed.error().text;
    ASSERT_TRUE(tx.publish(message_to("nowhere", "x")).ok());
    ASSERT_TRUE(tx.ack(second.value().delivery.tag).ok());
    committed = tx.commit(long_enough);
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().wire_code, wire::Code::no_route) << committed.error().text;
    EXPECT_EQ(held("out"), 0U);
    EXPECT_EQ(held("in"), 1U);
    // The delivery is still held, and another transaction goes on.
    ASSERT_TRUE(tx.publish(message_to("out", "x")).ok());
    ASSERT_TRUE(tx.ack(second.value().delivery.tag).ok());
    ASSERT_TRUE(tx.commit(long_enough).ok());
    EXPECT_EQ(held("in"), 0U);
}

TEST_F(TransactionsOfAClient, with_deliveries_of_a_lost_connection_are_refused_and_others_go_on) {
    fill(1);
    const auto subscription = client->subscribe("in", {});
    ASSERT_TRUE(subscription.ok());
    const auto first = subscription.value()->next(long_enough);
    ASSERT_TRUE(first.ok());
    Transaction stale = client->transaction();
    ASSERT_TRUE(stale.publish(message_to("out", "x")).ok());
    ASSERT_TRUE(stale.ack(first.value().delivery.tag).ok());
    Transaction only_publishes = client->transaction();
    ASSERT_TRUE(only_publishes.publish(message_to("out", "y")).ok());
    broker.kill();
    broker.start();
    const auto committed = stale.commit(long_enough);
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().wire_code, wire::Code::lease_lost) << committed.error().text;
    EXPECT_TRUE(only_publishes.commit(long_enough).ok());
    EXPECT_EQ(held("out"), 1U);
    EXPECT_EQ(held("in"), 1U);
}

TEST_F(TransactionsOfAClient, that_are_too_large_are_refused_while_they_are_made) {
    Transaction tx = client->transaction();
    const std::string large(600'000, 'x');
    ASSERT_TRUE(tx.publish(message_to("out", large)).ok());
    EXPECT_EQ(tx.publish(message_to("out", large)).error().code, Errc::rejected);
    EXPECT_EQ(tx.messages(), 1U);
    ASSERT_TRUE(tx.commit(long_enough).ok());
    EXPECT_EQ(tx.ack(DeliveryTag{}).error().code, Errc::rejected);
}

// G66: every outcome that was told is true, and every message is taken and answered once.
TEST_F(TransactionsOfAClient, through_kills_take_and_answer_each_message_once) {
    constexpr std::uint64_t count = 20'000;
    fill(count);
    const auto worker = connect();
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, int> told;  // committed answers, by payload
    std::uint64_t committed = 0;
    std::uint64_t refused = 0;
    std::vector<std::string> strange;
    const auto handler = [&](std::span<const Delivery> deliveries) {
        // A few small transactions and now and then one of many.
        std::size_t at = 0;
        while (at < deliveries.size()) {
            const std::size_t n = std::min<std::size_t>(deliveries.size() - at, 1 + at % 7);
            Transaction tx = worker->transaction();
            std::vector<std::string> payloads;
            for (const Delivery& d : deliveries.subspan(at, n)) {
                payloads.emplace_back(as_text(d.message.payload));
                EXPECT_TRUE(tx.publish(message_to("out", payloads.back())).ok());
                EXPECT_TRUE(tx.publish(message_to("audit", payloads.back())).ok());
                EXPECT_TRUE(tx.ack(d.tag).ok());
            }
            at += n;
            const Status taken = tx.commit_async([&, payloads](const Answer<Committed>& outcome) {
                const std::lock_guard lock(mutex);
                if (outcome.ok()) {
                    committed += payloads.size();
                    for (const std::string& p : payloads) ++told[p];
                } else if (outcome.error().wire_code == wire::Code::lease_lost) {
                    refused += payloads.size();
                } else {
                    strange.push_back(outcome.error().text);
                }
                changed.notify_all();
            });
            EXPECT_TRUE(taken.ok());
        }
    };
    SubscribeOptions window;
    window.window_messages = 200;
    const auto subscription = worker->subscribe("in", window, handler);
    ASSERT_TRUE(subscription.ok());
    for (const std::uint64_t at : {count / 8, count / 4, count / 2, count * 3 / 4}) {
        {
            std::unique_lock lock(mutex);
            ASSERT_TRUE(changed.wait_for(lock, long_enough, [&] { return committed >= at; }));
        }
        broker.kill();
        broker.start();
    }
    {
        std::unique_lock lock(mutex);
        ASSERT_TRUE(changed.wait_for(lock, long_enough, [&] { return committed >= count; }))
            << committed << " of " << count << ", refused " << refused;
        EXPECT_TRUE(strange.empty()) << strange.front();
        EXPECT_EQ(told.size(), count);
        EXPECT_EQ(committed, count) << "told twice";
    }
    ASSERT_TRUE(worker->flush_transactions(long_enough).ok());
    ASSERT_TRUE(worker->close(long_enough).ok());
    EXPECT_EQ(held("in"), 0U);
    for (const char* queue : {"out", "audit"}) {
        EXPECT_EQ(held(queue), count) << queue;
        EXPECT_EQ(different_payloads(queue), count) << queue;
    }
}

}  // namespace
}  // namespace ferry::transport
