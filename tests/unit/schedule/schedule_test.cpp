// When schedules are due. Times are written in UTC.

#include "ferry/schedule/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace ferry::schedule {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// "2026-03-29 01:00" as ms since 1970.
std::uint64_t at(const std::string& text) {
    using namespace std::chrono;
    const auto part = [&](std::size_t from, std::size_t count) {
        return std::stoi(text.substr(from, count));
    };
    const sys_days day = year(part(0, 4)) / part(5, 2) / part(8, 2);
    const auto time = day + hours(part(11, 2)) + minutes(part(14, 2));
    return static_cast<std::uint64_t>(duration_cast<milliseconds>(time.time_since_epoch()).count());
}

std::string text_of(std::uint64_t ms) {
    using namespace std::chrono;
    const auto time = sys_time<milliseconds>(milliseconds(ms));
    const auto day = floor<days>(time);
    const year_month_day date(day);
    const hh_mm_ss clock(floor<minutes>(time - day));
    char out[32];
    std::snprintf(out, sizeof out, "%04d-%02u-%02u %02d:%02d", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  static_cast<int>(clock.hours().count()),
                  static_cast<int>(clock.minutes().count()));
    return out;
}

std::vector<std::string> nexts(std::string_view cron, std::string_view zone,
                               const std::string& after, int count) {
    std::vector<std::string> out;
    std::uint64_t from = at(after);
    for (int i = 0; i < count; ++i) {
        const auto next = next_after(cron, zone, from);
        if (!next) break;
        EXPECT_GT(*next, from);
        out.push_back(text_of(*next));
        from = *next;
    }
    return out;
}

TEST(Cron, StepsListsRangesAndNamesAreDueWhenTheySay) {
    EXPECT_THAT(nexts("*/20 * * * *", "UTC", "2026-01-01 00:00", 4),
                ElementsAre("2026-01-01 00:20", "2026-01-01 00:40", "2026-01-01 01:00",
                            "2026-01-01 01:20"));
    EXPECT_THAT(nexts("5,10-12/2 9 * * *", "UTC", "2026-01-01 09:05", 3),
                ElementsAre("2026-01-01 09:10", "2026-01-01 09:12", "2026-01-02 09:05"));
    EXPECT_THAT(nexts("0 8 * * MON-fri", "UTC", "2026-01-02 09:00", 2),
                ElementsAre("2026-01-05 08:00", "2026-01-06 08:00"));
    EXPECT_THAT(nexts("0 0 1 jan,JUL *", "UTC", "2026-01-01 00:00", 2),
                ElementsAre("2026-07-01 00:00", "2027-01-01 00:00"));
    EXPECT_THAT(nexts("0 0 * * 7", "UTC", "2026-01-01 00:00", 1), ElementsAre("2026-01-04 00:00"));
    EXPECT_THAT(nexts("50/5 23 * * *", "UTC", "2026-01-01 23:50", 2),
                ElementsAre("2026-01-01 23:55", "2026-01-02 23:50"));
    EXPECT_THAT(nexts("@weekly", "UTC", "2026-01-01 00:00", 1), ElementsAre("2026-01-04 00:00"));
}

TEST(Cron, OfTwoRestrictedDayFieldsOneIsEnough) {
    EXPECT_THAT(nexts("0 0 13 * 5", "UTC", "2026-02-01 00:00", 4),
                ElementsAre("2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00",
                            "2026-02-27 00:00"));
}

TEST(Cron, TheTwentyNinthOfFebruaryComesAlsoAroundTheYear2100) {
    EXPECT_THAT(nexts("0 0 29 2 *", "UTC", "2096-02-29 00:00", 1), ElementsAre("2104-02-29 00:00"));
}

TEST(Cron, ATimeThatTheClockSkipsComesAtTheMomentOfTheJumpAndOnce) {
    // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
    EXPECT_THAT(nexts("30 2 * * *", "Europe/Berlin", "2026-03-27 12:00", 3),
                ElementsAre("2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"));
    EXPECT_THAT(nexts("*/20 2,3 * * *", "Europe/Berlin", "2026-03-29 00:59", 3),
                ElementsAre("2026-03-29 01:00", "2026-03-29 01:20", "2026-03-29 01:40"));
    // Samoa had no 30 December 2011 at all.
    EXPECT_THAT(nexts("0 12 30 12 *", "Pacific/Apia", "2011-12-29 00:00", 1),
                ElementsAre("2011-12-30 10:00"));
}

TEST(Cron, ATimeThatTheClockHasTwiceComesTheFirstTimeOnly) {
    // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
    EXPECT_THAT(nexts("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", 2),
                ElementsAre("2026-10-25 00:30", "2026-10-26 01:30"));
    EXPECT_THAT(nexts("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", 1),
                ElementsAre("2026-10-26 01:30"));
}

TEST(Cron, AnExpressionForEveryHourFollowsTheTimeThatPasses) {
    EXPECT_THAT(nexts("30 * * * *", "Europe/Berlin", "2026-03-29 00:00", 3),
                ElementsAre("2026-03-29 00:30", "2026-03-29 01:30", "2026-03-29 02:30"));
    EXPECT_THAT(nexts("30 * * * *", "Europe/Berlin", "2026-10-25 00:00", 3),
                ElementsAre("2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"));
}

TEST(Cron, ZonesWithOddOffsetsAreDueAtTheirOwnMinutes) {
    EXPECT_THAT(nexts("0 12 * * *", "Asia/Kathmandu", "2026-01-01 00:00", 1),
                ElementsAre("2026-01-01 06:15"));
    EXPECT_THAT(nexts("0 * * * *", "Asia/Kathmandu", "2026-01-01 00:00", 1),
                ElementsAre("2026-01-01 00:15"));
}

TEST(Cron, WhatIsWrongIsNamedWithWhatIsAllowed) {
    for (const char* bad : {"",           "* * * *",     "* * * * * *",   "60 * * * *",
                            "* 24 * * *", "* * 0 * *",   "* * 32 * *",    "* * * 13 *",
                            "* * * * 8",  "*/0 * * * *", "5-1 * * * *",   "1,,2 * * * *",
                            "a * * * *",  "* * * foo *", "1-2-3 * * * *", "*/5/5 * * * *",
                            "-1 * * * *", "+1 * * * *",  "@reboot",       "* * L * *"}) {
        EXPECT_NE(complaint_of(bad, "UTC"), "") << bad;
        EXPECT_FALSE(next_after(bad, "UTC", 0).has_value()) << bad;
    }
    EXPECT_THAT(complaint_of("99 * * * *", "UTC"), HasSubstr("0 to 59"));
    EXPECT_THAT(complaint_of("0 0 30 2 *", "UTC"), HasSubstr("never comes"));
    EXPECT_THAT(complaint_of(std::string(256, '*'), "UTC"), HasSubstr("255"));
    EXPECT_EQ(complaint_of("*/5 * * * *", "Europe/Berlin"), "");
}

TEST(Cron, AZoneIsANameOfTheDatabaseAndNoPath) {
    for (const char* bad : {"", "Europe/Atlantis", "/etc/localtime", "../../etc/passwd", "file:UTC",
                            "Europe", "libc:localtime", "Europe/../Europe/Berlin"}) {
        EXPECT_THAT(complaint_of("* * * * *", bad), HasSubstr("no time zone")) << bad;
    }
    EXPECT_THAT(complaint_of("* * * * *", std::string(10'000, 'a')), HasSubstr("no time zone"));
}

TEST(Cron, NoMomentOfADecadeIsDueTwiceOrOutOfOrder) {
    std::uint64_t from = at("2026-01-01 00:00");
    const std::uint64_t end = at("2036-01-01 00:00");
    int count = 0;
    while (from < end) {
        const auto next = next_after("17 2 * * *", "America/New_York", from);
        ASSERT_TRUE(next.has_value());
        ASSERT_GT(*next, from);
        from = *next;
        ++count;
    }
    EXPECT_EQ(count, 3653) << "once a day: 3652 days of ten years, and the one beyond";
}

}  // namespace
}  // namespace ferry::schedule
