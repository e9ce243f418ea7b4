// Queues with limits: what counts, what goes, what is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class QueueLimits : public ::testing::Test {
protected:
    QueueLimits() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
    }
    ~QueueLimits() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void declare(std::string_view name, Overflow overflow, std::uint64_t messages,
                 std::uint64_t bytes = 0) {
        QueueOptions options;
        options.policy.max_messages = messages;
        options.policy.max_bytes = bytes;
        options.policy.overflow = overflow;
        if (overflow == Overflow::dead_letter_head) options.policy.dead_letter_key = "dead";
        rig.declare(1, name, options);
        rig.settle();
        rig.effects().clear();
    }
    void send(std::string_view queue, const std::vector<std::string>& payloads) {
        rig.send(1, handle, next, queue, payloads);
        next += payloads.size();
        rig.settle();
    }
    std::vector<std::string> ready(std::string_view queue) {
        std::vector<std::string> found;
        for (const PeekItem& item : rig.engine().peek(queue, 0, 1000)) {
            std::vector<std::byte> scratch;
            const auto bytes = message_bytes(rig.journal().body_at(item.extent.record()),
                                             item.extent, 0, item.extent.count, scratch);
            wire::Cursor cursor(bytes.value());
            wire::MessageView view;
            while (wire::read_message(cursor, view)) found.emplace_back(as_text(view.payload));
        }
        return found;
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

TEST_F(QueueLimits, DropHeadKeepsTheNewest) {
    declare("q", Overflow::drop_head, 3);
    send("q", {"a", "b"});
    send("q", {"c", "d", "e"});
    EXPECT_THAT(ready("q"), ElementsAre("c", "d", "e"));
    EXPECT_EQ(rig.view("q").dropped, 2U);
    EXPECT_EQ(rig.references(), 3U);
    rig.crash();
    rig.settle();
    EXPECT_THAT(ready("q"), ElementsAre("c", "d", "e"));
}

TEST_F(QueueLimits, DropHeadLeavesWhatAConsumerHolds) {
    declare("q", Overflow::drop_head, 2);
    rig.subscribe(1, 5, "q", 2);
    send("q", {"a", "b"});
    ASSERT_THAT(rig.payloads(), ElementsAre("a", "b"));
    send("q", {"c", "d", "e"});
    EXPECT_THAT(ready("q"), ElementsAre("d", "e"));
    EXPECT_EQ(rig.view("q").unacked, 2U);
    // What comes back is the oldest.
    const std::vector<Range<Tag>> both{{1, 2}};
    rig.engine().nack(1, 0, 5, both, true, rig.now());
    rig.engine().unsubscribe(1, 6, 5, rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").ready, 2U);
    EXPECT_THAT(ready("q"), ElementsAre("d", "e"));
}

TEST_F(QueueLimits, DropHeadDropsNothingThatAConsumerHasRoomFor) {
    declare("q", Overflow::drop_head, 1);
    rig.subscribe(1, 5, "q", 4);
    send("q", {"a", "b", "c", "d", "e", "f", "g"});
    EXPECT_THAT(rig.payloads(), ElementsAre("c", "d", "e", "f"));
    EXPECT_THAT(ready("q"), ElementsAre("g"));
    EXPECT_EQ(rig.view("q").dropped, 2U);
}

TEST_F(QueueLimits, DropHeadByBytes) {
    declare("q", Overflow::drop_head, 0, 120);
    send("q", {std::string(40, 'a'), std::string(40, 'b'), std::string(40, 'c')});
    EXPECT_LE(rig.view("q").ready_bytes, 120U);
    EXPECT_THAT(ready("q"), ElementsAre(std::string(40, 'b'), std::string(40, 'c')));
    send("q", {std::string(500, 'x')});
    EXPECT_EQ(rig.view("q").ready, 0U) << "larger than the limit on its own";
}

TEST_F(QueueLimits, DeadLetterHeadMakesDeadLettersWithTheReason) {
    rig.declare(1, "dead");
    declare("q", Overflow::dead_letter_head, 1);
    send("q", {"a", "b", "c"});
    EXPECT_THAT(ready("q"), ElementsAre("c"));
    EXPECT_THAT(ready("dead"), ElementsAre("a", "b"));
    EXPECT_EQ(rig.view("q").dead_lettered, 2U);
    EXPECT_EQ(rig.view("q").dropped, 2U);
    rig.crash();
    rig.settle();
    EXPECT_THAT(ready("dead"), ElementsAre("a", "b"));
}

// G67
TEST_F(QueueLimits, RejectPublishRefusesWhatDoesNotFitAndTakesItLater) {
    declare("q", Overflow::reject_publish, 2);
    send("q", {"a", "b", "c", "d"});
    EXPECT_THAT(ready("q"), ElementsAre("a", "b"));
    auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::queue_full);
    EXPECT_EQ(refused[0].sequences, (Range<Sequence>{3, 4}));
    EXPECT_THAT(refused[0].text, HasSubstr("queue 'q' is full: max_length 2"));
    // Unacked messages count.
    rig.subscribe(1, 5, "q");
    rig.settle();
    ASSERT_THAT(rig.payloads(), SizeIs(2));
    ASSERT_TRUE(rig.publish(1, handle, 3, {message("", "q", "c")}));
    rig.settle();
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(1));
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    ASSERT_TRUE(rig.publish(1, handle, 3, {message("", "q", "c")}));
    rig.settle();
    EXPECT_THAT(rig.take<Refuse>(), IsEmpty());
    EXPECT_THAT(rig.payloads(), ElementsAre("c"));
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 2U) << "b and c";
}

TEST_F(QueueLimits, RejectPublishCountsWhatIsDelayed) {
    declare("q", Overflow::reject_publish, 2);
    wire::Properties later;
    later.deliver_at_ms = rig.now().wall_ms + 60'000;
    ASSERT_TRUE(rig.publish(1, handle, 1,
                            {message("", "q", "a", later), message("", "q", "b", later),
                             message("", "q", "c", later)}));
    rig.settle();
    EXPECT_EQ(rig.view("q").delayed, 2U);
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(1));
}

TEST_F(QueueLimits, RejectPublishByBytesIsExact) {
    const std::uint64_t each = message("", "q", std::string(40, 'a')).size();
    declare("q", Overflow::reject_publish, 0, 2 * each);
    send("q", {std::string(40, 'a'), std::string(40, 'b'), std::string(40, 'c')});
    EXPECT_EQ(rig.view("q").ready, 2U);
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(1));
}

// G67
TEST_F(QueueLimits, AMessageForSeveralQueuesIsStoredInAllOrNone) {
    declare("q", Overflow::reject_publish, 1);
    rig.declare(1, "other");
    rig.engine().bind(1, 90, {"amq.fanout", "q", false, "", {}});
    rig.engine().bind(1, 91, {"amq.fanout", "other", false, "", {}});
    rig.settle();
    rig.effects().clear();
    ASSERT_TRUE(rig.publish(1, handle, 1,
                            {message("amq.fanout", "", "a"), message("amq.fanout", "", "b")}));
    rig.settle();
    EXPECT_EQ(rig.view("q").ready, 1U);
    EXPECT_EQ(rig.view("other").ready, 1U);
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(1));
}

TEST_F(QueueLimits, InOrderEverythingBehindARefusedMessageWaits) {
    declare("q", Overflow::reject_publish, 1);
    rig.declare(1, "other");
    ASSERT_TRUE(rig.publish(
        1, handle, 1, {message("", "q", "a"), message("", "q", "b"), message("", "other", "c")},
        wire::publish_in_order));
    rig.settle();
    EXPECT_EQ(rig.view("other").ready, 0U);
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(2));
    EXPECT_EQ(refused[0].code, Code::queue_full);
    EXPECT_EQ(refused[1].code, Code::sequence_gap);
}

TEST_F(QueueLimits, AreTrimmedAfterACrashThatCameBeforeTheDrop) {
    declare("q", Overflow::drop_head, 2);
    rig.send(1, handle, next, "q", {"a", "b", "c", "d"});
    rig.sync();  // the publish is durable, the drop was not even written
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 4U);
    rig.settle();
    EXPECT_THAT(ready("q"), ElementsAre("c", "d"));
}

TEST_F(QueueLimits, AreTrimmedInBoundedStepsAlsoThroughTheIndexOnDisk) {
    Settings small;
    small.extents_in_memory_max = 64;
    Rig little(small);
    little.engine().open_session(1);
    QueueOptions options;
    options.policy.max_messages = 5;
    const std::uint64_t producer = little.producer(1, "p");
    little.declare(1, "q", options);
    for (Sequence s = 1; s <= 2000; ++s) {
        ASSERT_TRUE(little.publish(1, producer, s, {message("", "q", std::to_string(s))}));
        if (s % 500 == 0) little.sync();  // no dispatch: the queue grows far beyond its limit
    }
    for (int i = 0; i < 40 && little.view("q").ready > 5; ++i) little.settle();
    EXPECT_EQ(little.view("q").ready, 5U);
    EXPECT_EQ(little.view("q").dropped, 1995U);
    EXPECT_THAT(little.problems(), IsEmpty());
}

TEST_F(QueueLimits, BadValuesAreRefusedWithTheRange) {
    QueuePolicy policy;
    policy.max_messages = limits::queue_length_max + 1;
    EXPECT_THAT(complaint_of(policy), HasSubstr("max_length is 0 to 1099511627776"));
    policy = {};
    policy.max_bytes = limits::queue_bytes_max + 1;
    EXPECT_THAT(complaint_of(policy), HasSubstr("max_bytes is 0 to"));
    policy = {};
    policy.overflow = Overflow::reject_publish;
    EXPECT_THAT(complaint_of(policy), HasSubstr("overflow needs max_length or max_bytes"));
    policy.max_bytes = 10;
    policy.overflow = Overflow::dead_letter_head;
    EXPECT_THAT(complaint_of(policy), HasSubstr("dead_letter"));
}

// ---- priorities ----

class Priorities : public QueueLimits {
protected:
    void declare_q(std::uint64_t max_messages = 0) {
        QueueOptions options;
        options.policy.priorities = true;
        options.policy.max_messages = max_messages;
        rig.declare(1, "q", options);
        rig.settle();
        rig.effects().clear();
    }
    static std::vector<std::byte> with(std::uint8_t priority, std::string_view payload,
                                       std::string_view exchange = "", std::string_view key = "q") {
        wire::Properties properties;
        properties.priority = priority;
        return message(exchange, key, payload, properties);
    }
    void publish(const std::vector<std::vector<std::byte>>& messages) {
        ASSERT_TRUE(rig.publish(1, handle, next, messages));
        next += messages.size();
        rig.settle();
    }
};

// G68
TEST_F(Priorities, HigherOnesGoFirstAndEqualOnesInOrder) {
    declare_q();
    publish({with(0, "a"), with(5, "b"), with(9, "c"), with(5, "d"), with(0, "e"), with(9, "f")});
    EXPECT_THAT(ready("q"), ElementsAre("c", "f", "b", "d", "a", "e"));
    rig.subscribe(1, 5, "q");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("c", "f", "b", "d", "a", "e"));
    rig.ack(1, 0, 5, {{1, 3}, {6, 6}});
    rig.settle();
    rig.crash();
    EXPECT_THAT(ready("q"), ElementsAre("d", "a"));
    EXPECT_EQ(rig.references(), 2U);
}

TEST_F(Priorities, OfOnePublishAreOneRunEachAndStayInTheirOrder) {
    declare_q();
    std::vector<std::vector<std::byte>> mixed;
    std::vector<std::string> expected[3];
    for (int i = 0; i < 60; ++i) {
        const int priority = i * 5 % 3;
        const std::string payload = std::to_string(i);
        mixed.push_back(with(static_cast<std::uint8_t>(priority), payload));
        expected[priority].push_back(payload);
    }
    publish(mixed);
    EXPECT_EQ(rig.engine().totals().extents_in_memory, 3U);
    EXPECT_EQ(rig.take<Confirm>().size(), 1U);
    std::vector<std::string> all;
    for (int level = 2; level >= 0; --level)
        all.insert(all.end(), expected[level].begin(), expected[level].end());
    EXPECT_EQ(ready("q"), all);
    rig.crash();
    EXPECT_EQ(ready("q"), all);
    // Where another queue keeps the order of publishing, nothing is sorted.
    rig.engine().open_session(1);
    handle = rig.producer(1, "p");
    rig.declare(1, "plain");
    rig.settle();
    rig.effects().clear();
    publish({with(0, "x", "", "plain"), with(3, "y"), with(9, "z", "", "plain"), with(1, "w")});
    EXPECT_THAT(ready("plain"), ElementsAre("x", "z"));
}

TEST_F(Priorities, MeanNothingInAQueueWithoutThem) {
    rig.declare(1, "q");
    publish({with(0, "a"), with(9, "b")});
    EXPECT_THAT(ready("q"), ElementsAre("a", "b"));
    EXPECT_EQ(static_cast<RecordType>(rig.journal().records().back().body[0]), RecordType::publish)
        << "and cost nothing there";
}

TEST_F(Priorities, EachQueueBehindAnExchangeHasItsOwnRule) {
    declare_q();
    rig.declare(1, "plain");
    rig.engine().bind(1, 90, {"amq.fanout", "q", false, "", {}});
    rig.engine().bind(1, 91, {"amq.fanout", "plain", false, "", {}});
    rig.settle();
    rig.effects().clear();
    publish({with(0, "a", "amq.fanout", ""), with(9, "b", "amq.fanout", "")});
    EXPECT_THAT(ready("q"), ElementsAre("b", "a"));
    EXPECT_THAT(ready("plain"), ElementsAre("a", "b"));
    rig.take_checkpoint();
    rig.crash();
    EXPECT_THAT(ready("q"), ElementsAre("b", "a"));
    EXPECT_THAT(ready("plain"), ElementsAre("a", "b"));
}

TEST_F(Priorities, WhatComesBackComesFirstInItsLevel) {
    declare_q();
    publish({with(5, "a"), with(5, "b"), with(0, "c")});
    rig.subscribe(1, 5, "q", 1);
    rig.settle();
    ASSERT_THAT(rig.payloads(), ElementsAre("a"));
    publish({with(9, "d")});
    const std::vector<Range<Tag>> first{{1, 1}};
    rig.engine().nack(1, 0, 5, first, true, rig.now(), 0);
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("d"));
    EXPECT_THAT(ready("q"), ElementsAre("a", "b", "c"));
    rig.crash();
    EXPECT_THAT(ready("q"), ElementsAre("d", "a", "b", "c"));
}

// G68
TEST_F(Priorities, NoLevelStarves) {
    declare_q();
    std::vector<std::vector<std::byte>> old;
    for (int i = 0; i < 8; ++i) old.push_back(with(static_cast<std::uint8_t>(i % 2), "low"));
    publish(old);
    std::vector<std::vector<std::byte>> urgent;
    for (int i = 0; i < 200; ++i) urgent.push_back(with(9, "urgent"));
    publish(urgent);
    rig.subscribe(1, 5, "q", 1);
    std::vector<std::string> order;
    for (Tag tag = 1; tag <= 128; ++tag) {
        rig.settle();
        for (const std::string& payload : rig.payloads()) order.push_back(payload);
        rig.ack(1, 0, 5, {{tag, tag}});
    }
    ASSERT_THAT(order, SizeIs(128));
    EXPECT_EQ(std::count(order.begin(), order.begin() + 60, "low"), 0);
    EXPECT_EQ(std::count(order.begin(), order.begin() + 64, "low"), 4);
    EXPECT_EQ(std::count(order.begin(), order.end(), "low"), 8);
}

TEST_F(Priorities, KeepEachLevelsIndexSmallAndFindItAgain) {
    Settings small;
    small.extents_in_memory_max = 64;
    Rig little(small);
    little.engine().open_session(1);
    QueueOptions options;
    options.policy.priorities = true;
    const std::uint64_t producer = little.producer(1, "p");
    little.declare(1, "q", options);
    std::vector<std::string> expected[10];
    for (Sequence s = 1; s <= 2000; ++s) {
        const auto priority = static_cast<std::uint8_t>(s * 7 % 10);
        expected[priority].push_back(std::to_string(s));
        ASSERT_TRUE(little.publish(1, producer, s, {with(priority, std::to_string(s))}));
        if (s % 100 == 0) little.settle();
    }
    EXPECT_LT(little.engine().totals().extents_in_memory, 1000U);
    little.take_checkpoint();
    little.crash();
    little.engine().open_session(2);
    little.subscribe(2, 5, "q", 10'000);
    std::vector<std::string> got[10];
    for (int i = 0; i < 200; ++i) {
        little.settle();
        for (const std::string& payload : little.payloads())
            got[std::stoul(payload) * 7 % 10].push_back(payload);
    }
    for (int level = 0; level < 10; ++level) EXPECT_EQ(got[level], expected[level]);
    EXPECT_THAT(little.problems(), IsEmpty());
}

TEST_F(Priorities, ALimitDropsTheOldestOfTheLowestLevel) {
    declare_q(3);
    publish({with(5, "a"), with(0, "b"), with(9, "c"), with(0, "d"), with(5, "e")});
    EXPECT_THAT(ready("q"), ElementsAre("c", "a", "e"));
}

TEST_F(Priorities, GoWithDeadLettersAndDelays) {
    declare_q();
    QueueOptions letters;
    letters.policy.dead_letter_key = "q";
    rig.declare(1, "from", letters);
    rig.subscribe(1, 6, "from");
    publish({with(0, "low"), with(7, "dies", "", "from")});
    rig.payloads();
    const std::vector<Range<Tag>> first{{1, 1}};
    rig.engine().nack(1, 0, 6, first, false, rig.now());
    rig.settle();
    EXPECT_THAT(ready("q"), ElementsAre("dies", "low"));
    wire::Properties later;
    later.deliver_at_ms = rig.now().wall_ms + 1000;
    later.priority = 8;
    publish({message("", "q", "later", later)});
    rig.take_checkpoint();
    rig.crash();
    rig.advance_ms(1500);
    rig.engine().tick(rig.now());
    rig.settle();
    EXPECT_THAT(ready("q"), ElementsAre("later", "dies", "low"));
}

}  // namespace
}  // namespace ferry::engine::testing
