#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <chrono>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/subscription.hpp"
#include "ferry/wire/encoder.hpp"

// The adapter against librdkafka's mock cluster: real sockets and the real protocol, no JVM.
namespace ferry::transport::kafka {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

class KafkaMock : public testing::Test {
protected:
    void SetUp() override {
        char why[256];
        host_ = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
        ASSERT_NE(host_, nullptr) << why;
        cluster_ = rd_kafka_mock_cluster_new(host_, 1);
        ASSERT_NE(cluster_, nullptr);
        for (const char* const topic : {"orders", "orders.retry", "orders.dead"}) {
            rd_kafka_mock_topic_create(cluster_, topic, topic[6] == 0 ? 4 : 1, 1);
        }
        const std::string path = testing::TempDir() + "kafka-mock-options";
        std::ofstream(path) << "session.timeout.ms = 3000\nheartbeat.interval.ms = 300\n";
        brokers_ = std::string("kafka://") + rd_kafka_mock_cluster_bootstraps(cluster_);
        url_ = brokers_ + "?options=" + path;
    }
    void TearDown() override {
        if (cluster_ != nullptr) rd_kafka_mock_cluster_destroy(cluster_);
        if (host_ != nullptr) rd_kafka_destroy(host_);
    }

    std::unique_ptr<Publisher> publisher() {
        PublisherOptions options;
        options.url = url_;
        auto made = make_publisher(options);
        EXPECT_TRUE(made.ok()) << made.error().text;
        return std::move(made).value();
    }
    std::unique_ptr<Subscription> reader(SubscriptionOptions options = {}) {
        options.url = url_;
        options.queue = "orders";
        auto made = subscribe(std::move(options));
        EXPECT_TRUE(made.ok()) << made.error().text;
        return std::move(made).value();
    }
    static Message message(const std::string& key, const std::string& payload) {
        Message out;
        out.routing_key = "orders";
        out.properties.ordering_key = key;
        out.payload = payload;
        return out;
    }
    static void publish(Publisher& to, const std::string& key, const std::string& payload) {
        ASSERT_TRUE(to.publish_async(message(key, payload), {}).ok());
    }
    static std::string payload_of(const Received& received) {
        return std::string(as_text(received.delivery.message.payload));
    }
    /// Waits for so many; what came.
    static std::vector<Received> take(Subscription& from, std::size_t count,
                                      milliseconds patience = milliseconds(20'000)) {
        std::vector<Received> all;
        const auto deadline = Clock::now() + patience;
        while (all.size() < count && Clock::now() < deadline) {
            auto received = from.next(milliseconds(100));
            if (received.ok()) all.push_back(std::move(received).value());
        }
        return all;
    }

    static std::vector<LateReceived> take_late(Subscription& from, std::size_t count) {
        std::vector<LateReceived> all;
        const auto deadline = Clock::now() + milliseconds(20'000);
        while (all.size() < count && Clock::now() < deadline) {
            static_cast<void>(from.next_late(milliseconds(100), count - all.size(),
                                             [&](const LateReceived& one) { all.push_back(one); }));
        }
        return all;
    }

    rd_kafka_t* host_ = nullptr;
    rd_kafka_mock_cluster_t* cluster_ = nullptr;
    std::string brokers_;
    std::string url_;
};

TEST_F(KafkaMock, AMessageArrivesWithItsPartsAndIsConfirmed) {  // G121
    auto out = publisher();
    Message sent = message("c1", "hello");
    sent.properties.id = "shop:1:1";
    sent.properties.headers = {{"n", std::int64_t{5}}};
    Outcome::Kind kind = Outcome::Kind::in_doubt;
    ASSERT_TRUE(
        out->publish_async(sent, [&](std::uint64_t, const Outcome& o) { kind = o.kind; }).ok());
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    EXPECT_EQ(kind, Outcome::Kind::confirmed);
    auto in = reader();
    const auto all = take(*in, 1);
    ASSERT_EQ(all.size(), 1U);
    Message got;
    ASSERT_TRUE(transport::to_message(all[0].delivery.message, got));
    EXPECT_EQ(got.payload, "hello");
    EXPECT_EQ(got.routing_key, "orders");
    EXPECT_EQ(got.properties.id, "shop:1:1");
    EXPECT_EQ(got.properties.ordering_key, "c1");
    EXPECT_EQ(got.properties.headers, sent.properties.headers);
    const auto settled = in->settle(std::vector{all[0].delivery.tag}, milliseconds(10'000));
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_TRUE(settled.value().empty());
    EXPECT_NE(in->metrics().find("ferry_kafka_received_total{client=\"consumer\"} 1"),
              std::string::npos);
}

TEST_F(KafkaMock, WhatWasNotAckedComesToTheNextConsumerAndNothingElse) {  // G122
    auto out = publisher();
    for (int i = 0; i < 5; ++i) publish(*out, "same", std::to_string(i));
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    {
        auto in = reader();
        const auto all = take(*in, 5);
        ASSERT_EQ(all.size(), 5U);
        // 2 stays open: 3 and 4 are acked in vain.
        for (const std::size_t i : {4U, 0U, 3U, 1U}) {
            ASSERT_TRUE(in->settle(std::vector{all[i].delivery.tag}, milliseconds(10'000)).ok());
        }
        in->close();
    }
    auto in = reader();
    const auto rest = take(*in, 3);
    ASSERT_EQ(rest.size(), 3U);
    EXPECT_EQ(payload_of(rest[0]), "2");
    EXPECT_EQ(payload_of(rest[1]), "3");
    EXPECT_EQ(payload_of(rest[2]), "4");
    EXPECT_TRUE(take(*in, 1, milliseconds(500)).empty());
}

TEST_F(KafkaMock, WhatIsDoneIsNotLostByACommitThatFails) {
    constexpr std::int16_t offset_commit = 8;
    auto out = publisher();
    publish(*out, "k", "x");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.commit_every_ms = 60'000;  // only when it is asked to
    auto in = reader(options);
    const auto all = take(*in, 1);
    ASSERT_EQ(all.size(), 1U);
    const std::vector<DeliveryTag> tags{all[0].delivery.tag};
    in->done(tags);
    rd_kafka_mock_push_request_errors(cluster_, offset_commit, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE);
    EXPECT_FALSE(in->settle(tags, milliseconds(10'000)).ok());
    const auto again = in->settle(tags, milliseconds(10'000));
    ASSERT_TRUE(again.ok()) << again.error().text;
    EXPECT_TRUE(again.value().empty());
    const auto twice = in->settle(tags, milliseconds(10'000));
    ASSERT_TRUE(twice.ok());
    EXPECT_EQ(twice.value().size(), 1U);  // it is no more ours to ask for
}

TEST_F(KafkaMock, WhatKafkaCannotDoIsRefusedWhenItIsAskedFor) {  // G120
    auto out = publisher();
    Message late = message("", "x");
    late.properties.deliver_at_ms = 5;
    const auto refused = out->publish_async(late, {});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::rejected);
    EXPECT_NE(refused.error().what.find("NOT_SUPPORTED"), std::string_view::npos);
}

TEST_F(KafkaMock, NotMoreThanThePrefetchIsHandedOutBeforeItIsSettled) {
    auto out = publisher();
    for (int i = 0; i < 50; ++i) publish(*out, std::to_string(i), "x");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.prefetch = 7;
    auto in = reader(options);
    auto first = take(*in, 8, milliseconds(5'000));
    ASSERT_EQ(first.size(), 7U);
    ASSERT_TRUE(in->settle(std::vector{first[0].delivery.tag}, milliseconds(10'000)).ok());
    EXPECT_EQ(take(*in, 2, milliseconds(2'000)).size(), 1U);
}

TEST_F(KafkaMock, ASecondConsumerTakesOverAndNothingIsLostBetweenThem) {  // G123
    auto out = publisher();
    constexpr int count = 400;
    for (int i = 0; i < count; ++i) publish(*out, std::to_string(i % 40), std::to_string(i));
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.prefetch = 50;
    options.drain_ms = 300;
    auto one = reader(options);
    std::multiset<std::string> acked;
    const auto work = [&](Subscription& from) {
        auto received = from.next(milliseconds(20));
        if (!received.ok()) return;
        const auto lost =
            from.settle(std::vector{received.value().delivery.tag}, milliseconds(10'000));
        ASSERT_TRUE(lost.ok()) << lost.error().text;
        if (lost.value().empty()) acked.insert(payload_of(received.value()));
    };
    while (acked.size() < 50) work(*one);
    // Some are out and not acked while the second one comes.
    const auto held = take(*one, 20);
    auto two = reader(options);
    const auto deadline = Clock::now() + milliseconds(40'000);
    while (two->partitions() == 0 && Clock::now() < deadline) work(*one);
    EXPECT_GT(two->partitions(), 0U);
    for (const Received& received : held) {
        const auto lost = one->settle(std::vector{received.delivery.tag}, milliseconds(10'000));
        ASSERT_TRUE(lost.ok()) << lost.error().text;
        if (lost.value().empty()) acked.insert(payload_of(received));
    }
    std::set<std::string> different(acked.begin(), acked.end());
    while (different.size() < count && Clock::now() < deadline) {
        work(*one);
        work(*two);
        different = {acked.begin(), acked.end()};
    }
    EXPECT_EQ(different.size(), static_cast<std::size_t>(count));
    EXPECT_EQ(one->partitions() + two->partitions(), 4U);
}

TEST_F(KafkaMock, AMessageGivenBackComesFromTheRetryTopicWithItsAttempt) {  // G124
    auto out = publisher();
    publish(*out, "", "again");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.retry_topic = "orders.retry";
    auto in = reader(options);
    const auto first = take(*in, 1);
    ASSERT_EQ(first.size(), 1U);
    const auto given = Clock::now();
    ASSERT_TRUE(in->nack_later(first[0].delivery.tag, milliseconds(400)).ok());
    const auto second = take(*in, 1);
    ASSERT_EQ(second.size(), 1U);
    EXPECT_GE(Clock::now() - given, milliseconds(390));
    EXPECT_EQ(payload_of(second[0]), "again");
    EXPECT_EQ(second[0].delivery.attempt, 2U);
    EXPECT_EQ(second[0].delivery.message.routing_key, "orders");
    ASSERT_TRUE(in->settle(std::vector{second[0].delivery.tag}, milliseconds(10'000)).ok());
    in->close();
    auto later = reader(options);
    EXPECT_TRUE(take(*later, 1, milliseconds(1'000)).empty());
}

TEST_F(KafkaMock, ADeadLetterIsInItsTopicBeforeTheMessageIsAcked) {  // G124
    auto out = publisher();
    publish(*out, "", "poison");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.dead_letter_topic = "orders.dead";
    auto in = reader(options);
    const auto first = take(*in, 1);
    ASSERT_EQ(first.size(), 1U);
    Message copy = message("", payload_of(first[0]));
    copy.properties.headers = {{"ferry-death-text", std::string("broken")}};
    const auto buried = in->dead_letter(first[0].delivery.tag, copy, milliseconds(10'000));
    ASSERT_TRUE(buried.ok()) << buried.error().what;
    in->close();
    SubscriptionOptions dead;
    dead.url = url_;
    dead.queue = "orders.dead";
    auto letters = subscribe(dead);
    ASSERT_TRUE(letters.ok());
    const auto letter = take(*letters.value(), 1);
    ASSERT_EQ(letter.size(), 1U);
    EXPECT_EQ(payload_of(letter[0]), "poison");
}

TEST_F(KafkaMock, ANackWithRequeueIsHandedOutAgainHere) {
    auto out = publisher();
    publish(*out, "k", "x");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    auto in = reader();
    const auto first = take(*in, 1);
    ASSERT_EQ(first.size(), 1U);
    ASSERT_TRUE(in->nack(first[0].delivery.tag, true).ok());
    EXPECT_FALSE(in->ack(first[0].delivery.tag).ok());
    const auto second = take(*in, 1);
    ASSERT_EQ(second.size(), 1U);
    EXPECT_EQ(second[0].delivery.attempt, 2U);
    EXPECT_TRUE(in->ack(second[0].delivery.tag).ok());
}

TEST_F(KafkaMock, WhatIsLateIsReadWhenAskedForAlsoAfterTheSubscription) {
    auto out = publisher();
    Message sent = message("c1", "hello");
    sent.properties.id = "shop:1:1";
    sent.properties.headers = {{"n", std::int64_t{5}}};
    sent.properties.published_at_ms = 1'700'000'000'000;
    ASSERT_TRUE(out->publish_async(sent, {}).ok());
    publish(*out, "c1", "");
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    auto in = reader();
    auto all = take_late(*in, 2);
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(payload_of(all[0]), "hello");
    EXPECT_EQ(all[0].ordering_key, "c1");
    EXPECT_EQ(all[0].delivery.published_ms, sent.properties.published_at_ms);
    EXPECT_TRUE(all[0].delivery.message.properties.empty());
    auto copy = all[0];
    const std::string_view payload = as_text(copy.delivery.message.payload);
    copy.complete();
    Message got;
    ASSERT_TRUE(transport::to_message(copy.delivery.message, got));
    EXPECT_EQ(payload, "hello");
    EXPECT_EQ(got.routing_key, "orders");
    EXPECT_EQ(got.properties.id, "shop:1:1");
    EXPECT_EQ(got.properties.ordering_key, "c1");
    EXPECT_EQ(got.properties.headers, sent.properties.headers);
    EXPECT_NE(in->metrics().find("ferry_kafka_received_total{client=\"consumer\"} 2"),
              std::string::npos);
    // What is late is not lost with the subscription.
    auto again = reader();
    in->close();
    auto others = take_late(*again, 2);
    ASSERT_EQ(others.size(), 2U);
    again.reset();
    for (LateReceived& one : others) one.complete();
    ASSERT_TRUE(transport::to_message(others[0].delivery.message, got));
    EXPECT_EQ(got.properties.id, "shop:1:1");
    EXPECT_EQ(got.payload, "hello");
    ASSERT_TRUE(transport::to_message(others[1].delivery.message, got));
    EXPECT_EQ(got.properties.ordering_key, "c1");
    EXPECT_EQ(got.payload, "");
}

TEST_F(KafkaMock, WhatIsLateGoesAlongWhenAMessageIsGivenBack) {
    auto out = publisher();
    for (const char* const id : {"to-retry", "stays"}) {
        Message sent = message("k", id);
        sent.properties.id = id;
        sent.properties.headers = {{"n", true}};
        ASSERT_TRUE(out->publish_async(sent, {}).ok());
    }
    ASSERT_TRUE(out->flush(milliseconds(10'000)).ok());
    SubscriptionOptions options;
    options.retry_topic = "orders.retry";
    auto in = reader(options);
    const auto first = take_late(*in, 2);
    ASSERT_EQ(first.size(), 2U);
    ASSERT_TRUE(in->nack(first[1].delivery.tag, true).ok());
    const auto stays = take(*in, 1);  // by the other way: it is whole
    ASSERT_EQ(stays.size(), 1U);
    ASSERT_TRUE(in->nack_later(first[0].delivery.tag, milliseconds(100)).ok());
    auto retried = take_late(*in, 1);
    ASSERT_EQ(retried.size(), 1U);
    EXPECT_EQ(retried[0].delivery.attempt, 2U);
    retried[0].complete();
    const std::vector<Received> both{stays[0], retried[0]};
    for (const Received& one : both) {
        Message got;
        ASSERT_TRUE(transport::to_message(one.delivery.message, got));
        EXPECT_EQ(got.properties.id, payload_of(one));
        EXPECT_EQ(got.properties.headers.size(), 1U);
        EXPECT_EQ(got.routing_key, "orders");
        EXPECT_TRUE(in->ack(one.delivery.tag).ok());
    }
    EXPECT_EQ(payload_of(stays[0]), "stays");
}

TEST_F(KafkaMock, ATopicWithAnotherNumberOfPartitionsIsRefusedAtTheStart) {  // G126
    const std::string path = testing::TempDir() + "kafka-partitions";
    std::ofstream(path) << "partitions.orders = 6\n";
    SubscriptionOptions options;
    options.url = brokers_ + "?options=" + path;
    options.queue = "orders";
    const auto made = subscribe(options);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, Errc::conflict);
    EXPECT_NE(made.error().text.find("has 4 partitions"), std::string::npos) << made.error().text;
}

TEST_F(KafkaMock, NobodyThereIsUnreachable) {
    PublisherOptions options;
    options.url = "kafka://127.0.0.1:1";
    options.connect_timeout_ms = 700;
    const auto made = make_publisher(options);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, Errc::unreachable);
}

/// Answers by sequence.
struct Answers final : SequencedEvents {
    void on_answered(SequenceRange sequences, const Outcome& outcome) override {
        const std::scoped_lock lock(mutex);
        for (auto s = sequences.first; s <= sequences.last; ++s) all[s] = outcome.code;
    }
    void on_lost(const ClientError&) override {}
    std::size_t count() {
        const std::scoped_lock lock(mutex);
        return all.size();
    }
    std::mutex mutex;
    std::map<std::uint64_t, wire::Code> all;
};

TEST_F(KafkaMock, ARelaysMessagesAreAnsweredOneByOneAndARefusalIsNamed) {
    Answers answers;
    SequencedOptions options;
    options.url = url_;
    auto made = kafka::make_sequenced_publisher(options, answers);
    ASSERT_TRUE(made.ok());
    SequencedPublisher& out = *made.value();
    const auto state = out.open("shop", 1);
    ASSERT_TRUE(state.ok()) << state.error().text;
    EXPECT_FALSE(state.value().remembers);
    const auto send = [&](std::uint64_t sequence, std::string_view key) {
        SequencedMessage one;
        one.routing_key = key;
        one.payload = as_bytes("x");
        EXPECT_TRUE(out.publish(sequence, one).ok());
    };
    const auto wait = [&](std::size_t count) {
        const auto deadline = Clock::now() + milliseconds(20'000);
        while (answers.count() < count && Clock::now() < deadline) {
            std::this_thread::sleep_for(milliseconds(10));
        }
    };
    for (std::uint64_t s = 1; s <= 1000; ++s) send(s, "orders");
    wait(1000);
    EXPECT_EQ(answers.count(), 1000U);
    EXPECT_EQ(out.unanswered(), 0U);
    rd_kafka_mock_push_request_errors(cluster_, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    send(1001, "orders");
    wait(1001);
    const std::scoped_lock lock(answers.mutex);
    EXPECT_EQ(answers.all[1], wire::Code::ok);
    EXPECT_EQ(answers.all[1001], wire::Code::message_too_large);
}

}  // namespace
}  // namespace ferry::transport::kafka
