#include <memory>
#include <new>
#include <string>

#include "event_rows.hpp"
#include "extension.hpp"
#include "ferry/outbox/decision.hpp"
#include "ferry/outbox/schema.hpp"
#include "ferry/outbox/state.hpp"
#include "ferry/outbox/wake.hpp"
#include "ferry/platform/clock.hpp"
#include "full_sync.hpp"
#include "json.hpp"
#include "row.hpp"
#include "sql_options.hpp"

namespace ferry::outbox::extension {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

constexpr const char* default_event_exchange = "events";
Connection& connection_of(sqlite3_context* context) {
    return *static_cast<Connection*>(sqlite3_user_data(context));
}

Answer<SqlOptions> options_argument(int count, sqlite3_value** values, int index,
                                    SqlFunction function) {
    if (count <= index) return SqlOptions{};
    const auto text = text_argument(values[index], "options");
    if (!text.ok()) return text.error();
    if (!text.value()) return SqlOptions{};
    return parse_options(*text.value(), function);
}

/// Runs `work` with a statement that is kept, or, if it must not be or is in use further up (a
/// trigger of the application may publish too), with one for this call.
template <class Prepare, class Work>
auto with_statement(const Connection& connection, sqlite::Statement& kept, Prepare&& prepare,
                    Work&& work) -> decltype(work(kept)) {
    const bool busy = kept.handle() != nullptr && sqlite3_stmt_busy(kept.handle()) != 0;
    if (!connection.keeper_lives || busy) {
        auto own = prepare(false);
        if (!own.ok()) return own.error();
        return work(own.value());
    }
    if (kept.handle() == nullptr) {
        auto made = prepare(true);
        if (!made.ok()) return made.error();
        kept = std::move(made).value();
    }
    return work(kept);
}

Answer<std::int64_t> store(const Database& database, const Row& row, Connection& connection) {
    if (const Status fit = check_row(row, connection.payload_bytes_max); !fit.ok()) {
        return fit.error();
    }
    return with_statement(
        connection, connection.insert,
        [&database](bool keep) { return prepare_insert(database, keep); },
        [&database, &row](sqlite::Statement& statement) {
            return insert_row(database, statement, row);
        });
}

Answer<std::int64_t> publish(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto database = Database::borrow(sqlite3_context_db_handle(context));
    Connection& connection = connection_of(context);
    if (const Status fit = check_once(database, connection); !fit.ok()) return fit.error();
    const auto exchange = needed_text(values[0], "exchange");
    if (!exchange.ok()) return exchange.error();
    const auto routing_key = needed_text(values[1], "routing_key");
    if (!routing_key.ok()) return routing_key.error();
    const auto payload = bytes_argument(values[2], "payload");
    if (!payload.ok()) return payload.error();
    const auto options = options_argument(count, values, 3, SqlFunction::publish);
    if (!options.ok()) return options.error();
    Row row;
    options.value().apply_to(row);
    row.exchange = exchange.value();
    row.routing_key = routing_key.value();
    row.payload = payload.value();
    row.created_ms = system_clock().now().wall_ms;
    const Status times = set_times(row, options.value().times, row.created_ms);
    if (!times.ok()) return times.error();
    return store(database, row, connection);
}

Answer<std::optional<std::uint64_t>> version_argument(sqlite3_value* value) {
    if (sqlite3_value_type(value) == SQLITE_NULL) return std::optional<std::uint64_t>{};
    const bool whole = sqlite3_value_type(value) == SQLITE_INTEGER;
    const std::int64_t number = sqlite3_value_int64(value);
    if (!whole || number < 0) {
        return Problem{Kind::refused, 0,
                       "expected_version must be a whole number from 0, or NULL for any"};
    }
    return std::optional<std::uint64_t>(static_cast<std::uint64_t>(number));
}

Answer<std::uint64_t> newest_version(const Database& database, Connection& connection,
                                     std::string_view stream) {
    return with_statement(
        connection, connection.stream_version,
        [&database](bool keep) { return database.prepare(stream_version_sql, keep); },
        [stream](sqlite::Statement& statement) -> Answer<std::uint64_t> {
            const auto row = statement.bind(1, stream).step();
            if (!row.ok()) return row.error();
            const std::int64_t version = row.value() ? statement.integer(0) : 0;
            statement.reset();
            statement.clear_bindings();
            return static_cast<std::uint64_t>(version);
        });
}

Answer<std::int64_t> append(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto database = Database::borrow(sqlite3_context_db_handle(context));
    Connection& connection = connection_of(context);
    if (const Status fit = check_once(database, connection); !fit.ok()) return fit.error();
    const auto stream = needed_text(values[0], "stream");
    if (!stream.ok()) return stream.error();
    const auto expected = version_argument(values[1]);
    if (!expected.ok()) return expected.error();
    const auto type = needed_text(values[2], "type");
    if (!type.ok()) return type.error();
    const auto payload = bytes_argument(values[3], "payload");
    if (!payload.ok()) return payload.error();
    const auto options = options_argument(count, values, 4, SqlFunction::append);
    if (!options.ok()) return options.error();
    for (const Status& name : {check_stream(stream.value()), check_event_type(type.value())}) {
        if (!name.ok()) return name.error();
    }
    const auto version = newest_version(database, connection, stream.value());
    if (!version.ok()) return version.error();
    const Status as_expected = check_expected(stream.value(), version.value(), expected.value());
    if (!as_expected.ok()) return as_expected.error();

    Row row;
    options.value().apply_to(row);
    row.exchange = options.value().has_exchange ? std::string_view(options.value().exchange)
                                                : default_event_exchange;
    row.routing_key = type.value();
    row.payload = payload.value();
    row.stream = stream.value();
    row.version = version.value() + 1;
    if (row.ordering_key.empty()) row.ordering_key = row.stream;
    const std::string headers = with_event_headers(row.headers_json, row.stream, row.version);
    row.headers_json = headers;
    row.created_ms = system_clock().now().wall_ms;
    const Status times = set_times(row, options.value().times, row.created_ms);
    if (!times.ok()) return times.error();
    const auto id = store(database, row, connection);
    if (!id.ok()) return id.error();
    return static_cast<std::int64_t>(row.version);
}

Answer<InitOptions> init_options(int count, sqlite3_value** values) {
    InitOptions out;
    if (count == 0) return out;
    const auto text = text_argument(values[0], "options");
    if (!text.ok()) return text.error();
    if (!text.value()) return out;
    const auto parsed = parse_json(text.value()->substr(0, limits::options_json_bytes_max));
    if (!parsed || !parsed->is_object()) {
        return Problem{Kind::refused, 0, "the options are not a JSON object"};
    }
    for (const auto& [name, value] : parsed->items()) {
        if (name != "payload_bytes_max") {
            return Problem{Kind::refused, 0,
                           "there is no option \"" + sqlite::bounded(name, 60) +
                               "\"; there is payload_bytes_max"};
        }
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > UINT32_MAX) {
            return Problem{Kind::refused, 0, "the option payload_bytes_max must be a whole number"};
        }
        out.payload_bytes_max = value.get<std::uint32_t>();
    }
    return out;
}

Answer<std::string> make_outbox(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto database = Database::borrow(sqlite3_context_db_handle(context));
    const auto options = init_options(count, values);
    if (!options.ok()) return options.error();
    const auto made = init(database, options.value());
    if (!made.ok()) return made.error();
    switch (made.value()) {
        case InitResult::created:
            return std::string("created");
        case InitResult::migrated:
            return std::string("migrated");
        case InitResult::unchanged:
            break;
    }
    return std::string("unchanged");
}

// No exception may leave a function that C calls.
template <class Work>
void guarded(sqlite3_context* context, Work&& work) noexcept {
    try {
        work();
    } catch (const std::bad_alloc&) {
        sqlite3_result_error_nomem(context);
    } catch (...) {
        sqlite3_result_error(context, "ferry_outbox: unexpected failure", -1);
    }
}

void sql_publish(sqlite3_context* context, int count, sqlite3_value** values) {
    guarded(context, [&] {
        const auto id = publish(context, count, values);
        if (!id.ok()) return report(context, "ferry_publish", id.error());
        sqlite3_result_int64(context, id.value());
    });
}

void sql_append(sqlite3_context* context, int count, sqlite3_value** values) {
    guarded(context, [&] {
        const auto version = append(context, count, values);
        if (!version.ok()) return report(context, "ferry_append", version.error());
        sqlite3_result_int64(context, version.value());
    });
}

void sql_init(sqlite3_context* context, int count, sqlite3_value** values) {
    guarded(context, [&] {
        const auto made = make_outbox(context, count, values);
        if (!made.ok()) return report(context, "ferry_outbox_init", made.error());
        sqlite3_result_text(context, made.value().c_str(), -1, SQLITE_TRANSIENT);
    });
}

// Needs no outbox: who prepares has none.
void sql_decide(sqlite3_context* context, int, sqlite3_value** values) {
    guarded(context, [&] {
        const auto id = needed_text(values[0], "id");
        if (!id.ok()) return report(context, "ferry_decide", id.error());
        const auto database = Database::borrow(sqlite3_context_db_handle(context));
        const Status decided = decide(database, id.value());
        if (!decided.ok()) return report(context, "ferry_decide", decided.error());
        sqlite3_result_int64(context, 1);
    });
}

void sql_init_decisions(sqlite3_context* context, int, sqlite3_value**) {
    guarded(context, [&] {
        const Status made = init_decisions(Database::borrow(sqlite3_context_db_handle(context)));
        if (!made.ok()) return report(context, "ferry_decision_init", made.error());
        sqlite3_result_int64(context, 1);
    });
}

void sql_version(sqlite3_context* context, int, sqlite3_value**) {
    sqlite3_result_text(context, FERRY_VERSION, -1, SQLITE_STATIC);
}

struct Function {
    const char* name;
    int arguments;
    void (*call)(sqlite3_context*, int, sqlite3_value**);
};
constexpr Function functions[] = {
    {"ferry_outbox_init", 0, sql_init},
    {"ferry_outbox_init", 1, sql_init},
    {"ferry_publish", 3, sql_publish},
    {"ferry_publish", 4, sql_publish},
    {"ferry_append", 4, sql_append},
    {"ferry_append", 5, sql_append},
    {"ferry_outbox_version", 0, sql_version},
    {"ferry_decide", 1, sql_decide},
    {"ferry_decision_init", 0, sql_init_decisions},
};

}  // namespace

Status check_once(const Database& database, Connection& connection) {
    if (connection.checked) return sqlite::ok_status();
    const auto mode = database.text("PRAGMA main.journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value() != "wal") {
        return Problem{Kind::refused, 0,
                       "the database is in journal mode " + mode.value().value_or("unknown") +
                           "; run PRAGMA journal_mode=WAL, once for the file"};
    }
    if (Status full = check_full_sync(database); !full.ok()) return full;
    if (const Status schema = check_schema(database); !schema.ok()) return schema;
    const auto most = State(database).number(state::payload_bytes_max);
    if (!most.ok()) return most.error();
    const std::int64_t bytes = most.value().value_or(limits::payload_bytes_default);
    if (bytes < 1 || bytes > limits::payload_bytes_cap) {
        return Problem{Kind::schema, 0, "ferry_outbox_state: payload_bytes_max is out of range"};
    }
    connection.payload_bytes_max = static_cast<std::uint32_t>(bytes);
    connection.checked = true;
    return sqlite::ok_status();
}

int register_functions(sqlite3* handle) {
    auto* const connection = new (std::nothrow) Connection;
    if (connection == nullptr) return SQLITE_NOMEM;
    retain(*connection);
    int code = register_keeper(handle, *connection);
    for (const Function& function : functions) {
        if (code != SQLITE_OK) break;
        retain(*connection);
        // Releases the connection also when it fails. Not "innocuous": a view in a database from
        // elsewhere must not publish.
        code = sqlite3_create_function_v2(handle, function.name, function.arguments, SQLITE_UTF8,
                                          connection, function.call, nullptr, nullptr, release);
    }
    release(connection);
    if (code == SQLITE_OK) static_cast<void>(install_wake_hook(handle));
    return code;
}

}  // namespace ferry::outbox::extension
