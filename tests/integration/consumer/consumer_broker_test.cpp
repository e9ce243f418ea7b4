#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>

#include "../../unit/consumer/inbox_rig.hpp"
#include "broker_process.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"

namespace ferry::consumer {
namespace {

using test::eventually;
using test::InboxRig;

class ConsumerOverBroker : public testing::Test {
protected:
    void SetUp() override {
        client = connect();
        ASSERT_TRUE(client->declare_queue("orders").ok());
        ASSERT_TRUE(client->declare_queue("dead").ok());
    }
    std::unique_ptr<transport::Client> connect() {
        transport::ClientOptions options;
        options.url = broker.url();
        auto connected = transport::Client::connect(options);
        if (!connected.ok()) throw std::runtime_error(connected.error().text);
        return std::move(connected).value();
    }
    std::unique_ptr<Source> source(const std::string& queue = "orders") {
        BrokerSourceOptions options;
        options.queue = queue;
        options.dead_letter_queue = "dead";
        auto made = broker_source(*client, options);
        if (!made.ok()) throw std::runtime_error(made.error().text);
        return std::move(made).value();
    }
    void publish(std::uint64_t sequence, const std::string& queue = "orders", bool floor = true) {
        transport::Message message;
        message.routing_key = queue;
        message.payload = std::to_string(sequence);
        message.properties.id = test::outbox_id(sequence);
        message.properties.ordering_key = "key" + std::to_string(sequence % 5);
        if (floor) {
            message.properties.headers.emplace_back("ferry-floor",
                                                    static_cast<std::int64_t>(sequence));
        }
        ASSERT_TRUE(client->publish(message).ok());
    }
    std::uint64_t left(const std::string& queue) {
        const auto info = client->show_queue(queue);
        return info.ok() ? info.value().ready + info.value().unacked : 1;
    }
    RuntimeOptions quick(Inbox* inbox) {
        RuntimeOptions options;
        options.inbox = inbox;
        options.retry.first = Duration(1);
        options.retry.cap = Duration(10);
        return options;
    }

    test::BrokerProcess broker;
    std::unique_ptr<transport::Client> client;
    InboxRig rig;
};

// G30, G34, I8
TEST_F(ConsumerOverBroker, AppliesEachMessageOnceAndForgetsWhatTheBrokerHasSettled) {
    auto inbox = rig.inbox();
    auto runtime = Runtime::start(
        source(), [&](const Incoming& m) { return inbox->apply(m, InboxRig::effect); },
        quick(inbox.get()));
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 200; ++i) {
        publish(i * 3);  // the others went elsewhere
        if (i % 50 == 0) publish(i * 3 - 1);
    }
    ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    EXPECT_EQ(rig.effects(), 204);
    EXPECT_TRUE(eventually([&] { return rig.ranges() <= 2; })) << rig.ranges();
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
}

// G30, C2, C3: the broker dies again and again.
TEST_F(ConsumerOverBroker, EachMessageHasOneEffectWhileTheBrokerIsKilled) {
    auto inbox = rig.inbox();
    auto runtime = Runtime::start(
        source(), [&](const Incoming& m) { return inbox->apply(m, InboxRig::effect); },
        quick(inbox.get()));
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 150; ++i) {
        publish(i);
        if (i % 30 == 0) {
            broker.kill();
            broker.start();
        }
    }
    ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    EXPECT_EQ(rig.effects(), 150);
    EXPECT_EQ(rig.count("SELECT count(DISTINCT id) FROM effect"), 150);
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
}

// C7, G34: given up, kept with its reason, sent back, applied.
TEST_F(ConsumerOverBroker, PoisonGoesToTheDeadLettersAndIsAppliedWhenItIsSentBack) {
    auto inbox = rig.inbox();
    std::atomic<bool> repaired{false};
    const auto handler = [&](const Incoming& m) {
        return inbox->apply(m, [&](Effects& effects) {
            if (effects.message().payload() == "2" && !repaired) {
                return Handled::poison("no such customer");
            }
            return InboxRig::effect(effects);
        });
    };
    auto runtime = Runtime::start(source(), handler, quick(inbox.get()));
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 10; ++i) publish(i);
    ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    EXPECT_EQ(rig.effects(), 9);
    const auto dead = client->peek_queue("dead", 0, 10);
    ASSERT_TRUE(dead.ok());
    ASSERT_EQ(dead.value().size(), 1U);
    transport::Message letter = dead.value()[0].message;
    EXPECT_EQ(letter.properties.id, test::outbox_id(2));
    EXPECT_THAT(letter.properties.headers,
                testing::Contains(testing::Pair(
                    "ferry-death-text", wire::HeaderValue(std::string("no such customer")))));
    // Everything else is settled and forgotten by now.
    EXPECT_TRUE(
        eventually([&] { return rig.count("SELECT max(below) FROM ferry_inbox_cursor") >= 9; }));
    repaired = true;
    letter.routing_key = "orders";
    ASSERT_TRUE(client->publish(letter).ok());  // an operator who copies it and redrives it too
    ASSERT_TRUE(client->move_messages("dead", "").ok());
    ASSERT_TRUE(eventually([&] { return left("dead") == 0; }));
    ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    EXPECT_EQ(rig.effects(), 10);
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
}

// C7: the queue's own policy, and a message that an operator moves from another queue.
TEST_F(ConsumerOverBroker, RejectsToTheDeadLettersOfTheQueueAndAppliesWhatWasMovedHere) {
    transport::QueueOptions policy;
    policy.policy.dead_letter_key = "dead";
    ASSERT_TRUE(client->declare_queue("strict", policy).ok());
    ASSERT_TRUE(client->declare_queue("elsewhere").ok());
    auto inbox = rig.inbox();
    BrokerSourceOptions options;
    options.queue = "strict";
    auto made = broker_source(*client, options);
    ASSERT_TRUE(made.ok());
    auto runtime = Runtime::start(
        std::move(made).value(),
        [&](const Incoming& m) {
            if (m.payload() == "3") return Handled::poison("three");
            return inbox->apply(m, InboxRig::effect);
        },
        quick(inbox.get()));
    ASSERT_TRUE(runtime.ok());
    publish(1, "elsewhere");
    for (std::uint64_t i = 2; i <= 6; ++i) publish(i, "strict");
    ASSERT_TRUE(eventually([&] { return left("strict") == 0 && left("dead") == 1; }));
    EXPECT_TRUE(
        eventually([&] { return rig.count("SELECT max(below) FROM ferry_inbox_cursor") >= 5; }));
    EXPECT_EQ(rig.effects(), 4);
    ASSERT_TRUE(client->move_messages("elsewhere", "strict").ok());
    EXPECT_TRUE(eventually([&] { return rig.effects() == 5; }));
    EXPECT_TRUE(runtime.value()->stop(Duration(10'000)).ok());
}

// C4, C10: a second consumer joins, the first one leaves with messages in its hands.
TEST_F(ConsumerOverBroker, ConsumersThatJoinAndLeaveLoseNothing) {
    auto inbox = rig.inbox();
    std::vector<std::unique_ptr<Runtime>> running;
    std::uint64_t sequence = 0;
    for (int round = 0; round < 4; ++round) {
        auto runtime = Runtime::start(
            source(), [&](const Incoming& m) { return inbox->apply(m, InboxRig::effect); },
            quick(inbox.get()));
        ASSERT_TRUE(runtime.ok());
        running.push_back(std::move(runtime).value());
        for (int i = 0; i < 60; ++i) publish(++sequence);
        if (running.size() > 1) {
            EXPECT_TRUE(running.front()->stop(Duration(10'000)).ok());
            running.erase(running.begin());
        }
    }
    ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    EXPECT_EQ(rig.effects(), 240);
}

// C15, G36: the broker was restored from a backup.
TEST_F(ConsumerOverBroker, StopsWhenTheBrokerIsAnother) {
    auto inbox = rig.inbox();
    {
        auto runtime = Runtime::start(
            source(), [&](const Incoming& m) { return inbox->apply(m, InboxRig::effect); },
            quick(inbox.get()));
        ASSERT_TRUE(runtime.ok());
        publish(1);
        ASSERT_TRUE(eventually([&] { return left("orders") == 0; }));
    }
    client.reset();
    broker.kill();
    std::filesystem::remove_all(broker.directory() + "/data");
    broker.start();
    client = connect();
    ASSERT_TRUE(client->declare_queue("orders").ok());
    auto refused = Runtime::start(
        source(), [&](const Incoming& m) { return inbox->apply(m, InboxRig::effect); },
        quick(inbox.get()));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::conflict);
    EXPECT_THAT(inbox->last_problem(), testing::HasSubstr("ferry inbox accept"));
}

TEST_F(ConsumerOverBroker, RefusesAQueueThatIsNotThereAndOptionsOutOfRange) {
    BrokerSourceOptions options;
    options.queue = "nowhere";
    EXPECT_FALSE(broker_source(*client, options).ok());
    options.queue = "or ders";
    EXPECT_THAT(broker_source(*client, options).error().text, testing::HasSubstr("not a queue's"));
    options.queue = "orders";
    options.prefetch = 0;
    EXPECT_THAT(broker_source(*client, options).error().text, testing::HasSubstr("prefetch is 0"));
    options.prefetch = 10;
    options.lease = Duration(1);
    EXPECT_THAT(broker_source(*client, options).error().text, testing::HasSubstr("lease is 1 ms"));
}

}  // namespace
}  // namespace ferry::consumer
