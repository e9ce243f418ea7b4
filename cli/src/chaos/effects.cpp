#include "chaos/effects.hpp"

#include <charconv>

#include "ferry/sqlite/database.hpp"

namespace ferry::cli::chaos {
namespace {

constexpr std::string_view white = " \t\r";

std::string_view trimmed(std::string_view line) {
    const std::size_t first = line.find_first_not_of(white);
    if (first == std::string_view::npos) return {};
    return line.substr(first, line.find_last_not_of(white) - first + 1);
}

ResultOr<Ids, std::string> read_database(const std::string& path) {
    auto db = sqlite::Database::open(path, sqlite::Database::Access::read_only);
    if (!db.ok()) return db.error().text;
    auto rows = db.value().prepare("SELECT id FROM effect ORDER BY rowid");
    if (!rows.ok()) return rows.error().text;
    Ids ids;
    for (;;) {
        const auto row = rows.value().step();
        if (!row.ok()) return row.error().text;
        if (!row.value()) return ids;
        ids.push_back(static_cast<std::uint64_t>(rows.value().integer(0)));
    }
}

}  // namespace

ResultOr<Ids, std::string> parse_ids(std::string_view text) {
    Ids ids;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        const std::string_view line = trimmed(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (line.empty()) continue;
        std::uint64_t id = 0;
        const auto [behind, wrong] = std::from_chars(line.data(), line.data() + line.size(), id);
        if (wrong != std::errc() || behind != line.data() + line.size() || id == 0) {
            return "line " + std::to_string(number) + " of the check is no id: '" +
                   std::string(line.substr(0, 80)) + "'";
        }
        ids.push_back(id);
    }
    return ids;
}

ResultOr<Ids, std::string> list_effects(const Plan& plan, const Child::Environment& environment,
                                        const std::string& directory) {
    if (plan.check.empty()) return read_database(directory + "/" + effects_file);
    const auto listed = filter({"/bin/sh", "-c", plan.check}, environment, {}, check_output_max);
    if (!listed.ok()) return "the check failed: " + std::string(listed.error().what);
    if (listed.value().status != 0) {
        return "the check ended with status " + std::to_string(listed.value().status);
    }
    return parse_ids(listed.value().output);
}

}  // namespace ferry::cli::chaos
