#pragma once

#include "ferry/sqlite/database.hpp"

namespace ferry::saga {

inline constexpr std::int64_t schema_version = 2;

/// Makes the tables of an orchestrator in a database in WAL mode, unless they are there.
[[nodiscard]] sqlite::Status make_schema(const sqlite::Database& database);
/// schema: there are none, or of another version; the text says what to do.
[[nodiscard]] sqlite::Status check_schema(const sqlite::Database& database);
/// The participants' barrier; in any database with an inbox and an outbox.
[[nodiscard]] sqlite::Status make_barrier(const sqlite::Database& database);

}  // namespace ferry::saga
