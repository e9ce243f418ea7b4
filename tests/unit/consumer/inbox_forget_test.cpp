#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "inbox_rig.hpp"
#include "marks.hpp"

namespace ferry::consumer {
namespace {

using test::InboxRig;
using test::make_incoming;
using test::outbox_id;
using test::Sent;

Sent with_floor(std::uint64_t sequence, std::int64_t floor, std::uint64_t epoch = 1) {
    return {"x", outbox_id(sequence, epoch), "", {{"ferry-floor", floor}}};
}

Sent sent_back(Sent sent) {
    sent.headers.emplace_back("ferry-death-reason", std::string("gave up"));
    return sent;
}

void apply_and_settle(Inbox& inbox, const Sent& sent, std::uint64_t position) {
    inbox.apply(make_incoming(sent, position), InboxRig::effect);
    inbox.settled(std::vector<std::string>{sent.id});
}

Place place(std::uint64_t floor) {
    return {"queue", "log-1", floor};
}

// I8, G34: sequences that went elsewhere leave gaps; what is settled for ever needs no gaps.
TEST(InboxForgets, RangesBelowTheFloorBecomeOneCursor) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (std::uint64_t i = 1; i <= 100; ++i) {
        const std::uint64_t sequence = i * 2;  // every other one went to another queue
        apply_and_settle(*inbox, with_floor(sequence, static_cast<std::int64_t>(sequence)),
                         1000 + i);
    }
    EXPECT_EQ(rig.ranges(), 100);
    ASSERT_TRUE(inbox->tend(place(1101)).ok());
    EXPECT_EQ(rig.ranges(), 1);  // the last one, which is the floor itself
    EXPECT_GE(inbox->figures().collapsed, 99U);
    // C13: a repeat from long ago is known all the same.
    EXPECT_TRUE(inbox->apply(make_incoming(with_floor(2, 2), 1200), InboxRig::effect).duplicate);
    EXPECT_FALSE(
        inbox->apply(make_incoming(with_floor(202, 200), 1201), InboxRig::effect).duplicate);
}

TEST(InboxForgets, NothingWhileAnEarlierMessageOfTheQueueIsUnsettled) {
    InboxRig rig;
    auto inbox = rig.inbox();
    apply_and_settle(*inbox, with_floor(2, 1), 1002);
    apply_and_settle(*inbox, with_floor(4, 3), 1003);
    // Position 1001 holds sequence 1, which somebody has not acked yet.
    ASSERT_TRUE(inbox->tend(place(1001)).ok());
    EXPECT_EQ(rig.ranges(), 2);
    EXPECT_FALSE(inbox->apply(make_incoming(with_floor(1, 1), 1001), InboxRig::effect).duplicate);
    inbox->settled(std::vector<std::string>{outbox_id(1)});
    ASSERT_TRUE(inbox->tend(place(1004)).ok());
    EXPECT_TRUE(inbox->apply(make_incoming(with_floor(1, 1), 1001), InboxRig::effect).duplicate);
}

// C7: what was dead-lettered and sent back is no duplicate, unless it was applied.
TEST(InboxForgets, AMessageSentBackFromTheDeadLettersIsAppliedOnce) {
    InboxRig rig;
    auto inbox = rig.inbox();
    // 1 is given up and goes to the dead letters; 2 to 10 are applied.
    for (std::uint64_t i = 2; i <= 10; ++i) {
        apply_and_settle(*inbox, with_floor(i, static_cast<std::int64_t>(i)), 1000 + i);
    }
    ASSERT_TRUE(inbox->tend(place(1011)).ok());
    EXPECT_FALSE(
        inbox->apply(make_incoming(sent_back(with_floor(1, 1)), 1050), InboxRig::effect).duplicate);
    EXPECT_TRUE(inbox->apply(make_incoming(sent_back(with_floor(1, 1)), 1050, 2), InboxRig::effect)
                    .duplicate);
    EXPECT_EQ(rig.effects(), 10);
}

// C7: applied, the ack never arrived, the broker gave the message up, an operator sent it back.
TEST(InboxForgets, AnAppliedMessageWhoseAckWasLostStaysKnownWhenSentBack) {
    for (const bool crash : {false, true}) {
        InboxRig rig;
        auto inbox = rig.inbox();
        inbox->apply(make_incoming(with_floor(3, 3), 1003), InboxRig::effect);
        if (crash) {
            // The end of the process: what is unsettled is not known any more.
            inbox.reset();
            InboxRig::must(rig.database->run("UPDATE ferry_inbox_consumer SET running = 1"));
            inbox = rig.inbox();
        } else {
            inbox->unsettled(std::vector<std::string>{outbox_id(3)});
        }
        for (std::uint64_t i = 5; i <= 10; ++i) {
            apply_and_settle(*inbox, with_floor(i, static_cast<std::int64_t>(i)), 1000 + i);
        }
        ASSERT_TRUE(inbox->tend(place(1011)).ok());
        EXPECT_TRUE(inbox->apply(make_incoming(sent_back(with_floor(3, 3)), 1050), InboxRig::effect)
                        .duplicate)
            << crash;
    }
}

// Kafka has no floor. Acks that were lost there must not take a row each, for ever.
TEST(InboxForgets, WithoutAFloorLostAcksTakeNoRowsOfTheirOwn) {
    InboxRig rig;
    sim::SimClock clock;
    InboxOptions options = InboxRig::named("c");
    options.clock = &clock;
    auto inbox = rig.inbox(options);
    for (std::uint64_t i = 1; i <= 100; ++i) {
        inbox->apply(make_incoming(with_floor(i, 1), 1000 + i), InboxRig::effect);
        const std::vector<std::string> ids{outbox_id(i)};
        i % 2 == 0 ? inbox->unsettled(ids) : inbox->settled(ids);
    }
    EXPECT_EQ(rig.ranges(), 1);
    clock.advance_ms(61'000);
    ASSERT_TRUE(inbox->tend(place(0)).ok());
    EXPECT_EQ(rig.ranges(), 1);
    // Where a floor is told one day nevertheless, they stay known.
    apply_and_settle(*inbox, with_floor(101, 101), 1101);
    ASSERT_TRUE(inbox->tend(place(1102)).ok());
    for (const std::uint64_t i : {1U, 2U, 100U}) {
        const Sent back = sent_back(with_floor(i, 1));
        EXPECT_TRUE(inbox->apply(make_incoming(back, 1200 + i), InboxRig::effect).duplicate) << i;
    }
    EXPECT_EQ(rig.effects(), 101);
}

// Two partitions, one of them read ahead of the other when the process ends: what fills the gaps
// later joins what is there.
TEST(InboxForgets, WithoutAFloorACrashLeavesNoRowsApart) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (std::uint64_t i = 1; i <= 99; i += 2) {
        inbox->apply(make_incoming(with_floor(i, 1), 1000 + i), InboxRig::effect);
    }
    EXPECT_EQ(rig.ranges(), 50);
    inbox.reset();
    for (std::uint64_t i = 2; i <= 98; i += 2) {
        inbox = rig.inbox();
        ASSERT_TRUE(inbox->check_place(place(0)).ok());
        apply_and_settle(*inbox, with_floor(i, 1), 1000 + i);
        inbox.reset();  // cleanly: the first end is remembered over these
    }
    EXPECT_EQ(rig.ranges(), 1);
    inbox = rig.inbox();
    apply_and_settle(*inbox, with_floor(100, 100), 1100);
    ASSERT_TRUE(inbox->tend(place(1101)).ok());
    for (const std::uint64_t i : {1U, 51U, 99U}) {
        const Sent back = sent_back(with_floor(i, 1));
        EXPECT_TRUE(inbox->apply(make_incoming(back, 1200 + i), InboxRig::effect).duplicate) << i;
    }
}

TEST(InboxForgets, OlderEpochsWhenTheyAreSettled) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (std::uint64_t epoch = 1; epoch <= 5; ++epoch) {
        for (const std::uint64_t i : {2U, 4U, 6U}) {
            apply_and_settle(*inbox, with_floor(i, 1, epoch), 1000 * epoch + i);
        }
    }
    ASSERT_TRUE(inbox->tend(place(6000)).ok());
    EXPECT_EQ(rig.count("SELECT count(*) FROM ferry_inbox_cursor"), 1);
    EXPECT_EQ(rig.ranges(), 3);
    // A repeat of a settled epoch, and one that was given up and sent back.
    EXPECT_TRUE(inbox->apply(make_incoming(with_floor(4, 1, 2), 7000), InboxRig::effect).duplicate);
    const Sent back = sent_back(with_floor(3, 1, 2));
    EXPECT_FALSE(inbox->apply(make_incoming(back, 7001), InboxRig::effect).duplicate);
    EXPECT_TRUE(inbox->apply(make_incoming(back, 7001, 2), InboxRig::effect).duplicate);
    EXPECT_TRUE(inbox->apply(make_incoming(with_floor(5, 1, 2), 7002), InboxRig::effect).duplicate);
}

// C13: ids of others are forgotten after their time, some rows at a time.
TEST(InboxForgets, ForeignIdsAfterTheirRetention) {
    InboxRig rig;
    auto inbox = rig.inbox();
    inbox->apply(make_incoming({"x", "old"}), InboxRig::effect);
    inbox->apply(make_incoming({"x", "new"}), InboxRig::effect);
    InboxRig::must(rig.database->run("UPDATE ferry_inbox_id SET seen_ms = 5 WHERE id = 'old'"));
    ASSERT_TRUE(inbox->tend(place(10)).ok());
    EXPECT_TRUE(inbox->apply(make_incoming({"x", "new"}), InboxRig::effect).duplicate);
    // Too old to be known: applied again, and counted.
    EXPECT_FALSE(inbox->apply(make_incoming({"x", "old"}, 3, 2), InboxRig::effect).duplicate);
    EXPECT_EQ(inbox->figures().beyond_retention, 1U);
}

// C15, G36: the broker's data is older than what this inbox has seen.
TEST(InboxForgets, RefusesABrokerWhoseDataWentBack) {
    InboxRig rig;
    auto inbox = rig.inbox();
    ASSERT_TRUE(inbox->check_place(place(500)).ok());
    EXPECT_EQ(inbox->check_place(place(400)).error().code, Errc::conflict);
    EXPECT_THAT(inbox->last_problem(), testing::HasSubstr("ferry inbox accept"));
    EXPECT_EQ(inbox->check_place({"queue", "log-2", 900}).error().code, Errc::conflict);
    EXPECT_THAT(inbox->last_problem(), testing::HasSubstr("log-2"));
    EXPECT_EQ(inbox->check_place({"other", "log-1", 900}).error().code, Errc::conflict);
    EXPECT_TRUE(inbox->check_place(place(500)).ok());
    inbox.reset();
    inbox = rig.inbox();  // it is remembered
    EXPECT_EQ(inbox->check_place(place(499)).error().code, Errc::conflict);
}

// C15: the consumer's own database was restored: it applies again what it has no mark of.
TEST(InboxForgets, ARestoredDatabaseAppliesAgainExactlyWhatItLost) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (std::uint64_t i = 1; i <= 4; ++i) apply_and_settle(*inbox, with_floor(i, 1), 1000 + i);
    inbox.reset();
    InboxRig::must(rig.database->run("PRAGMA wal_checkpoint(TRUNCATE)"));
    const std::string backup = rig.directory + "/backup.db";
    std::filesystem::copy_file(rig.path, backup);
    inbox = rig.inbox();
    for (std::uint64_t i = 5; i <= 8; ++i) apply_and_settle(*inbox, with_floor(i, 1), 1000 + i);
    EXPECT_EQ(rig.effects(), 8);
    auto restored = Inbox::open(backup, InboxRig::named("c"));
    ASSERT_TRUE(restored.ok());
    std::uint64_t applied = 0;
    for (std::uint64_t i = 1; i <= 8; ++i) {
        const auto message = make_incoming(with_floor(i, 1), 1000 + i, 2);
        if (!restored.value()->apply(message, InboxRig::effect).duplicate) ++applied;
    }
    EXPECT_EQ(applied, 4U);
}

TEST(InboxForgets, EvictsTheOldestCursorsOverTheLimit) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (std::uint64_t epoch = 1; epoch <= 8; ++epoch) {
        inbox->apply(make_incoming({"x", outbox_id(1, epoch, static_cast<char>('0' + epoch))}),
                     InboxRig::effect);
    }
    Marks marks(*rig.database, 1);
    InboxFigures figures;
    InboxRig::must(rig.database->run("UPDATE ferry_inbox_cursor SET seen_ms = epoch; BEGIN"));
    InboxRig::must(marks.evict({5, 100}, figures));
    InboxRig::must(rig.database->run("COMMIT"));
    EXPECT_EQ(figures.evicted_cursors, 3U);
    EXPECT_EQ(rig.count("SELECT count(*) FROM ferry_inbox_cursor"), 5);
    EXPECT_EQ(rig.ranges(), 5);
}

}  // namespace
}  // namespace ferry::consumer
