// Messages that come again and again. The calendar is the rig's: due at whole periods.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t minute = 60'000;

class Schedules : public ::testing::Test {
protected:
    Schedules() {
        rig.engine().open_session(1);
        rig.declare(1, "q");
        // A whole minute.
        rig.advance_ms(rig.next_after(rig.now().wall_ms) - rig.now().wall_ms);
        rig.settle();
        rig.effects().clear();
    }
    ~Schedules() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    Schedule wanted(std::string name = "s", std::string_view queue = "q") {
        Schedule out;
        out.name = std::move(name);
        out.cron = "* * * * *";
        out.zone = "UTC";
        out.message = message("", queue, "tick");
        out.next_ms = rig.next_after(rig.now().wall_ms);
        return out;
    }
    Code set(Schedule schedule) {
        rig.engine().set_schedule(1, 7, std::move(schedule), false, rig.now());
        rig.settle();
        return rig.failure(1, 7);
    }
    void pass(std::uint64_t ms) {
        rig.advance_ms(ms);
        look();
    }
    void look() {
        rig.engine().tick(rig.now());
        rig.settle();
    }
    void reopen() {
        rig.engine().open_session(1);
        rig.engine().plan_schedules(rig.now());
        rig.settle();
    }
    std::uint64_t ready() { return rig.view("q").ready; }
    /// Ids of what lies ready, each with the time that it is for.
    std::vector<std::string> ids() {
        std::vector<std::string> out;
        for (const PeekItem& item : rig.engine().peek("q", 0, 1000)) {
            std::vector<std::byte> scratch;
            const auto bytes = message_bytes(rig.journal().body_at(item.extent.record()),
                                             item.extent, 0, 1, scratch);
            if (!bytes.ok()) continue;
            wire::Cursor cursor(bytes.value());
            wire::MessageView view;
            wire::Properties properties;
            if (wire::read_message(cursor, view) &&
                wire::read_properties(view.properties, properties))
                out.push_back(properties.id);
        }
        return out;
    }
    Rig rig;
};

// G72
TEST_F(Schedules, EachDueTimeHasOneMessageWithItsNameAndTimeAsId) {
    ASSERT_EQ(set(wanted()), Code::ok);
    pass(minute - 1);
    EXPECT_EQ(ready(), 0U);
    pass(1);
    EXPECT_EQ(ready(), 1U);
    pass(minute);
    look();
    look();
    EXPECT_THAT(ids(), ElementsAre("s:2023-11-14T22:15:00Z", "s:2023-11-14T22:16:00Z"));
    const Schedule* schedule = rig.engine().schedule("s");
    ASSERT_NE(schedule, nullptr);
    EXPECT_EQ(schedule->fired, 2U);
    EXPECT_EQ(schedule->reached, 1U);
    EXPECT_EQ(schedule->next_ms, rig.now().wall_ms + minute);
}

// G72
TEST_F(Schedules, TheEngineAsksForATimerAtTheNextDueTime) {
    ASSERT_EQ(set(wanted()), Code::ok);
    ASSERT_TRUE(rig.engine().next_timer().has_value());
    EXPECT_EQ(rig.engine().next_timer()->ns, rig.now().mono.ns + minute * 1'000'000);
}

// G72
TEST_F(Schedules, ACrashBetweenDueTimesLosesAndDoublesNothing) {
    ASSERT_EQ(set(wanted()), Code::ok);
    for (int i = 0; i < 6; ++i) {
        pass(minute);
        if (i % 2 == 0) rig.take_checkpoint();
        rig.crash();
        reopen();
        look();
    }
    EXPECT_THAT(ids(), SizeIs(6));
    EXPECT_EQ(rig.engine().schedule("s")->fired, 6U);
    rig.restart_cleanly();
    reopen();
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(7));
}

// G72
TEST_F(Schedules, APowerCutBeforeTheRecordIsDurableFiresTheSameTimeAgain) {
    ASSERT_EQ(set(wanted()), Code::ok);
    rig.advance_ms(minute);
    rig.engine().tick(rig.now());
    rig.answer_loads();  // the record is written, and nothing is synced
    EXPECT_EQ(ready(), 1U);
    rig.crash();
    EXPECT_EQ(ready(), 0U);
    reopen();
    look();
    EXPECT_THAT(ids(), ElementsAre("s:2023-11-14T22:15:00Z"));
}

// G72
TEST_F(Schedules, MissedTimesComeOnceOrNotAtAllAsTheScheduleSays) {
    ASSERT_EQ(set(wanted("once")), Code::ok);
    Schedule skipping = wanted("skip");
    skipping.missed = Missed::skip;
    ASSERT_EQ(set(skipping), Code::ok);
    rig.crash();
    rig.advance_ms(10 * minute + 500);
    reopen();
    look();
    EXPECT_THAT(ids(), ElementsAre("once:2023-11-14T22:15:00Z"));
    EXPECT_EQ(rig.engine().schedule("skip")->skipped, 1U);
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(3)) << "both go on";
}

// G72
TEST_F(Schedules, TheWallClockPutForwardOrBackNeitherLosesNorDoubles) {
    ASSERT_EQ(set(wanted()), Code::ok);
    pass(minute);
    pass(minute);
    ASSERT_THAT(ids(), SizeIs(2));
    rig.jump_wall_ms(-90'000);
    look();
    pass(minute);
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(2)) << "these times had their message";
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(3));
    // A year ahead by mistake, and back: the times in between come as if nothing had been.
    const std::int64_t year = 365LL * 24 * 3600 * 1000;
    rig.jump_wall_ms(year);
    look();
    EXPECT_THAT(ids(), SizeIs(4)) << "once for what was missed";
    rig.jump_wall_ms(-year);
    look();
    pass(minute);
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(5)) << "the first of the two had its message in that year";
    std::vector<std::string> all = ids();
    std::sort(all.begin(), all.end());
    EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

TEST_F(Schedules, ATimeThatComesWhileItIsPlannedAgainHasOneMessage) {
    ASSERT_EQ(set(wanted()), Code::ok);
    rig.engine().plan_schedules(rig.now());  // asks while the time is ahead
    const auto asked = rig.take<ScheduleDue>();
    ASSERT_EQ(asked.size(), 1U);
    rig.advance_ms(minute);
    // What comes after the moment of asking is the very time that has come meanwhile.
    rig.engine().schedule_due(asked[0].name, asked[0].due_ms, asked[0].due_ms, rig.now());
    rig.settle();
    look();
    EXPECT_EQ(ready(), 1U);
    pass(minute);
    EXPECT_EQ(ready(), 2U);
}

TEST_F(Schedules, APausedScheduleIsSilentAndGoesOnFromNow) {
    ASSERT_EQ(set(wanted()), Code::ok);
    rig.engine().pause_schedule(1, 8, "s", true, 0, rig.now());
    rig.settle();
    rig.crash();
    reopen();
    pass(5 * minute);
    EXPECT_EQ(ready(), 0U);
    EXPECT_FALSE(rig.engine().next_timer().has_value());
    rig.engine().pause_schedule(1, 8, "s", false, rig.next_after(rig.now().wall_ms), rig.now());
    rig.settle();
    pass(minute);
    EXPECT_THAT(ids(), SizeIs(1));
}

TEST_F(Schedules, AFullDiskDelaysAMessageAndCountsItAsMissedThen) {
    Schedule skipping = wanted();
    skipping.missed = Missed::skip;
    ASSERT_EQ(set(skipping), Code::ok);
    ASSERT_EQ(set(wanted("late")), Code::ok);
    rig.engine().set_disk_full(true);
    pass(minute);
    pass(minute);
    EXPECT_EQ(ready(), 0U);
    rig.advance_ms(500);
    rig.engine().set_disk_full(false);
    look();
    EXPECT_THAT(ids(), ElementsAre("late:2023-11-14T22:15:00Z"));
}

TEST_F(Schedules, AMessageThatReachesNoQueueIsCountedAndTheScheduleGoesOn) {
    ASSERT_EQ(set(wanted("s", "later")), Code::ok);
    pass(minute);
    EXPECT_EQ(rig.engine().schedule("s")->skipped, 1U);
    EXPECT_EQ(rig.engine().totals().schedule_unroutable, 1U);
    rig.declare(1, "later");
    rig.crash();
    rig.engine().open_session(1);
    rig.declare(1, "later");
    rig.engine().plan_schedules(rig.now());
    rig.settle();
    pass(minute);
    EXPECT_EQ(rig.view("later").ready, 1U);
}

TEST_F(Schedules, SettingItAgainKeepsItsTimeUnlessTheTimesAreOthers) {
    ASSERT_EQ(set(wanted()), Code::ok);
    pass(minute);
    rig.settle();
    const std::size_t records = rig.journal().records().size();
    Schedule same = wanted();
    same.next_ms = 1;  // the driver's idea of next does not count for the same times
    ASSERT_EQ(set(same), Code::ok);
    EXPECT_EQ(rig.journal().records().size(), records);
    same.message = message("", "q", "tock");
    ASSERT_EQ(set(same), Code::ok);
    EXPECT_EQ(rig.engine().schedule("s")->next_ms, rig.now().wall_ms + minute);
    EXPECT_EQ(rig.engine().schedule("s")->fired, 1U);
}

TEST_F(Schedules, BadOnesAreRefused) {
    EXPECT_EQ(set(wanted("no good")), Code::bad_option);
    EXPECT_EQ(set(wanted(std::string(201, 'a'))), Code::bad_option);
    Schedule bad = wanted();
    bad.message = {std::byte{1}};
    EXPECT_EQ(set(bad), Code::bad_option);
    wire::Properties later;
    later.deliver_at_ms = 5;
    bad.message = message("", "q", "x", later);
    EXPECT_EQ(set(bad), Code::bad_option);
    bad.message = message("", "q", std::string(limits::schedule_message_bytes_max, 'x'));
    EXPECT_EQ(set(bad), Code::bad_option);
    wire::Properties full;
    for (std::uint32_t i = 0; i < limits::headers_max; ++i)
        full.headers.emplace_back("h" + std::to_string(i), std::int64_t{1});
    bad.message = message("", "q", "x", full);
    EXPECT_EQ(set(bad), Code::bad_option) << "its own header makes one too many";
    rig.engine().delete_schedule(1, 9, "none", rig.now());
    EXPECT_EQ(rig.failure(1, 9), Code::no_such_schedule);
    for (std::uint32_t i = 0; i < limits::schedules_max; ++i)
        rig.engine().set_schedule(1, 10, wanted("s" + std::to_string(i)), false, rig.now());
    EXPECT_EQ(set(wanted("one-more")), Code::limit_reached);
}

TEST_F(Schedules, ADeletedScheduleIsSilentAlsoAfterACrash) {
    ASSERT_EQ(set(wanted()), Code::ok);
    rig.take_checkpoint();
    rig.engine().delete_schedule(1, 9, "s", rig.now());
    rig.settle();
    rig.crash();
    reopen();
    pass(minute);
    EXPECT_EQ(ready(), 0U);
    EXPECT_THAT(rig.engine().schedules("", 10), IsEmpty());
}

TEST_F(Schedules, AConsumerThatWaitsGetsTheMessageAtOnce) {
    rig.subscribe(1, 5, "q");
    ASSERT_EQ(set(wanted()), Code::ok);
    pass(minute);
    EXPECT_THAT(rig.payloads(), ElementsAre("tick"));
}

}  // namespace
}  // namespace ferry::engine::testing
