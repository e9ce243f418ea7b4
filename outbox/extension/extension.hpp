#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ferry/outbox/limits.hpp"
#include "ferry/platform/bytes.hpp"
#include "ferry/sqlite/database.hpp"

// The SQL functions of ferry_outbox.so. docs/outbox.md describes them.
namespace ferry::outbox::extension {

/// What is kept for a connection that loaded the extension; shared by the functions and the
/// keeper, and freed by SQLite with the last of them.
struct Connection {
    int owners = 0;
    bool checked = false;  // mode and tables were found in order
    std::uint32_t payload_bytes_max = limits::payload_bytes_default;
    /// The keeper is there to drop the statement in time; without it none may be kept.
    bool keeper_lives = false;
    sqlite::Statement insert;
    sqlite::Statement stream_version;
};
void retain(Connection& connection) noexcept;
void release(void* connection) noexcept;

/// A virtual table without rows. SQLite disconnects virtual tables before it looks whether
/// statements keep a connection from being closed: the one moment to drop those that we keep.
int register_keeper(sqlite3* handle, Connection& connection);

/// Registers the functions and the WAL hook. Gives an SQLite result code.
int register_functions(sqlite3* handle);

/// Checks once per connection that the database is fit for an outbox.
sqlite::Status check_once(const sqlite::Database& database, Connection& connection);

/// An argument as text; nothing for NULL. Errors: refused (another type), naming it.
sqlite::Answer<std::optional<std::string_view>> text_argument(sqlite3_value* value,
                                                              const char* name);
/// A blob or text that must be there.
sqlite::Answer<Bytes> bytes_argument(sqlite3_value* value, const char* name);
sqlite::Answer<std::string_view> needed_text(sqlite3_value* value, const char* name);

/// Makes the SQL function fail with the text and, where there is one, SQLite's own code.
void report(sqlite3_context* context, std::string_view function, const sqlite::Problem& problem);

}  // namespace ferry::outbox::extension
