#include <new>

#include "extension.hpp"

namespace ferry::outbox::extension {

void retain(Connection& connection) noexcept {
    ++connection.owners;
}

void release(void* connection) noexcept {
    auto* const self = static_cast<Connection*>(connection);
    if (--self->owners == 0) delete self;
}

namespace {

struct Table {
    sqlite3_vtab base;  // first: SQLite sees only this
    Connection* connection;
};

int connect(sqlite3* handle, void* aux, int, const char* const*, sqlite3_vtab** out, char**) {
    const int code = sqlite3_declare_vtab(handle, "CREATE TABLE x(unused)");
    if (code != SQLITE_OK) return code;
    auto* const table = new (std::nothrow) Table{};
    if (table == nullptr) return SQLITE_NOMEM;
    table->connection = static_cast<Connection*>(aux);
    table->connection->keeper_lives = true;
    *out = &table->base;
    return SQLITE_OK;
}

int disconnect(sqlite3_vtab* base) {
    auto* const table = reinterpret_cast<Table*>(base);
    table->connection->keeper_lives = false;
    table->connection->insert = {};
    table->connection->stream_version = {};
    delete table;
    return SQLITE_OK;
}

int best_index(sqlite3_vtab*, sqlite3_index_info*) {
    return SQLITE_OK;
}

int open_cursor(sqlite3_vtab*, sqlite3_vtab_cursor** out) {
    *out = new (std::nothrow) sqlite3_vtab_cursor{};
    return *out == nullptr ? SQLITE_NOMEM : SQLITE_OK;
}

int close_cursor(sqlite3_vtab_cursor* cursor) {
    delete cursor;
    return SQLITE_OK;
}

int filter(sqlite3_vtab_cursor*, int, const char*, int, sqlite3_value**) {
    return SQLITE_OK;
}

int next(sqlite3_vtab_cursor*) {
    return SQLITE_OK;
}

int at_end(sqlite3_vtab_cursor*) {
    return 1;
}

int column(sqlite3_vtab_cursor*, sqlite3_context*, int) {
    return SQLITE_OK;
}

int row_id(sqlite3_vtab_cursor*, sqlite3_int64* out) {
    *out = 0;
    return SQLITE_OK;
}

constexpr sqlite3_module make_module() {
    sqlite3_module out{};
    out.xConnect = connect;  // without xCreate: it cannot be made, it is just there
    out.xBestIndex = best_index;
    out.xDisconnect = disconnect;
    out.xOpen = open_cursor;
    out.xClose = close_cursor;
    out.xFilter = filter;
    out.xNext = next;
    out.xEof = at_end;
    out.xColumn = column;
    out.xRowid = row_id;
    return out;
}
constexpr sqlite3_module keeper_module = make_module();

}  // namespace

int register_keeper(sqlite3* handle, Connection& connection) {
    retain(connection);
    const int code = sqlite3_create_module_v2(handle, "ferry_outbox_keeper", &keeper_module,
                                              &connection, release);
    if (code != SQLITE_OK) return code;
    // Naming it brings it to life. If that does not work, no statement is kept, and that is all.
    static_cast<void>(
        sqlite3_exec(handle, "SELECT unused FROM ferry_outbox_keeper", nullptr, nullptr, nullptr));
    return SQLITE_OK;
}

}  // namespace ferry::outbox::extension
