#pragma once

#include <cstdint>
#include <string>

#include "ferry/outbox/limits.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

struct InitOptions {
    /// Larger payloads are refused, also those of a plain INSERT. Only looked at when the tables
    /// are made. 1 to limits::payload_bytes_cap.
    std::uint32_t payload_bytes_max = limits::payload_bytes_default;
};

enum class InitResult : std::uint8_t { created, migrated, unchanged };

/// Makes the tables of docs/outbox-schema.md in the main file of the connection, or brings older
/// ones up to date, in one transaction; inside a running transaction as a part of it. Fine to call
/// at every start of an application.
///
/// Blocking  As a write transaction.
/// Errors    refused (in memory, not in WAL mode; the text says what to run), schema (made by a
///           newer ferrymq, or tables of these names that are not ours), read_only, busy, full, io.
///           Nothing was changed.
sqlite::Answer<InitResult> init(const sqlite::Database& database, const InitOptions& options = {});

/// What the file holds: 0 no outbox, else its schema version. Reads only.
///
/// Errors    schema (there are tables of our names but no version), and those of reading.
sqlite::Answer<int> schema_version(const sqlite::Database& database);

/// Fine if the tables are of this version.
///
/// Errors    schema: no outbox, older, or newer; the text says what to do.
sqlite::Status check_schema(const sqlite::Database& database);

/// The statements that make schema version 1. For documents and for checks.
[[nodiscard]] std::string schema_sql(std::uint32_t payload_bytes_max);

/// The expression for "now" in milliseconds since 1970, for statements of any SQLite.
inline constexpr const char* now_ms_sql =
    "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)";

}  // namespace ferry::outbox
