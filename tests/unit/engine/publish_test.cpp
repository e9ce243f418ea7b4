// Producers: duplicates, gaps, fencing, held and open sequences, a full disk.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Publishing : public ::testing::Test {
protected:
    Publishing() {
        rig.engine().open_session(1);
        rig.declare(1, "q");
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    ~Publishing() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    ProducerAnswer reopen(SessionId session, std::string_view name = "p",
                          std::optional<std::uint64_t> epoch = std::nullopt) {
        rig.engine().open_producer(session, 900, name, epoch, false, rig.now());
        rig.settle();
        return rig.take_answer<ProducerAnswer>(session, 900).value_or(ProducerAnswer{});
    }
    Rig rig;
    std::uint64_t handle = 0;
};

// G5
TEST_F(Publishing, ConfirmsADuplicateWithoutStoringItAgain) {
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.settle();
    rig.effects().clear();
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.settle();
    const auto confirms = rig.take<Confirm>();
    ASSERT_THAT(confirms, SizeIs(2));
    EXPECT_EQ(confirms[0].sequences, (Range<Sequence>{1, 2}));
    EXPECT_TRUE(confirms[0].duplicate);
    EXPECT_EQ(confirms[1].sequences, (Range<Sequence>{3, 3}));
    EXPECT_FALSE(confirms[1].duplicate);
    EXPECT_EQ(rig.view("q").ready, 3u);
}

TEST_F(Publishing, DoesNotConfirmADuplicateBeforeItsFirstCopyIsDurable) {
    rig.send(1, handle, 1, "q", {"a"});
    rig.send(1, handle, 1, "q", {"a"});
    EXPECT_THAT(rig.take<Confirm>(), IsEmpty());
    rig.sync();
    EXPECT_THAT(rig.take<Confirm>(), SizeIs(2));
}

// G5
TEST_F(Publishing, RefusesASequenceThatSkipsAnother) {
    rig.send(1, handle, 2, "q", {"b"});
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::sequence_gap);
}

// G5
TEST_F(Publishing, InOrderNothingPassesARefusedMessageUnlessItIsHeld) {
    const auto flags = wire::publish_in_order;
    const auto good = [](std::string_view payload) { return message("", "q", payload); };
    EXPECT_TRUE(
        rig.publish(1, handle, 1, {good("1"), message("nowhere", "x", "2"), good("3")}, flags));
    EXPECT_TRUE(rig.publish(1, handle, 4, {good("4")}, flags));  // was under way already
    rig.settle();
    auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(3));
    EXPECT_EQ(refused[0].sequences, (Range<Sequence>{2, 2}));
    EXPECT_EQ(refused[0].code, Code::no_such_exchange);
    EXPECT_EQ(refused[1].sequences, (Range<Sequence>{3, 3}));
    EXPECT_EQ(refused[1].code, Code::sequence_gap);
    EXPECT_EQ(refused[2].sequences, (Range<Sequence>{4, 4}));
    EXPECT_EQ(refused[2].code, Code::sequence_gap);
    EXPECT_EQ(rig.view("q").ready, 1u);

    const std::vector<Range<Sequence>> held{{2, 2}};
    rig.engine().hold(1, 901, handle, held);
    EXPECT_TRUE(rig.publish(1, handle, 3, {good("3"), good("4")}, flags));
    EXPECT_TRUE(rig.publish(1, handle, 2, {good("2")}, flags));
    rig.settle();
    EXPECT_THAT(rig.take<Refuse>(), IsEmpty());
    EXPECT_EQ(rig.view("q").ready, 4u);
}

TEST_F(Publishing, InOrderARefusedMessageAtTheEndOfAFrameStopsTheNextFrame) {
    const auto flags = wire::publish_in_order;
    EXPECT_TRUE(rig.publish(1, handle, 1, {message("nowhere", "x", "1")}, flags));
    EXPECT_TRUE(rig.publish(1, handle, 2, {message("", "q", "2")}, flags));
    rig.settle();
    EXPECT_THAT(rig.take<Refuse>(), SizeIs(2));
    EXPECT_EQ(rig.view("q").ready, 0u);
    EXPECT_EQ(reopen(1).mark, 0u);
}

TEST_F(Publishing, RemembersMarkAndOpenSequencesOverACrash) {
    rig.send(1, handle, 1, "q", {"a"});
    EXPECT_TRUE(rig.publish(1, handle, 2, {message("nowhere", "x", "b")}));
    rig.send(1, handle, 3, "q", {"c"});
    rig.settle();
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::no_such_exchange);
    rig.crash();
    rig.engine().open_session(2);
    const ProducerAnswer answer = reopen(2);
    EXPECT_EQ(answer.mark, 3u);
    EXPECT_THAT(answer.open, ElementsAre(Range<Sequence>{2, 2}));
    rig.effects().clear();
    rig.send(2, answer.handle, 2, "q", {"b"});
    rig.settle();
    const auto confirms = rig.take<Confirm>();
    ASSERT_THAT(confirms, SizeIs(1));
    EXPECT_FALSE(confirms[0].duplicate);
    EXPECT_EQ(rig.view("q").ready, 3u);
    EXPECT_THAT(reopen(2).open, IsEmpty());
}

// G5: nothing of the log that held them is read any more.
TEST_F(Publishing, B3_KeepsTheMarkOfAnIdleProducerWhenTheLogThatHeldItIsGone) {
    rig.send(1, handle, 1, "q", {"a", "b"});
    EXPECT_TRUE(rig.publish(1, handle, 3, {message("nowhere", "x", "c")}));
    rig.send(1, handle, 4, "q", {"d"});
    rig.settle();
    for (int i = 0; i < 3; ++i) {
        rig.restart_cleanly();
        rig.engine().open_session(2);
        const ProducerAnswer answer = reopen(2);
        EXPECT_EQ(answer.mark, 4u);
        EXPECT_THAT(answer.open, ElementsAre(Range<Sequence>{3, 3}));
        rig.effects().clear();
        rig.send(2, answer.handle, 1, "q", {"a", "b"});
        rig.settle();
        const auto confirms = rig.take<Confirm>();
        ASSERT_THAT(confirms, SizeIs(1));
        EXPECT_TRUE(confirms[0].duplicate);
        EXPECT_EQ(rig.view("q").ready, 3u);
    }
}

TEST_F(Publishing, B4_RefusesAProducerTooManyInsteadOfForgettingOne) {
    std::uint32_t made = 1;  // the fixture's
    SessionId session = 10;
    while (made < limits::producers_max) {
        rig.engine().open_session(session);
        for (std::uint32_t i = 0;
             i < limits::producers_per_connection_max && made < limits::producers_max; ++i) {
            rig.engine().open_producer(session, i + 1, "n" + std::to_string(made++), std::nullopt,
                                       false, rig.now());
        }
        rig.sync();
        rig.engine().close_session(session++, rig.now());
        rig.effects().clear();
    }
    rig.engine().open_session(2);
    rig.engine().open_producer(2, 7, "one too many", std::nullopt, false, rig.now());
    rig.settle();
    EXPECT_EQ(rig.failure(2, 7), Code::limit_reached);
    EXPECT_EQ(reopen(2, "n1").epoch, 1u) << "those that are known stay known";
    EXPECT_EQ(reopen(2).epoch, 1u);
}

TEST_F(Publishing, ForgetsOpenSequencesThatTheClientSettled) {
    EXPECT_TRUE(rig.publish(1, handle, 1, {message("nowhere", "x", "a")}));
    EXPECT_TRUE(rig.publish(1, handle, 2, {message("", "q", "b")}, 0, 1));
    rig.settle();
    EXPECT_THAT(reopen(1).open, IsEmpty());
    rig.crash();
    rig.engine().open_session(2);
    EXPECT_THAT(reopen(2).open, IsEmpty());
}

TEST_F(Publishing, TakesHeldSequencesLater) {
    const std::vector<Range<Sequence>> held{{1, 3}};
    rig.engine().hold(1, 60, handle, held);
    rig.send(1, handle, 4, "q", {"d"});
    rig.settle();
    EXPECT_TRUE(rig.take_answer<Plain>(1, 60));
    rig.effects().clear();
    rig.send(1, handle, 2, "q", {"b"});
    rig.settle();
    EXPECT_FALSE(rig.take<Confirm>().at(0).duplicate);
    EXPECT_THAT(reopen(1).open, ElementsAre(Range<Sequence>{1, 1}, Range<Sequence>{3, 3}));
}

TEST_F(Publishing, RefusesToHoldWhatDoesNotFollowOnTheMarkOrIsTooMuch) {
    const std::vector<Range<Sequence>> gap{{2, 3}};
    rig.engine().hold(1, 61, handle, gap);
    EXPECT_EQ(rig.failure(1, 61), Code::sequence_gap);
    const std::vector<Range<Sequence>> whole{{1, UINT64_MAX}};
    rig.engine().hold(1, 62, handle, whole);
    EXPECT_EQ(rig.failure(1, 62), Code::limit_reached);
    const std::vector<Range<Sequence>> one{{1, 1}};
    rig.engine().hold(1, 63, handle, one);
    const std::vector<Range<Sequence>> rest{{2, UINT64_MAX}};
    rig.engine().hold(1, 64, handle, rest);
    EXPECT_EQ(rig.failure(1, 64), Code::limit_reached);
}

// G5
TEST_F(Publishing, FencesTheLowerEpoch) {
    rig.send(1, handle, 1, "q", {"a"});
    rig.engine().open_session(2);
    const ProducerAnswer higher = reopen(2, "p", 5);
    EXPECT_EQ(higher.epoch, 5u);
    EXPECT_EQ(higher.mark, 0u);
    rig.effects().clear();
    rig.send(1, handle, 2, "q", {"b"});
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::fenced);
    rig.engine().open_producer(1, 70, "p", 4, false, rig.now());
    EXPECT_EQ(rig.failure(1, 70), Code::fenced);
}

TEST_F(Publishing, ForgetsATemporaryProducerAWhileAfterItsLastConnection) {
    rig.engine().open_session(2);
    rig.engine().open_producer(2, 71, "temporary", std::nullopt, true, rig.now());
    rig.settle();
    const std::uint64_t before = rig.engine().totals().producers;
    rig.engine().close_session(2, rig.now());
    rig.advance_ms(9ULL * 60 * 1000);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.engine().totals().producers, before);
    rig.advance_ms(2ULL * 60 * 1000);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.engine().totals().producers, before - 1);
    rig.settle();
    rig.crash();
    EXPECT_EQ(rig.engine().totals().producers, before - 1);
}

// Its client comes back within seconds, and the mark is what keeps its messages from being stored
// twice.
TEST_F(Publishing, KeepsATemporaryProducerWhenSomebodySetsTheWallClock) {
    rig.engine().open_session(2);
    rig.engine().open_producer(2, 71, "temporary", std::nullopt, true, rig.now());
    rig.settle();
    const std::uint64_t before = rig.engine().totals().producers;
    rig.engine().close_session(2, rig.now());
    constexpr std::uint64_t years = 10ULL * 365 * 24 * 3600 * 1000;
    const auto tick_years_ahead = [&] {
        rig.advance_ms(30'000);
        Now now = rig.now();
        now.wall_ms += years;
        rig.engine().tick(now);
    };
    tick_years_ahead();
    EXPECT_EQ(rig.engine().totals().producers, before);
    // Nor by what the clock was while the broker was away.
    rig.settle();
    rig.crash();
    tick_years_ahead();
    EXPECT_EQ(rig.engine().totals().producers, before);
}

TEST_F(Publishing, RefusesAMandatoryMessageThatReachesNoQueueAndDropsAnotherOne) {
    EXPECT_TRUE(rig.publish(1, handle, 1, {message("", "nobody", "a")}, wire::publish_mandatory));
    rig.settle();
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::no_route);
    EXPECT_TRUE(rig.publish(1, handle, 2, {message("", "nobody", "b")}));
    rig.settle();
    EXPECT_THAT(rig.take<Confirm>(), SizeIs(1));
    rig.crash();
    rig.engine().open_session(2);
    EXPECT_EQ(reopen(2).mark, 2u);
}

// G4, G12
TEST_F(Publishing, RefusesWhileTheDiskIsFullAndTakesTheSameSequencesAfterwards) {
    rig.send(1, handle, 1, "q", {"a"});
    rig.subscribe(1, 5, "q");
    rig.settle();
    rig.effects().clear();
    rig.engine().set_disk_full(true);
    const std::size_t records = rig.journal().records().size();
    rig.send(1, handle, 2, "q", {"b", "c"});
    EXPECT_EQ(rig.journal().records().size(), records);
    const auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::disk_full);
    EXPECT_EQ(refused[0].sequences, (Range<Sequence>{2, 3}));
    rig.ack(1, 6, 5, {{1, 1}});
    rig.settle();
    EXPECT_THAT(rig.take<Settled>(), SizeIs(1));
    rig.engine().set_disk_full(false);
    rig.send(1, handle, 2, "q", {"b", "c", "d"});
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("b", "c", "d"));
    rig.crash();
    rig.engine().open_session(2);
    const ProducerAnswer answer = reopen(2);
    EXPECT_EQ(answer.mark, 4u);
    EXPECT_THAT(answer.open, IsEmpty());
}

TEST_F(Publishing, ClosesASessionOnlyWhenRefusalsWouldLeaveTooManySequencesOpen) {
    EXPECT_TRUE(rig.publish(1, handle, 1, {message("nowhere", "x", "a")}));
    rig.settle();
    std::vector<std::vector<std::byte>> many(limits::messages_per_frame_max, message("", "q", ""));
    EXPECT_TRUE(rig.publish(1, handle, 2, many));
    rig.settle();
    EXPECT_THAT(rig.take<CloseSession>(), IsEmpty());
    EXPECT_EQ(rig.view("q").ready, many.size());
    std::vector<std::vector<std::byte>> bad(limits::messages_per_frame_max,
                                            message("nowhere", "x", ""));
    EXPECT_TRUE(rig.publish(1, handle, 2 + many.size(), bad));
    rig.settle();
    EXPECT_THAT(rig.take<CloseSession>(), SizeIs(1));
}

TEST_F(Publishing, SurvivesMoreDistinctRoutingKeysThanAreRemembered) {
    Sequence next = 1;
    for (int round = 0; round < 3; ++round) {
        std::vector<std::vector<std::byte>> many;
        for (int i = 0; i < 40'000; ++i) {
            const bool to_queue = i % 1000 == 0;
            many.push_back(
                message("", to_queue ? "q" : "k" + std::to_string(round * 100'000 + i), ""));
        }
        EXPECT_TRUE(rig.publish(1, handle, next, many));
        next += many.size();
    }
    rig.settle();
    EXPECT_EQ(rig.view("q").ready, 120u);
}

TEST_F(Publishing, RefusesHeadersThatAClientCouldNotRead) {
    std::vector<std::byte> bytes;
    wire::Encoder out(bytes);
    out.array(4).str("").str("q").map(1).uint(3).map(1).uint(7).nil().bin({});
    EXPECT_FALSE(rig.publish(1, handle, 1, {bytes}));
    bytes.clear();
    out.array(4).str("").str("q").map(1).uint(8).uint(10).bin({});
    EXPECT_FALSE(rig.publish(1, handle, 1, {bytes}));
}

}  // namespace
}  // namespace ferry::engine::testing
