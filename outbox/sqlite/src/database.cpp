#include "ferry/sqlite/database.hpp"

#include <climits>
#include <utility>

#include "ferry/platform/planted.hpp"

namespace ferry::sqlite {
namespace {

int run_quietly(sqlite3* handle, const char* sql) {
    return sqlite3_exec(handle, sql, nullptr, nullptr, nullptr);
}

int open_flags(Database::Access access) {
    switch (access) {
        case Database::Access::read_only:
            return SQLITE_OPEN_READONLY;
        case Database::Access::read_write:
            return SQLITE_OPEN_READWRITE;
        case Database::Access::create:
            break;
    }
    return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
}

constexpr int end_attempts_max = 8;

// Compiled before, it can only be interrupted: by an application that does so to its connection
// when something takes long. That holds for one run. Needs no memory, and throws nothing.
void run_surely(const Statement& statement) noexcept {
    for (int i = 0; i < end_attempts_max; ++i) {
        const int code = sqlite3_step(statement.handle());
        sqlite3_reset(statement.handle());
        if (code == SQLITE_DONE) return;
    }
}

}  // namespace

Answer<Database> Database::open(const std::string& path, Access access,
                                std::chrono::milliseconds busy_timeout) {
    if (sqlite3_libversion_number() < version_min) {
        return Problem{Kind::refused, 0,
                       std::string("the SQLite library is version ") + sqlite3_libversion() +
                           "; at least 3.37.0 is needed"};
    }
    sqlite3* handle = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &handle, open_flags(access), nullptr);
    Database out(handle, true);
    if (code != SQLITE_OK) {
        Problem problem = problem_of(handle, code, "cannot open " + bounded(path));
        if ((code & 0xff) == SQLITE_CANTOPEN) problem.kind = Kind::not_found;
        return problem;
    }
    sqlite3_extended_result_codes(handle, 1);
    const auto wait = std::min<std::int64_t>(busy_timeout.count(), INT_MAX);
    sqlite3_busy_timeout(handle, static_cast<int>(wait));
    // The first real access: this is where a file that is no database shows.
    const char* const first = FERRY_PLANTED("sqlite-synchronous-normal")
                                  ? "PRAGMA synchronous=NORMAL; PRAGMA schema_version"
                                  : "PRAGMA synchronous=FULL; PRAGMA schema_version";
    const int sync_code = run_quietly(handle, first);
    if (sync_code != SQLITE_OK) {
        return problem_of(handle, sync_code, "cannot open " + bounded(path));
    }
    return out;
}

Database Database::borrow(sqlite3* handle) noexcept {
    return {handle, false};
}

Database::Database(Database&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), owned_(other.owned_) {}

Database& Database::operator=(Database&& other) noexcept {
    if (this != &other) {
        if (owned_) sqlite3_close_v2(handle_);
        handle_ = std::exchange(other.handle_, nullptr);
        owned_ = other.owned_;
    }
    return *this;
}

Database::~Database() {
    if (owned_) sqlite3_close_v2(handle_);
}

Answer<Statement> Database::prepare(std::string_view sql, bool persistent) const {
    Statement out;
    if (sql.size() > INT_MAX) return Problem{Kind::refused, 0, "the statement is too long"};
    const unsigned flags = persistent ? SQLITE_PREPARE_PERSISTENT : 0U;
    const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), flags,
                                        &out.statement_, nullptr);
    if (code != SQLITE_OK) return problem(code, "cannot prepare a statement");
    if (out.statement_ == nullptr) return Problem{Kind::refused, 0, "the statement is empty"};
    return out;
}

Status Database::run(std::string_view sql) const {
    const std::string copy(sql);
    const int code = run_quietly(handle_, copy.c_str());
    if (code != SQLITE_OK) return problem(code, "the database refused");
    return ok_status();
}

Answer<std::optional<std::int64_t>> Database::integer(std::string_view sql) const {
    auto statement = prepare(sql);
    if (!statement.ok()) return statement.error();
    const auto row = statement.value().step();
    if (!row.ok()) return row.error();
    if (!row.value() || statement.value().is_null(0)) return std::optional<std::int64_t>{};
    return std::optional<std::int64_t>(statement.value().integer(0));
}

Answer<std::optional<std::string>> Database::text(std::string_view sql) const {
    auto statement = prepare(sql);
    if (!statement.ok()) return statement.error();
    const auto row = statement.value().step();
    if (!row.ok()) return row.error();
    if (!row.value() || statement.value().is_null(0)) return std::optional<std::string>{};
    return std::optional<std::string>(std::string(statement.value().text(0)));
}

bool Database::in_transaction() const {
    return sqlite3_get_autocommit(handle_) == 0;
}

std::int64_t Database::changes() const {
    return sqlite3_changes64(handle_);
}

std::int64_t Database::changes_in_all() const {
    return sqlite3_total_changes64(handle_);
}

std::int64_t Database::last_row_id() const {
    return sqlite3_last_insert_rowid(handle_);
}

std::string Database::path(const char* schema) const {
    const char* const path = sqlite3_db_filename(handle_, schema);
    return path == nullptr ? std::string() : std::string(path);
}

Problem Database::problem(int code, std::string_view doing) const {
    return problem_of(handle_, code, doing);
}

// ---- Transaction ----

Answer<Transaction> Transaction::begin(const Database& database, Mode mode) {
    if (database.in_transaction()) {
        return Problem{Kind::refused, 0,
                       "this connection is inside a transaction; end that one first"};
    }
    auto undo = database.prepare("ROLLBACK");
    if (!undo.ok()) return undo.error();
    const char* const sql = mode == Mode::immediate ? "BEGIN IMMEDIATE" : "BEGIN";
    const int code = run_quietly(database.handle(), sql);
    if (code != SQLITE_OK) return database.problem(code, "cannot begin a transaction");
    return Transaction(database.handle(), std::move(undo).value());
}

Transaction::Transaction(Transaction&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), undo_(std::move(other.undo_)) {}

Transaction::~Transaction() {
    rollback();
}

Status Transaction::commit() {
    FERRY_ASSERT(handle_ != nullptr, "a transaction that has ended already");
    const int code = run_quietly(handle_, "COMMIT");
    if (code == SQLITE_OK) {
        handle_ = nullptr;
        return ok_status();
    }
    Problem problem = problem_of(handle_, code, "cannot commit; nothing of it is stored");
    rollback();
    return problem;
}

void Transaction::rollback() {
    sqlite3* const handle = std::exchange(handle_, nullptr);
    // SQLite ends a transaction by itself after some errors; there is nothing to roll back then.
    if (handle == nullptr || sqlite3_get_autocommit(handle) != 0) return;
    run_surely(undo_);
}

// ---- Savepoint ----

Answer<Savepoint> Savepoint::begin(const Database& database) {
    const bool outermost = !database.in_transaction();
    auto undo = database.prepare(outermost ? "ROLLBACK" : "ROLLBACK TO ferry_step");
    if (!undo.ok()) return undo.error();
    auto end = database.prepare(outermost ? "COMMIT" : "RELEASE ferry_step");
    if (!end.ok()) return end.error();
    const char* const sql = outermost ? "BEGIN IMMEDIATE" : "SAVEPOINT ferry_step";
    const int code = run_quietly(database.handle(), sql);
    if (code != SQLITE_OK) return database.problem(code, "cannot begin a transaction");
    return Savepoint(database.handle(), std::move(undo).value(), std::move(end).value());
}

Savepoint::Savepoint(Savepoint&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      undo_(std::move(other.undo_)),
      end_(std::move(other.end_)) {}

Savepoint::~Savepoint() {
    undo();
}

Status Savepoint::release() {
    FERRY_ASSERT(handle_ != nullptr, "a savepoint that has ended already");
    const Status released = end_.run();
    if (released.ok()) {
        handle_ = nullptr;
        return released;
    }
    undo();
    return Problem{released.error().kind, released.error().code,
                   "cannot store the changes; nothing is stored: " + released.error().text};
}

void Savepoint::undo() {
    sqlite3* const handle = std::exchange(handle_, nullptr);
    if (handle == nullptr || sqlite3_get_autocommit(handle) != 0) return;
    run_surely(undo_);
    // It is there still, if it was one inside a transaction of the application.
    if (sqlite3_get_autocommit(handle) == 0) run_surely(end_);
}

}  // namespace ferry::sqlite
