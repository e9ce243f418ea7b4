#include "inbox_schema.hpp"

#include <string>

namespace ferry::consumer {
namespace {

using sqlite::Kind;
using sqlite::Problem;

sqlite::Answer<bool> has_tables(const sqlite::Database& database) {
    auto found = database.integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_inbox_state'");
    if (!found.ok()) return found.error();
    return found.value().has_value();
}

sqlite::Status check_wal(const sqlite::Database& database) {
    auto mode = database.text("PRAGMA journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value().value_or("") == "wal") return sqlite::ok_status();
    return Problem{Kind::schema, 0,
                   "the database " + database.path() +
                       " has journal_mode=" + mode.value().value_or("?") +
                       "; an inbox needs WAL: run PRAGMA journal_mode=WAL on it once"};
}

sqlite::Status check_version(const sqlite::Database& database) {
    auto version =
        database.integer("SELECT value FROM ferry_inbox_state WHERE name = 'schema_version'");
    if (!version.ok()) return version.error();
    const std::int64_t found = version.value().value_or(0);
    if (found == inbox_schema_version) return sqlite::ok_status();
    if (found > inbox_schema_version) {
        return Problem{Kind::schema, 0,
                       "the inbox in " + database.path() + " has schema version " +
                           std::to_string(found) + ", this program knows up to " +
                           std::to_string(inbox_schema_version) + ": use a newer one"};
    }
    return Problem{Kind::schema, 0,
                   "the inbox in " + database.path() + " has no valid schema version: run " +
                       "ferry inbox verify on it"};
}

}  // namespace

sqlite::Status make_inbox_schema(const sqlite::Database& database) {
    auto known = has_tables(database);
    if (!known.ok()) return known.error();
    if (!known.value()) {
        auto tables = database.integer("SELECT count(*) FROM sqlite_schema");
        if (!tables.ok()) return tables.error();
        // An empty file is ours to set up; an application's database keeps its mode until its
        // owner changes it.
        if (tables.value().value_or(1) == 0) {
            if (auto set = database.text("PRAGMA journal_mode=WAL"); !set.ok()) return set.error();
        }
    }
    if (auto wal = check_wal(database); !wal.ok()) return wal;
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    known = has_tables(database);  // again: somebody may have made them meanwhile
    if (!known.ok()) return known.error();
    if (known.value()) return check_version(database);
    if (auto made = database.run(inbox_schema_sql); !made.ok()) return made;
    return transaction.value().commit();
}

sqlite::Status check_inbox_schema(const sqlite::Database& database) {
    auto known = has_tables(database);
    if (!known.ok()) return known.error();
    if (!known.value()) {
        return Problem{Kind::schema, 0,
                       "there is no inbox in " + database.path() + ": run ferry inbox init on it"};
    }
    if (auto wal = check_wal(database); !wal.ok()) return wal;
    return check_version(database);
}

}  // namespace ferry::consumer
