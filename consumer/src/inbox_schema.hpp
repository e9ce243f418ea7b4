#pragma once

#include <cstdint>
#include <string_view>

#include "ferry/sqlite/database.hpp"

namespace ferry::consumer {

inline constexpr std::int64_t inbox_schema_version = 1;

// Version 1. docs/consumer.md explains the columns.
inline constexpr std::string_view inbox_schema_sql = R"sql(
CREATE TABLE ferry_inbox_state(
  name TEXT PRIMARY KEY NOT NULL,
  value NOT NULL
) WITHOUT ROWID;
CREATE TABLE ferry_inbox_consumer(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK(length(name) BETWEEN 1 AND 200),
  queue TEXT NOT NULL DEFAULT '',
  log_id TEXT NOT NULL DEFAULT '',
  floor INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE ferry_inbox_cursor(
  id INTEGER PRIMARY KEY,
  consumer INTEGER NOT NULL REFERENCES ferry_inbox_consumer(id),
  producer TEXT NOT NULL,
  epoch INTEGER NOT NULL CHECK(epoch >= 0),
  below INTEGER NOT NULL DEFAULT 0,
  closes INTEGER NOT NULL DEFAULT 0,
  seen_ms INTEGER NOT NULL,
  UNIQUE(consumer, producer, epoch)
);
CREATE TABLE ferry_inbox_range(
  cursor INTEGER NOT NULL REFERENCES ferry_inbox_cursor(id),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL CHECK(last >= first),
  unsure INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(cursor, first)
) WITHOUT ROWID;
CREATE TABLE ferry_inbox_id(
  consumer INTEGER NOT NULL REFERENCES ferry_inbox_consumer(id),
  id TEXT NOT NULL,
  seen_ms INTEGER NOT NULL,
  PRIMARY KEY(consumer, id)
) WITHOUT ROWID;
CREATE INDEX ferry_inbox_id_seen ON ferry_inbox_id(consumer, seen_ms);
CREATE TABLE IF NOT EXISTS ferry_fence(
  resource TEXT PRIMARY KEY NOT NULL CHECK(length(resource) BETWEEN 1 AND 1000),
  token INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO ferry_inbox_state(name, value) VALUES('schema_version', 1);
)sql";

/// Makes the tables unless they are there.
[[nodiscard]] sqlite::Status make_inbox_schema(const sqlite::Database& database);
/// schema: not there, newer, or the database is not in WAL mode; the text says what to do.
[[nodiscard]] sqlite::Status check_inbox_schema(const sqlite::Database& database);

}  // namespace ferry::consumer
