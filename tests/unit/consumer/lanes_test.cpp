#include "lanes.hpp"

#include <gtest/gtest.h>

#include "fake_source.hpp"

namespace ferry::consumer {
namespace {

using test::make_incoming;

Instant at(std::uint64_t ns) {
    return Instant{ns};
}

Incoming keyed(const std::string& key, std::uint64_t position, std::uint64_t tag = 0,
               std::uint64_t generation = 1) {
    auto received = test::make_received({"m" + std::to_string(position), "", key}, position, 1,
                                        {1, tag == 0 ? position : tag, generation});
    return std::move(read_incoming(std::move(received))).value();
}

std::vector<std::string> payloads(const std::vector<Lanes::Work>& works) {
    std::vector<std::string> texts;
    for (const auto& work : works) texts.emplace_back(work.held->message.payload());
    return texts;
}

void finish_one(Lanes& lanes, Lane* lane, const Lanes::Verdict& verdict) {
    lanes.finish(lane, {&verdict, 1});
}

void finish_done(Lanes& lanes, const std::vector<Lanes::Work>& works) {
    for (const auto& work : works) finish_one(lanes, work.lane, {work.held, true, {}});
}

TEST(Incoming, ReadsItsPropertiesWhenTheyAreAskedForAndKeepsThemWhereverItGoes) {
    Incoming first = make_incoming({.payload = "p",
                                    .id = "an id of more than a few letters",
                                    .key = "key",
                                    .published_at_ms = 5});
    EXPECT_EQ(first.ordering_key(), "key");
    EXPECT_EQ(first.published_at_ms(), 5U);
    Incoming moved = std::move(first);
    EXPECT_EQ(moved.ordering_key(), "key");
    const Incoming& asked = moved;
    EXPECT_EQ(asked.id(), "an id of more than a few letters");
    EXPECT_EQ(&asked.properties(), &asked.properties());
    const Incoming copy = asked;
    moved = Incoming();
    EXPECT_EQ(copy.properties().ordering_key, "key");
    EXPECT_EQ(copy.ordering_key(), "key");
    EXPECT_EQ(copy.published_at_ms(), 5U);
    EXPECT_EQ(moved.id(), "");
}

TEST(Incoming, OfMalformedPropertiesItHasNone) {
    auto received = test::make_received({"p", "id"}, 1, 1);
    received.delivery.message.properties = received.delivery.message.properties.first(2);
    EXPECT_FALSE(read_incoming(received).ok());
    const Incoming unread(received, wire::PropertyViews{});
    EXPECT_EQ(unread.id(), "");
    EXPECT_EQ(unread.payload(), "p");
}

TEST(Lanes, OneMessageOfAKeyRunsAtATimeAndOthersBesideIt) {
    Lanes lanes;
    lanes.push(keyed("a", 1));
    lanes.push(keyed("a", 2));
    lanes.push(keyed("b", 3));
    lanes.push(keyed("", 4));
    const auto first = lanes.take(at(0), 1);
    EXPECT_EQ(payloads(first), (std::vector<std::string>{"m1"}));
    EXPECT_EQ(payloads(lanes.take(at(0), 1)), (std::vector<std::string>{"m3"}));
    EXPECT_EQ(payloads(lanes.take(at(0), 1)), (std::vector<std::string>{"m4"}));
    EXPECT_FALSE(lanes.any_ready());
    finish_done(lanes, first);
    EXPECT_EQ(payloads(lanes.take(at(0), 1)), (std::vector<std::string>{"m2"}));
}

TEST(Lanes, AMessageThatWaitsHoldsLaterOnesOfItsKeyOnly) {
    Lanes lanes;
    lanes.push(keyed("a", 1));
    lanes.push(keyed("a", 2));
    lanes.push(keyed("b", 3));
    const auto first = lanes.take(at(0), 1);
    finish_one(lanes, first[0].lane, {first[0].held, false, at(500)});
    EXPECT_EQ(payloads(lanes.take(at(0), 1)), (std::vector<std::string>{"m3"}));
    EXPECT_FALSE(lanes.any_ready());
    Instant due;
    ASSERT_TRUE(lanes.next_due(due));
    EXPECT_EQ(due, at(500));
    lanes.wake(at(499));
    EXPECT_FALSE(lanes.any_ready());
    lanes.wake(at(500));
    EXPECT_EQ(payloads(lanes.take(at(500), 1)), (std::vector<std::string>{"m1"}));
}

TEST(Lanes, ABatchTakesALaneInItsOrderAndThenTheNext) {
    Lanes lanes;
    lanes.push(keyed("a", 1));
    lanes.push(keyed("b", 2));
    lanes.push(keyed("a", 3));
    const auto all = lanes.take(at(0), 10);
    EXPECT_EQ(payloads(all), (std::vector<std::string>{"m1", "m3", "m2"}));
    // The first of the lane stays, the second was done: only the first comes again.
    const Lanes::Verdict both[] = {{all[0].held, false, at(0)}, {all[1].held, true, {}}};
    lanes.finish(all[0].lane, both);
    lanes.wake(at(1));
    EXPECT_EQ(payloads(lanes.take(at(1), 10)), (std::vector<std::string>{"m1"}));
}

TEST(Lanes, ARedeliveryOfAHeldMessageTakesOverItsTag) {
    Lanes lanes;
    lanes.push(keyed("a", 1, 7));
    lanes.push(keyed("a", 2, 8));
    EXPECT_FALSE(lanes.push(keyed("a", 1, 9)));
    const auto work = lanes.take(at(0), 1);
    EXPECT_EQ(work[0].held->message.delivery().tag.tag, 9U);
    EXPECT_EQ(lanes.held(), 2U);
}

TEST(Lanes, AMessageThatCameBackStandsBeforeLaterOnesOfItsKey) {
    Lanes lanes;
    lanes.push(keyed("a", 5));
    lanes.push(keyed("a", 3));
    lanes.push(keyed("a", 4));
    EXPECT_EQ(payloads(lanes.take(at(0), 10)), (std::vector<std::string>{"m3", "m4", "m5"}));
}

TEST(Lanes, ABrokenConnectionDropsWhatHasNotBegun) {
    Lanes lanes;
    lanes.push(keyed("a", 1));
    lanes.push(keyed("a", 2));
    lanes.push(keyed("b", 3));
    const auto running = lanes.take(at(0), 1);
    lanes.drop_before(2);
    EXPECT_EQ(lanes.held(), 1U);
    EXPECT_FALSE(lanes.any_ready());
    EXPECT_TRUE(running[0].held->stale);
    // It failed, but its lease is gone: another attempt comes with its redelivery.
    finish_one(lanes, running[0].lane, {running[0].held, false, at(10)});
    EXPECT_EQ(lanes.held(), 0U);
    EXPECT_EQ(lanes.delayed(), 0U);
    lanes.push(keyed("a", 1, 11, 2));
    lanes.push(keyed("a", 2, 12, 2));
    EXPECT_EQ(payloads(lanes.take(at(0), 10)), (std::vector<std::string>{"m1", "m2"}));
}

TEST(Lanes, ALostLeaseDropsThatMessageOnly) {
    Lanes lanes;
    lanes.push(keyed("a", 1));
    lanes.push(keyed("", 2));
    lanes.lose({1, 2, 1});
    EXPECT_EQ(payloads(lanes.take(at(0), 10)), (std::vector<std::string>{"m1"}));
    lanes.lose({1, 1, 1});
    EXPECT_EQ(lanes.tags().size(), 0U);
    EXPECT_EQ(lanes.running(), 1U);
}

TEST(Lanes, PoisonComesAlone) {
    Lanes lanes;
    lanes.push(keyed("", 1));
    lanes.push(keyed("a", 2), "broken");
    lanes.push(keyed("a", 3));
    EXPECT_EQ(payloads(lanes.take(at(0), 10)), (std::vector<std::string>{"m1"}));
    EXPECT_EQ(payloads(lanes.take(at(0), 10)), (std::vector<std::string>{"m2"}));
    EXPECT_FALSE(lanes.any_ready());
}

}  // namespace
}  // namespace ferry::consumer
