// Ordered queues, and queues with a single active consumer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "key_gate.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class Ordered : public ::testing::Test {
protected:
    explicit Ordered(Settings settings = {}) : rig(settings) { rig.engine().open_session(1); }
    ~Ordered() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with(QueueOptions options) {
        options.ordered = true;
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    /// Each text is KEY:PAYLOAD; without a colon the message has no key.
    void send(const std::vector<std::string>& texts, std::uint64_t deliver_at = 0) {
        std::vector<std::vector<std::byte>> messages;
        for (const std::string& text : texts) {
            wire::Properties properties;
            const std::size_t colon = text.find(':');
            if (colon != std::string::npos) properties.ordering_key = text.substr(0, colon);
            properties.deliver_at_ms = deliver_at;
            messages.push_back(message("", "q", text, properties));
        }
        EXPECT_TRUE(rig.publish(1, handle, next, messages));
        next += texts.size();
        rig.settle();
    }
    void subscribe(std::uint64_t id, std::uint64_t window = 1000, std::string member = {},
                   std::uint64_t weight = 1, bool some = false) {
        SubscribeOptions options;
        options.window_messages = window;
        options.window_bytes = 1 << 20;
        options.member = std::move(member);
        options.weight = weight;
        options.some_at_a_time = some;
        rig.engine().subscribe(1, 900 + id, id, "q", options, rig.now());
        rig.settle();
    }
    void ack(std::uint64_t subscription, Tag first, Tag last = 0) {
        rig.ack(1, 0, subscription, {{first, last == 0 ? first : last}});
        rig.settle();
    }
    void nack(std::uint64_t subscription, Tag tag, bool requeue = true,
              std::optional<std::uint64_t> delay_ms = std::nullopt) {
        const std::vector<Range<Tag>> tags{{tag, tag}};
        rig.engine().nack(1, 0, subscription, tags, requeue, rig.now(), delay_ms);
        rig.settle();
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        rig.engine().tick(rig.now());
        rig.settle();
    }
    void connect_again() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
    }
    std::vector<ConsumerView> members() {
        rig.engine().show_queue(1, 950, "q", rig.now());
        rig.settle();
        const auto view = rig.take_answer<QueueView>(1, 950);
        return view ? view->members : std::vector<ConsumerView>{};
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

/// Memory for 256 Ki runs: one queue may have a quarter of that while half is free.
class OrderedWithLittleMemory : public Ordered {
protected:
    static constexpr std::uint64_t most = 256U << 10;
    OrderedWithLittleMemory() : Ordered(settings()) {}

    /// A thousand messages, of which no neighbours have one key.
    [[nodiscard]] std::vector<std::vector<std::byte>> thousand(const std::string& queue,
                                                               int number) const {
        std::vector<std::vector<std::byte>> messages;
        for (int n = 0; n < 1000; ++n) {
            wire::Properties properties;
            properties.ordering_key = "k" + std::to_string(n % 100);
            const std::string text =
                properties.ordering_key + ":" + std::to_string(number * 1000 + n);
            messages.push_back(message("", queue, text, properties));
        }
        return messages;
    }
    void send_thousand(const std::string& queue, int number) {
        EXPECT_TRUE(rig.publish(1, handle, next, thousand(queue, number)));
        next += 1000;
    }
    [[nodiscard]] std::uint64_t in_memory() { return rig.engine().totals().extents_in_memory; }

private:
    static Settings settings() {
        Settings little;
        little.extents_in_memory_max = most;
        return little;
    }
};

// G61
TEST_F(Ordered, AtMostOneMessageOfAKeyIsOutAndOtherKeysGoOn) {
    queue_with({});
    subscribe(5);
    send({"a:1", "a:2", "b:1", "a:3", "b:2", "c:1"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1", "c:1"));
    EXPECT_EQ(rig.view("q").ready, 3U);
    EXPECT_EQ(rig.view("q").blocked, 3U);
    EXPECT_EQ(rig.view("q").held_keys, 3U);
    ack(5, 2);  // b:1
    EXPECT_THAT(rig.payloads(), ElementsAre("b:2"));
    ack(5, 1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
    ack(5, 3);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    ack(5, 5);  // a:2
    EXPECT_THAT(rig.payloads(), ElementsAre("a:3"));
    ack(5, 4, 6);
    EXPECT_EQ(rig.view("q").ready, 0U);
    EXPECT_EQ(rig.view("q").held_keys, 0U);
    EXPECT_EQ(rig.references(), 0U);
}

TEST_F(Ordered, MessagesWithoutAKeyAreFree) {
    queue_with({});
    subscribe(5);
    send({"x", "y", "a:1", "z", "a:2", "w"});
    EXPECT_THAT(rig.payloads(), ElementsAre("x", "y", "a:1", "z", "w"));
}

// G62
TEST_F(Ordered, C10ANackHoldsItsKeyUntilTheRetryIsSettled) {
    queue_with({});
    subscribe(5);
    send({"a:1", "a:2", "b:1", "b:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1"));
    nack(5, 1, true, 500);
    ack(5, 2);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:2")) << "a waits for its retry, b does not";
    send({"a:3", "c:1"});
    EXPECT_THAT(rig.payloads(), ElementsAre("c:1"));
    pass(499);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    pass(1);
    const auto again = rig.deliveries();
    ASSERT_THAT(again, SizeIs(1));
    EXPECT_EQ(again[0].payload, "a:1");
    EXPECT_EQ(again[0].attempt, 2U);
    ack(5, again[0].tag);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
}

TEST_F(Ordered, BusyConsumersAreNotLookedAheadForAsFarAsOneWithLittleToDo) {
    queue_with({});
    subscribe(5);
    std::vector<std::string> first;
    for (int i = 0; i < 100; ++i) first.push_back("k" + std::to_string(i) + ":x");
    send(first);
    EXPECT_THAT(rig.payloads(), SizeIs(100));
    for (int i = 0; i < 50; ++i) send(first);  // 5,000 runs that wait for their keys
    send({"fresh:1"});
    EXPECT_THAT(rig.payloads(), IsEmpty());
    EXPECT_EQ(rig.view("q").blocked, 4'096U);
    // Somebody with nothing to do: it is worth to look on.
    subscribe(6);
    EXPECT_THAT(rig.payloads(), ElementsAre("fresh:1"));
    EXPECT_EQ(rig.view("q").blocked, 5'000U);
}

// G62
TEST_F(Ordered, ANackWithoutDelayComesBackBeforeTheNextOfItsKey) {
    queue_with({});
    subscribe(5);
    send({"a:1", "a:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    for (int i = 0; i < 3; ++i) {
        nack(5, static_cast<Tag>(1 + i));
        EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    }
    ack(5, 4);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
}

// G62
TEST_F(Ordered, AMessageThatIsDroppedOrDeadLetteredLetsItsKeyGoOn) {
    QueueOptions options;
    options.policy.dead_letter_key = "dead";
    options.policy.max_deliveries = 2;
    queue_with(options);
    rig.declare(1, "dead");
    subscribe(5);
    send({"a:1", "a:2", "a:3"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    nack(5, 1, false);  // rejected
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
    nack(5, 2);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
    nack(5, 3);  // had its last attempt
    EXPECT_THAT(rig.payloads(), ElementsAre("a:3"));
    EXPECT_EQ(rig.view("dead").ready, 2U);
}

// G62
TEST_F(Ordered, AnExpiredLeaseReturnsOneMessageAndKeepsItsKeyInOrder) {
    QueueOptions options;
    options.lease_ms = 1000;
    options.policy.retry = RetryKind::fixed;
    options.policy.retry_delay_ms = 300;
    queue_with(options);
    subscribe(5);
    send({"a:1", "a:2", "b:1"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1"));
    ack(5, 2);
    pass(1000);
    EXPECT_THAT(rig.payloads(), IsEmpty()) << "it waits for its retry";
    pass(300);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
}

// G61
TEST_F(Ordered, ALostConnectionReturnsKeysInTheirOrder) {
    queue_with({});
    subscribe(5, 2);
    send({"a:1", "a:2", "b:1", "a:3", "b:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1"));
    rig.engine().close_session(1, rig.now());
    rig.settle();
    connect_again();
    subscribe(6, 1);
    std::vector<std::string> all;
    for (Tag tag = 1; tag <= 5; ++tag) {
        for (const std::string& text : rig.payloads()) all.push_back(text);
        ack(6, tag);
    }
    std::vector<std::string> a, b;
    for (const std::string& text : all) (text[0] == 'a' ? a : b).push_back(text);
    EXPECT_THAT(a, ElementsAre("a:1", "a:2", "a:3"));
    EXPECT_THAT(b, ElementsAre("b:1", "b:2"));
}

// G63
TEST_F(Ordered, ARetryHoldsItsKeyOverACrashAndOverARestart) {
    queue_with({});
    subscribe(5);
    send({"a:1", "a:2", "b:1", "b:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1"));
    nack(5, 1, true, 5000);
    rig.crash();
    connect_again();
    subscribe(5);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:1")) << "a:2 does not pass a:1";
    rig.restart_cleanly();
    connect_again();
    subscribe(5);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:1"));
    ack(5, 1);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:2"));
    rig.take_checkpoint();
    rig.sync();
    rig.crash();
    connect_again();
    subscribe(5);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:2"));
    pass(5000);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    ack(5, 2);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
}

TEST_F(OrderedWithLittleMemory, KeepsTheIndexOfALongBacklogInTheLog) {
    queue_with({});
    for (int i = 0; i < 200; ++i) {
        send_thousand("q", i);
        rig.settle();
    }
    EXPECT_LT(in_memory(), most / 4 + 1000);
    EXPECT_EQ(rig.view("q").ready, 200'000U);
    rig.crash();
    connect_again();
    subscribe(5, 1000);
    std::map<std::string, int> last;
    std::uint64_t seen = 0;
    for (int turn = 0; turn < 6000 && seen < 200'000; ++turn) {
        const auto got = rig.deliveries();
        std::vector<Range<Tag>> tags;
        for (const Seen& one : got) {
            const std::size_t colon = one.payload.find(':');
            int& before = last[one.payload.substr(0, colon)];
            const int number = std::stoi(one.payload.substr(colon + 1)) + 1;
            EXPECT_GT(number, before) << one.payload;
            before = number;
            tags.push_back({one.tag, one.tag});
        }
        seen += got.size();
        rig.ack(1, 0, 5, tags);
        rig.engine().dispatch(rig.now());
        rig.sync();
        rig.answer_loads();
        rig.engine().dispatch(rig.now());
    }
    EXPECT_EQ(seen, 200'000U);
    EXPECT_EQ(rig.references(), 0U);
}

// Nobody waits while all that was well until now is written: a block, and there is room again.
TEST_F(OrderedWithLittleMemory, WritesNoLongIndexAtOnceWhenMemoryBecomesShort) {
    queue_with({});
    QueueOptions ordered;
    ordered.ordered = true;
    const std::vector<std::string> queues{"q", "r", "s"};
    for (std::size_t i = 1; i < queues.size(); ++i) rig.declare(1, queues[i], ordered);
    std::uint64_t peak = 0;
    for (int i = 0; i < 200; ++i) {
        for (const std::string& queue : queues) {
            const std::uint64_t before = in_memory();
            send_thousand(queue, i);
            EXPECT_LT(before, in_memory() + 4096) << "one index block";
            peak = std::max(peak, in_memory());
        }
        rig.sync();
    }
    EXPECT_GE(peak, most / 2 - 1000) << "otherwise memory was never short";
    EXPECT_LT(peak, most / 2 + 3000);
    EXPECT_LT(in_memory(), most / 2 + 3000);
}

// Of a command whose messages go to several queues, each run is divided as it is in replay.
TEST_F(Ordered, APublishToSeveralQueuesIsDividedByKeyWhereverItsMessagesLie) {
    queue_with({});
    rig.declare(1, "plain");
    const auto keyed = [](const std::string& queue, const std::string& text) {
        wire::Properties properties;
        properties.ordering_key = text.substr(0, 1);
        return message("", queue, text, properties);
    };
    const std::vector<std::vector<std::byte>> messages{
        keyed("q", "a1"),      keyed("q", "b1"), keyed("plain", "a"),   keyed("q", "b2"),
        keyed("nowhere", "b"), keyed("q", "a2"), message("", "q", "-"), keyed("q", "c1")};
    EXPECT_TRUE(rig.publish(1, handle, next, messages));
    next += messages.size();
    for (const bool replayed : {false, true}) {
        rig.settle();
        if (replayed) {
            rig.crash();
            connect_again();
        }
        subscribe(5);
        EXPECT_THAT(rig.payloads(), ElementsAre("a1", "b1", "-", "c1")) << replayed;
    }
    ack(5, 1, 4);
    EXPECT_THAT(rig.payloads(), ElementsAre("a2", "b2"));
    ack(5, 5, 6);
    EXPECT_EQ(rig.view("q").ready, 0U);
}

TEST_F(Ordered, LooksPastABlockedKeyOnlySoFar) {
    queue_with({});
    subscribe(5, 10);
    send({"a:0"});
    std::vector<std::string> texts;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        texts.push_back("a:" + std::to_string(i));
        texts.push_back("b" + std::to_string(i) + ":0");
    }
    rig.effects().clear();
    send(texts);
    std::uint64_t others = 0;
    for (int turn = 0; turn < 300; ++turn) {
        for (const Seen& one : rig.deliveries()) {
            EXPECT_EQ(one.payload[0], 'b');
            ++others;
            rig.ack(1, 0, 5, {{one.tag, one.tag}});
        }
        rig.settle();
    }
    EXPECT_EQ(others, 1000U);
    EXPECT_EQ(rig.view("q").blocked, 1000U);
    EXPECT_LE(rig.engine().totals().extents_in_memory, 1000U);
}

TEST_F(Ordered, PurgeDropsWhatIsBlockedAndKeepsWhatIsOut) {
    queue_with({});
    subscribe(5);
    send({"a:1", "a:2", "b:1", "b:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1"));
    nack(5, 1, true, 5000);
    rig.engine().purge_queue(1, 960, "q", rig.now());
    rig.settle();
    EXPECT_EQ(rig.take_answer<CountAnswer>(1, 960)->messages, 3U);
    send({"a:3", "b:3"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:3")) << "the retry went, b:1 is still out";
    ack(5, 2);
    EXPECT_THAT(rig.payloads(), ElementsAre("b:3"));
}

TEST_F(Ordered, DropsMovesAndExpiresWhatIsBlocked) {
    QueueOptions options;
    options.policy.message_ttl_ms = 10'000;
    queue_with(options);
    rig.declare(1, "other");
    subscribe(5);
    send({"a:1", "a:2", "a:3", "a:4"});
    const auto out = rig.deliveries();
    ASSERT_THAT(out, SizeIs(1));
    rig.engine().drop_message(1, 961, "q", out[0].position + 1, rig.now());
    rig.settle();
    EXPECT_EQ(rig.take_answer<CountAnswer>(1, 961)->messages, 1U);
    rig.engine().move_messages(1, 962, "q", "other", 0, 1, false, rig.now());
    rig.settle();
    EXPECT_EQ(rig.take_answer<CountAnswer>(1, 962)->messages, 1U);
    EXPECT_EQ(rig.view("other").ready, 1U);
    ack(5, 1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:4"));
    send({"a:5"});
    pass(10'100);
    EXPECT_EQ(rig.view("q").ready, 0U);
    ack(5, 2);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    send({"a:6"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:6"));
}

TEST_F(Ordered, ADelayedMessageTakesItsPlaceWhenItIsDue) {
    queue_with({});
    subscribe(5);
    send({"a:late"}, rig.now().wall_ms + 1000);
    send({"a:1", "a:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    pass(1000);
    EXPECT_THAT(rig.payloads(), IsEmpty());
    ack(5, 1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
    ack(5, 2);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:late"));
}

TEST_F(Ordered, APullGetsWhatMayGoOutAndSaysNoneOtherwise) {
    queue_with({});
    send({"a:1", "a:2", "b:1", "x"});
    rig.engine().pull(1, 970, 7, "q", 10, 1 << 20, false, rig.now());
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1", "b:1", "x"));
    EXPECT_EQ(rig.take_answer<PullAnswer>(1, 970)->delivered, 3U);
    rig.engine().pull(1, 971, 7, "q", 10, 1 << 20, false, rig.now());
    rig.settle();
    const auto none = rig.take_answer<PullAnswer>(1, 971);
    ASSERT_TRUE(none);
    EXPECT_EQ(none->delivered, 0U);
    EXPECT_EQ(none->ready, 1U);
    ack(7, 1);
    rig.engine().pull(1, 972, 7, "q", 10, 1 << 20, false, rig.now());
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("a:2"));
}

// ---- key-shared ----

std::vector<std::string> keys(int count) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back("k" + std::to_string(i) + ":x");
    return texts;
}

// G64
TEST_F(Ordered, AKeyComesToTheSameConsumerAgainAndAgain) {
    queue_with({});
    subscribe(5, 1000, "one");
    subscribe(6, 1000, "two");
    subscribe(7, 1000, "three");
    std::map<std::string, std::uint64_t> owner;
    for (int round = 0; round < 3; ++round) {
        send(keys(300));
        for (const Seen& one : rig.deliveries()) {
            const auto [at, fresh] = owner.try_emplace(one.payload, one.subscription);
            EXPECT_EQ(at->second, one.subscription) << one.payload;
            rig.ack(1, 0, one.subscription, {{one.tag, one.tag}});
        }
        rig.settle();
    }
    EXPECT_EQ(owner.size(), 300U);
    std::map<std::uint64_t, int> share;
    for (const auto& [key, subscription] : owner) ++share[subscription];
    EXPECT_THAT(share, SizeIs(3));
    for (const auto& [subscription, count] : share) EXPECT_GT(count, 40);
    std::uint64_t slots = 0;
    for (const ConsumerView& member : members()) slots += member.slots;
    EXPECT_EQ(slots, limits::key_slots);
}

// G64
TEST_F(Ordered, H1OnlyMovedSlotsMoveWhenAConsumerJoins) {
    queue_with({});
    subscribe(5, 2000, "one");
    subscribe(6, 2000, "two");
    std::map<std::string, std::uint64_t> before;
    send(keys(400));
    for (const Seen& one : rig.deliveries()) {
        before[one.payload] = one.subscription;
        rig.ack(1, 0, one.subscription, {{one.tag, one.tag}});
    }
    rig.settle();
    subscribe(7, 2000, "three");
    send(keys(400));
    int moved = 0;
    for (const Seen& one : rig.deliveries()) {
        rig.ack(1, 0, one.subscription, {{one.tag, one.tag}});
        if (one.subscription == before[one.payload]) continue;
        EXPECT_EQ(one.subscription, 7U) << "keys move to the new consumer only";
        ++moved;
    }
    EXPECT_GT(moved, 60);
    EXPECT_LT(moved, 240);
    rig.settle();
    rig.engine().unsubscribe(1, 980, 7, rig.now());
    rig.settle();
    send(keys(400));
    for (const Seen& one : rig.deliveries()) EXPECT_EQ(one.subscription, before[one.payload]);
}

// G64
TEST_F(Ordered, C10AMovedSlotIsDrainedBeforeItsNewOwnerGetsAnything) {
    queue_with({});
    subscribe(5, 5000, "one");
    send(keys(500));
    const auto held = rig.deliveries();
    ASSERT_THAT(held, SizeIs(500));
    subscribe(6, 5000, "two");
    send(keys(500));
    EXPECT_THAT(rig.payloads(), IsEmpty()) << "every key is out, nothing of a moved slot goes";
    std::uint64_t draining = 0;
    for (const ConsumerView& member : members()) draining += member.draining;
    EXPECT_GT(draining, 50U);
    // Other keys of a slot that drains wait too: one consumer at a time has the slot.
    std::map<std::uint32_t, std::set<std::string>> out;  // by slot
    for (const Seen& one : held) {
        const std::string key = one.payload.substr(0, one.payload.find(':'));
        out[KeyGate::slot_of(KeyGate::number_of(key))].insert(key);
    }
    for (const Seen& one : held) {
        const std::string key = one.payload.substr(0, one.payload.find(':'));
        out[KeyGate::slot_of(KeyGate::number_of(key))].erase(key);
        ack(5, one.tag);
        for (const Seen& more : rig.deliveries()) {
            const std::string other = more.payload.substr(0, more.payload.find(':'));
            if (more.subscription != 6) continue;
            EXPECT_THAT(out[KeyGate::slot_of(KeyGate::number_of(other))], IsEmpty());
        }
    }
    for (const ConsumerView& member : members()) EXPECT_EQ(member.draining, 0U);
}

// G64
TEST_F(Ordered, AConsumerWithoutCreditHoldsOnlyItsOwnKeys) {
    queue_with({});
    subscribe(5, 1, "slow");
    subscribe(6, 5000, "fast");
    send(keys(400));
    std::map<std::uint64_t, int> got;
    for (const Seen& one : rig.deliveries()) ++got[one.subscription];
    EXPECT_EQ(got[5], 1);
    EXPECT_GT(got[6], 100);
    const std::uint64_t slow_keys = 400 - static_cast<std::uint64_t>(got[6]);
    EXPECT_EQ(rig.view("q").blocked, slow_keys - 1);
    for (Tag tag = 1; tag < slow_keys; ++tag) {
        ack(5, tag);
        EXPECT_THAT(rig.deliveries(), SizeIs(1));
    }
}

TEST_F(Ordered, WeightsShareTheKeys) {
    queue_with({});
    subscribe(5, 1000, "small", 1);
    subscribe(6, 1000, "large", 8);
    const auto all = members();
    ASSERT_THAT(all, SizeIs(2));
    EXPECT_LT(all[0].slots * 4, all[1].slots);
    subscribe(7, 1000, "huge", 65);
    EXPECT_EQ(rig.failure(1, 907), Code::bad_option);
}

TEST_F(Ordered, AQueueIsNotOrderedAndByPriority) {
    QueueOptions both;
    both.ordered = true;
    both.policy.priorities = true;
    rig.engine().declare_queue(1, 985, "both", both, rig.now());
    const auto refused = rig.take_answer<Failure>(1, 985);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Code::bad_option);
    EXPECT_THAT(refused->text, HasSubstr("not both"));
}

// G61
TEST_F(Ordered, AFullQueueDropsTheOldestOfWhatIsBlockedFirst) {
    QueueOptions options;
    options.policy.max_messages = 2;
    queue_with(options);
    subscribe(5);
    send({"a:1", "a:2"});
    EXPECT_THAT(rig.payloads(), ElementsAre("a:1"));
    send({"a:3"});
    EXPECT_EQ(rig.view("q").dropped, 0U);
    send({"a:4"});
    EXPECT_EQ(rig.view("q").dropped, 1U) << "a:2, not the one that is out";
    ack(5, 1);
    EXPECT_THAT(rig.payloads(), ElementsAre("a:3"));
}

TEST_F(Ordered, TwoConsumersOfOneNameBothGetKeys) {
    queue_with({});
    subscribe(5, 1000, "same");
    subscribe(6, 1000, "same");
    const auto all = members();
    ASSERT_THAT(all, SizeIs(2));
    EXPECT_EQ(all[0].member, "same");
    EXPECT_THAT(all[1].member, HasSubstr("same#"));
    EXPECT_GT(all[0].slots, 100U);
    EXPECT_GT(all[1].slots, 100U);
}

TEST_F(Ordered, SingleMessagesOfManyKeysGoOutTogether) {
    queue_with({});
    subscribe(5, 1000, "one", 1, true);
    subscribe(6, 1000, "two", 1, true);
    send(keys(300));
    std::uint64_t effects = 0;
    std::map<std::uint64_t, Tag> next_tag{{5, 1}, {6, 1}};
    std::uint64_t messages = 0;
    for (const Deliver& d : rig.take<Deliver>()) {
        ++effects;
        EXPECT_EQ(d.first_tag, next_tag[d.subscription]);
        next_tag[d.subscription] += d.messages();
        messages += d.messages();
        std::uint64_t more = 0;
        for (const Extent& extent : d.more) more += extent.count;
        EXPECT_EQ(more, d.more_messages);
    }
    EXPECT_EQ(messages, 300U);
    EXPECT_LE(effects, 4U);
    nack(5, 1);
    const auto again = rig.take<Deliver>();
    ASSERT_THAT(again, SizeIs(1));
    EXPECT_EQ(again[0].attempt, 2U);
    EXPECT_THAT(again[0].more, IsEmpty());
}

// ---- single active consumer ----

class SingleActive : public Ordered {
protected:
    void queue(bool ordered = false) {
        QueueOptions options;
        options.single_active = true;
        options.ordered = ordered;
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    std::vector<std::pair<std::uint64_t, bool>> notices() {
        std::vector<std::pair<std::uint64_t, bool>> all;
        for (const Activated& a : rig.take<Activated>()) all.emplace_back(a.subscription, a.active);
        return all;
    }
};

TEST_F(SingleActive, TheFirstSubscriberGetsEverythingAndTheNextOneTakesOver) {
    for (const bool ordered : {false, true}) {
        if (ordered) rig.engine().delete_queue(1, 990, "q", false, false, rig.now());
        queue(ordered);
        next = 1;
        handle = rig.producer(1, ordered ? "p2" : "p1");
        subscribe(5);
        subscribe(6);
        subscribe(7);
        EXPECT_THAT(notices(),
                    ElementsAre(std::pair(5U, true), std::pair(6U, false), std::pair(7U, false)));
        send({"a:1", "b:1", "c"});
        for (const Seen& one : rig.deliveries()) EXPECT_EQ(one.subscription, 5U);
        ack(5, 1);
        rig.engine().unsubscribe(1, 991, 6, rig.now());
        rig.settle();
        EXPECT_THAT(notices(), IsEmpty()) << "one that only waited has gone";
        rig.engine().unsubscribe(1, 992, 5, rig.now());
        rig.settle();
        EXPECT_THAT(notices(), ElementsAre(std::pair(7U, true)));
        const auto taken_over = rig.deliveries();
        ASSERT_THAT(taken_over, SizeIs(2));
        for (const Seen& one : taken_over) {
            EXPECT_EQ(one.subscription, 7U);
            EXPECT_EQ(one.attempt, 2U) << "what the first one had comes again";
        }
        rig.engine().unsubscribe(1, 993, 7, rig.now());
        rig.settle();
    }
}

TEST_F(SingleActive, AnActiveOneWithoutCreditIsNotPassedBy) {
    queue();
    subscribe(5, 1);
    subscribe(6);
    send({"x", "y"});
    EXPECT_THAT(rig.payloads(), ElementsAre("x"));
    const auto all = members();
    ASSERT_THAT(all, SizeIs(2));
    EXPECT_TRUE(all[0].active);
    EXPECT_FALSE(all[1].active);
}

TEST_F(SingleActive, IsTakenOverWhenItsConnectionEnds) {
    queue();
    subscribe(5);
    rig.engine().open_session(2);
    rig.subscribe(2, 9, "q");
    rig.settle();
    send({"x"});
    EXPECT_THAT(rig.payloads(), ElementsAre("x"));
    rig.effects().clear();
    rig.engine().close_session(1, rig.now());
    rig.settle();
    EXPECT_THAT(notices(), ElementsAre(std::pair(9U, true)));
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].session, 2U);
}

TEST_F(SingleActive, RefusesPullsAndSurvivesARestart) {
    queue();
    send({"x"});
    rig.engine().pull(1, 994, 7, "q", 1, 100, false, rig.now());
    const auto refused = rig.take_answer<Failure>(1, 994);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Code::exclusive_elsewhere);
    EXPECT_THAT(refused->text, HasSubstr("subscribe"));
    rig.crash();
    EXPECT_TRUE(rig.view("q").single_active);
    rig.restart_cleanly();
    EXPECT_TRUE(rig.view("q").single_active);
    connect_again();
    QueueOptions other;
    rig.engine().declare_queue(1, 995, "q", other, rig.now());
    EXPECT_EQ(rig.failure(1, 995), Code::declared_differently);
}

TEST_F(SingleActive, AnExclusiveConsumerRefusesOthersWithAReason) {
    rig.declare(1, "q");
    handle = rig.producer(1, "p");
    rig.subscribe(1, 5, "q", 10, false, true);
    subscribe(6);
    const auto refused = rig.take_answer<Failure>(1, 906);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Code::exclusive_elsewhere);
    EXPECT_THAT(refused->text, HasSubstr("exclusive"));
    rig.engine().unsubscribe(1, 996, 5, rig.now());
    subscribe(6);
    EXPECT_EQ(rig.failure(1, 906), Code::ok);
    SubscribeOptions alone;
    alone.window_messages = 1;
    alone.exclusive = true;
    rig.engine().subscribe(1, 997, 8, "q", alone, rig.now());
    EXPECT_EQ(rig.failure(1, 997), Code::exclusive_elsewhere) << "there is one already";
}

}  // namespace
}  // namespace ferry::engine::testing
