#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "broker_client.hpp"
#include "ferry/transport/client.hpp"

// Requests and replies against the real broker.
namespace ferry::transport {
namespace {

using test::BrokerProcess;
using test::soon;
constexpr Timeout long_enough{30000};

class CallsOfAClient : public ::testing::Test {
protected:
    CallsOfAClient() {
        caller = connect();
        server = connect();
        QueueOptions transient;
        transient.durable = false;
        EXPECT_TRUE(server->declare_queue("fast", transient).ok());
        EXPECT_TRUE(server->declare_queue("kept").ok());
    }
    std::unique_ptr<Client> connect() const { return test::connect(test::options_for(broker)); }
    static Message request_to(std::string queue, std::string payload) {
        Message message;
        message.routing_key = std::move(queue);
        message.payload = std::move(payload);
        return message;
    }
    static Message shout(const Delivery& request) {
        Message reply;
        reply.payload = std::string(as_text(request.message.payload)) + "!";
        return reply;
    }
    std::shared_ptr<Subscription> serve(Client& client, const char* queue) {
        auto subscription =
            client.subscribe(queue, {}, [&client, this](std::span<const Delivery> requests) {
                for (const Delivery& request : requests) {
                    ++served;
                    EXPECT_TRUE(client.reply(request, shout(request)).ok());
                }
            });
        EXPECT_TRUE(subscription.ok()) << subscription.error().text;
        return subscription.value();
    }
    std::uint64_t left(const char* queue) const {
        const auto shown = server->show_queue(queue);
        return shown.ok() ? shown.value().ready + shown.value().unacked : 0;
    }

    BrokerProcess broker;
    std::unique_ptr<Client> caller;
    std::unique_ptr<Client> server;
    std::atomic<int> served{0};
};

// G107, G108
TEST_F(CallsOfAClient, are_answered_whether_the_queue_is_durable_or_not) {
    const auto fast = serve(*server, "fast");
    const auto kept = serve(*server, "kept");
    for (const char* queue : {"fast", "kept"}) {
        const auto reply = caller->call(request_to(queue, "hello"));
        ASSERT_TRUE(reply.ok()) << reply.error().text;
        EXPECT_EQ(reply.value().payload, "hello!");
        EXPECT_TRUE(soon([&] { return left(queue) == 0; })) << "the reply acks";
    }
    const CallStats stats = caller->call_stats();
    EXPECT_EQ(stats.calls, 2U);
    EXPECT_EQ(stats.answered, 2U);
    EXPECT_EQ(stats.open, 0U);
}

TEST_F(CallsOfAClient, may_be_under_way_by_thousands_with_callbacks_and_futures) {
    const auto fast = serve(*server, "fast");
    std::atomic<int> right{0};
    std::vector<std::future<Answer<Message>>> futures;
    for (int i = 0; i < 2000; ++i) {
        const std::string payload = std::to_string(i);
        if (i % 2 == 0) {
            futures.push_back(caller->call_future(request_to("fast", payload)));
            continue;
        }
        ASSERT_TRUE(caller
                        ->call_async(request_to("fast", payload),
                                     [&right, payload](const Answer<Message>& reply) {
                                         if (reply.ok() && reply.value().payload == payload + "!")
                                             ++right;
                                     })
                        .ok());
    }
    for (std::size_t i = 0; i < futures.size(); ++i) {
        const auto reply = futures[i].get();
        ASSERT_TRUE(reply.ok()) << reply.error().text;
        EXPECT_EQ(reply.value().payload, std::to_string(2 * i) + "!");
    }
    EXPECT_TRUE(soon([&] { return right == 1000; }));
    EXPECT_EQ(served, 2000);
}

TEST_F(CallsOfAClient, fail_at_once_when_nobody_serves_if_asked) {
    const auto began = std::chrono::steady_clock::now();
    const auto refused = caller->call(request_to("fast", "hello"));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().wire_code, wire::Code::no_consumer);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds{10});
    EXPECT_EQ(left("fast"), 0U);

    CallOptions patient;
    patient.need_consumer = false;
    auto later = caller->call_future(request_to("fast", "hello"), patient);
    EXPECT_TRUE(soon([&] { return left("fast") == 1; }));
    const auto fast = serve(*server, "fast");
    const auto reply = later.get();
    ASSERT_TRUE(reply.ok()) << reply.error().text;
    EXPECT_EQ(caller->call_stats().refused, 1U);
}

TEST_F(CallsOfAClient, end_at_their_deadline_and_count_replies_that_come_later) {
    std::optional<Received> request;
    const auto subscription = server->subscribe("fast", {});
    ASSERT_TRUE(subscription.ok());
    CallOptions brief;
    brief.timeout = Timeout{100};
    const auto silence = caller->call(request_to("fast", "hello"), brief);
    ASSERT_FALSE(silence.ok());
    EXPECT_EQ(silence.error().code, Errc::would_block);
    const auto received = subscription.value()->next(long_enough);
    ASSERT_TRUE(received.ok());
    EXPECT_TRUE(server->reply(received.value().delivery, shout(received.value().delivery)).ok());
    EXPECT_TRUE(soon([&] { return caller->call_stats().late == 1; }));
    EXPECT_EQ(caller->call_stats().unanswered, 1U);
}

TEST_F(CallsOfAClient, that_nobody_waits_for_any_more_are_not_served) {
    CallOptions brief;
    brief.timeout = Timeout{50};
    brief.need_consumer = false;
    ASSERT_FALSE(caller->call(request_to("kept", "hello"), brief).ok());
    EXPECT_TRUE(soon([&] { return left("kept") == 0; })) << "it has expired";
    const auto kept = serve(*server, "kept");
    const auto reply = caller->call(request_to("kept", "again"));
    ASSERT_TRUE(reply.ok()) << reply.error().text;
    EXPECT_EQ(served, 1);
}

TEST_F(CallsOfAClient, end_when_the_broker_does) {
    const auto subscription = server->subscribe("fast", {});
    ASSERT_TRUE(subscription.ok());
    auto waiting = caller->call_future(request_to("fast", "hello"));
    ASSERT_TRUE(subscription.value()->next(long_enough).ok());
    broker.kill();
    const auto broken = waiting.get();
    ASSERT_FALSE(broken.ok());
    EXPECT_EQ(broken.error().code, Errc::indeterminate);
    EXPECT_EQ(caller->call_stats().broken, 1U);
    const auto nowhere = caller->call(request_to("fast", "hello"));
    ASSERT_FALSE(nowhere.ok());
    EXPECT_EQ(nowhere.error().code, Errc::unreachable);
    broker.start();
    EXPECT_TRUE(soon([&] { return caller->connected() && server->connected(); }));
    const auto kept = serve(*server, "kept");
    const auto reply = caller->call(request_to("kept", "hello"));
    EXPECT_TRUE(reply.ok()) << reply.error().text;
}

TEST_F(CallsOfAClient, go_to_another_server_when_one_dies) {
    auto first = connect();
    const auto dying = first->subscribe("fast", {});
    ASSERT_TRUE(dying.ok());
    auto waiting = caller->call_future(request_to("fast", "hello"));
    ASSERT_TRUE(dying.value()->next(long_enough).ok());
    const auto fast = serve(*server, "fast");
    first.reset();
    const auto reply = waiting.get();
    ASSERT_TRUE(reply.ok()) << reply.error().text;
    EXPECT_EQ(served, 1);
}

TEST_F(CallsOfAClient, are_shared_out_among_servers) {
    const auto other = connect();
    std::atomic<int> theirs{0};
    const auto here = serve(*server, "fast");
    const auto there = other->subscribe("fast", {}, [&](std::span<const Delivery> requests) {
        for (const Delivery& request : requests) {
            ++theirs;
            EXPECT_TRUE(other->reply(request, shout(request)).ok());
        }
    });
    ASSERT_TRUE(there.ok());
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(caller->call(request_to("fast", "x")).ok());
    EXPECT_EQ(served + theirs, 100);
    EXPECT_GT(served, 20);
    EXPECT_GT(theirs, 20);
}

TEST_F(CallsOfAClient, a_message_that_wants_no_reply_gets_none) {
    const auto subscription = server->subscribe("fast", {});
    ASSERT_TRUE(subscription.ok());
    ASSERT_TRUE(caller->publish(request_to("fast", "hello")).ok());
    const auto received = subscription.value()->next(long_enough);
    ASSERT_TRUE(received.ok());
    const Status refused = server->reply(received.value().delivery, Message{});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::rejected);
}

}  // namespace
}  // namespace ferry::transport
