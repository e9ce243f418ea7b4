#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

/// Names in ferry_outbox_state. docs/outbox-schema.md says what each of them means and who writes
/// it.
namespace state {
inline constexpr std::string_view schema_version = "schema_version";
inline constexpr std::string_view producer = "producer";        // 32 hex digits, made by init
inline constexpr std::string_view epoch = "epoch";              // integer from 1
inline constexpr std::string_view database_id = "database_id";  // 32 hex digits, made by init
inline constexpr std::string_view created_ms = "created_ms";
inline constexpr std::string_view payload_bytes_max = "payload_bytes_max";
inline constexpr std::string_view last_sent = "last_sent";    // highest id that was ever sent
inline constexpr std::string_view sent_total = "sent_total";  // messages, over all epochs
inline constexpr std::string_view sent_ms = "sent_ms";        // when the newest of them was sent
inline constexpr std::string_view skipped_total = "skipped_total";
inline constexpr std::string_view policy = "policy";        // "block" or "skip"
inline constexpr std::string_view retain_ms = "retain_ms";  // 0: delete what was sent
inline constexpr std::string_view lease_owner = "lease_owner";
inline constexpr std::string_view lease_fence = "lease_fence";  // grows with every new owner
inline constexpr std::string_view lease_until_ms = "lease_until_ms";
}  // namespace state

/// Rows of ferry_outbox_state. Each call is one statement in whatever transaction is open.
///
/// Threads   That of the connection. Lifetime: the database outlives it.
class State {
public:
    explicit State(const sqlite::Database& database) : database_(database) {}

    /// Nothing: there is no such row, or it holds NULL.
    /// Errors    schema if the value is not of that type; those of reading.
    [[nodiscard]] sqlite::Answer<std::optional<std::int64_t>> number(std::string_view name) const;
    [[nodiscard]] sqlite::Answer<std::optional<std::string>> text(std::string_view name) const;
    sqlite::Status set(std::string_view name, std::int64_t value) const;
    sqlite::Status set(std::string_view name, std::string_view value) const;
    /// Adds to a number that may not be there yet.
    sqlite::Status add(std::string_view name, std::int64_t difference) const;
    sqlite::Status erase(std::string_view name) const;

private:
    const sqlite::Database& database_;
};

/// Who this outbox is at the broker.
struct Identity {
    std::string producer;
    std::uint64_t epoch = 0;
};
/// Errors    schema: missing or malformed.
sqlite::Answer<Identity> identity(const sqlite::Database& database);

}  // namespace ferry::outbox
