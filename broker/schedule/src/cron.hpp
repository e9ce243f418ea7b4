#pragma once

#include <bitset>
#include <string>
#include <string_view>

namespace ferry::schedule {

/// A cron expression as sets of numbers.
struct Cron {
    std::bitset<60> minutes;
    std::bitset<24> hours;
    std::bitset<32> days;     // from 1
    std::bitset<13> months;   // from 1
    std::bitset<7> weekdays;  // from Sunday
    bool every_day = false;   // the field begins with *
    bool every_weekday = false;

    /// Cron's rule: of two restricted fields one is enough.
    [[nodiscard]] bool day_matches(int month, int day, int weekday) const;
};

/// Reads an expression; what is wrong with it, or empty.
[[nodiscard]] std::string parse_cron(std::string_view text, Cron& out);

}  // namespace ferry::schedule
