// Why a message of an ordered queue, or of one with a single active consumer, is not delivered.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "key_gate.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class WhyOrder : public ::testing::Test {
protected:
    WhyOrder() { rig.engine().open_session(1); }
    ~WhyOrder() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void queue_with(QueueOptions options) {
        rig.declare(1, "q", options);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    void ordered() {
        QueueOptions options;
        options.ordered = true;
        queue_with(options);
    }
    Position send(const std::string& key) {
        wire::Properties properties;
        properties.ordering_key = key;
        EXPECT_TRUE(rig.publish(1, handle, next++, {message("", "q", key, properties)}));
        const Position at = rig.journal().records().back().place.position;
        rig.settle();
        return at;
    }
    void subscribe(std::uint64_t id, std::uint64_t window, std::string member = {},
                   std::uint64_t weight = 1) {
        SubscribeOptions options;
        options.window_messages = window;
        options.window_bytes = 1 << 20;
        options.member = std::move(member);
        options.weight = weight;
        rig.engine().subscribe(1, 900 + id, id, "q", options, rig.now());
        rig.settle();
    }
    std::vector<std::string> ask(Position position = 0) {
        rig.engine().why(1, 99, "q", position, {}, rig.now());
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
                const auto* flag = std::get_if<bool>(&value);
                if (one.name != fact || key != name) continue;
                if (number != nullptr) return *number;
                if (flag != nullptr) return *flag ? 1 : 0;
            }
        }
        return -1;
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
    std::vector<Fact> facts;
};

TEST_F(WhyOrder, AMessageNamesTheOneThatHasItsKeyAndWithWhomThatIs) {
    ordered();
    subscribe(5, 10);
    const Position first = send("a");
    const Position second = send("a");
    const Position other = send("b");
    rig.advance_ms(4'000);
    EXPECT_THAT(ask(second), ElementsAre("is_ready", "waits_for_key", "holder_is_with_consumer",
                                         "ready", "unacked", "takes_more", "waits_for_keys"));
    EXPECT_EQ(detail("waits_for_key", "position"), static_cast<std::int64_t>(second));
    EXPECT_EQ(detail("waits_for_key", "behind"), static_cast<std::int64_t>(first));
    EXPECT_EQ(detail("waits_for_key", "ahead"), 0);
    EXPECT_EQ(detail("holder_is_with_consumer", "session"), 1);
    EXPECT_EQ(detail("holder_is_with_consumer", "subscription"), 5);
    EXPECT_EQ(detail("holder_is_with_consumer", "since_ms"), 4'000);
    EXPECT_EQ(detail("waits_for_keys", "messages"), 1);
    EXPECT_EQ(detail("waits_for_keys", "keys"), 2);
    EXPECT_THAT(ask(other), ElementsAre("is_with_consumer"));
    // Of the queue: what the first that waits waits for; nobody pretends that it is on its way.
    EXPECT_THAT(ask(), ElementsAre("ready", "unacked", "takes_more", "waits_for_keys",
                                   "waits_for_key", "holder_is_with_consumer"));
}

TEST_F(WhyOrder, AKeyThatWaitsForARetrySaysUntilWhen) {
    ordered();
    subscribe(5, 10);
    const Position first = send("a");
    const Position second = send("a");
    const Range<Tag> tag{1, 1};
    rig.engine().nack(1, 0, 5, std::span(&tag, 1), true, rig.now(), 3'000);
    rig.settle();
    rig.advance_ms(1'000);
    EXPECT_THAT(ask(second),
                ElementsAre("is_ready", "waits_for_key", "holder_is_waiting_for_retry", "ready",
                            "takes_more", "waits_for_keys", "waits_for_retry"));
    EXPECT_EQ(detail("waits_for_key", "behind"), static_cast<std::int64_t>(first));
    EXPECT_EQ(detail("holder_is_waiting_for_retry", "in_ms"), 2'000);
    EXPECT_EQ(detail("holder_is_waiting_for_retry", "deliveries"), 1);
}

TEST_F(WhyOrder, AMessageWhoseTurnItIsNamesTheConsumerOfItsKeyThatHasNoCredit) {
    ordered();
    subscribe(5, 1);
    send("a");
    const Position second = send("b");
    const Position third = send("b");
    EXPECT_THAT(ask(second), Contains("key_comes_to"));
    EXPECT_EQ(detail("key_comes_to", "subscription"), 5);
    EXPECT_EQ(detail("key_comes_to", "takes_more"), 0);
    EXPECT_THAT(ask(second), Contains("window_full"));
    EXPECT_THAT(ask(second), Not(Contains("waits_for_key")));
    ask(third);
    EXPECT_EQ(detail("is_ready", "ahead"), 1);
}

TEST_F(WhyOrder, ASlotThatMovesSaysFromWhomToWhomAndWhatItWaitsFor) {
    ordered();
    subscribe(5, 100, "one");
    // Enough keys that some move to the second consumer, and one of each waits.
    std::vector<Position> waiting;
    for (int i = 0; i < 20; ++i) send("k" + std::to_string(i));
    for (int i = 0; i < 20; ++i) waiting.push_back(send("k" + std::to_string(i)));
    subscribe(6, 100, "two");
    ask();
    std::int64_t slots = detail("slots_move", "slots");
    EXPECT_GT(slots, 0);
    EXPECT_EQ(detail("slots_move", "subscription"), 5);
    EXPECT_EQ(detail("slots_move", "to_subscription"), 6);
    EXPECT_GE(detail("slots_move", "unacked"), slots);
    // Whoever has the key comes first, and then the move.
    EXPECT_THAT(ask(waiting[0]), Contains("holder_is_with_consumer"));
    for (Tag tag = 1; tag <= 20; ++tag) rig.ack(1, 0, 5, {{tag, tag}});
    rig.settle();
    ask();
    EXPECT_EQ(detail("slots_move", "slots"), -1) << "nothing drains any more";
}

TEST_F(WhyOrder, AFreeKeyOfASlotThatDrainsSaysSo) {
    ordered();
    // Two keys of one slot.
    std::string twin;
    const auto slot = KeyGate::slot_of(KeyGate::number_of("a"));
    for (int i = 0; twin.empty(); ++i) {
        const std::string key = "t" + std::to_string(i);
        if (KeyGate::slot_of(KeyGate::number_of(key)) == slot) twin = key;
    }
    subscribe(5, 100, "one");
    send("a");
    // The slot goes to whoever the ring says; enough others, and it is not the first.
    for (std::uint64_t id = 6; id < 26; ++id) subscribe(id, 100, "n" + std::to_string(id), 64);
    const Position at = send(twin);
    ask(at);
    EXPECT_EQ(detail("slot_drains", "subscription"), 5);
    EXPECT_EQ(detail("slot_drains", "unacked"), 1);
    EXPECT_GE(detail("slot_drains", "to_subscription"), 6);
}

TEST_F(WhyOrder, ASingleActiveConsumerIsNamedAndTheOthersAreNotBlamed) {
    QueueOptions options;
    options.single_active = true;
    queue_with(options);
    subscribe(5, 1);
    subscribe(6, 100);
    send("");
    const Position at = send("");
    EXPECT_THAT(ask(at), ElementsAre("is_ready", "ready", "unacked", "single_active", "no_credit",
                                     "window_full"));
    EXPECT_EQ(detail("single_active", "session"), 1);
    EXPECT_EQ(detail("single_active", "subscription"), 5);
    EXPECT_EQ(detail("single_active", "waiting"), 1);
    EXPECT_EQ(detail("no_credit", "consumers"), 1);
}

}  // namespace
}  // namespace ferry::engine::testing
