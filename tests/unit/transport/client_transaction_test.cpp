// What a client makes of its transactions when connections end, answers are late or missing, and
// the broker refuses one in the middle: each is told once, and what is told is true.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <map>
#include <mutex>

#include "fake_broker.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::transport {
namespace {

using test::FakeBroker;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Fate = FakeBroker::Fate;
constexpr Timeout long_enough{20000};

class ClientTransactions : public ::testing::Test {
protected:
    void SetUp() override {
        ClientOptions options;
        options.url = broker.url();
        options.publisher = false;
        options.backoff_min_ms = 1;
        options.backoff_max_ms = 20;
        auto connected = Client::connect(options);
        ASSERT_TRUE(connected.ok()) << connected.error().text;
        client = std::move(connected).value();
    }
    /// One that only publishes.
    Transaction publishing(const std::string& payload) {
        Transaction tx = client->transaction();
        Message message;
        message.routing_key = "out";
        message.payload = payload;
        EXPECT_TRUE(tx.publish(message).ok());
        return tx;
    }
    /// One that answers a delivery.
    Transaction answering(const std::string& payload) {
        if (subscription == nullptr) {
            auto made = client->subscribe("in", {});
            EXPECT_TRUE(made.ok());
            subscription = made.value();
        }
        broker.deliver(subscription->id(), next_tag++, {payload});
        const auto received = subscription->next(long_enough);
        EXPECT_TRUE(received.ok());
        Transaction tx = publishing(payload);
        EXPECT_TRUE(tx.ack(received.value().delivery.tag).ok());
        return tx;
    }
    void commit_async(Transaction tx, const std::string& name) {
        const Status taken = tx.commit_async([this, name](const Answer<Committed>& outcome) {
            const std::lock_guard lock(mutex);
            std::string what = "committed";
            if (outcome.ok() && outcome.value().found_again) what = "found again";
            if (!outcome.ok())
                what = "error " + std::to_string(static_cast<int>(outcome.error().wire_code));
            // Told twice would be a second word.
            told[name] += (told[name].empty() ? "" : ", ") + what;
        });
        EXPECT_TRUE(taken.ok());
    }
    std::map<std::string, std::string> outcomes() {
        EXPECT_TRUE(client->flush_transactions(long_enough).ok());
        const std::lock_guard lock(mutex);
        return told;
    }
    static std::string error(wire::Code code) {
        return "error " + std::to_string(static_cast<int>(code));
    }
    std::vector<std::string> stored() {
        std::vector<std::string> all;
        for (const auto& message : broker.stored()) all.push_back(message.payload);
        return all;
    }

    FakeBroker broker;
    std::unique_ptr<Client> client;
    std::shared_ptr<Subscription> subscription;
    std::uint64_t next_tag = 1;
    std::mutex mutex;
    std::map<std::string, std::string> told;
};

TEST_F(ClientTransactions, take_messages_that_are_encoded_already) {
    Transaction tx = client->transaction();
    const std::string long_key(255, 'k');
    const std::string large(70'000, 'x');
    wire::Properties with;
    with.correlation_id = "c-1";
    wire::Buffer properties;
    wire::Encoder encoder(properties);
    wire::write_properties(encoder, with);
    ASSERT_TRUE(tx.enqueue("", "out", as_bytes("plain")).ok());
    ASSERT_TRUE(tx.enqueue("events", long_key, as_bytes("noted"), properties).ok());
    ASSERT_TRUE(tx.enqueue("", "out", as_bytes(large)).ok());
    EXPECT_EQ(tx.messages(), 3U);
    EXPECT_EQ(tx.enqueue("no spaces", "q", {}).error().code, Errc::rejected);
    EXPECT_EQ(tx.enqueue("", long_key + "k", {}).error().code, Errc::rejected);
    EXPECT_EQ(tx.enqueue("", "q", {}, as_bytes("no map")).error().code, Errc::rejected);
    EXPECT_EQ(tx.enqueue("", "q", Bytes(properties.data(), SIZE_MAX / 2)).error().code,
              Errc::rejected);
    EXPECT_EQ(tx.messages(), 3U) << "what was refused was not added";
    ASSERT_TRUE(tx.commit(long_enough).ok());
    EXPECT_THAT(stored(), ElementsAre("plain", "noted", large));
}

// G66
TEST_F(ClientTransactions, cut_before_the_broker_read_them_are_sent_again_if_they_only_publish) {
    broker.next_transactions({Fate::cut_before});
    const auto committed = publishing("a").commit(long_enough);
    ASSERT_TRUE(committed.ok()) << committed.error().text;
    EXPECT_FALSE(committed.value().found_again);
    EXPECT_THAT(stored(), ElementsAre("a"));
    EXPECT_EQ(broker.connections(), 2U);
}

// G66
TEST_F(ClientTransactions, cut_after_the_broker_carried_them_out_are_found_again) {
    broker.next_transactions({Fate::cut_after, Fate::cut_after});
    for (int i = 0; i < 2; ++i) {
        Transaction tx = i == 0 ? publishing("a") : answering("b");
        const auto committed = tx.commit(long_enough);
        ASSERT_TRUE(committed.ok()) << committed.error().text;
        EXPECT_TRUE(committed.value().found_again);
        subscription.reset();
        next_tag = 1;
    }
    EXPECT_THAT(stored(), ElementsAre("a", "b"));
}

// G66
TEST_F(ClientTransactions, cut_before_with_deliveries_have_not_happened_and_never_will) {
    Transaction tx = answering("a");
    broker.next_transactions({Fate::cut_before});
    const auto committed = tx.commit(long_enough);
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().wire_code, wire::Code::lease_lost) << committed.error().text;
    EXPECT_THAT(stored(), IsEmpty());
    EXPECT_FALSE(broker.frames(wire::Verb::hold).empty()) << "the broker was told not to take it";
    ASSERT_TRUE(publishing("b").commit(long_enough).ok());
    EXPECT_THAT(stored(), ElementsAre("b"));
}

// G66
TEST_F(ClientTransactions, whose_frame_the_old_connection_still_brings_are_told_as_what_they_are) {
    Transaction tx = answering("a");
    // The first HOLD of a client makes its producer known; the transaction arrives before the next.
    ASSERT_TRUE(publishing("before").commit(long_enough).ok());
    broker.next_transactions({Fate::late});
    const auto committed = tx.commit(long_enough);
    ASSERT_TRUE(committed.ok()) << committed.error().text;
    EXPECT_TRUE(committed.value().found_again);
    EXPECT_THAT(stored(), ElementsAre("before", "a"));
}

// G65
TEST_F(ClientTransactions, refused_in_the_middle_publish_nothing_and_the_others_go_on) {
    broker.next_transactions({Fate::commit, Fate::refuse, Fate::commit});
    for (const char* name : {"a", "b", "c"}) commit_async(publishing(name), name);
    EXPECT_THAT(outcomes(), UnorderedElementsAre(std::pair("a", "committed"),
                                                 std::pair("b", error(wire::Code::no_route)),
                                                 std::pair("c", "committed")));
    EXPECT_THAT(stored(), ElementsAre("a", "c"));
}

// G65, G66
TEST_F(ClientTransactions, under_way_together_when_the_connection_ends_have_each_its_own_outcome) {
    std::vector<Transaction> answers;
    for (const char* name : {"b", "d"}) answers.push_back(answering(name));
    broker.next_transactions({Fate::commit, Fate::commit, Fate::refuse, Fate::cut_before});
    commit_async(publishing("a"), "a");
    commit_async(std::move(answers[0]), "b");
    commit_async(publishing("c"), "c");
    commit_async(std::move(answers[1]), "d");
    commit_async(publishing("e"), "e");
    const auto told_now = outcomes();
    EXPECT_EQ(told_now.at("a"), "committed");
    EXPECT_EQ(told_now.at("b"), "committed");
    EXPECT_EQ(told_now.at("c"), error(wire::Code::no_route));
    EXPECT_EQ(told_now.at("d"), error(wire::Code::lease_lost));
    EXPECT_EQ(told_now.at("e"), "committed");
    EXPECT_THAT(stored(), ElementsAre("a", "b", "e"));
}

TEST_F(ClientTransactions,
       whose_answer_is_late_are_indeterminate_for_who_waited_and_settled_later) {
    broker.next_transactions({Fate::silent});
    const auto committed = publishing("a").commit(Timeout{50});
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().code, Errc::indeterminate) << committed.error().text;
    EXPECT_EQ(client->flush_transactions(Timeout{20}).error().code, Errc::would_block);
    broker.cut();
    EXPECT_TRUE(client->flush_transactions(long_enough).ok());
    EXPECT_THAT(stored(), ElementsAre("a")) << "once, when the broker could be asked";
}

TEST_F(ClientTransactions, of_a_client_that_is_closed_before_the_answer_are_indeterminate) {
    broker.next_transactions({Fate::silent});
    commit_async(publishing("a"), "a");
    ASSERT_TRUE(
        broker.wait_until([&] { return !broker.frames(wire::Verb::transactions).empty(); }));
    client->close(Timeout{50}).ignore("transactions are under way");
    client.reset();
    const std::lock_guard lock(mutex);
    EXPECT_EQ(told["a"], error(wire::Code::ok)) << "told, once, and not as committed";
    EXPECT_THAT(stored(), IsEmpty());
}

// Acks in transactions that are sent make room for the next deliveries, whose transactions come
// before the answers to the first ones: a handler must not be told to wait.
TEST_F(ClientTransactions, of_a_handler_find_room_for_a_whole_window) {
    constexpr std::size_t window = 10'000;
    std::promise<void> all_asked;
    std::size_t asked = 0;
    const auto answer = [&](std::span<const Delivery> deliveries) {
        for (const Delivery& delivery : deliveries) {
            const std::string payload(as_text(delivery.message.payload));
            Transaction tx = publishing(payload);
            EXPECT_TRUE(tx.ack(delivery.tag).ok());
            commit_async(std::move(tx), payload);
        }
        asked += deliveries.size();
        if (asked == window) all_asked.set_value();
    };
    SubscribeOptions options;
    options.window_messages = window;
    const auto made = client->subscribe("in", options, answer);
    ASSERT_TRUE(made.ok());
    std::vector<std::string> payloads;
    for (std::size_t i = 0; i < window; ++i) payloads.push_back("p" + std::to_string(i));
    broker.deliver(made.value()->id(), 1, payloads);
    ASSERT_EQ(all_asked.get_future().wait_for(long_enough), std::future_status::ready);
    EXPECT_EQ(outcomes().size(), window);
    EXPECT_THAT(stored(), SizeIs(window));
}

TEST_F(ClientTransactions, are_found_through_many_lost_connections) {
    broker.next_transactions({Fate::cut_before, Fate::cut_before, Fate::late, Fate::cut_after,
                              Fate::cut_after, Fate::refuse, Fate::cut_before});
    for (const char* name : {"a", "b", "c", "d"}) commit_async(publishing(name), name);
    const auto told_now = outcomes();
    std::vector<std::string> expected;
    for (const auto& [name, what] : told_now) {
        if (what == "committed" || what == "found again") expected.push_back(name);
    }
    EXPECT_EQ(told_now.size(), 4U);
    EXPECT_THAT(stored(), ::testing::UnorderedElementsAreArray(expected))
        << "exactly what was told as committed, once";
}

}  // namespace
}  // namespace ferry::transport
