#include "ferry/outbox/state.hpp"

#include <algorithm>

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;

// A value that somebody edited by hand must not make us take memory without bound.
constexpr std::size_t value_bytes_max = 4096;

Problem wrong_type(std::string_view name, const char* wanted) {
    return {Kind::schema, 0,
            "ferry_outbox_state: " + sqlite::bounded(name) + " is not " + wanted +
                "; run ferry outbox verify"};
}

}  // namespace

Answer<std::optional<std::int64_t>> State::number(std::string_view name) const {
    auto statement = database_.prepare("SELECT value FROM main.ferry_outbox_state WHERE name = ?1");
    if (!statement.ok()) return statement.error();
    Statement& query = statement.value();
    const auto row = query.bind(1, name).step();
    if (!row.ok()) return row.error();
    if (!row.value() || query.is_null(0)) return std::optional<std::int64_t>{};
    if (query.type(0) != SQLITE_INTEGER) return wrong_type(name, "a whole number");
    return std::optional<std::int64_t>(query.integer(0));
}

Answer<std::optional<std::string>> State::text(std::string_view name) const {
    auto statement = database_.prepare("SELECT value FROM main.ferry_outbox_state WHERE name = ?1");
    if (!statement.ok()) return statement.error();
    Statement& query = statement.value();
    const auto row = query.bind(1, name).step();
    if (!row.ok()) return row.error();
    if (!row.value() || query.is_null(0)) return std::optional<std::string>{};
    if (query.type(0) != SQLITE_TEXT || query.text(0).size() > value_bytes_max) {
        return wrong_type(name, "a short text");
    }
    return std::optional<std::string>(std::string(query.text(0)));
}

namespace {

constexpr const char* set_sql =
    "INSERT INTO main.ferry_outbox_state(name, value) VALUES (?1, ?2) "
    "ON CONFLICT(name) DO UPDATE SET value = excluded.value";

}  // namespace

sqlite::Status State::set(std::string_view name, std::int64_t value) const {
    auto statement = database_.prepare(set_sql);
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, name).bind(2, value).run();
}

sqlite::Status State::set(std::string_view name, std::string_view value) const {
    auto statement = database_.prepare(set_sql);
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, name).bind(2, value).run();
}

sqlite::Status State::add(std::string_view name, std::int64_t difference) const {
    auto statement = database_.prepare(
        "INSERT INTO main.ferry_outbox_state(name, value) VALUES (?1, ?2) "
        "ON CONFLICT(name) DO UPDATE SET value = value + excluded.value");
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, name).bind(2, difference).run();
}

sqlite::Status State::erase(std::string_view name) const {
    auto statement = database_.prepare("DELETE FROM main.ferry_outbox_state WHERE name = ?1");
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, name).run();
}

Answer<Identity> identity(const sqlite::Database& database) {
    const State all(database);
    auto producer = all.text(state::producer);
    if (!producer.ok()) return producer.error();
    const auto epoch = all.number(state::epoch);
    if (!epoch.ok()) return epoch.error();
    const std::string name = producer.value().value_or("");
    const bool hex = name.size() == 32 && std::all_of(name.begin(), name.end(), [](char c) {
                         return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                     });
    if (!hex || epoch.value().value_or(0) < 1) {
        return Problem{Kind::schema, 0,
                       "ferry_outbox_state holds no valid producer and epoch; run ferry outbox "
                       "verify"};
    }
    return Identity{name, static_cast<std::uint64_t>(*epoch.value())};
}

}  // namespace ferry::outbox
