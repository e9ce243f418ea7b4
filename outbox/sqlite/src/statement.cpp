#include <utility>

#include "ferry/sqlite/database.hpp"

namespace ferry::sqlite {

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), bind_code_(other.bind_code_) {}

Statement& Statement::operator=(Statement&& other) noexcept {
    if (this != &other) {
        sqlite3_finalize(statement_);
        statement_ = std::exchange(other.statement_, nullptr);
        bind_code_ = other.bind_code_;
    }
    return *this;
}

Statement::~Statement() {
    sqlite3_finalize(statement_);
}

Statement& Statement::bind_integer(int index, std::int64_t value) {
    note(sqlite3_bind_int64(statement_, index, value));
    return *this;
}

Statement& Statement::bind(int index, double value) {
    note(sqlite3_bind_double(statement_, index, value));
    return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
    // A null pointer would bind NULL, and an empty view may hold one.
    const char* const at = text.data() == nullptr ? "" : text.data();
    note(sqlite3_bind_text64(statement_, index, at, text.size(), SQLITE_STATIC, SQLITE_UTF8));
    return *this;
}

Statement& Statement::bind(int index, Bytes blob) {
    const void* const at = blob.data() == nullptr ? static_cast<const void*>("") : blob.data();
    note(sqlite3_bind_blob64(statement_, index, at, blob.size(), SQLITE_STATIC));
    return *this;
}

Statement& Statement::bind_null(int index) {
    note(sqlite3_bind_null(statement_, index));
    return *this;
}

Answer<bool> Statement::step() {
    FERRY_ASSERT(statement_ != nullptr, "a statement that was moved from or never prepared");
    sqlite3* const handle = sqlite3_db_handle(statement_);
    if (bind_code_ != SQLITE_OK) {
        const int code = std::exchange(bind_code_, SQLITE_OK);
        reset();
        return problem_of(handle, code, "cannot bind a value");
    }
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) {
        reset();
        return false;
    }
    Problem problem = problem_of(handle, code, "the database refused");
    reset();
    return problem;
}

Status Statement::run() {
    const Answer<bool> stepped = step();
    reset();
    if (!stepped.ok()) return stepped.error();
    return ok_status();
}

void Statement::reset() {
    // Its result repeats the error that step() reported.
    static_cast<void>(sqlite3_reset(statement_));
}

void Statement::clear_bindings() {
    sqlite3_clear_bindings(statement_);
}

int Statement::columns() const {
    return sqlite3_column_count(statement_);
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int Statement::type(int column) const {
    return sqlite3_column_type(statement_, column);
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_, column);
}

double Statement::real(int column) const {
    return sqlite3_column_double(statement_, column);
}

std::string_view Statement::text(int column) const {
    const auto* const at = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (at == nullptr) return {};
    return {at, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Bytes Statement::bytes(int column) const {
    // A text is asked for as UTF-8 first: in a UTF-16 database its blob would be UTF-16.
    if (sqlite3_column_type(statement_, column) != SQLITE_BLOB) return as_bytes(text(column));
    const auto* const at = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
    if (at == nullptr) return {};
    return {at, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

}  // namespace ferry::sqlite
