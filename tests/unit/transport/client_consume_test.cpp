#include <gtest/gtest.h>

#include <mutex>

#include "fake_broker.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::transport {
namespace {

using test::FakeBroker;
constexpr Timeout long_enough{20000};

class ClientConsume : public ::testing::Test {
protected:
    void SetUp() override {
        ClientOptions options;
        options.url = broker_.url();
        options.publisher = false;
        options.backoff_min_ms = 1;
        options.backoff_max_ms = 20;
        auto connected = Client::connect(options);
        ASSERT_TRUE(connected.ok()) << connected.error().text;
        client_ = std::move(connected).value();
    }
    std::shared_ptr<Subscription> subscribe(const SubscribeOptions& options = {},
                                            DeliveryHandler handler = {}) {
        auto subscription = client_->subscribe("q", options, std::move(handler));
        EXPECT_TRUE(subscription.ok());
        return subscription.value();
    }
    /// All ranges of all frames of this verb, as first and last.
    std::vector<std::uint64_t> ranges(wire::Verb verb) {
        std::vector<std::uint64_t> all;
        for (const auto& frame : broker_.frames(verb)) {
            wire::Cursor cursor{Bytes(frame.body)};
            wire::FrameHead head;
            std::uint64_t subscription = 0;
            std::uint32_t count = 0;
            EXPECT_TRUE(wire::read_head(cursor, head) && cursor.read_uint(subscription) &&
                        cursor.read_array(count));
            for (std::uint32_t i = 0; i < count; ++i) {
                std::uint64_t number = 0;
                EXPECT_TRUE(cursor.read_uint(number));
                all.push_back(number);
            }
        }
        return all;
    }

    FakeBroker broker_;
    std::unique_ptr<Client> client_;
};

TEST_F(ClientConsume, next_gives_messages_in_order_and_they_stay_readable) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"one", "two"});
    const auto first = subscription->next(long_enough);
    const auto second = subscription->next(long_enough);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(as_text(first.value().delivery.message.payload), "one");
    EXPECT_EQ(as_text(second.value().delivery.message.payload), "two");
    EXPECT_EQ(second.value().delivery.tag.tag, 2U);
    EXPECT_EQ(second.value().delivery.position, 1002U);
    EXPECT_EQ(second.value().delivery.token, 5U);
    EXPECT_FALSE(second.value().delivery.redelivered());
    EXPECT_EQ(subscription->next(Timeout{0}).error().code, Errc::would_block);
}

TEST_F(ClientConsume, acks_of_neighbours_leave_as_one_range) {
    std::promise<void> done;
    std::shared_ptr<Subscription> subscription;
    std::mutex mutex;
    {
        const std::lock_guard lock(mutex);
        subscription = subscribe({}, [&](std::span<const Delivery> deliveries) {
            const std::lock_guard inner(mutex);
            for (const Delivery& delivery : deliveries) {
                EXPECT_TRUE(subscription->ack(delivery.tag).ok());
            }
            done.set_value();
        });
    }
    broker_.deliver(subscription->id(), 1, {"a", "b", "c"});
    done.get_future().wait();
    ASSERT_TRUE(broker_.wait_until([&] { return !broker_.frames(wire::Verb::ack).empty(); }));
    EXPECT_EQ(ranges(wire::Verb::ack), (std::vector<std::uint64_t>{1, 3}));
}

TEST_F(ClientConsume, messages_from_all_over_the_log_come_with_their_own_positions) {
    const auto subscription = subscribe();
    wire::Buffer frame;
    const std::size_t mark = wire::begin_frame(frame, wire::Verb::deliver_some, 6);
    wire::Encoder out(frame);
    out.uint(subscription->id()).uint(1).array(2).uint(700).uint(90'000);
    out.array(2).uint(11).uint(22).array(2);
    for (const char* payload : {"a", "b"})
        wire::write_message(out, wire::Message{"", "q", {}, payload});
    wire::end_frame(frame, mark);
    broker_.send_raw(frame);
    const auto first = subscription->next(long_enough);
    const auto second = subscription->next(long_enough);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(first.value().delivery.position, 700U);
    const Delivery& delivery = second.value().delivery;
    EXPECT_EQ(as_text(delivery.message.payload), "b");
    EXPECT_EQ(delivery.position, 90'000U);
    EXPECT_EQ(delivery.token, 90'000U);
    EXPECT_EQ(delivery.attempt, 1U);
    EXPECT_EQ(delivery.published_ms, 22U);
    EXPECT_EQ(delivery.tag.tag, 2U);
}

TEST_F(ClientConsume, a_notice_tells_who_is_the_active_consumer) {
    std::promise<bool> told;
    SubscribeOptions options;
    options.on_active = [&](bool active) { told.set_value(active); };
    const auto subscription = subscribe(options);
    wire::Buffer frame;
    const std::size_t mark = wire::begin_frame(frame, wire::Verb::activated, 3);
    wire::Encoder(frame).uint(subscription->id()).boolean(true);
    wire::end_frame(frame, mark);
    broker_.send_raw(frame);
    EXPECT_TRUE(told.get_future().get());
}

TEST_F(ClientConsume, a_nack_says_whether_the_message_returns) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"a", "b"});
    const auto first = subscription->next(long_enough);
    const auto second = subscription->next(long_enough);
    ASSERT_TRUE(first.ok() && second.ok());
    ASSERT_TRUE(subscription->nack(first.value().delivery.tag, true).ok());
    ASSERT_TRUE(subscription->nack(second.value().delivery.tag, false).ok());
    ASSERT_TRUE(broker_.wait_until([&] { return broker_.frames(wire::Verb::nack).size() == 2; }));
    EXPECT_EQ(broker_.frames(wire::Verb::nack)[0].body.back(), std::byte{0xc3});
    EXPECT_EQ(broker_.frames(wire::Verb::nack)[1].body.back(), std::byte{0xc2});
}

TEST_F(ClientConsume, what_was_never_delivered_cannot_be_acked) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"a"});
    const auto first = subscription->next(long_enough);
    ASSERT_TRUE(first.ok());
    DeliveryTag tag = first.value().delivery.tag;
    tag.tag = 2;
    EXPECT_EQ(subscription->ack(tag).error().code, Errc::rejected);
    tag.subscription += 1;
    EXPECT_EQ(subscription->ack(tag).error().code, Errc::rejected);
    EXPECT_EQ(client_->ack(tag).error().code, Errc::not_found);
}

TEST_F(ClientConsume, a_tag_from_before_a_reconnect_is_stale_and_settles_nothing) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"a"});
    const auto before = subscription->next(long_enough);
    ASSERT_TRUE(before.ok());
    broker_.cut();
    ASSERT_TRUE(broker_.wait_until(
        [&] { return broker_.frames(wire::Verb::subscribe).size() == 2 && client_->connected(); }));
    broker_.deliver(subscription->id(), 1, {"a"});
    const auto again = subscription->next(long_enough);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(subscription->ack(before.value().delivery.tag).error().code, Errc::indeterminate);
    const DeliveryTag stale[] = {before.value().delivery.tag};
    const auto lost = client_->settle(stale);
    ASSERT_TRUE(lost.ok());
    EXPECT_EQ(lost.value().size(), 1U);
    EXPECT_TRUE(broker_.frames(wire::Verb::ack).empty());
    EXPECT_TRUE(subscription->ack(again.value().delivery.tag).ok());
}

TEST_F(ClientConsume, settle_waits_for_the_answer_of_the_broker) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"a", "b", "c", "d"});
    std::vector<DeliveryTag> tags;
    for (int i = 0; i < 4; ++i) {
        const auto received = subscription->next(long_enough);
        ASSERT_TRUE(received.ok());
        if (i != 1) tags.push_back(received.value().delivery.tag);
    }
    const auto lost = client_->settle(tags);
    ASSERT_TRUE(lost.ok()) << lost.error().text;
    EXPECT_TRUE(lost.value().empty());
    EXPECT_EQ(ranges(wire::Verb::ack), (std::vector<std::uint64_t>{1, 1, 3, 4}));
}

TEST_F(ClientConsume, a_cancelled_subscription_ends_with_the_reason) {
    std::promise<wire::Code> reason;
    SubscribeOptions options;
    options.on_cancelled = [&](wire::Code code, std::string_view) { reason.set_value(code); };
    const auto subscription = subscribe(options);
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::cancelled, 4);
    wire::Encoder(out).uint(subscription->id()).uint(200).str("the queue was deleted");
    wire::end_frame(out, mark);
    broker_.send_raw(out);
    EXPECT_EQ(reason.get_future().get(), wire::Code::no_such_queue);
    EXPECT_EQ(subscription->next(long_enough).error().code, Errc::not_found);
    EXPECT_FALSE(subscription->active());
}

TEST_F(ClientConsume, a_refused_subscription_says_why_and_leaves_nothing) {
    broker_.answer_with_error(wire::Verb::subscribe, wire::Code::no_such_queue);
    const auto subscription = client_->subscribe("q", {});
    ASSERT_FALSE(subscription.ok());
    EXPECT_EQ(subscription.error().code, Errc::not_found);
    EXPECT_EQ(subscription.error().text, "told to");
    EXPECT_TRUE(broker_.frames(wire::Verb::unsubscribe).empty());
}

TEST_F(ClientConsume, destroying_a_subscription_unsubscribes_and_silences_its_handler) {
    std::atomic<int> calls{0};
    auto subscription = subscribe({}, [&](std::span<const Delivery>) { ++calls; });
    const std::uint64_t id = subscription->id();
    broker_.deliver(id, 1, {"a"});
    ASSERT_TRUE(broker_.wait_until([&] { return calls.load() == 1; }));
    subscription.reset();
    ASSERT_TRUE(
        broker_.wait_until([&] { return !broker_.frames(wire::Verb::unsubscribe).empty(); }));
    broker_.deliver(id, 2, {"b"});
    ASSERT_TRUE(client_->stats().ok());
    EXPECT_EQ(calls.load(), 1);
}

TEST_F(ClientConsume, transient_declarations_and_their_bindings_are_made_again) {
    QueueOptions transient;
    transient.durable = false;
    transient.exclusive = true;
    const auto queue = client_->declare_queue("", transient);
    ASSERT_TRUE(queue.ok());
    ASSERT_TRUE(client_->declare_queue("durable").ok());
    Binding binding;
    binding.source = "x";
    // The fake broker calls every queue q; the name that was sent is in the frame.
    const auto declared = broker_.frames(wire::Verb::queue_declare);
    wire::Cursor cursor{Bytes(declared[0].body)};
    wire::FrameHead head;
    std::string_view name;
    ASSERT_TRUE(wire::read_head(cursor, head) && cursor.read_str(name));
    EXPECT_EQ(name.substr(0, 4), "gen-");
    binding.destination = name;
    ASSERT_TRUE(client_->bind(binding).ok());
    broker_.cut();
    ASSERT_TRUE(
        broker_.wait_until([&] { return broker_.connections() == 2 && client_->connected(); }));
    ASSERT_TRUE(client_->stats().ok());
    EXPECT_EQ(broker_.frames(wire::Verb::queue_declare).size(), 3U);
    EXPECT_EQ(broker_.frames(wire::Verb::bind).size(), 2U);
    ASSERT_TRUE(client_->delete_queue(name).ok());
    broker_.cut();
    ASSERT_TRUE(
        broker_.wait_until([&] { return broker_.connections() == 3 && client_->connected(); }));
    ASSERT_TRUE(client_->stats().ok());
    EXPECT_EQ(broker_.frames(wire::Verb::queue_declare).size(), 3U);
}

TEST_F(ClientConsume, a_declaration_that_its_own_dead_connection_blocks_is_tried_again) {
    QueueOptions transient;
    transient.exclusive = true;
    ASSERT_TRUE(client_->declare_queue("mine", transient).ok());
    const auto subscription = subscribe();
    broker_.answer_with_error(wire::Verb::queue_declare, wire::Code::exclusive_elsewhere);
    broker_.answer_with_error(wire::Verb::subscribe, wire::Code::no_such_queue);
    broker_.cut();
    ASSERT_TRUE(
        broker_.wait_until([&] { return broker_.frames(wire::Verb::queue_declare).size() >= 3; }));
    broker_.answer_with_error(wire::Verb::queue_declare, wire::Code::ok);
    broker_.answer_with_error(wire::Verb::subscribe, wire::Code::ok);
    const auto before = broker_.frames(wire::Verb::subscribe).size();
    ASSERT_TRUE(
        broker_.wait_until([&] { return broker_.frames(wire::Verb::subscribe).size() > before; }));
    EXPECT_TRUE(subscription->active());
    broker_.deliver(subscription->id(), 1, {"a"});
    EXPECT_TRUE(subscription->next(long_enough).ok());
}

TEST_F(ClientConsume, a_no_ack_consumer_that_does_not_fetch_stops_the_reading_and_loses_nothing) {
    SubscribeOptions options;
    options.no_ack = true;
    options.window_messages = 10;
    const auto subscription = subscribe(options);
    for (std::uint64_t tag = 1; tag <= 2000; ++tag) {
        broker_.deliver(subscription->id(), tag, {std::to_string(tag)});
    }
    for (int i = 1; i <= 2000; ++i) {
        const auto received = subscription->next(long_enough);
        ASSERT_TRUE(received.ok()) << i;
        ASSERT_EQ(as_text(received.value().delivery.message.payload), std::to_string(i));
    }
}

TEST_F(ClientConsume, close_says_goodbye_after_the_acks) {
    const auto subscription = subscribe();
    broker_.deliver(subscription->id(), 1, {"a"});
    const auto received = subscription->next(long_enough);
    ASSERT_TRUE(received.ok());
    ASSERT_TRUE(subscription->ack(received.value().delivery.tag).ok());
    EXPECT_TRUE(client_->close(long_enough).ok());
    EXPECT_EQ(ranges(wire::Verb::ack), (std::vector<std::uint64_t>{1, 1}));
    EXPECT_EQ(broker_.frames(wire::Verb::goodbye).size(), 1U);
    EXPECT_FALSE(subscription->active());
    EXPECT_FALSE(subscription->ack(received.value().delivery.tag).ok());
}

}  // namespace
}  // namespace ferry::transport
