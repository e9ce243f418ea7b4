#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "broker_client.hpp"
#include "ferry/transport/client.hpp"

// Locks of the client library against the real broker, which is killed now and then.
namespace ferry::transport {
namespace {

using test::BrokerProcess;
using test::soon;
using ::testing::ElementsAre;
constexpr Timeout long_enough{30000};

class LocksOfAClient : public ::testing::Test {
protected:
    LocksOfAClient() { client = connect(); }
    std::unique_ptr<Client> connect() const {
        ClientOptions options = test::options_for(broker);
        options.publisher = false;
        return test::connect(options);
    }
    LockOptions short_lived() {
        LockOptions options;
        options.ttl_ms = 1'500;
        options.delay_ms = 0;
        options.on_state = [this](LockState state) {
            const std::lock_guard guard(mutex);
            seen.push_back(state);
            changed.notify_all();
        };
        return options;
    }
    bool wait_for_state(LockState state) {
        std::unique_lock guard(mutex);
        return changed.wait_for(guard, long_enough,
                                [&] { return !seen.empty() && seen.back() == state; });
    }
    std::uint64_t waiting(std::string_view name) const {
        const auto shown = client->show_lock(name);
        return shown.ok() ? shown.value().waiting : 0;
    }

    BrokerProcess broker;
    std::unique_ptr<Client> client;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<LockState> seen;
};

// G100, G101
TEST_F(LocksOfAClient, are_held_by_one_at_a_time_under_growing_tokens) {
    auto first = client->try_lock("job");
    ASSERT_TRUE(first.ok()) << first.error().text;
    EXPECT_EQ(first.value()->state(), LockState::held);
    EXPECT_GT(first.value()->remaining().count(), 10'000);
    const auto refused = client->try_lock("job");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().wire_code, wire::Code::lock_held);

    const std::uint64_t token = first.value()->token();
    ASSERT_TRUE(first.value()->release().ok());
    EXPECT_EQ(first.value()->state(), LockState::lost);
    const auto twice = first.value()->release();
    ASSERT_FALSE(twice.ok());
    EXPECT_EQ(twice.error().wire_code, wire::Code::lock_not_held);
    const auto second = client->try_lock("job");
    ASSERT_TRUE(second.ok());
    EXPECT_GT(second.value()->token(), token);
}

TEST_F(LocksOfAClient, exclude_each_other_among_threads_and_connections) {
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> rounds{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            const auto mine = connect();
            for (int round = 0; round < 10; ++round) {
                auto lock = mine->lock("job", {}, long_enough);
                ASSERT_TRUE(lock.ok()) << lock.error().text;
                most = std::max(most.load(), ++inside);
                ++rounds;
                --inside;
                ASSERT_TRUE(lock.value()->release().ok());
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(rounds, 40);
    EXPECT_EQ(most, 1);
}

TEST_F(LocksOfAClient, give_up_their_place_when_they_waited_long_enough) {
    const auto held = client->try_lock("job");
    ASSERT_TRUE(held.ok());
    const auto late = client->lock("job", {}, Timeout{2000});
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code, Errc::would_block);
    EXPECT_TRUE(soon([&] { return waiting("job") == 0; }));

    LockOptions impatient;
    std::atomic<int> asked{0};
    impatient.give_up = [&] { return ++asked >= 2; };
    const auto left = client->lock("job", impatient, Timeout::max());
    ASSERT_FALSE(left.ok());
    EXPECT_EQ(left.error().code, Errc::would_block);
    EXPECT_TRUE(soon([&] { return waiting("job") == 0; }));
}

TEST_F(LocksOfAClient, are_renewed_for_as_long_as_they_are_held) {
    const auto held = client->try_lock("job", short_lived());
    ASSERT_TRUE(held.ok());
    const auto other = connect();
    const auto refused = other->lock("job", {}, Timeout{3'500});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(held.value()->state(), LockState::held);
    EXPECT_THAT(seen, ::testing::IsEmpty());
}

// G103
TEST_F(LocksOfAClient, are_unsure_and_then_lost_before_the_broker_would_give_them_away) {
    const auto held = client->try_lock("job", short_lived());
    ASSERT_TRUE(held.ok());
    const auto killed_at = std::chrono::steady_clock::now();
    broker.kill();
    ASSERT_TRUE(wait_for_state(LockState::lost));
    const auto lost_after = std::chrono::steady_clock::now() - killed_at;
    EXPECT_LT(lost_after, std::chrono::milliseconds{1'500});
    EXPECT_EQ(held.value()->state(), LockState::lost);
    EXPECT_EQ(held.value()->remaining().count(), 0);
    const std::lock_guard guard(mutex);
    EXPECT_THAT(seen, ElementsAre(LockState::unsure, LockState::lost));
}

// G102
TEST_F(LocksOfAClient, stay_held_under_the_same_token_over_a_restart_of_the_broker) {
    auto options = short_lived();
    options.ttl_ms = 20'000;
    const auto held = client->try_lock("job", options);
    ASSERT_TRUE(held.ok());
    const std::uint64_t token = held.value()->token();
    const auto other = connect();
    std::atomic<std::uint64_t> next_token{0};
    std::thread waiter([&] {
        const auto got = other->lock("job", {}, long_enough);
        EXPECT_TRUE(got.ok()) << got.error().text;
        if (got.ok()) next_token = got.value()->token();
    });
    EXPECT_TRUE(soon([&] { return waiting("job") == 1; }));
    broker.kill();
    ASSERT_TRUE(wait_for_state(LockState::unsure));
    broker.start();
    ASSERT_TRUE(wait_for_state(LockState::held));
    EXPECT_EQ(held.value()->token(), token);
    EXPECT_TRUE(soon([&] { return waiting("job") == 1; })) << "the line is as it was";
    EXPECT_EQ(next_token, 0U);
    EXPECT_TRUE(held.value()->release().ok());
    waiter.join();
    EXPECT_GT(next_token, token);
}

TEST_F(LocksOfAClient, are_lost_at_once_when_an_operator_takes_them) {
    const auto held = client->try_lock("job", short_lived());
    ASSERT_TRUE(held.ok());
    const auto other = connect();
    const auto taken = other->force_unlock("job", held.value()->token());
    ASSERT_TRUE(taken.ok()) << taken.error().text;
    EXPECT_EQ(taken.value(), 1U);
    ASSERT_TRUE(wait_for_state(LockState::lost));
    const auto late = held.value()->release();
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().wire_code, wire::Code::lock_not_held);
}

TEST_F(LocksOfAClient, come_back_to_their_holder_by_its_id) {
    auto options = short_lived();
    options.holder = "machine-7";
    auto held = client->try_lock("job", options);
    ASSERT_TRUE(held.ok());
    const std::uint64_t token = held.value()->token();
    // Another process of the same holder, as after a crash of the first.
    const auto other = connect();
    const auto again = other->try_lock("job", options);
    ASSERT_TRUE(again.ok()) << again.error().text;
    EXPECT_EQ(again.value()->token(), token);
    const auto shown = other->show_lock("job");
    ASSERT_TRUE(shown.ok());
    ASSERT_EQ(shown.value().holders.size(), 1U);
    EXPECT_EQ(shown.value().holders[0].holder, "machine-7");
}

TEST_F(LocksOfAClient, are_lost_when_their_client_is_closed) {
    const auto held = client->try_lock("job", short_lived());
    ASSERT_TRUE(held.ok());
    client.reset();
    EXPECT_EQ(held.value()->state(), LockState::lost);
}

TEST_F(LocksOfAClient, are_listed) {
    const auto one = client->try_lock("a");
    LockOptions two_permits;
    two_permits.permits = 2;
    const auto two = client->try_lock("b", two_permits);
    const auto three = client->try_lock("b", two_permits);
    ASSERT_TRUE(one.ok() && two.ok() && three.ok());
    const auto page = client->list_locks();
    ASSERT_TRUE(page.ok());
    ASSERT_EQ(page.value().locks.size(), 2U);
    EXPECT_EQ(page.value().locks[1].name, "b");
    EXPECT_EQ(page.value().locks[1].holding, 2U);
    EXPECT_EQ(page.value().locks[1].permits, 2U);
    const auto none = client->show_lock("none");
    ASSERT_FALSE(none.ok());
    EXPECT_EQ(none.error().wire_code, wire::Code::no_such_lock);
}

}  // namespace
}  // namespace ferry::transport
