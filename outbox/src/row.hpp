#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/outbox/message.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

/// The columns of a new row of ferry_outbox. Empty texts and zeros become NULL, but for exchange,
/// routing key and payload. Views: live until the row is stored.
struct Row {
    std::string_view exchange = {};
    std::string_view routing_key = {};
    Bytes payload = {};
    std::string_view ordering_key = {};
    std::string_view content_type = {};
    std::string_view headers_json = {};
    std::uint64_t deliver_at_ms = 0;
    std::uint64_t expires_at_ms = 0;
    std::uint64_t priority = 0;
    std::string_view correlation_id = {};
    std::string_view reply_to = {};
    std::uint64_t created_ms = 0;
    std::string_view stream = {};
    std::uint64_t version = 0;
};

/// When a message is due and when it is void, given as moments or as spans from now. 0: absent.
struct Times {
    std::uint64_t delay_ms = 0;
    std::uint64_t deliver_at_ms = 0;
    std::uint64_t ttl_ms = 0;
    std::uint64_t expires_at_ms = 0;
};

/// Turns spans into moments. Errors: refused (both given, out of range, void before it is due).
sqlite::Status set_times(Row& row, const Times& times, std::uint64_t now_ms);

/// Holds the row against the limits. Errors: refused; the text names the part.
sqlite::Status check_row(const Row& row, std::uint32_t payload_bytes_max);

/// Compiles the INSERT. `persistent`: it is kept and run many times.
sqlite::Answer<sqlite::Statement> prepare_insert(const sqlite::Database& database, bool persistent);

/// Stores the row with the connection's transaction open, and gives its id. Leaves
/// last_insert_rowid() as it was.
///
/// Errors    refused: no transaction. Others: see Outbox::enqueue.
sqlite::Answer<std::int64_t> insert_row(const sqlite::Database& database,
                                        sqlite::Statement& statement, const Row& row);

}  // namespace ferry::outbox
