// Who gets the next message: by load, and not who has stopped answering. (G74)

#include <gmock/gmock.h>

#include <algorithm>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::uint64_t lease_ms = 10'000;

class Consumers : public ::testing::Test {
protected:
    void SetUp() override {
        for (SessionId session = 1; session <= 3; ++session) rig.engine().open_session(session);
        handle = rig.producer(1, "p");
    }
    void TearDown() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void declare(bool ordered = false, bool single_active = false) {
        QueueOptions options;
        options.lease_ms = lease_ms;
        options.ordered = ordered;
        options.single_active = single_active;
        rig.declare(1, "q", options);
        rig.settle();
    }
    void send(std::vector<std::string> payloads) {
        rig.send(1, handle, next, "q", payloads);
        next += payloads.size();
        rig.settle();
    }
    void send_with_key(const std::string& key, const std::string& payload) {
        wire::Properties properties;
        properties.ordering_key = key;
        rig.publish(1, handle, next++, {message("", "q", payload, properties)});
        rig.settle();
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        rig.engine().tick(rig.now());
        rig.settle();
    }
    // Payloads by session.
    std::map<SessionId, std::vector<std::string>> got() {
        std::map<SessionId, std::vector<std::string>> all;
        for (const Seen& seen : rig.deliveries()) {
            all[seen.session].push_back(seen.payload);
            last_tag[seen.session] = seen.tag;
        }
        return all;
    }
    ConsumerView consumer(SessionId session) {
        for (const ConsumerView& view : rig.engine().consumers("q", {}, 100, rig.now())) {
            if (view.session == session) return view;
        }
        ADD_FAILURE() << "session " << session << " does not consume";
        return {};
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
    std::map<SessionId, Tag> last_tag;
};

TEST_F(Consumers, TheOneThatHoldsTheLeastGetsTheNextMessage) {
    declare();
    rig.subscribe(1, 1, "q");
    rig.settle();
    send({"a", "b", "c", "d"});
    EXPECT_EQ(got()[1].size(), 4U);
    rig.subscribe(2, 1, "q");
    rig.settle();
    for (const char* payload : {"e", "f", "g", "h"}) send({payload});
    EXPECT_THAT(got()[2], ElementsAre("e", "f", "g", "h"));
    // Now both hold four: they take turns.
    send({"i"});
    send({"j"});
    const auto both = got();
    EXPECT_EQ(both.at(1).size(), 1U);
    EXPECT_EQ(both.at(2).size(), 1U);
}

TEST_F(Consumers, WhatAStuckConsumerHeldGoesToTheOthersAndItGetsNothingNew) {
    declare();
    rig.subscribe(1, 1, "q", 1);
    rig.settle();
    send({"a"});
    EXPECT_THAT(got()[1], ElementsAre("a"));
    rig.subscribe(2, 1, "q", 1);
    rig.settle();
    send({"b"});
    EXPECT_THAT(got()[2], ElementsAre("b"));
    pass(lease_ms / 2);
    rig.ack(2, 0, 1, {{last_tag[2], last_tag[2]}});
    rig.settle();
    EXPECT_FALSE(consumer(1).stuck);
    // At the time its lease ends the message comes back, and not to the one that let it end.
    pass(lease_ms / 2);
    EXPECT_TRUE(consumer(1).stuck);
    EXPECT_EQ(consumer(1).leases_ended, 1U);
    EXPECT_EQ(rig.view("q").stuck, 1U);
    auto now = got();
    EXPECT_THAT(now[2], ElementsAre("a"));
    EXPECT_THAT(now[1], IsEmpty());
    // The other one has no room: the message waits for it rather than for another lease.
    send({"c"});
    EXPECT_THAT(got(), IsEmpty());
    // A sign of life, be it about a message that it lost: it gets messages again.
    rig.ack(1, 0, 1, {{last_tag[1], last_tag[1]}});
    rig.settle();
    EXPECT_FALSE(consumer(1).stuck);
    EXPECT_THAT(got()[1], ElementsAre("c"));
}

// What it says in a transaction is a sign of life as well, also if that comes too late.
TEST_F(Consumers, AStuckConsumerThatSettlesInTransactionsGetsMessagesAgain) {
    declare();
    rig.subscribe(1, 1, "q", 1);
    send({"a"});
    EXPECT_THAT(got()[1], ElementsAre("a"));
    rig.subscribe(2, 1, "q", 1);
    const std::uint64_t tx = rig.producer(1, "tx");
    pass(lease_ms + 1000);
    ASSERT_TRUE(consumer(1).stuck);
    EXPECT_THAT(got()[2], ElementsAre("a"));
    send({"b"});
    EXPECT_THAT(got(), IsEmpty()) << "the other one has no room";
    const Range<Tag> tags{last_tag[1], last_tag[1]};
    const TransactionPart part{1, false, std::span(&tags, 1)};
    TransactionCommand command;
    command.session = 1;
    command.request = 70;
    command.producer = tx;
    command.parts = std::span(&part, 1);
    ASSERT_TRUE(rig.engine().transact(command, rig.now()));
    EXPECT_FALSE(consumer(1).stuck);
    rig.settle();
    EXPECT_EQ(rig.take_answer<Failure>(1, 70).value_or(Failure{}).code, Code::lease_lost);
    EXPECT_THAT(got()[1], ElementsAre("b"));
}

TEST_F(Consumers, WhenEveryoneIsStuckTheyAllGetMessages) {
    declare();
    rig.subscribe(1, 1, "q", 10);
    rig.subscribe(2, 1, "q", 10);
    rig.settle();
    send({"a", "b"});
    got();
    pass(lease_ms);
    EXPECT_EQ(rig.view("q").stuck, 2U);
    const auto again = got();
    EXPECT_EQ(again.at(1).size() + again.at(2).size(), 2U);
}

TEST_F(Consumers, AnOnlyConsumerGetsItsMessageBackThoughItIsStuck) {
    declare();
    rig.subscribe(1, 1, "q", 10);
    rig.settle();
    send({"a"});
    got();
    pass(lease_ms);
    EXPECT_TRUE(consumer(1).stuck);
    EXPECT_THAT(got()[1], ElementsAre("a"));
}

TEST_F(Consumers, WhoLeavesStuckIsCountedNoLonger) {
    declare();
    rig.subscribe(1, 1, "q", 1);
    rig.subscribe(2, 1, "q", 10);
    rig.settle();
    send({"a", "b"});
    got();
    rig.ack(2, 0, 1, {{1, 1}});
    pass(lease_ms);
    ASSERT_EQ(rig.view("q").stuck, 1U);
    rig.engine().close_session(1, rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").stuck, 0U);
    EXPECT_EQ(rig.view("q").consumers, 1U);
}

TEST_F(Consumers, TheKeysOfAStuckConsumerGoToTheOthersAndComeBack) {
    declare(true);
    rig.subscribe(1, 1, "q", 100);
    rig.subscribe(2, 1, "q", 100);
    rig.settle();
    std::vector<std::string> keys;
    for (int i = 0; i < 40; ++i) keys.push_back("key " + std::to_string(i));
    for (const std::string& key : keys) send_with_key(key, key + ".1");
    auto first = got();
    ASSERT_FALSE(first[1].empty());
    ASSERT_FALSE(first[2].empty());
    pass(lease_ms - 1);
    rig.ack(2, 0, 1, {{1, last_tag[2]}});
    rig.settle();
    pass(1);
    EXPECT_TRUE(consumer(1).stuck);
    EXPECT_EQ(consumer(1).slots, 0U);
    // All that it held, and what follows of the same keys in their order.
    EXPECT_EQ(got()[2], first[1]);
    for (const std::string& key : keys) send_with_key(key, key + ".2");
    auto second = got();
    EXPECT_THAT(second[1], IsEmpty());
    rig.ack(2, 0, 1, {{1, last_tag[2]}});
    rig.settle();
    auto third = got();
    EXPECT_EQ(second[2].size() + third[2].size(), keys.size());
    EXPECT_THAT(third[1], IsEmpty());
    rig.ack(2, 0, 1, {{1, last_tag[2]}});
    rig.ack(1, 0, 1, {{last_tag[1], last_tag[1]}});
    rig.settle();
    EXPECT_FALSE(consumer(1).stuck);
    EXPECT_GT(consumer(1).slots, 0U);
    for (const std::string& key : keys) send_with_key(key, key + ".3");
    const auto fourth = got();
    EXPECT_EQ(fourth.at(1).size(), first[1].size());
    EXPECT_EQ(fourth.at(2).size(), first[2].size());
}

TEST_F(Consumers, AStuckSingleActiveConsumerStaysTheOnlyOne) {
    declare(false, true);
    rig.subscribe(1, 1, "q", 10);
    rig.subscribe(2, 1, "q", 10);
    rig.settle();
    send({"a"});
    got();
    pass(lease_ms);
    EXPECT_TRUE(consumer(1).stuck);
    auto again = got();
    EXPECT_THAT(again[1], ElementsAre("a"));
    EXPECT_THAT(again[2], IsEmpty());
}

TEST_F(Consumers, AreListedWithWhatTheyHoldPageByPage) {
    declare();
    rig.declare(1, "r");
    rig.subscribe(1, 1, "q", 1);
    rig.subscribe(2, 1, "q", 50);
    rig.subscribe(3, 1, "r", 7);
    rig.settle();
    send({"abc"});
    pass(2'000);
    const auto all = rig.engine().consumers("", {}, 100, rig.now());
    ASSERT_EQ(all.size(), 3U);
    const ConsumerView& holder = all[0].unacked == 1 ? all[0] : all[1];
    EXPECT_EQ(holder.queue, "q");
    EXPECT_EQ(holder.unacked, 1U);
    EXPECT_EQ(holder.oldest_ms, 2'000U);
    EXPECT_EQ(holder.silent_ms, 2'000U);
    EXPECT_EQ(holder.lease_ms, lease_ms);
    EXPECT_GT(holder.unacked_bytes, 3U);
    EXPECT_EQ(all[2].queue, "r");
    EXPECT_EQ(all[2].window_messages, 7U);
    // One at a time, as a client does that asks for pages.
    std::vector<SessionId> sessions;
    ConsumerPlace after;
    for (int i = 0; i < 3; ++i) {
        const auto page = rig.engine().consumers("", after, 1, rig.now());
        ASSERT_EQ(page.size(), 1U);
        sessions.push_back(page[0].session);
        const bool same = after.queue == page[0].queue;
        after = {page[0].queue == "q" ? "q" : "r", same ? after.skip + 1 : 1};
    }
    EXPECT_THAT(sessions, UnorderedElementsAre(1U, 2U, 3U));
    EXPECT_THAT(rig.engine().consumers("", after, 1, rig.now()), IsEmpty());
    EXPECT_EQ(rig.engine().consumers("r", {}, 100, rig.now()).size(), 1U);
}

}  // namespace
}  // namespace ferry::engine::testing
