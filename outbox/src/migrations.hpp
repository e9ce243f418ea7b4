#pragma once

#include <span>

#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

/// What leads from one schema version to the next. Steps only add tables, and columns that may be
/// left out of an INSERT: a program of the older version may be writing while it happens.
struct Migration {
    int from;
    const char* sql;
};

/// The steps of this version of the library, oldest first.
[[nodiscard]] std::span<const Migration> migrations();

/// Runs the steps that lead from version `from` to `to` and notes the new version, inside the
/// caller's transaction.
///
/// Errors    schema: there is no way from there; those of writing.
sqlite::Status migrate(const sqlite::Database& database, int from, int to,
                       std::span<const Migration> steps);

}  // namespace ferry::outbox
