#include "ferry/outbox/schema.hpp"

#include <array>
#include <string>

#include "ferry/outbox/state.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/random.hpp"
#include "migrations.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

std::string random_hex_128() {
    static constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (int half = 0; half < 2; ++half) {
        std::uint64_t value = system_random().next();
        for (int i = 0; i < 16; ++i, value >>= 4U) out += digits[value & 15U];
    }
    return out;
}

Status check_mode(const Database& database) {
    const auto mode = database.text("PRAGMA main.journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value() == "wal") return sqlite::ok_status();
    if (database.path().empty()) {
        return Problem{Kind::refused, 0,
                       "an outbox needs a file: this database is in memory or temporary"};
    }
    return Problem{Kind::refused, 0,
                   "the database is in journal mode " + mode.value().value_or("unknown") +
                       "; run PRAGMA journal_mode=WAL first, once for the file"};
}

Status make_tables(const Database& database, const InitOptions& options) {
    if (const Status made = database.run(schema_sql(options.payload_bytes_max)); !made.ok()) {
        return made;
    }
    const State all(database);
    const std::pair<std::string_view, std::string> texts[] = {
        {state::producer, random_hex_128()},
        {state::database_id, random_hex_128()},
        {state::policy, "block"},
    };
    const std::pair<std::string_view, std::int64_t> numbers[] = {
        {state::schema_version, limits::schema_version},
        {state::epoch, 1},
        {state::created_ms, static_cast<std::int64_t>(system_clock().now().wall_ms)},
        {state::payload_bytes_max, options.payload_bytes_max},
        {state::last_sent, 0},
        {state::sent_total, 0},
        {state::skipped_total, 0},
        {state::retain_ms, 0},
    };
    for (const auto& [name, value] : texts) {
        if (const Status set = all.set(name, std::string_view(value)); !set.ok()) return set;
    }
    for (const auto& [name, value] : numbers) {
        if (const Status set = all.set(name, value); !set.ok()) return set;
    }
    return sqlite::ok_status();
}

Problem newer(int version) {
    return {Kind::schema, 0,
            "the outbox has schema version " + std::to_string(version) +
                ", which is newer than this program's " + std::to_string(limits::schema_version) +
                ": update the program; nothing was changed"};
}

}  // namespace

std::span<const Migration> migrations() {
    return {};  // version 1 is the first
}

Status migrate(const Database& database, int from, int to, std::span<const Migration> steps) {
    int version = from;
    for (const Migration& step : steps) {
        if (step.from != version || version >= to) continue;
        if (const Status done = database.run(step.sql); !done.ok()) return done;
        ++version;
    }
    if (version != to) {
        return Problem{Kind::schema, 0,
                       "there is no way from schema version " + std::to_string(from) +
                           " of the outbox to " + std::to_string(to) + "; nothing was changed"};
    }
    return State(database).set(state::schema_version, version);
}

Answer<int> schema_version(const Database& database) {
    const auto tables = database.integer(
        "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name IN "
        "('ferry_outbox', 'ferry_outbox_sent', 'ferry_outbox_parked', 'ferry_outbox_state')");
    if (!tables.ok()) return tables.error();
    if (tables.value().value_or(0) == 0) return 0;
    const auto state_table = database.integer(
        "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' "
        "AND name = 'ferry_outbox_state'");
    if (!state_table.ok()) return state_table.error();
    if (state_table.value().value_or(0) == 1) {
        const auto version = State(database).number(state::schema_version);
        if (version.ok() && version.value().value_or(0) >= 1 && *version.value() <= INT32_MAX) {
            return static_cast<int>(*version.value());
        }
        // SQLITE_ERROR: a table of this name has other columns.
        if (!version.ok() && version.error().kind != Kind::schema &&
            version.error().code != SQLITE_ERROR) {
            return version.error();
        }
    }
    return Problem{Kind::schema, 0,
                   "there are tables called ferry_outbox..., but ferry_outbox_state does not say "
                   "of which version; run ferry outbox verify"};
}

Status check_schema(const Database& database) {
    const auto version = schema_version(database);
    if (!version.ok()) return version.error();
    if (version.value() == limits::schema_version) return sqlite::ok_status();
    if (version.value() > limits::schema_version) return newer(version.value());
    if (version.value() == 0) {
        return Problem{Kind::schema, 0,
                       "there is no outbox in this database; make one with ferry outbox init, "
                       "ferry_outbox_init() or ferry::outbox::init"};
    }
    return Problem{Kind::schema, 0,
                   "the outbox has schema version " + std::to_string(version.value()) +
                       ", which is older than this program's " +
                       std::to_string(limits::schema_version) +
                       "; bring it up to date with ferry outbox init, ferry_outbox_init() or "
                       "ferry::outbox::init"};
}

Answer<InitResult> init(const Database& database, const InitOptions& options) {
    if (options.payload_bytes_max < 1 || options.payload_bytes_max > limits::payload_bytes_cap) {
        return Problem{Kind::refused, 0,
                       "the largest payload must be 1 to " +
                           std::to_string(limits::payload_bytes_cap) + " bytes"};
    }
    // Most calls find everything in order; they need no write lock.
    const auto before = schema_version(database);
    if (!before.ok()) return before.error();
    if (before.value() > limits::schema_version) return newer(before.value());
    if (const Status mode = check_mode(database); !mode.ok()) return mode.error();
    if (before.value() == limits::schema_version) return InitResult::unchanged;
    if (sqlite3_db_readonly(database.handle(), "main") == 1) {
        return Problem{Kind::read_only, 0,
                       "the database is open for reading only: the outbox can neither be made nor "
                       "brought up to date"};
    }

    auto step = sqlite::Savepoint::begin(database);
    if (!step.ok()) return step.error();
    // Somebody else may have done it while we waited for the lock.
    const auto version = schema_version(database);
    if (!version.ok()) return version.error();
    if (version.value() > limits::schema_version) return newer(version.value());
    if (version.value() == limits::schema_version) return InitResult::unchanged;
    const Status done = version.value() == 0 ? make_tables(database, options)
                                             : migrate(database, version.value(),
                                                       limits::schema_version, migrations());
    if (!done.ok()) return done.error();
    if (const Status stored = step.value().release(); !stored.ok()) return stored.error();
    return version.value() == 0 ? InitResult::created : InitResult::migrated;
}

}  // namespace ferry::outbox
