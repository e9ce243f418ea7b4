#include "ferry/schedule/schedule.hpp"

#include <cctz/civil_time.h>
#include <cctz/time_zone.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "cron.hpp"

namespace ferry::schedule {
namespace {

using Seconds = cctz::time_point<cctz::seconds>;

// A name of the database and nothing else: no path, and no file that is not there, so that names
// from clients neither leave the directory nor fill the library's table of zones.
bool plausible_zone(std::string_view name) {
    if (name.empty() || name.size() > zone_bytes_max || name.front() == '/' ||
        name.find("..") != std::string_view::npos) {
        return false;
    }
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '/' || c == '_' || c == '+' || c == '-';
    });
}

bool load_zone(std::string_view name, cctz::time_zone& out) {
    if (name == "UTC") {
        out = cctz::utc_time_zone();
        return true;
    }
    if (!plausible_zone(name)) return false;
    const char* folder = std::getenv("TZDIR");
    const std::string path =
        std::string(folder != nullptr ? folder : "/usr/share/zoneinfo") + "/" + std::string(name);
    struct stat file {};
    if (::stat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return false;
    return cctz::load_time_zone(std::string(name), &out);
}

int weekday_of(const cctz::civil_day& day) {
    // The library's week begins on Monday.
    return (static_cast<int>(cctz::get_weekday(day)) + 1) % 7;
}

bool day_fits(const Cron& cron, const cctz::civil_day& day) {
    return cron.day_matches(day.month(), day.day(), weekday_of(day));
}

Seconds moment_of(const cctz::time_zone& zone, const cctz::civil_second& time) {
    const auto found = zone.lookup(time);
    return found.kind == cctz::time_zone::civil_lookup::SKIPPED ? found.trans : found.pre;
}

// Every hour is allowed: minute by minute of the time that passes.
std::optional<Seconds> next_flowing(const Cron& cron, const cctz::time_zone& zone, Seconds after) {
    using std::chrono::minutes;
    Seconds at = std::chrono::floor<minutes>(after) + minutes(1);
    const cctz::civil_day begin(zone.lookup(at).cs);
    const cctz::civil_day end(begin.year() + years_ahead_max, begin.month(), begin.day());
    while (true) {
        const cctz::civil_second time = zone.lookup(at).cs;
        const cctz::civil_day day(time);
        if (day > end) return std::nullopt;
        if (!day_fits(cron, day)) {
            at = std::max(moment_of(zone, cctz::civil_second(day + 1)), at + minutes(1));
        } else if (cron.minutes.test(static_cast<std::size_t>(time.minute()))) {
            return at;
        } else {
            at += minutes(1);
        }
    }
}

// By the calendar: the moments of its times never go back, as skipped ones are at the jump and of
// doubled ones the first counts.
std::optional<Seconds> next_fixed(const Cron& cron, const cctz::time_zone& zone, Seconds after) {
    const cctz::civil_day begin(zone.lookup(after).cs);
    const cctz::civil_day end(begin.year() + years_ahead_max, begin.month(), begin.day());
    for (cctz::civil_day day = begin; day <= end; ++day) {
        if (!day_fits(cron, day)) continue;
        for (int hour = 0; hour < 24; ++hour) {
            if (!cron.hours.test(static_cast<std::size_t>(hour))) continue;
            for (int minute = 0; minute < 60; ++minute) {
                if (!cron.minutes.test(static_cast<std::size_t>(minute))) continue;
                const Seconds at = moment_of(
                    zone, cctz::civil_second(day.year(), day.month(), day.day(), hour, minute, 0));
                if (at > after) return at;
            }
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> next_after(std::string_view cron_text, std::string_view zone_name,
                                        std::uint64_t after_ms) {
    Cron cron;
    cctz::time_zone zone;
    // Beyond any date of people the arithmetic of calendars ends.
    constexpr std::uint64_t latest_ms = 8'000ULL * 366 * 24 * 3600 * 1000;
    if (after_ms > latest_ms || !parse_cron(cron_text, cron).empty() ||
        !load_zone(zone_name, zone)) {
        return std::nullopt;
    }
    const Seconds after{cctz::seconds(static_cast<std::int64_t>(after_ms / 1000))};
    const auto next =
        cron.hours.all() ? next_flowing(cron, zone, after) : next_fixed(cron, zone, after);
    if (!next) return std::nullopt;
    return static_cast<std::uint64_t>(next->time_since_epoch().count()) * 1000;
}

std::string complaint_of(std::string_view cron_text, std::string_view zone_name) {
    Cron cron;
    if (std::string wrong = parse_cron(cron_text, cron); !wrong.empty()) return wrong;
    cctz::time_zone zone;
    if (!load_zone(zone_name, zone)) {
        return "there is no time zone '" + std::string(zone_name.substr(0, zone_bytes_max)) +
               "' in the broker's time zone database; names are as Europe/Berlin, or UTC";
    }
    // Any day will do to begin with: ten years hold every date that there is.
    constexpr std::uint64_t some_day_ms = 1'700'000'000'000;
    if (!next_after(cron_text, zone_name, some_day_ms))
        return "this day never comes: day of month and month do not fit together";
    return {};
}

}  // namespace ferry::schedule
