#include "ferry/outbox/outbox.hpp"

#include <unistd.h>

#include <string>
#include <utility>

#include "ferry/outbox/state.hpp"
#include "ferry/outbox/wake.hpp"
#include "full_sync.hpp"
#include "row.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

Status check_connection(const Database& database, const Options& options) {
    if (sqlite3_libversion_number() < sqlite::version_min) {
        return Problem{Kind::refused, 0,
                       std::string("the SQLite library is version ") + sqlite3_libversion() +
                           "; at least 3.37.0 is needed"};
    }
    if (sqlite3_db_readonly(database.handle(), "main") == 1) {
        return Problem{Kind::read_only, 0,
                       "the database is open for reading only; an outbox is written: open it with "
                       "SQLITE_OPEN_READWRITE, and see that file and directory may be written"};
    }
    const auto mode = database.text("PRAGMA main.journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value() != "wal") {
        return Problem{Kind::refused, 0,
                       database.path().empty()
                           ? "an outbox needs a file: this database is in memory or temporary"
                           : "the database is in journal mode " + mode.value().value_or("unknown") +
                                 "; run PRAGMA journal_mode=WAL, once for the file"};
    }
    if (Status full = check_full_sync(database); !full.ok()) return full;
    const auto timeout = database.integer("PRAGMA busy_timeout");
    if (!timeout.ok()) return timeout.error();
    if (timeout.value().value_or(0) == 0 && !options.own_busy_handler) {
        return Problem{Kind::refused, 0,
                       "the connection does not wait for locks; run PRAGMA busy_timeout=5000, or "
                       "say own_busy_handler if you have installed one"};
    }
    return sqlite::ok_status();
}

}  // namespace

struct Outbox::Core {
    Database database;
    sqlite::Statement insert;
    const Clock* clock;
    std::uint32_t payload_bytes_max;
    bool hooked;
    pid_t process;
    std::string headers_json;  // kept, so that its memory is
};

Outbox::Outbox(std::unique_ptr<Core> core) noexcept : core_(std::move(core)) {}
Outbox::Outbox(Outbox&&) noexcept = default;
Outbox& Outbox::operator=(Outbox&&) noexcept = default;
Outbox::~Outbox() = default;

Answer<Outbox> Outbox::open(sqlite3* connection, const Options& options) {
    if (connection == nullptr) return Problem{Kind::refused, 0, "there is no connection"};
    return open_on(Database::borrow(connection), options);
}

Answer<Outbox> Outbox::open(const std::string& path, const Options& options) {
    auto database =
        Database::open(path, options.init ? Database::Access::create : Database::Access::read_write,
                       options.busy_timeout);
    if (!database.ok()) return database.error();
    if (options.init) {
        const Status wal = database.value().run("PRAGMA main.journal_mode=WAL");
        if (!wal.ok()) return wal.error();
    }
    return open_on(std::move(database).value(), options);
}

Answer<Outbox> Outbox::open_on(Database database, const Options& options) {
    if (const Status fit = check_connection(database, options); !fit.ok()) return fit.error();
    if (options.init) {
        const auto made = outbox::init(database, options.init_options);
        if (!made.ok()) return made.error();
    }
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    const auto payload_max = State(database).number(state::payload_bytes_max);
    if (!payload_max.ok()) return payload_max.error();
    const std::int64_t most = payload_max.value().value_or(limits::payload_bytes_default);
    if (most < 1 || most > limits::payload_bytes_cap) {
        return Problem{Kind::schema, 0,
                       "ferry_outbox_state: payload_bytes_max is out of range; run ferry outbox "
                       "verify"};
    }
    auto insert = prepare_insert(database, true);
    if (!insert.ok()) return insert.error();
    const bool hooked =
        options.wake_hook && install_wake_hook(database.handle()) == HookResult::installed;
    const Clock* const clock = options.clock == nullptr ? &system_clock() : options.clock;
    return Outbox(std::unique_ptr<Core>(new Core{std::move(database),
                                                 std::move(insert).value(),
                                                 clock,
                                                 static_cast<std::uint32_t>(most),
                                                 hooked,
                                                 ::getpid(),
                                                 {}}));
}

Answer<std::int64_t> Outbox::enqueue(const Message& message) {
    Core& core = *core_;
    if (::getpid() != core.process) {
        return Problem{Kind::refused, 0,
                       "this connection was opened before a fork; open another one in the child"};
    }
    Row row;
    row.exchange = message.exchange;
    row.routing_key = message.routing_key;
    row.payload = message.payload;
    row.ordering_key = message.ordering_key;
    row.content_type = message.content_type;
    row.correlation_id = message.correlation_id;
    row.reply_to = message.reply_to;
    row.priority = message.priority;
    row.created_ms = core.clock->now().wall_ms;
    const Times times{message.delay_ms, message.deliver_at_ms, message.ttl_ms,
                      message.expires_at_ms};
    if (const Status set = set_times(row, times, row.created_ms); !set.ok()) return set.error();
    if (!message.headers.empty()) {
        core.headers_json.clear();
        const Status made = headers_to_json(message.headers, core.headers_json);
        if (!made.ok()) return made.error();
        row.headers_json = core.headers_json;
    }
    const Status fit = check_row(row, core.payload_bytes_max);
    if (!fit.ok()) return fit.error();
    return insert_row(core.database, core.insert, row);
}

void Outbox::wake() const noexcept {
    if (const char* const path = sqlite3_db_filename(core_->database.handle(), "main")) {
        send_wake(path);
    }
}

bool Outbox::hooked() const noexcept {
    return core_->hooked;
}

std::uint32_t Outbox::payload_bytes_max() const noexcept {
    return core_->payload_bytes_max;
}

const Clock& Outbox::clock() const noexcept {
    return *core_->clock;
}

const Database& Outbox::database() const noexcept {
    return core_->database;
}

}  // namespace ferry::outbox
