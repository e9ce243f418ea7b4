// Queues that remember message ids.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "id_window.hpp"
#include "policy.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(IdHashes, AreTheReferenceVectorsOfSipHash128) {
    std::uint64_t key[2];
    std::byte bytes[16];
    for (std::size_t i = 0; i < 16; ++i) bytes[i] = static_cast<std::byte>(i);
    std::memcpy(key, bytes, sizeof key);
    const auto hex = [](const IdHash& hash) {
        static constexpr char digits[] = "0123456789abcdef";
        std::string text;
        for (std::uint64_t word : {hash.low, hash.high}) {
            for (int i = 0; i < 8; ++i, word >>= 8) {
                text.push_back(digits[word >> 4 & 15]);
                text.push_back(digits[word & 15]);
            }
        }
        return text;
    };
    EXPECT_EQ(hex(hash_id(key[0], key[1], "")), "a3817f04ba25a8e66df67214c7550293");
    EXPECT_EQ(hex(hash_id(key[0], key[1], std::string_view("\0", 1))),
              "da87c1d86b99af44347659119b22fc45");
}

TEST(IdWindows, AgreeWithASetThroughAddsTrimsAndTakingBack) {
    IdWindow window;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> model;  // id, seen
    std::uint64_t next = 1;
    std::uint64_t now = 0;
    const auto id_of_number = [](std::uint64_t n) { return IdHash{n * 0x40, n}; };  // crowded homes
    for (int step = 0; step < 20'000; ++step) {
        now += static_cast<std::uint64_t>(step % 3);
        const int what = step * 7 % 10;
        if (what < 7) {
            window.add(id_of_number(next), now);
            model.emplace_back(next++, now);
        } else if (what == 7 && !model.empty()) {
            window.take_back();
            model.pop_back();
        } else {
            window.trim(now, 500, 300);
            while (!model.empty() && (model.size() > 300 || model.front().second + 500 <= now))
                model.erase(model.begin());
        }
        ASSERT_EQ(window.size(), model.size());
        if (step % 100 != 0) continue;
        for (const auto& [id, seen] : model) ASSERT_TRUE(window.contains(id_of_number(id)));
        ASSERT_FALSE(window.contains(id_of_number(next)));
        if (!model.empty() && model.front().first > 1) {
            ASSERT_FALSE(window.contains(id_of_number(model.front().first - 1)));
        }
        std::vector<std::byte> saved;
        window.save(saved);
        Reader in(saved);
        IdWindow loaded;
        ASSERT_TRUE(loaded.load(in));
        ASSERT_TRUE(in.at_end());
        for (const auto& [id, seen] : model) ASSERT_TRUE(loaded.contains(id_of_number(id)));
    }
}

class Dedupe : public ::testing::Test {
protected:
    Dedupe() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
    }
    ~Dedupe() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void declare(std::string_view name, std::uint64_t window_ms, std::uint64_t ids = 0) {
        QueueOptions options;
        options.policy.dedupe_window_ms = window_ms;
        options.policy.dedupe_max_ids = ids;
        options.policy.dead_letter_key = "dead";
        rig.declare(1, name, options);
        rig.settle();
        rig.effects().clear();
    }
    static std::vector<std::byte> with(std::string_view id, std::string_view key = "q",
                                       std::string_view exchange = "") {
        wire::Properties properties;
        properties.id = id;
        return message(exchange, key, "payload", properties);
    }
    std::vector<Confirm> publish(const std::vector<std::vector<std::byte>>& messages) {
        EXPECT_TRUE(rig.publish(1, handle, next, messages));
        next += messages.size();
        rig.settle();
        return rig.take<Confirm>();
    }
    std::uint64_t ready(std::string_view queue = "q") { return rig.view(queue).ready; }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// G69
TEST_F(Dedupe, ARepeatIsConfirmedWithTheFlagAndNotStored) {
    declare("q", 60'000);
    auto confirms = publish({with("a"), with("b"), with("a"), with(""), with("")});
    EXPECT_EQ(ready(), 4U) << "a, b and the two without an id";
    ASSERT_THAT(confirms, SizeIs(3));
    EXPECT_FALSE(confirms[0].repeated);
    EXPECT_TRUE(confirms[1].repeated);
    EXPECT_EQ(confirms[1].sequences, (Range<Sequence>{3, 3}));
    EXPECT_FALSE(confirms[2].repeated);
    confirms = publish({with("b")});
    ASSERT_THAT(confirms, SizeIs(1));
    EXPECT_TRUE(confirms[0].repeated);
    EXPECT_EQ(rig.view("q").repeated, 2U);
    EXPECT_EQ(rig.view("q").ids, 2U);
    EXPECT_EQ(rig.engine().totals().unroutable, 0U);
}

TEST_F(Dedupe, EndsWithTheWindow) {
    declare("q", 1000);
    publish({with("a")});
    rig.advance_ms(999);
    publish({with("a")});
    EXPECT_EQ(ready(), 1U) << "the repeat does not extend it";
    rig.advance_ms(1);
    publish({with("a")});
    EXPECT_EQ(ready(), 2U);
}

TEST_F(Dedupe, IsBoundedByTheCount) {
    declare("q", 60'000, 3);
    for (const char* id : {"a", "b", "c", "d"}) publish({with(id)});
    publish({with("b")});
    EXPECT_EQ(ready(), 4U) << "b is among the last three";
    publish({with("a")});
    EXPECT_EQ(ready(), 5U) << "a is not any more";
}

// G69
TEST_F(Dedupe, OutlivesCrashesWithAndWithoutACheckpoint) {
    declare("q", 60'000);
    publish({with("a")});
    rig.crash();
    rig.engine().open_session(1);
    handle = rig.producer(1, "p");
    rig.effects().clear();
    publish({with("a"), with("b")});
    EXPECT_EQ(ready(), 2U);
    rig.take_checkpoint();
    publish({with("c")});
    rig.crash();
    rig.engine().open_session(1);
    handle = rig.producer(1, "p");
    publish({with("a"), with("b"), with("c"), with("d")});
    EXPECT_EQ(ready(), 4U);
    rig.advance_ms(61'000);
    publish({with("a")});
    EXPECT_EQ(ready(), 5U);
}

TEST_F(Dedupe, EachQueueBehindAnExchangeHasItsOwnWindow) {
    declare("q", 60'000);
    rig.declare(1, "plain");
    rig.engine().bind(1, 90, {"amq.fanout", "q", false, "", {}});
    rig.engine().bind(1, 91, {"amq.fanout", "plain", false, "", {}});
    rig.settle();
    rig.effects().clear();
    publish({with("a", "", "amq.fanout")});
    const auto confirms = publish({with("a", "", "amq.fanout")});
    ASSERT_THAT(confirms, SizeIs(1));
    EXPECT_TRUE(confirms[0].repeated);
    EXPECT_EQ(ready("q"), 1U);
    EXPECT_EQ(ready("plain"), 2U);
}

// C7
TEST_F(Dedupe, ADeadLetterThatIsSentBackIsNoRepeat) {
    declare("q", 60'000);
    rig.declare(1, "dead");
    rig.subscribe(1, 5, "q");
    publish({with("a")});
    ASSERT_THAT(rig.deliveries(), SizeIs(1));
    const std::vector<Range<Tag>> first{{1, 1}};
    rig.engine().nack(1, 0, 5, first, false, rig.now());
    rig.settle();
    EXPECT_EQ(ready("dead"), 1U);
    rig.engine().move_messages(1, 77, "dead", "", 0, 10, false, rig.now());
    rig.settle();
    EXPECT_THAT(rig.deliveries(), SizeIs(1)) << "back in q and delivered";
    EXPECT_EQ(rig.view("q").repeated, 0U);
}

TEST_F(Dedupe, ARefusedMessageIsNotRemembered) {
    QueueOptions options;
    options.policy.dedupe_window_ms = 60'000;
    options.policy.max_messages = 1;
    options.policy.overflow = Overflow::reject_publish;
    rig.declare(1, "q", options);
    publish({with("a"), with("b")});
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(1));
    rig.subscribe(1, 5, "q");
    rig.settle();
    ASSERT_THAT(rig.deliveries(), SizeIs(1));
    rig.ack(1, 0, 5, {{1, 1}});
    rig.settle();
    ASSERT_TRUE(rig.publish(1, handle, 2, {with("b")}));
    rig.settle();
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
}

TEST_F(Dedupe, WhatAMalformedFrameBroughtIsTakenBack) {
    declare("q", 60'000);
    EXPECT_FALSE(rig.publish(1, handle, next, {with("a"), std::vector<std::byte>(4)}));
    EXPECT_EQ(rig.view("q").ids, 0U);
    publish({with("a")});
    EXPECT_EQ(ready(), 1U);
}

TEST_F(Dedupe, BadValuesAreRefusedWithTheRange) {
    QueuePolicy policy;
    policy.dedupe_window_ms = limits::dedupe_window_ms_max + 1;
    EXPECT_THAT(complaint_of(policy), HasSubstr("dedupe_window_ms is 0 to 604800000"));
    policy.dedupe_window_ms = 1000;
    policy.dedupe_max_ids = limits::dedupe_ids_max + 1;
    EXPECT_THAT(complaint_of(policy), HasSubstr("dedupe_max_ids is 0 to 1000000"));
    policy.dedupe_window_ms = 0;
    policy.dedupe_max_ids = 5;
    EXPECT_THAT(complaint_of(policy), HasSubstr("dedupe_max_ids needs dedupe_window_ms"));
}

}  // namespace
}  // namespace ferry::engine::testing
