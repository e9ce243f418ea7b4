#include "ferry/outbox/events.hpp"

#include <limits>
#include <string>
#include <utility>

#include "event_rows.hpp"
#include "ferry/outbox/state.hpp"
#include "row.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;
using sqlite::Status;

// Both tables have the columns of a message; an event is in one of them.
constexpr const char* read_stream_sql =
    "SELECT id, stream, version, routing_key, payload, content_type, headers, created_ms, 1 "
    "FROM main.ferry_outbox_sent WHERE stream = ?1 AND version >= ?2 UNION ALL "
    "SELECT id, stream, version, routing_key, payload, content_type, headers, created_ms, 0 "
    "FROM main.ferry_outbox WHERE stream = ?1 AND version >= ?2 ORDER BY 3";
constexpr const char* read_all_sql =
    "SELECT id, stream, version, routing_key, payload, content_type, headers, created_ms, 1 "
    "FROM main.ferry_outbox_sent WHERE stream IS NOT NULL AND id > ?1 UNION ALL "
    "SELECT id, stream, version, routing_key, payload, content_type, headers, created_ms, 0 "
    "FROM main.ferry_outbox WHERE stream IS NOT NULL AND id > ?1 ORDER BY 1 LIMIT ?2";

Event event_of(const Statement& row) {
    Event out;
    out.id = row.integer(0);
    out.stream = row.text(1);
    out.version = static_cast<std::uint64_t>(row.integer(2));
    out.type = row.text(3);
    out.payload = row.bytes(4);
    out.content_type = row.text(5);
    out.headers_json = row.text(6);
    out.created_ms = static_cast<std::uint64_t>(row.integer(7));
    out.sent = row.integer(8) != 0;
    return out;
}

Answer<std::uint64_t> visit_rows(Statement& query, const EventLog::Visit& visit) {
    std::uint64_t visited = 0;
    while (true) {
        const auto row = query.step();
        if (!row.ok()) return row.error();
        if (!row.value()) break;
        ++visited;
        if (!visit(event_of(query))) {
            query.reset();
            break;
        }
    }
    query.clear_bindings();
    return visited;
}

std::string position_name(std::string_view projection) {
    return "projection:" + std::string(projection);
}

Status check_projection(std::string_view name) {
    if (!name.empty() && name.size() <= limits::short_text_bytes_max) return sqlite::ok_status();
    return Problem{Kind::refused, 0, "a projection's name must have 1 to 255 bytes"};
}

}  // namespace

struct EventLog::Core {
    Outbox& outbox;
    const Database& database;
    Statement insert;
    Statement version;
};

EventLog::EventLog(std::unique_ptr<Core> core) noexcept : core_(std::move(core)) {}
EventLog::EventLog(EventLog&&) noexcept = default;
EventLog& EventLog::operator=(EventLog&&) noexcept = default;
EventLog::~EventLog() = default;

Answer<EventLog> EventLog::open(Outbox& outbox) {
    const Database& database = outbox.database();
    auto insert = prepare_insert(database, true);
    if (!insert.ok()) return insert.error();
    auto version = database.prepare(stream_version_sql, true);
    if (!version.ok()) return version.error();
    return EventLog(std::unique_ptr<Core>(
        new Core{outbox, database, std::move(insert).value(), std::move(version).value()}));
}

Answer<std::uint64_t> EventLog::version(std::string_view stream) {
    Statement& query = core_->version;
    const auto row = query.bind(1, stream).step();
    if (!row.ok()) return row.error();
    const std::int64_t newest = row.value() ? query.integer(0) : 0;
    query.reset();
    query.clear_bindings();
    return static_cast<std::uint64_t>(newest);
}

Answer<std::uint64_t> EventLog::append(std::string_view stream,
                                       std::optional<std::uint64_t> expected,
                                       const NewEvent& event) {
    return append(stream, expected, std::span<const NewEvent>(&event, 1));
}

namespace {

Status store_event(const Outbox& outbox, Statement& insert, std::string_view stream,
                   std::uint64_t version, const NewEvent& event, std::uint64_t now_ms) {
    if (const Status type = check_event_type(event.type); !type.ok()) return type;
    std::string own_headers;
    if (!event.headers.empty()) {
        const Status made = headers_to_json(event.headers, own_headers);
        if (!made.ok()) return made;
    }
    const std::string headers = with_event_headers(own_headers, stream, version);
    Row row;
    row.exchange = event.exchange;
    row.routing_key = event.type;
    row.payload = event.payload;
    row.ordering_key = stream;
    row.content_type = event.content_type;
    row.headers_json = headers;
    row.correlation_id = event.correlation_id;
    row.created_ms = now_ms;
    row.stream = stream;
    row.version = version;
    if (const Status fit = check_row(row, outbox.payload_bytes_max()); !fit.ok()) return fit;
    const auto id = insert_row(outbox.database(), insert, row);
    if (!id.ok()) return id.error();
    return sqlite::ok_status();
}

}  // namespace

Answer<std::uint64_t> EventLog::append(std::string_view stream,
                                       std::optional<std::uint64_t> expected,
                                       std::span<const NewEvent> events) {
    if (const Status name = check_stream(stream); !name.ok()) return name.error();
    if (events.empty() || events.size() > limits::events_per_append_max) {
        return Problem{
            Kind::refused, 0,
            "an append takes 1 to " + std::to_string(limits::events_per_append_max) + " events"};
    }
    if (!core_->database.in_transaction()) {
        return Problem{Kind::refused, 0,
                       "no transaction is open: begin one with BEGIN IMMEDIATE; nothing was "
                       "stored"};
    }
    auto all = sqlite::Savepoint::begin(core_->database);
    if (!all.ok()) return all.error();
    const auto before = version(stream);
    if (!before.ok()) return before.error();
    const Status as_expected = check_expected(stream, before.value(), expected);
    if (!as_expected.ok()) return as_expected.error();
    std::uint64_t newest = before.value();
    const std::uint64_t now_ms = core_->outbox.clock().now().wall_ms;
    for (const NewEvent& event : events) {
        const Status stored =
            store_event(core_->outbox, core_->insert, stream, ++newest, event, now_ms);
        if (!stored.ok()) return stored.error();
    }
    if (const Status done = all.value().release(); !done.ok()) return done.error();
    return newest;
}

Answer<std::uint64_t> EventLog::read(std::string_view stream, std::uint64_t from_version,
                                     const Visit& visit) {
    // Versions are SQLite's integers; none can be above.
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    if (from_version > most) return std::uint64_t{0};
    // Not kept: `visit` may read another stream.
    auto query = core_->database.prepare(read_stream_sql);
    if (!query.ok()) return query.error();
    query.value().bind(1, stream).bind(2, from_version);
    return visit_rows(query.value(), visit);
}

Answer<std::uint64_t> EventLog::read_all(std::int64_t after_id, std::uint64_t at_most,
                                         const Visit& visit) {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    auto query = core_->database.prepare(read_all_sql);
    if (!query.ok()) return query.error();
    query.value().bind(1, after_id).bind(2, std::min(at_most, most));
    return visit_rows(query.value(), visit);
}

Answer<std::uint64_t> EventLog::project(std::string_view name, std::uint64_t at_most,
                                        const Apply& apply) {
    if (const Status fine = check_projection(name); !fine.ok()) return fine.error();
    auto transaction = sqlite::Transaction::begin(core_->database);
    if (!transaction.ok()) return transaction.error();
    const State state(core_->database);
    const auto position = state.number(position_name(name));
    if (!position.ok()) return position.error();
    std::int64_t reached = position.value().value_or(0);
    Status failed = sqlite::ok_status();
    const auto seen = read_all(reached, at_most, [&](const Event& event) {
        Status applied = apply(event);
        if (!applied.ok()) {
            failed = std::move(applied);
            return false;
        }
        reached = event.id;
        return true;
    });
    if (!seen.ok()) return seen.error();
    if (!failed.ok()) return failed.error();
    if (seen.value() == 0) return std::uint64_t{0};
    const Status noted = state.set(position_name(name), reached);
    if (!noted.ok()) return noted.error();
    if (const Status done = transaction.value().commit(); !done.ok()) return done.error();
    return seen.value();
}

Status EventLog::restart_projection(std::string_view name) {
    if (const Status fine = check_projection(name); !fine.ok()) return fine;
    return State(core_->database).erase(position_name(name));
}

}  // namespace ferry::outbox
