#include "cron.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <vector>

#include "ferry/schedule/schedule.hpp"

namespace ferry::schedule {
namespace {

constexpr std::array<std::string_view, 12> month_names{"jan", "feb", "mar", "apr", "may", "jun",
                                                       "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> weekday_names{"sun", "mon", "tue", "wed",
                                                        "thu", "fri", "sat"};
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> short_forms{
    {{"@hourly", "0 * * * *"},
     {"@daily", "0 0 * * *"},
     {"@midnight", "0 0 * * *"},
     {"@weekly", "0 0 * * 0"},
     {"@monthly", "0 0 1 * *"},
     {"@yearly", "0 0 1 1 *"},
     {"@annually", "0 0 1 1 *"}}};

struct Field {
    const char* name;
    unsigned least;
    unsigned most;
};

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
    std::vector<std::string_view> parts;
    while (true) {
        const std::size_t end = text.find_first_of(separators);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::optional<unsigned> number_in(std::string_view text) {
    unsigned value = 0;
    const auto done = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || done.ec != std::errc() || done.ptr != text.data() + text.size())
        return std::nullopt;
    return value;
}

std::string lower(std::string_view text) {
    std::string out;
    for (const char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

std::optional<unsigned> value_in(std::string_view text, const Field& field) {
    if (const auto number = number_in(text)) return number;
    const std::string name = lower(text);
    const auto find = [&](const auto& names, unsigned from) -> std::optional<unsigned> {
        for (unsigned i = 0; i < names.size(); ++i) {
            if (names[i] == name) return from + i;
        }
        return std::nullopt;
    };
    if (field.most == 12) return find(month_names, 1);
    if (field.most == 7) return find(weekday_names, 0);
    return std::nullopt;
}

// One item of a list: *, 5, 1-5, each also with /step.
bool take_item(std::string_view item, const Field& field, std::bitset<64>& out) {
    const auto parts = split(item, "/");
    if (parts.size() > 2) return false;
    unsigned step = 1;
    if (parts.size() == 2) {
        const auto number = number_in(parts[1]);
        if (!number || *number == 0 || *number > field.most) return false;
        step = *number;
    }
    unsigned from = field.least;
    unsigned upto = field.most;
    if (parts[0] != "*") {
        const auto ends = split(parts[0], "-");
        const auto first = value_in(ends[0], field);
        const auto last = ends.size() == 2 ? value_in(ends[1], field) : first;
        if (ends.size() > 2 || !first || !last) return false;
        from = *first;
        // 5/10 is from 5 on, as 5-59/10.
        upto = parts.size() == 2 && ends.size() == 1 ? field.most : *last;
    }
    if (from < field.least || upto > field.most || from > upto) return false;
    for (unsigned value = from; value <= upto; value += step) out.set(value);
    return true;
}

template <std::size_t N>
std::string take_field(std::string_view text, const Field& field, std::bitset<N>& out) {
    std::bitset<64> set;
    for (const std::string_view item : split(text, ",")) {
        if (take_item(item, field, set)) continue;
        return std::string(field.name) + " '" + std::string(text) + "' is not made of numbers " +
               std::to_string(field.least) + " to " + std::to_string(field.most) +
               ", *, lists 1,2, ranges 1-5 and steps */5";
    }
    for (std::size_t i = 0; i < 64; ++i) {
        if (set.test(i)) out.set(i % N);  // Sunday is 0 or 7
    }
    return {};
}

}  // namespace

bool Cron::day_matches(int month, int day, int weekday) const {
    if (!months.test(static_cast<std::size_t>(month))) return false;
    const bool by_day = days.test(static_cast<std::size_t>(day));
    const bool by_weekday = weekdays.test(static_cast<std::size_t>(weekday));
    return every_day || every_weekday ? by_day && by_weekday : by_day || by_weekday;
}

std::string parse_cron(std::string_view text, Cron& out) {
    out = Cron{};
    if (text.size() > cron_bytes_max) return "a cron expression has at most 255 bytes";
    for (const auto& [name, meaning] : short_forms) {
        if (text == name) text = meaning;
    }
    std::vector<std::string_view> fields;
    for (const std::string_view part : split(text, " \t")) {
        if (!part.empty()) fields.push_back(part);
    }
    if (fields.size() != 5) {
        return "a cron expression has five fields (minute hour day month weekday) or is @hourly, "
               "@daily, @weekly, @monthly or @yearly";
    }
    std::string wrong = take_field(fields[0], {"minute", 0, 59}, out.minutes);
    if (wrong.empty()) wrong = take_field(fields[1], {"hour", 0, 23}, out.hours);
    if (wrong.empty()) wrong = take_field(fields[2], {"day of month", 1, 31}, out.days);
    if (wrong.empty()) wrong = take_field(fields[3], {"month", 1, 12}, out.months);
    if (wrong.empty()) wrong = take_field(fields[4], {"day of week", 0, 7}, out.weekdays);
    out.every_day = fields[2].starts_with('*');
    out.every_weekday = fields[4].starts_with('*');
    return wrong;
}

}  // namespace ferry::schedule
