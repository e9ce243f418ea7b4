#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <map>
#include <mutex>

#include "fake_broker.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::transport {
namespace {

using test::FakeBroker;
constexpr Timeout long_enough{20000};

Message message_to(std::string queue, std::string payload) {
    Message message;
    message.routing_key = std::move(queue);
    message.payload = std::move(payload);
    return message;
}

class ClientPublish : public ::testing::Test {
protected:
    ClientOptions options() {
        ClientOptions options;
        options.url = broker_.url();
        options.backoff_min_ms = 1;
        options.backoff_max_ms = 20;
        options.on_confirm = [this](std::uint64_t first, std::uint64_t last,
                                    const Outcome& outcome) {
            const std::lock_guard lock(mutex_);
            for (std::uint64_t s = first; s <= last; ++s) {
                ++told_[s];
                outcomes_[s] = outcome.kind;
            }
        };
        options.on_state = [this](const StateChange& change) {
            const std::lock_guard lock(mutex_);
            states_.push_back(change.state);
        };
        return options;
    }
    void connect(const ClientOptions& with) {
        auto connected = Client::connect(with);
        ASSERT_TRUE(connected.ok()) << connected.error().text;
        client_ = std::move(connected).value();
    }
    bool saw(StateChange::State state) {
        const std::lock_guard lock(mutex_);
        return std::count(states_.begin(), states_.end(), state) > 0;
    }
    /// Every sequence from 1 on was stored once and told once.
    void expect_once(std::uint64_t count) {
        std::map<std::uint64_t, int> stored;
        for (const auto& message : broker_.stored()) ++stored[message.sequence];
        const std::lock_guard lock(mutex_);
        ASSERT_EQ(told_.size(), count);
        ASSERT_EQ(stored.size(), count);
        for (const auto& [sequence, times] : stored) ASSERT_EQ(times, 1) << sequence;
        for (const auto& [sequence, times] : told_) ASSERT_EQ(times, 1) << sequence;
    }

    FakeBroker broker_;
    std::mutex mutex_;
    std::map<std::uint64_t, int> told_;
    std::map<std::uint64_t, Outcome::Kind> outcomes_;
    std::vector<StateChange::State> states_;
    std::unique_ptr<Client> client_;
};

// A write to a broker that just vanished raises SIGPIPE, whose default is the end of the program.
TEST_F(ClientPublish, a_vanished_broker_raises_no_signal_and_the_applications_handling_stays) {
    const auto blocked = [] {
        sigset_t mask;
        sigemptyset(&mask);
        pthread_sigmask(SIG_BLOCK, nullptr, &mask);
        return sigismember(&mask, SIGPIPE) == 1;
    };
    std::atomic<int> in_io_thread{-1};
    ClientOptions with = options();
    with.on_confirm = [&](std::uint64_t, std::uint64_t, const Outcome&) {
        in_io_thread = blocked() ? 1 : 0;
    };
    connect(with);
    ASSERT_TRUE(client_->publish(message_to("q", "hello")).ok());
    ASSERT_TRUE(broker_.wait_until([&] { return in_io_thread >= 0; }));
    EXPECT_EQ(in_io_thread, 1) << "the only thread that writes to the socket";
    EXPECT_FALSE(blocked()) << "the application's own thread";
}

TEST_F(ClientPublish, publish_returns_when_the_broker_has_confirmed) {
    connect(options());
    const auto first = client_->publish(message_to("q", "hello"));
    ASSERT_TRUE(first.ok()) << first.error().text;
    EXPECT_EQ(first.value(), 1U);
    ASSERT_EQ(broker_.stored().size(), 1U);
    EXPECT_EQ(broker_.stored()[0].payload, "hello");
    EXPECT_EQ(client_->unconfirmed(), 0U);
}

TEST_F(ClientPublish, callback_future_and_range_callback_each_hear_of_the_message_once) {
    connect(options());
    std::atomic<int> called{0};
    ASSERT_TRUE(client_
                    ->publish_async(message_to("q", "a"),
                                    [&](std::uint64_t sequence, const Outcome& outcome) {
                                        EXPECT_EQ(sequence, 1U);
                                        EXPECT_TRUE(outcome.ok());
                                        ++called;
                                    })
                    .ok());
    auto future = client_->publish_future(message_to("q", "b"));
    ASSERT_EQ(future.wait_for(long_enough), std::future_status::ready);
    EXPECT_EQ(future.get().sequence, 2U);
    ASSERT_TRUE(client_->flush(long_enough).ok());
    EXPECT_TRUE(client_->close().ok());
    EXPECT_EQ(called.load(), 1);
    expect_once(2);
}

TEST_F(ClientPublish, many_messages_from_many_threads_all_arrive_once) {
    ClientOptions with = options();
    with.window_messages = 512;
    connect(with);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 2000; ++i) {
                ASSERT_TRUE(client_->enqueue("", "q", as_bytes("payload")).ok());
            }
        });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_TRUE(client_->flush(long_enough).ok());
    ASSERT_TRUE(client_->close().ok());
    expect_once(8000);
    EXPECT_LT(broker_.frames(wire::Verb::publish).size(), 8000U) << "nothing was batched";
}

TEST_F(ClientPublish, enqueue_many_takes_all_of_a_batch_larger_than_the_window) {
    ClientOptions with = options();
    with.window_messages = 100;
    connect(with);
    const std::vector<Bytes> payloads(1000, as_bytes("x"));
    std::size_t taken = 0;
    const auto last = client_->enqueue_many("", "q", payloads, &taken);
    ASSERT_TRUE(last.ok());
    EXPECT_EQ(last.value(), 1000U);
    EXPECT_EQ(taken, 1000U);
    ASSERT_TRUE(client_->close(long_enough).ok());
    expect_once(1000);
}

TEST_F(ClientPublish, a_full_window_refuses_when_blocking_is_off) {
    ClientOptions with = options();
    with.window_messages = 3;
    with.block_when_full = false;
    broker_.confirm_publishes(false);
    connect(with);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
    EXPECT_EQ(client_->enqueue("", "q", as_bytes("x")).error().code, Errc::would_block);
    ASSERT_TRUE(broker_.wait_until([&] { return broker_.stored().size() == 3; }));
    broker_.confirm_publishes(true);
    ASSERT_TRUE(client_->flush(long_enough).ok());
    EXPECT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
}

TEST_F(ClientPublish, what_was_unconfirmed_at_a_cut_is_sent_again_and_confirmed_as_duplicate) {
    connect(options());
    broker_.cut_after_next_publish();
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
    ASSERT_TRUE(client_->flush(long_enough).ok());
    expect_once(1);
    EXPECT_EQ(outcomes_[1], Outcome::Kind::duplicate);
    EXPECT_EQ(broker_.connections(), 2U);
    EXPECT_TRUE(saw(StateChange::State::disconnected));
    EXPECT_EQ(broker_.frames(wire::Verb::publish).size(), 2U);
}

TEST_F(ClientPublish, a_stream_cut_again_and_again_arrives_once) {
    connect(options());
    for (int i = 0; i < 3000; ++i) {
        if (i % 300 == 299) broker_.cut();
        ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
    }
    ASSERT_TRUE(client_->flush(long_enough).ok());
    ASSERT_TRUE(client_->close().ok());
    expect_once(3000);
}

TEST_F(ClientPublish, messages_wait_while_no_broker_is_there) {
    connect(options());
    broker_.refuse_connections();
    ASSERT_TRUE(broker_.wait_until([&] { return !client_->connected(); }));
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
    EXPECT_EQ(client_->stats(Timeout{30}).error().code, Errc::unreachable);
    broker_.accept_connections();
    ASSERT_TRUE(client_->flush(long_enough).ok());
    expect_once(1);
}

TEST_F(ClientPublish, a_refusal_reaches_the_caller_with_code_and_text_and_counts_as_settled) {
    connect(options());
    broker_.refuse(1, wire::Code::no_route);
    PublishOptions mandatory;
    mandatory.mandatory = true;
    const auto refused = client_->publish(message_to("nowhere", "x"), mandatory);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().wire_code, wire::Code::no_route);
    EXPECT_EQ(refused.error().text, "as the test wants");
    ASSERT_TRUE(client_->publish(message_to("q", "y")).ok());
    EXPECT_EQ(broker_.settled(), 1U);
}

TEST_F(ClientPublish, a_refused_message_is_not_published_by_a_later_reconnect) {
    connect(options());
    broker_.confirm_publishes(false);
    broker_.refuse(2, wire::Code::no_route);
    const std::vector<Bytes> payloads{as_bytes("a"), as_bytes("b"), as_bytes("c")};
    ASSERT_TRUE(client_->enqueue_many("", "q", payloads).ok());
    ASSERT_TRUE(broker_.wait_until([&] { return client_->unconfirmed() == 2; }));
    broker_.confirm_publishes(true);
    broker_.cut();
    ASSERT_TRUE(client_->flush(long_enough).ok());
    for (const auto& stored : broker_.stored()) EXPECT_NE(stored.payload, "b");
    EXPECT_EQ(broker_.stored().size(), 2U);
}

TEST_F(ClientPublish, a_refusal_that_passes_is_retried_under_the_same_sequence_when_asked) {
    ClientOptions with = options();
    with.retry_refused = true;
    connect(with);
    broker_.refuse(1, wire::Code::disk_full);
    const auto published = client_->publish(message_to("q", "x"));
    ASSERT_TRUE(published.ok()) << published.error().text;
    ASSERT_TRUE(client_->flush(long_enough).ok());
    expect_once(1);
}

TEST_F(ClientPublish, a_broker_that_lost_its_history_gets_the_rest_under_a_new_epoch) {
    connect(options());
    for (const char* payload : {"a", "b"})
        ASSERT_TRUE(client_->publish(message_to("q", payload)).ok());
    broker_.confirm_publishes(false);
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes("c")).ok());
    broker_.forget_producers();
    broker_.confirm_publishes(true);
    broker_.cut();
    ASSERT_TRUE(client_->flush(long_enough).ok());
    const auto published = client_->publish(message_to("q", "d"));
    ASSERT_TRUE(published.ok());
    EXPECT_EQ(published.value(), 4U) << "the caller's numbers go on";
    const auto stored = broker_.stored();
    EXPECT_EQ(stored.back().epoch, 2U);
    EXPECT_TRUE(saw(StateChange::State::history_lost));
}

TEST_F(ClientPublish, a_fenced_client_stops_and_says_so) {
    connect(options());
    broker_.refuse(1, wire::Code::fenced, true);
    const auto published = client_->publish(message_to("q", "x"));
    ASSERT_FALSE(published.ok());
    EXPECT_EQ(published.error().code, Errc::indeterminate);
    EXPECT_EQ(published.error().wire_code, wire::Code::fenced);
    ASSERT_TRUE(broker_.wait_until([&] { return saw(StateChange::State::closed); }));
    EXPECT_EQ(client_->enqueue("", "q", as_bytes("y")).error().code, Errc::unreachable);
    EXPECT_FALSE(client_->stats().ok());
}

TEST_F(ClientPublish, destroying_the_client_tells_unconfirmed_messages_to_be_in_doubt) {
    broker_.confirm_publishes(false);
    connect(options());
    auto future = client_->publish_future(message_to("q", "x"));
    ASSERT_TRUE(broker_.wait_until([&] { return broker_.stored().size() == 1; }));
    client_.reset();
    ASSERT_EQ(future.wait_for(Timeout{0}), std::future_status::ready);
    EXPECT_EQ(future.get().kind, Outcome::Kind::in_doubt);
}

TEST_F(ClientPublish, a_callback_may_publish_but_not_wait) {
    ClientOptions with = options();
    connect(with);
    std::promise<Errc> waited;
    ASSERT_TRUE(client_
                    ->publish_async(message_to("q", "a"),
                                    [&](std::uint64_t, const Outcome&) {
                                        EXPECT_TRUE(client_->enqueue("", "q", as_bytes("b")).ok());
                                        waited.set_value(client_->stats().error().code);
                                    })
                    .ok());
    EXPECT_EQ(waited.get_future().get(), Errc::rejected);
    ASSERT_TRUE(client_->flush(long_enough).ok());
    EXPECT_EQ(broker_.stored().size(), 2U);
}

TEST_F(ClientPublish, connecting_to_nobody_fails_at_once_or_keeps_trying_if_asked) {
    ClientOptions with = options();
    with.url = "ferry://127.0.0.1:1";
    const auto failed = Client::connect(with);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code, Errc::unreachable);
    broker_.refuse_connections();
    with = options();
    with.connect_retry = true;
    std::thread later([&] { broker_.accept_connections(); });
    connect(with);
    later.join();
    EXPECT_TRUE(client_->connected());
}

TEST_F(ClientPublish, an_idle_client_sends_heartbeats_and_gives_up_a_broker_that_sends_none) {
    broker_.set_heartbeat_ms(100);
    connect(options());
    ASSERT_TRUE(broker_.wait_until([&] { return broker_.connections() >= 2; }));
    EXPECT_FALSE(broker_.frames(wire::Verb::heartbeat).empty());
    EXPECT_TRUE(saw(StateChange::State::disconnected));
}

TEST_F(ClientPublish, a_lower_frame_limit_after_a_reconnect_refuses_only_what_no_longer_fits) {
    connect(options());
    broker_.confirm_publishes(false);
    const std::string large(20000, 'x');
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes("a")).ok());
    ASSERT_TRUE(broker_.wait_until([&] { return broker_.stored().size() == 1; }));
    broker_.refuse_connections();
    ASSERT_TRUE(broker_.wait_until([&] { return !client_->connected(); }));
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes(large)).ok());
    ASSERT_TRUE(client_->enqueue("", "q", as_bytes("c")).ok());
    broker_.set_frame_bytes_max(8192);
    broker_.confirm_publishes(true);
    broker_.accept_connections();
    ASSERT_TRUE(client_->flush(long_enough).ok());
    EXPECT_EQ(outcomes_[1], Outcome::Kind::duplicate);
    EXPECT_EQ(outcomes_[2], Outcome::Kind::refused);
    EXPECT_EQ(outcomes_[3], Outcome::Kind::confirmed);
}

TEST_F(ClientPublish, linger_gathers_and_still_sends) {
    ClientOptions with = options();
    with.linger_ms = 20;
    connect(with);
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
    ASSERT_TRUE(client_->flush(long_enough).ok());
    EXPECT_LE(broker_.frames(wire::Verb::publish).size(), 10U);
    expect_once(50);
}

}  // namespace
}  // namespace ferry::transport
