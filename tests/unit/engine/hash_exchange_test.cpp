// Consistent-hash exchanges: scenarios H1 to H4 in the broker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/hash_ring.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HashExchange : public ::testing::Test {
protected:
    HashExchange() {
        open();
        for (const char* name : {"a", "b", "c"}) rig.declare(1, name);
        rig.effects().clear();
    }
    ~HashExchange() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void open() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
    }
    Failure declare(const ExchangeOptions& options = {}, std::string_view name = "x",
                    ExchangeType type = ExchangeType::consistent_hash) {
        rig.engine().declare_exchange(1, 500, name, type, options);
        rig.settle();
        return rig.take_answer<Failure>(1, 500).value_or(Failure{Code::ok, ""});
    }
    Failure bind(std::string_view queue, std::string_view weight, Arguments arguments = {}) {
        rig.engine().bind(
            1, 501, {"x", std::string(queue), false, std::string(weight), std::move(arguments)});
        rig.settle();
        return rig.take_answer<Failure>(1, 501).value_or(Failure{Code::ok, ""});
    }
    void unbind(std::string_view queue, std::string_view weight) {
        rig.engine().unbind(1, 502, {"x", std::string(queue), false, std::string(weight), {}});
        rig.settle();
        EXPECT_EQ(rig.failure(1, 502), Code::ok);
    }
    /// The queue that one message comes to; "" if to none.
    std::string goes_to(std::string_view key, const wire::Properties& properties = {}) {
        std::map<std::string, std::uint64_t> before;
        for (const char* q : {"a", "b", "c"}) before[q] = rig.view(q).ready;
        EXPECT_TRUE(rig.publish(1, handle, next++, {message("x", key, "m", properties)}));
        rig.settle();
        std::string found;
        for (const auto& [q, n] : before) {
            if (rig.view(q).ready > n) found += q;
        }
        EXPECT_LE(found.size(), 1U) << "one queue gets it";
        return found;
    }
    std::map<std::string, std::string> map_of(int keys) {
        std::map<std::string, std::string> map;
        for (int i = 0; i < keys; ++i) {
            const std::string key = "k" + std::to_string(i);
            map[key] = goes_to(key);
        }
        return map;
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// G60
TEST_F(HashExchange, SendsEachRoutingKeyToOneQueueAsTheRingSays) {
    EXPECT_EQ(declare().code, Code::ok);
    EXPECT_EQ(goes_to("k"), "") << "nobody is bound";
    EXPECT_EQ(bind("a", "1").code, Code::ok);
    EXPECT_EQ(bind("b", "2").code, Code::ok);
    wire::HashRing ring;
    ASSERT_TRUE(ring.add("queue/a", 1).ok());
    ASSERT_TRUE(ring.add("queue/b", 2).ok());
    for (int i = 0; i < 200; ++i) {
        const std::string key = "k" + std::to_string(i);
        EXPECT_EQ("queue/" + goes_to(key), ring.find(key)->name);
    }
}

// G60
TEST_F(HashExchange, H1BindingOneMoreQueueMovesKeysToThatOneOnly) {
    declare();
    bind("a", "1");
    bind("b", "1");
    const auto before = map_of(300);
    bind("c", "1");
    const auto after = map_of(300);
    int moved = 0;
    for (const auto& [key, queue] : after) {
        if (queue == before.at(key)) continue;
        EXPECT_EQ(queue, "c");
        ++moved;
    }
    EXPECT_GT(moved, 40);
    EXPECT_LT(moved, 180);
    unbind("c", "1");
    EXPECT_EQ(map_of(300), before);
    rig.engine().delete_queue(1, 503, "b", false, false, rig.now());
    for (int i = 0; i < 50; ++i) EXPECT_EQ(goes_to("k" + std::to_string(i)), "a");
}

TEST_F(HashExchange, H2RefusesWeightsThatAreNoneAndSaysTheRange) {
    declare();
    for (const char* weight :
         {"", "0", "65", "01", "-1", "1.5", "heavy", "1000000", "99999999999"}) {
        const Failure refused = bind("a", weight);
        EXPECT_EQ(refused.code, Code::bad_option) << weight;
        EXPECT_THAT(refused.text, HasSubstr("1 to 64"));
    }
    EXPECT_EQ(bind("a", "64").code, Code::ok);
    EXPECT_EQ(rig.engine().bindings_of("x").size(), 1U);
}

TEST_F(HashExchange, H2BoundsThePointsOfOneExchange) {
    declare();
    constexpr std::uint32_t most = limits::ring_points_max / limits::ring_points_per_member_max;
    for (std::uint32_t i = 0; i <= most; ++i) rig.declare(1, "q" + std::to_string(i));
    for (std::uint32_t i = 0; i < most; ++i) bind("q" + std::to_string(i), "64");
    EXPECT_EQ(bind("q" + std::to_string(most), "1").code, Code::limit_reached);
    unbind("q0", "64");
    EXPECT_EQ(bind("q" + std::to_string(most), "1").code, Code::ok);
}

TEST_F(HashExchange, H3ADuplicateBindingChangesNothingAndAnotherWeightIsRefused) {
    declare();
    bind("a", "1");
    bind("b", "1");
    const auto before = map_of(100);
    EXPECT_EQ(bind("a", "1").code, Code::ok);
    const Failure refused = bind("a", "2");
    EXPECT_EQ(refused.code, Code::declared_differently);
    EXPECT_THAT(refused.text, HasSubstr("unbind"));
    EXPECT_EQ(bind("a", "1", {{"x", Argument{true}}}).code, Code::declared_differently);
    EXPECT_EQ(map_of(100), before);
    unbind("a", "1");
    for (int i = 0; i < 50; ++i) EXPECT_EQ(goes_to("k" + std::to_string(i)), "b");
    unbind("b", "1");
    EXPECT_EQ(goes_to("k1"), "");
}

// G60
TEST_F(HashExchange, H4GivesTheSameMapAfterACrashAndAfterARestart) {
    ExchangeOptions options;
    options.hash_on = HashOn::header;
    options.hash_header = "customer";
    rig.engine().declare_exchange(1, 500, "x", ExchangeType::consistent_hash, options);
    bind("a", "1");
    bind("b", "3");
    bind("c", "2");
    unbind("b", "3");
    bind("b", "1");
    const auto probe = [&] {
        std::string map;
        for (int i = 0; i < 60; ++i) {
            wire::Properties properties;
            properties.headers = {{"customer", std::int64_t{i}}};
            map += goes_to("same", properties);
        }
        return map;
    };
    const std::string before = probe();
    rig.crash();
    open();
    EXPECT_EQ(probe(), before);
    rig.take_checkpoint();
    rig.sync();
    rig.crash();
    open();
    EXPECT_EQ(probe(), before);
    rig.restart_cleanly();
    open();
    EXPECT_EQ(probe(), before);
    EXPECT_EQ(rig.engine().exchange("x")->hash_header, "customer");
}

TEST_F(HashExchange, HashesTheOrderingKeyOrAHeaderAndOtherwiseTheRoutingKey) {
    wire::HashRing ring;
    for (const char* q : {"queue/a", "queue/b", "queue/c"}) ASSERT_TRUE(ring.add(q).ok());
    const auto bind_all = [&] {
        for (const char* q : {"a", "b", "c"}) bind(q, "1");
    };
    ExchangeOptions options;
    options.hash_on = HashOn::ordering_key;
    EXPECT_EQ(declare(options).code, Code::ok);
    bind_all();
    for (int i = 0; i < 40; ++i) {
        wire::Properties properties;
        properties.ordering_key = "o" + std::to_string(i);
        EXPECT_EQ("queue/" + goes_to("same", properties), ring.find(properties.ordering_key)->name);
        EXPECT_EQ("queue/" + goes_to(properties.ordering_key),
                  ring.find(properties.ordering_key)->name)
            << "without an ordering key the routing key counts";
    }
    rig.engine().delete_exchange(1, 504, "x", false);
    options.hash_on = HashOn::header;
    options.hash_header = "h";
    EXPECT_EQ(declare(options).code, Code::ok);
    bind_all();
    for (int i = 0; i < 40; ++i) {
        wire::Properties text;
        text.headers = {{"h", "v" + std::to_string(i)}};
        EXPECT_EQ("queue/" + goes_to("same", text), ring.find("v" + std::to_string(i))->name);
        wire::Properties number;
        number.headers = {{"h", std::int64_t{i}}};
        EXPECT_EQ("queue/" + goes_to("same", number), ring.find(std::to_string(i))->name);
    }
}

TEST_F(HashExchange, RefusesToHashWhatItDoesNotKnow) {
    ExchangeOptions options;
    options.hash_on = HashOn::header;
    EXPECT_EQ(declare(options).code, Code::bad_option) << "a header needs a name";
    options.hash_header = "h";
    EXPECT_EQ(declare(options, "d", ExchangeType::direct).code, Code::bad_option);
    EXPECT_EQ(declare(options).code, Code::ok);
    EXPECT_EQ(declare(options).code, Code::ok);
    EXPECT_EQ(declare({}).code, Code::declared_differently);
}

}  // namespace
}  // namespace ferry::engine::testing
