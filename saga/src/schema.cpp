#include "schema.hpp"

#include <string>

#include "ferry/platform/random.hpp"

namespace ferry::saga {
namespace {

using sqlite::Kind;
using sqlite::Problem;

// docs/saga.md explains the columns. What has ended has no due time, so neither index that is
// looked at while sagas run grows with the past.
constexpr std::string_view tables = R"sql(
CREATE TABLE ferry_saga_state(name TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID;
CREATE TABLE ferry_saga_definition(
  key INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  added_ms INTEGER NOT NULL,
  UNIQUE(name, version)
);
CREATE TABLE ferry_saga(
  key INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE CHECK(length(id) BETWEEN 1 AND 1000),
  definition INTEGER NOT NULL REFERENCES ferry_saga_definition(key),
  state INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  due_ms INTEGER,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  parent TEXT,
  body BLOB NOT NULL
);
CREATE INDEX ferry_saga_due ON ferry_saga(due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX ferry_saga_open ON ferry_saga(state) WHERE ended_ms IS NULL;
CREATE INDEX ferry_saga_ended ON ferry_saga(ended_ms) WHERE ended_ms IS NOT NULL;
CREATE TABLE ferry_saga_audit(
  key INTEGER PRIMARY KEY,
  saga TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  note TEXT NOT NULL
);
CREATE INDEX ferry_saga_audit_saga ON ferry_saga_audit(saga);
CREATE TABLE ferry_saga_call(
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  saga TEXT NOT NULL,
  step TEXT NOT NULL,
  op INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  token INTEGER NOT NULL,
  definition TEXT NOT NULL,
  retriable INTEGER NOT NULL,
  trace TEXT NOT NULL,
  method TEXT NOT NULL,
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  due_ms INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  repeated INTEGER NOT NULL
);
CREATE INDEX ferry_saga_call_fence ON ferry_saga_call(fence);
CREATE TABLE ferry_saga_member(
  owner TEXT PRIMARY KEY NOT NULL,
  fence INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) WITHOUT ROWID;
)sql";

constexpr std::string_view barrier = R"sql(
CREATE TABLE IF NOT EXISTS ferry_saga_barrier(
  saga TEXT NOT NULL,
  step TEXT NOT NULL,
  acted INTEGER NOT NULL,
  undone INTEGER NOT NULL,
  token INTEGER NOT NULL,
  result TEXT NOT NULL,
  reason TEXT NOT NULL,
  changed_ms INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(saga, step)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ferry_saga_barrier_changed ON ferry_saga_barrier(changed_ms);
CREATE INDEX IF NOT EXISTS ferry_saga_barrier_held ON ferry_saga_barrier(changed_ms) WHERE held = 1;
)sql";

std::string random_hex(int digits) {
    std::string out;
    std::uint64_t value = system_random().next();
    for (int i = 0; i < digits; ++i, value >>= 4U) out += "0123456789abcdef"[value & 15U];
    return out;
}

sqlite::Answer<std::int64_t> stored_version(const sqlite::Database& database) {
    auto there = database.integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_saga_state'");
    if (!there.ok()) return there.error();
    if (!there.value()) return std::int64_t{0};
    auto version =
        database.integer("SELECT value FROM ferry_saga_state WHERE name = 'schema_version'");
    if (!version.ok()) return version.error();
    return version.value().value_or(-1);
}

Problem other_version(const sqlite::Database& database, std::int64_t version) {
    if (version == 0) {
        return {Kind::schema, 0,
                "there are no sagas in " + database.path() + ": run ferry saga init on it"};
    }
    return {Kind::schema, 0,
            "the sagas in " + database.path() + " have schema version " + std::to_string(version) +
                ", this program knows " + std::to_string(schema_version) + ": use a newer one"};
}

}  // namespace

sqlite::Status make_schema(const sqlite::Database& database) {
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    const auto version = stored_version(database);
    if (!version.ok()) return version.error();
    if (version.value() == schema_version) return sqlite::ok_status();
    if (version.value() != 0) return other_version(database, version.value());
    if (auto made = database.run(tables); !made.ok()) return made;
    auto state = database.prepare(
        "INSERT INTO ferry_saga_state(name, value) VALUES('schema_version', ?1), ('fence', 0), "
        "('queue', ?2)");
    if (!state.ok()) return state.error();
    const std::string queue = "saga-replies-" + random_hex(12);
    if (auto done = state.value().bind(1, schema_version).bind(2, queue).run(); !done.ok()) {
        return done;
    }
    return transaction.value().commit();
}

sqlite::Status check_schema(const sqlite::Database& database) {
    const auto version = stored_version(database);
    if (!version.ok()) return version.error();
    if (version.value() == schema_version) return sqlite::ok_status();
    return other_version(database, version.value());
}

sqlite::Status make_barrier(const sqlite::Database& database) {
    return database.run(barrier);
}

}  // namespace ferry::saga
