#include <string>

#include "ferry/outbox/schema.hpp"
#include "ferry/platform/planted.hpp"

namespace ferry::outbox {
namespace {

/// A CHECK whose name is the sentence that SQLite shows when it fails.
std::string check(const std::string& sentence, const std::string& condition) {
    return ",\n  CONSTRAINT \"" + sentence + "\" CHECK (" + condition + ")";
}

// length() of a text counts letters up to the first NUL; limits are in bytes.
std::string bytes_of(const std::string& column) {
    return "length(CAST(" + column + " AS BLOB))";
}

std::string short_text(const std::string& column, const std::string& what) {
    const std::string most = std::to_string(limits::short_text_bytes_max);
    return check(what + " must be a text of 1 to " + most + " bytes, or NULL",
                 column + " IS NULL OR (typeof(" + column + ") = 'text' AND " + bytes_of(column) +
                     " BETWEEN 1 AND " + most + ")");
}

std::string whole_number(const std::string& column, const std::string& what, std::uint64_t least,
                         std::uint64_t most, bool may_be_null = true) {
    const std::string range = std::to_string(least) + " to " + std::to_string(most);
    return check(what + " must be a whole number from " + range + (may_be_null ? ", or NULL" : ""),
                 (may_be_null ? column + " IS NULL OR (" : "(") + std::string("typeof(") + column +
                     ") = 'integer' AND " + column + " BETWEEN " + std::to_string(least) + " AND " +
                     std::to_string(most) + ")");
}

std::string message_checks(std::uint32_t payload_bytes_max) {
    const std::string most_name = std::to_string(limits::name_bytes_max);
    const std::string most_key = std::to_string(limits::routing_key_bytes_max);
    const std::string most_json = std::to_string(limits::headers_json_bytes_max);
    return check("exchange must be 0 to " + most_name + " of a-z A-Z 0-9 . _ -",
                 "typeof(exchange) = 'text' AND length(exchange) <= " + most_name +
                     " AND exchange NOT GLOB '*[^a-zA-Z0-9._-]*'") +
           check("routing_key must be a text of at most " + most_key +
                     " bytes, and name a queue if exchange is empty",
                 "typeof(routing_key) = 'text' AND " + bytes_of("routing_key") + " <= " + most_key +
                     " AND (exchange <> '' OR routing_key <> '')") +
           check("payload must be a blob or a text of at most " +
                     std::to_string(payload_bytes_max) + " bytes",
                 "typeof(payload) IN ('blob', 'text') AND " + bytes_of("payload") +
                     " <= " + std::to_string(payload_bytes_max)) +
           short_text("ordering_key", "ordering_key") + short_text("content_type", "content_type") +
           check("headers must be a JSON object of at most " + most_json + " bytes, or NULL",
                 "headers IS NULL OR CASE WHEN typeof(headers) <> 'text' OR " +
                     bytes_of("headers") + " > " + most_json +
                     " OR NOT json_valid(headers) THEN 0 ELSE json_type(headers) = 'object' END") +
           whole_number("deliver_at_ms", "deliver_at_ms", 1, limits::time_ms_max) +
           whole_number("expires_at_ms", "expires_at_ms", 1, limits::time_ms_max) +
           whole_number("priority", "priority", 0, limits::priority_max) +
           short_text("correlation_id", "correlation_id") + short_text("reply_to", "reply_to") +
           whole_number("created_ms", "created_ms", 0, limits::time_ms_max, false) +
           short_text("stream", "stream") +
           check("version must be a whole number from 1 if there is a stream, else NULL",
                 "CASE WHEN stream IS NULL THEN version IS NULL ELSE typeof(version) = 'integer' "
                 "AND version >= 1 END");
}

std::string outbox_table(std::uint32_t payload_bytes_max) {
    // AUTOINCREMENT is essential: without it the id of a deleted newest row is given out again.
    const std::string key = FERRY_PLANTED("outbox-ids-given-out-again")
                                ? "  id INTEGER PRIMARY KEY,\n"
                                : "  id INTEGER PRIMARY KEY AUTOINCREMENT,\n";
    return "CREATE TABLE ferry_outbox(\n" + key +
           "  exchange TEXT NOT NULL DEFAULT '',\n"
           "  routing_key TEXT NOT NULL,\n"
           "  payload BLOB NOT NULL,\n"
           "  ordering_key TEXT,\n"
           "  content_type TEXT,\n"
           "  headers TEXT,\n"
           "  deliver_at_ms INTEGER,\n"
           "  expires_at_ms INTEGER,\n"
           "  priority INTEGER,\n"
           "  correlation_id TEXT,\n"
           "  reply_to TEXT,\n"
           "  created_ms INTEGER NOT NULL DEFAULT (" +
           std::string(now_ms_sql) +
           "),\n"
           "  stream TEXT,\n"
           "  version INTEGER" +
           message_checks(payload_bytes_max) + "\n);\n";
}

std::string other_tables() {
    std::string sql;
    sql +=
        "CREATE UNIQUE INDEX ferry_outbox_stream ON ferry_outbox(stream, version) "
        "WHERE stream IS NOT NULL;\n";
    // What was sent is kept here only if it is an event, or if the owner wants to see it for a
    // while. Its rows were checked when they came into ferry_outbox.
    sql +=
        "CREATE TABLE ferry_outbox_sent(\n"
        "  id INTEGER PRIMARY KEY,\n"
        "  exchange TEXT NOT NULL,\n"
        "  routing_key TEXT NOT NULL,\n"
        "  payload BLOB NOT NULL,\n"
        "  ordering_key TEXT,\n"
        "  content_type TEXT,\n"
        "  headers TEXT,\n"
        "  deliver_at_ms INTEGER,\n"
        "  expires_at_ms INTEGER,\n"
        "  priority INTEGER,\n"
        "  correlation_id TEXT,\n"
        "  reply_to TEXT,\n"
        "  created_ms INTEGER NOT NULL,\n"
        "  stream TEXT,\n"
        "  version INTEGER,\n"
        "  sent_ms INTEGER NOT NULL,\n"
        "  skipped INTEGER NOT NULL DEFAULT 0\n"
        ");\n"
        "CREATE UNIQUE INDEX ferry_outbox_sent_stream ON ferry_outbox_sent(stream, version) "
        "WHERE stream IS NOT NULL;\n";
    // Also for a plain INSERT: an event's version is the next one, whether the one before it is
    // still here or was sent. Without it moving a row to the sent ones could fail.
    sql +=
        "CREATE TRIGGER ferry_outbox_event BEFORE INSERT ON ferry_outbox\n"
        "WHEN NEW.stream IS NOT NULL AND NEW.version IS NOT 1 + max(\n"
        "  coalesce((SELECT max(version) FROM ferry_outbox WHERE stream = NEW.stream), 0),\n"
        "  coalesce((SELECT max(version) FROM ferry_outbox_sent WHERE stream = NEW.stream), 0))\n"
        "BEGIN\n"
        "  SELECT RAISE(ABORT, 'the stream is at another version: read it again');\n"
        "END;\n";
    sql +=
        "CREATE TABLE ferry_outbox_parked(\n"
        "  id INTEGER PRIMARY KEY,\n"
        "  key TEXT,\n"
        "  reason_code INTEGER NOT NULL,\n"
        "  reason TEXT NOT NULL,\n"
        "  attempts INTEGER NOT NULL,\n"
        "  first_ms INTEGER NOT NULL,\n"
        "  last_ms INTEGER NOT NULL,\n"
        "  next_ms INTEGER\n"
        ");\n";
    sql +=
        "CREATE TABLE ferry_outbox_state(\n"
        "  name TEXT PRIMARY KEY,\n"
        "  value\n"
        ") WITHOUT ROWID;\n";
    return sql;
}

}  // namespace

std::string schema_sql(std::uint32_t payload_bytes_max) {
    return outbox_table(payload_bytes_max) + other_tables();
}

}  // namespace ferry::outbox
