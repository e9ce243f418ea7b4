#include "row.hpp"

#include <algorithm>
#include <string>

#include "ferry/outbox/limits.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;
using sqlite::Status;

Problem refused(std::string text) {
    return {Kind::refused, 0, std::move(text)};
}

Status check_span(const char* name, std::uint64_t value, std::uint64_t most) {
    if (value <= most) return sqlite::ok_status();
    return refused(std::string(name) + " is " + std::to_string(value) + "; it may be at most " +
                   std::to_string(most));
}

bool name_letters(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

Status check_short(const char* name, std::string_view text) {
    if (text.size() <= limits::short_text_bytes_max) return sqlite::ok_status();
    return refused(std::string(name) + " has " + std::to_string(text.size()) +
                   " bytes; it may have at most " + std::to_string(limits::short_text_bytes_max));
}

}  // namespace

Status set_times(Row& row, const Times& times, std::uint64_t now_ms) {
    if (times.delay_ms != 0 && times.deliver_at_ms != 0) {
        return refused("delay_ms and deliver_at_ms are both given; give one of them");
    }
    if (times.ttl_ms != 0 && times.expires_at_ms != 0) {
        return refused("ttl_ms and expires_at_ms are both given; give one of them");
    }
    const Status checks[] = {
        check_span("delay_ms", times.delay_ms, limits::delay_ms_max),
        check_span("ttl_ms", times.ttl_ms, limits::delay_ms_max),
        check_span("deliver_at_ms", times.deliver_at_ms, limits::time_ms_max),
        check_span("expires_at_ms", times.expires_at_ms, limits::time_ms_max),
    };
    for (const Status& check : checks) {
        if (!check.ok()) return check;
    }
    row.deliver_at_ms = times.delay_ms != 0 ? now_ms + times.delay_ms : times.deliver_at_ms;
    row.expires_at_ms = times.ttl_ms != 0 ? now_ms + times.ttl_ms : times.expires_at_ms;
    if (row.expires_at_ms != 0 && row.expires_at_ms <= row.deliver_at_ms) {
        return refused("the message would expire before it is delivered");
    }
    return sqlite::ok_status();
}

Status check_row(const Row& row, std::uint32_t payload_bytes_max) {
    if (row.exchange.size() > limits::name_bytes_max || !name_letters(row.exchange)) {
        return refused("the exchange's name must be 0 to 255 of a-z A-Z 0-9 . _ -");
    }
    if (row.routing_key.size() > limits::routing_key_bytes_max) {
        return refused("the routing key has " + std::to_string(row.routing_key.size()) +
                       " bytes; it may have at most " +
                       std::to_string(limits::routing_key_bytes_max));
    }
    if (row.exchange.empty() && row.routing_key.empty()) {
        return refused(
            "neither an exchange nor a queue is named: give one as exchange or the "
            "other as routing key");
    }
    if (row.payload.size() > payload_bytes_max) {
        return refused("the payload has " + std::to_string(row.payload.size()) +
                       " bytes; this outbox takes at most " + std::to_string(payload_bytes_max));
    }
    const std::pair<const char*, std::string_view> texts[] = {
        {"the ordering key", row.ordering_key},     {"the content type", row.content_type},
        {"the correlation id", row.correlation_id}, {"reply-to", row.reply_to},
        {"the stream's name", row.stream},
    };
    for (const auto& [name, text] : texts) {
        if (text.size() > limits::short_text_bytes_max) return check_short(name, text);
    }
    if (row.headers_json.size() > limits::headers_json_bytes_max) {
        return refused("the headers take more than " +
                       std::to_string(limits::headers_json_bytes_max) + " bytes as JSON");
    }
    if (row.priority > limits::priority_max) {
        return refused("the priority is " + std::to_string(row.priority) + "; it must be 0 to 9");
    }
    return sqlite::ok_status();
}

Answer<Statement> prepare_insert(const sqlite::Database& database, bool persistent) {
    return database.prepare(
        "INSERT INTO main.ferry_outbox(exchange, routing_key, payload, ordering_key, content_type, "
        "headers, deliver_at_ms, expires_at_ms, priority, correlation_id, reply_to, created_ms, "
        "stream, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        persistent);
}

namespace {

void bind_text(Statement& statement, int index, std::string_view text) {
    if (text.empty()) {
        statement.bind_null(index);
    } else {
        statement.bind(index, text);
    }
}

void bind_number(Statement& statement, int index, std::uint64_t number) {
    if (number == 0) {
        statement.bind_null(index);
    } else {
        statement.bind(index, number);
    }
}

void bind_row(Statement& statement, const Row& row) {
    statement.bind(1, row.exchange).bind(2, row.routing_key).bind(3, row.payload);
    bind_text(statement, 4, row.ordering_key);
    bind_text(statement, 5, row.content_type);
    bind_text(statement, 6, row.headers_json);
    bind_number(statement, 7, row.deliver_at_ms);
    bind_number(statement, 8, row.expires_at_ms);
    bind_number(statement, 9, row.priority);
    bind_text(statement, 10, row.correlation_id);
    bind_text(statement, 11, row.reply_to);
    statement.bind(12, row.created_ms);
    bind_text(statement, 13, row.stream);
    bind_number(statement, 14, row.version);
}

}  // namespace

Answer<std::int64_t> insert_row(const sqlite::Database& database, Statement& statement,
                                const Row& row) {
    sqlite3* const handle = database.handle();
    // A trigger's statement is a write transaction of its own even outside of BEGIN.
    const bool explicit_transaction = sqlite3_get_autocommit(handle) == 0;
    if (!explicit_transaction && sqlite3_txn_state(handle, "main") != SQLITE_TXN_WRITE) {
        return refused(
            "no transaction is open: begin one with BEGIN IMMEDIATE, so that the "
            "message and your own changes are stored together; nothing was stored");
    }
    const std::int64_t row_id_before = sqlite3_last_insert_rowid(handle);
    bind_row(statement, row);
    Status stored = statement.run();
    const std::int64_t id = sqlite3_last_insert_rowid(handle);
    // The views must not be touched again.
    statement.clear_bindings();
    if (!stored.ok()) {
        Problem problem = stored.error();
        const bool ended = explicit_transaction && sqlite3_get_autocommit(handle) != 0;
        problem.text = "the message was not stored: " + problem.text +
                       (ended ? "; SQLite has rolled back the whole transaction" : "");
        return problem;
    }
    sqlite3_set_last_insert_rowid(handle, row_id_before);
    return id;
}

}  // namespace ferry::outbox
