#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ferry/platform/bytes.hpp"
#include "ferry/sqlite/api.hpp"
#include "ferry/sqlite/problem.hpp"

namespace ferry::sqlite {

inline constexpr std::chrono::milliseconds busy_timeout_default{5000};

/// A prepared statement.
///
/// Threads   That of its connection.
/// Lifetime  Ends before its connection: sqlite3_close refuses while statements live.
/// Memory    Texts and blobs are bound without a copy: they must live until reset(), the next
///           bind or the end. Column views die with the next step(), reset() or the end.
class Statement {
public:
    Statement() = default;
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&& other) noexcept;
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    ~Statement();

    /// Binds parameter `index`, the first is 1. A failure is remembered and reported by step().
    template <std::integral T>
    Statement& bind(int index, T value) {
        return bind_integer(index, static_cast<std::int64_t>(value));
    }
    Statement& bind(int index, double value);
    Statement& bind(int index, std::string_view text);
    Statement& bind(int index, const char* text) { return bind(index, std::string_view(text)); }
    Statement& bind(int index, Bytes blob);
    Statement& bind_null(int index);

    /// True: there is a row. False: it is done, and reset.
    Answer<bool> step();
    /// step() for statements that give no rows, and reset() in any case.
    Status run();
    /// Makes it ready to run again; bound values stay.
    void reset();
    void clear_bindings();

    [[nodiscard]] int columns() const;
    [[nodiscard]] bool is_null(int column) const;
    /// SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_TEXT, SQLITE_BLOB or SQLITE_NULL.
    [[nodiscard]] int type(int column) const;
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] double real(int column) const;
    /// UTF-8 as stored: SQLite does not check it. NULL gives "".
    [[nodiscard]] std::string_view text(int column) const;
    /// The bytes of a blob, or of a text in UTF-8.
    [[nodiscard]] Bytes bytes(int column) const;

    [[nodiscard]] sqlite3_stmt* handle() const noexcept { return statement_; }

private:
    friend class Database;
    Statement& bind_integer(int index, std::int64_t value);
    void note(int code) {
        if (code != SQLITE_OK && bind_code_ == SQLITE_OK) bind_code_ = code;
    }

    sqlite3_stmt* statement_ = nullptr;
    int bind_code_ = SQLITE_OK;
};

/// A connection, owned or lent by the application.
///
/// Threads   As sqlite3: one at a time per connection.
/// Blocking  Everything may block on the disk and for the busy timeout on other writers.
/// Errors    Every Problem says what was being done, what SQLite said and, where it matters,
///           whether the running transaction is still there.
class Database {
public:
    enum class Access : std::uint8_t { read_only, read_write, create };

    /// Opens a file with extended result codes, the busy timeout and synchronous=FULL.
    ///
    /// Errors    not_found, read_only, corrupt (no database), busy, refused (the SQLite library is
    ///           older than version_min), io.
    static Answer<Database> open(const std::string& path, Access access,
                                 std::chrono::milliseconds busy_timeout = busy_timeout_default);
    /// Works on somebody else's connection and changes no setting of it. `handle` outlives it.
    static Database borrow(sqlite3* handle) noexcept;

    Database(Database&& other) noexcept;
    Database& operator=(Database&& other) noexcept;
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database();

    /// Compiles one statement. `persistent`: it is kept and run many times.
    Answer<Statement> prepare(std::string_view sql, bool persistent = false) const;
    /// Runs statements separated by semicolons; their rows are dropped. Stops at the first failure.
    Status run(std::string_view sql) const;
    /// The first column of the first row. Nothing: there was no row, or it was NULL.
    Answer<std::optional<std::int64_t>> integer(std::string_view sql) const;
    Answer<std::optional<std::string>> text(std::string_view sql) const;

    [[nodiscard]] bool in_transaction() const;
    /// Rows changed by the last INSERT, UPDATE or DELETE.
    [[nodiscard]] std::int64_t changes() const;
    /// Rows changed since the connection was opened, by triggers too and also those rolled back.
    [[nodiscard]] std::int64_t changes_in_all() const;
    [[nodiscard]] std::int64_t last_row_id() const;
    /// Absolute path of the file; empty for a database in memory.
    [[nodiscard]] std::string path(const char* schema = "main") const;
    [[nodiscard]] sqlite3* handle() const noexcept { return handle_; }

    /// Describes the failure that this connection reported last. `doing`: "cannot read the outbox".
    [[nodiscard]] Problem problem(int code, std::string_view doing) const;

private:
    Database(sqlite3* handle, bool owned) noexcept : handle_(handle), owned_(owned) {}

    sqlite3* handle_ = nullptr;
    bool owned_ = false;
};

/// Describes a failure of `handle`.
[[nodiscard]] Problem problem_of(sqlite3* handle, int code, std::string_view doing);
/// How a result code is grouped.
[[nodiscard]] Kind kind_of(int code);
/// "name", with quotes inside doubled.
[[nodiscard]] std::string quoted(std::string_view identifier);

/// A transaction of our own. Rolled back by the destructor unless committed. The statement for that
/// is compiled before it begins: for want of memory none stays open and keeps others waiting.
///
/// Requires  The database outlives it.
class Transaction {
public:
    enum class Mode : std::uint8_t { read, immediate };
    /// Errors    refused if one is open already; busy after the busy timeout.
    static Answer<Transaction> begin(const Database& database, Mode mode = Mode::immediate);
    Transaction(Transaction&& other) noexcept;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    Transaction& operator=(Transaction&&) = delete;
    ~Transaction();

    /// Errors    busy (readers of a rollback journal), full, io: it was rolled back, nothing of it
    ///           is stored.
    Status commit();
    void rollback();

private:
    Transaction(sqlite3* handle, Statement undo) noexcept
        : handle_(handle), undo_(std::move(undo)) {}
    sqlite3* handle_;
    Statement undo_;
};

/// A savepoint inside whatever is going on; begins an immediate transaction if nothing is. Undone
/// by the destructor unless released, as a Transaction is.
class Savepoint {
public:
    static Answer<Savepoint> begin(const Database& database);
    Savepoint(Savepoint&& other) noexcept;
    Savepoint(const Savepoint&) = delete;
    Savepoint& operator=(const Savepoint&) = delete;
    Savepoint& operator=(Savepoint&&) = delete;
    ~Savepoint();
    Status release();

private:
    Savepoint(sqlite3* handle, Statement undo, Statement end) noexcept
        : handle_(handle), undo_(std::move(undo)), end_(std::move(end)) {}
    void undo();
    sqlite3* handle_;
    Statement undo_;
    Statement end_;  // after undo_, if that leaves the savepoint there
};

}  // namespace ferry::sqlite
