// Exchanges and bindings.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "topology.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::IsEmpty;

class Routing : public ::testing::Test {
protected:
    Routing() {
        rig.engine().open_session(1);
        for (const char* name : {"a", "b", "c"}) rig.declare(1, name);
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    ~Routing() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void exchange(std::string_view name, ExchangeType type, ExchangeOptions options = {}) {
        rig.engine().declare_exchange(1, 500, name, type, options);
        EXPECT_EQ(rig.failure(1, 500), Code::ok);
    }
    Code bind(Binding binding) {
        rig.engine().bind(1, 501, binding);
        rig.settle();
        return rig.failure(1, 501);
    }
    void bind_queue(std::string_view source, std::string_view queue, std::string_view key = "",
                    Arguments arguments = {}) {
        EXPECT_EQ(bind({std::string(source), std::string(queue), false, std::string(key),
                        std::move(arguments)}),
                  Code::ok);
    }
    /// Which queues one message reaches, as "abc".
    std::string reached(std::string_view exchange_name, std::string_view key,
                        const wire::Headers& headers = {}) {
        std::map<std::string, std::uint64_t> before;
        for (const char* q : {"a", "b", "c"}) before[q] = rig.view(q).ready;
        wire::Properties properties;
        properties.headers = headers;
        EXPECT_TRUE(rig.publish(1, handle, next++, {message(exchange_name, key, "x", properties)}));
        rig.settle();
        std::string found;
        for (const auto& [q, n] : before) {
            EXPECT_LE(rig.view(q).ready - n, 1u) << "a message comes once to a queue";
            if (rig.view(q).ready > n) found += q;
        }
        return found;
    }
    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

TEST_F(Routing, DefaultExchangeGoesToTheQueueOfThatName) {
    EXPECT_EQ(reached("", "b"), "b");
    EXPECT_EQ(reached("", "nobody"), "");
}

TEST_F(Routing, DirectExchangeWantsTheSameKey) {
    bind_queue("amq.direct", "a", "red");
    bind_queue("amq.direct", "b", "red");
    bind_queue("amq.direct", "b", "blue");
    EXPECT_EQ(reached("amq.direct", "red"), "ab");
    EXPECT_EQ(reached("amq.direct", "blue"), "b");
    EXPECT_EQ(reached("amq.direct", "re"), "");
}

TEST_F(Routing, FanoutIgnoresTheKey) {
    bind_queue("amq.fanout", "a", "x");
    bind_queue("amq.fanout", "c", "y");
    EXPECT_EQ(reached("amq.fanout", "anything"), "ac");
}

TEST_F(Routing, TopicStarIsOneWordAndHashIsAnyNumber) {
    bind_queue("amq.topic", "a", "order.*.paid");
    bind_queue("amq.topic", "b", "order.#");
    bind_queue("amq.topic", "c", "#.paid");
    EXPECT_EQ(reached("amq.topic", "order.eu.paid"), "abc");
    EXPECT_EQ(reached("amq.topic", "order"), "b");
    EXPECT_EQ(reached("amq.topic", "paid"), "c");
    EXPECT_EQ(reached("amq.topic", "order.eu.north.paid"), "bc");
    EXPECT_EQ(reached("amq.topic", "invoice"), "");
}

TEST_F(Routing, HeadersExchangeMatchesAllOrAny) {
    bind_queue("amq.headers", "a", "",
               {{"size", std::int64_t{3}}, {"x-match", std::string("all")}});
    bind_queue("amq.headers", "b", "",
               {{"colour", std::string("red")},
                {"size", std::int64_t{3}},
                {"x-match", std::string("any")}});
    bind_queue("amq.headers", "c", "", {{"colour", std::string("red")}, {"size", std::int64_t{3}}});
    EXPECT_EQ(reached("amq.headers", "", {{"size", std::int64_t{3}}}), "ab");
    EXPECT_EQ(reached("amq.headers", "", {{"colour", std::string("red")}}), "b");
    EXPECT_EQ(
        reached("amq.headers", "", {{"colour", std::string("red")}, {"size", std::int64_t{3}}}),
        "abc");
    EXPECT_EQ(reached("amq.headers", ""), "");
}

TEST_F(Routing, ExchangesLeadToExchangesAndAMessageComesOnce) {
    exchange("front", ExchangeType::fanout);
    exchange("inner", ExchangeType::topic);
    EXPECT_EQ(bind({"front", "inner", true, "", {}}), Code::ok);
    bind_queue("front", "a");
    bind_queue("inner", "a", "#");
    bind_queue("inner", "b", "x.*");
    EXPECT_EQ(reached("front", "x.y"), "ab");
    EXPECT_EQ(reached("front", "z"), "a");
    EXPECT_EQ(bind({"inner", "front", true, "", {}}), Code::bad_option) << "a circle";
}

TEST_F(Routing, InternalExchangesTakeNothingFromClients) {
    ExchangeOptions internal;
    internal.internal = true;
    exchange("inside", ExchangeType::fanout, internal);
    bind_queue("inside", "a");
    EXPECT_EQ(reached("inside", ""), "");
    EXPECT_EQ(rig.take<Refuse>().at(0).code, Code::no_such_exchange);
}

TEST_F(Routing, UnbindingAndDeletingEndRoutesAndARestartKeepsTheRest) {
    exchange("e", ExchangeType::direct);
    bind_queue("e", "a", "k");
    bind_queue("e", "b", "k");
    bind_queue("e", "c", "k");
    EXPECT_EQ(reached("e", "k"), "abc");
    rig.engine().unbind(1, 510, {"e", "a", false, "k", {}});
    rig.engine().unbind(1, 511, {"e", "a", false, "k", {}});
    EXPECT_EQ(rig.failure(1, 511), Code::no_such_binding);
    rig.engine().delete_queue(1, 512, "b", false, false, rig.now());
    rig.settle();
    EXPECT_EQ(reached("e", "k"), "c");
    rig.crash();
    rig.engine().open_session(2);
    rig.engine().open_session(1);
    handle = rig.producer(1, "p");
    EXPECT_EQ(rig.engine().bindings_of("e").size(), 1u);
    EXPECT_EQ(reached("e", "k"), "c");
    rig.engine().delete_exchange(1, 513, "e", true);
    EXPECT_EQ(rig.failure(1, 513), Code::in_use);
    rig.engine().delete_exchange(1, 514, "e", false);
    EXPECT_EQ(rig.failure(1, 514), Code::ok);
    EXPECT_FALSE(rig.engine().exchange("e"));
    rig.engine().delete_exchange(1, 515, "amq.topic", false);
    EXPECT_EQ(rig.failure(1, 515), Code::bad_name);
}

TEST_F(Routing, AutoDeleteExchangesGoWithTheirLastBinding) {
    ExchangeOptions passing;
    passing.auto_delete = true;
    exchange("outer", ExchangeType::fanout, passing);
    exchange("inner", ExchangeType::fanout, passing);
    EXPECT_EQ(bind({"outer", "inner", true, "", {}}), Code::ok);
    bind_queue("inner", "a");
    rig.engine().delete_queue(1, 520, "a", false, false, rig.now());
    rig.settle();
    EXPECT_FALSE(rig.engine().exchange("inner"));
    EXPECT_FALSE(rig.engine().exchange("outer"));
    rig.crash();
    EXPECT_FALSE(rig.engine().exchange("outer"));
}

TEST_F(Routing, DeclarationsAreCheckedAgainstWhatExists) {
    exchange("e", ExchangeType::direct);
    rig.engine().declare_exchange(1, 530, "e", ExchangeType::topic, {});
    EXPECT_EQ(rig.failure(1, 530), Code::declared_differently);
    rig.engine().declare_exchange(1, 531, "amq.mine", ExchangeType::topic, {});
    EXPECT_EQ(rig.failure(1, 531), Code::bad_name);
    ExchangeOptions passive;
    passive.passive = true;
    rig.engine().declare_exchange(1, 532, "missing", ExchangeType::topic, passive);
    EXPECT_EQ(rig.failure(1, 532), Code::no_such_exchange);
    QueueOptions other;
    other.auto_delete = true;
    rig.engine().declare_queue(1, 533, "a", other, rig.now());
    EXPECT_EQ(rig.failure(1, 533), Code::declared_differently);
    rig.engine().declare_queue(1, 534, "has space", {}, rig.now());
    EXPECT_EQ(rig.failure(1, 534), Code::bad_name);
    rig.engine().declare_queue(1, 535, "", {}, rig.now());
    rig.settle();
    const auto answer = rig.take_answer<QueueAnswer>(1, 535);
    ASSERT_TRUE(answer);
    EXPECT_TRUE(answer->name.starts_with("amq.gen-")) << answer->name;
}

TEST(TopicPatterns, MatchAsAmqpSays) {
    EXPECT_TRUE(topic_matches("", ""));
    EXPECT_TRUE(topic_matches("#", ""));
    EXPECT_TRUE(topic_matches("#", "a.b.c"));
    EXPECT_TRUE(topic_matches("a.#.b", "a.b"));
    EXPECT_TRUE(topic_matches("a.#.b", "a.x.b.y.b"));
    EXPECT_TRUE(topic_matches("*.#.c", "a.b.c"));
    EXPECT_TRUE(topic_matches("#.#", "a"));
    EXPECT_FALSE(topic_matches("*", ""));
    EXPECT_FALSE(topic_matches("*", "a.b"));
    EXPECT_FALSE(topic_matches("a.*", "a"));
    EXPECT_FALSE(topic_matches("a.#.b", "a.b.c"));
    EXPECT_FALSE(topic_matches("a", "a."));
}

}  // namespace
}  // namespace ferry::engine::testing
