// Why a message is not delivered.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class Why : public ::testing::Test {
protected:
    Why() { rig.engine().open_session(1); }
    ~Why() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with(const QueuePolicy& policy = {}) {
        QueueOptions options;
        options.policy = policy;
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    void send(std::string_view payload, const wire::Properties& properties = {}) {
        ASSERT_TRUE(rig.publish(1, handle, next++, {message("", "q", payload, properties)}));
        rig.settle();
    }
    std::vector<std::string> ask(Position position = 0, std::string_view id = {}) {
        rig.engine().why(1, 99, "q", position, id, rig.now());
        const auto answer = rig.take_answer<WhyAnswer>(1, 99);
        facts = answer ? answer->facts : std::vector<Fact>{};
        std::vector<std::string> names;
        for (const Fact& fact : facts) names.push_back(fact.name);
        return names;
    }
    std::int64_t detail(std::string_view fact, std::string_view name) {
        for (const Fact& one : facts) {
            for (const auto& [key, value] : one.details) {
                const auto* number = std::get_if<std::int64_t>(&value);
                if (one.name == fact && key == name && number != nullptr) return *number;
            }
        }
        return -1;
    }
    Position first_ready() { return rig.engine().peek("q", 0, 1).at(0).extent.first; }
    void nack(Tag tag, bool requeue, std::optional<std::uint64_t> delay = std::nullopt) {
        const Range<Tag> tags{tag, tag};
        rig.engine().nack(1, 20, 5, std::span(&tags, 1), requeue, rig.now(), delay);
        rig.settle();
    }
    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
    std::vector<Fact> facts;
};

TEST_F(Why, AQueueWithoutConsumersSaysSo) {
    queue_with();
    EXPECT_THAT(ask(), ElementsAre("nothing_ready", "no_consumers"));
    send("a");
    EXPECT_THAT(ask(), ElementsAre("ready", "no_consumers"));
    EXPECT_EQ(detail("ready", "messages"), 1);
    EXPECT_THAT(ask(first_ready()), ElementsAre("is_ready", "ready", "no_consumers"));
    EXPECT_EQ(detail("is_ready", "ahead"), 0);
}

TEST_F(Why, AFullWindowNamesWhoHoldsWhatAndSinceWhen) {
    queue_with();
    rig.subscribe(1, 5, "q", 2);
    for (int i = 0; i < 4; ++i) send("m");
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(2));
    rig.advance_ms(7'000);
    EXPECT_THAT(ask(), ElementsAre("ready", "unacked", "no_credit", "window_full"));
    EXPECT_EQ(detail("window_full", "session"), 1);
    EXPECT_EQ(detail("window_full", "subscription"), 5);
    EXPECT_EQ(detail("window_full", "unacked"), 2);
    EXPECT_EQ(detail("window_full", "window_messages"), 2);
    EXPECT_EQ(detail("window_full", "oldest_ms"), 7'000);
    EXPECT_THAT(ask(seen[1].position), ElementsAre("is_with_consumer"));
    EXPECT_EQ(detail("is_with_consumer", "tag"), 2);
    EXPECT_EQ(detail("is_with_consumer", "lease_left_ms"), 30 * 60'000 - 7'000);
    EXPECT_THAT(rig.engine().peek("q", 0, 10, Where::unacked), SizeIs(2));
    rig.subscribe(1, 6, "q", 0);
    EXPECT_THAT(ask(), Contains("paused"));
}

TEST_F(Why, ADelayedMessageIsFoundByItsIdAndItsPosition) {
    queue_with();
    wire::Properties later;
    later.deliver_at_ms = rig.now().wall_ms + 5'000;
    later.id = "invoice-17";
    send("a", later);
    EXPECT_THAT(ask(), ElementsAre("nothing_ready", "no_consumers", "delayed"));
    EXPECT_EQ(detail("delayed", "next_in_ms"), 5'000);
    EXPECT_THAT(ask(0, "invoice-17"), ElementsAre("is_delayed"));
    EXPECT_EQ(detail("is_delayed", "in_ms"), 5'000);
    const auto position = static_cast<Position>(detail("is_delayed", "position"));
    EXPECT_THAT(ask(position), ElementsAre("is_delayed"));
    EXPECT_THAT(ask(0, "invoice-18"), ElementsAre("no_delayed_message_has_this_id"));
    EXPECT_THAT(rig.engine().peek("q", 0, 10, Where::delayed), SizeIs(1));
}

TEST_F(Why, AFailedMessageWaitsForItsRetryAndThenIsParkedWithTheReason) {
    QueuePolicy policy;
    policy.max_deliveries = 2;
    policy.dead_letter_key = "dead";
    queue_with(policy);
    rig.subscribe(1, 5, "q");
    send("a");
    const Position at = rig.deliveries().at(0).position;
    nack(1, true, 3'000);
    EXPECT_THAT(ask(at), ElementsAre("is_waiting_for_retry"));
    EXPECT_EQ(detail("is_waiting_for_retry", "in_ms"), 3'000);
    EXPECT_EQ(detail("is_waiting_for_retry", "deliveries"), 1);
    EXPECT_THAT(ask(), Contains("waits_for_retry"));
    rig.advance_ms(3'000);
    rig.engine().tick(rig.now());
    rig.settle();
    nack(2, true, 0);
    EXPECT_THAT(ask(at), ElementsAre("is_parked"));
    EXPECT_THAT(facts.at(0).details, Contains(std::pair<std::string, Argument>("missing", true)));
    EXPECT_THAT(ask(), Contains("parked"));
    EXPECT_THAT(rig.engine().peek("q", 0, 10, Where::leaving), SizeIs(1));
    rig.declare(1, "dead");
    rig.advance_ms(1'000);
    rig.engine().tick(rig.now());
    rig.settle();
    EXPECT_THAT(ask(at), ElementsAre("is_gone"));
    EXPECT_THAT(ask(), Contains("dead_lettered"));
}

TEST_F(Why, OfAMessageThatIsGoneItSaysWhatIsKnownAndNoMore) {
    queue_with();
    rig.subscribe(1, 5, "q");
    send("a");
    send("b");
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(2));
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    EXPECT_THAT(ask(seen[0].position), ElementsAre("is_gone"));
    EXPECT_THAT(ask(rig.journal().end() + 10'000'000), ElementsAre("not_written_yet"));
    EXPECT_THAT(ask(seen[1].position + 1), Not(Contains("is_with_consumer")));
}

TEST_F(Why, AFullDiskAndAWriteThatIsUnderWayAreNamed) {
    queue_with();
    rig.subscribe(1, 5, "q");
    ASSERT_TRUE(rig.publish(1, handle, next++, {message("", "q", "a")}));
    EXPECT_THAT(ask(), Contains("waits_for_disk"));
    rig.settle();
    rig.engine().set_disk_full(true);
    EXPECT_THAT(ask(), Contains("disk_full"));
}

TEST_F(Why, AQueueThatIsNotThereIsAnError) {
    rig.engine().why(1, 99, "none", 0, "", rig.now());
    EXPECT_EQ(rig.failure(1, 99), Code::no_such_queue);
}

}  // namespace
}  // namespace ferry::engine::testing
