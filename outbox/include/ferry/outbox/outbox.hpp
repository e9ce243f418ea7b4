#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "ferry/outbox/limits.hpp"
#include "ferry/outbox/message.hpp"
#include "ferry/outbox/schema.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

struct Options {
    /// Make or update the tables first (see init()). A connection that is opened by path also makes
    /// the file, and turns WAL mode on.
    bool init = false;
    InitOptions init_options = {};
    /// The application waits for locks with a handler of its own (sqlite3_busy_handler), which
    /// cannot be seen from outside: do not ask for a busy timeout.
    bool own_busy_handler = false;
    /// Wake the relay at every commit of this connection (see install_wake_hook). Without it, call
    /// wake() after a commit, or leave it to the relay's check once a second.
    bool wake_hook = true;
    /// For Outbox::open by path.
    std::chrono::milliseconds busy_timeout = sqlite::busy_timeout_default;
    const Clock* clock = nullptr;  // null: the system's. Outlives the outbox
};

/// Puts messages into the application's own transaction: they are sent if, and only if, it commits.
///
///     auto outbox = Outbox::open(connection);
///     BEGIN IMMEDIATE; INSERT INTO orders ...;
///     outbox.value().enqueue({.routing_key = "orders", .payload = as_bytes(json)});
///     COMMIT;
///
/// Threads   As its connection: one at a time. Make one per connection of a pool.
/// Lifetime  Ends before a lent connection is closed. Does not survive fork(): enqueue refuses in
///           the child, which must open a connection of its own.
/// Memory    One prepared statement.
/// Blocking  As an INSERT.
class Outbox {
public:
    /// Uses the application's connection, whose main file holds the outbox, and changes no setting
    /// of it but the WAL hook.
    ///
    /// Errors    refused, read_only or schema, each with what to change: the database is in memory,
    ///           not in WAL mode, not synchronous=FULL or EXTRA, without busy timeout, read-only,
    ///           without outbox, of another schema version. Those of reading.
    static sqlite::Answer<Outbox> open(sqlite3* connection, const Options& options = {});
    /// Opens a connection of its own, reachable through database().
    static sqlite::Answer<Outbox> open(const std::string& path, const Options& options = {});

    Outbox(Outbox&&) noexcept;
    Outbox& operator=(Outbox&&) noexcept;
    Outbox(const Outbox&) = delete;
    Outbox& operator=(const Outbox&) = delete;
    ~Outbox();

    /// Stores a message in the transaction that is open, and returns its id. Rolling back, also to
    /// a savepoint, takes it away again, and its id is given to another message: it means nothing
    /// before the commit. last_insert_rowid() of the application stays as it was.
    ///
    /// Errors    refused: no transaction is open, or the message is over a limit; the text names
    ///           the part. busy, snapshot, constraint: nothing was stored, and the transaction is
    ///           as before. full, io, corrupt: nothing was stored; if SQLite has ended the whole
    ///           transaction because of it, the text says so.
    sqlite::Answer<std::int64_t> enqueue(const Message& message);

    /// Tells the relay that there is something to send; for connections without our hook. Call it
    /// after the commit. Never waits or fails.
    void wake() const noexcept;

    /// Whether commits of this connection wake the relay by themselves.
    [[nodiscard]] bool hooked() const noexcept;
    /// Larger payloads are refused.
    [[nodiscard]] std::uint32_t payload_bytes_max() const noexcept;
    [[nodiscard]] const sqlite::Database& database() const noexcept;
    [[nodiscard]] const Clock& clock() const noexcept;

private:
    struct Core;
    explicit Outbox(std::unique_ptr<Core> core) noexcept;
    static sqlite::Answer<Outbox> open_on(sqlite::Database database, const Options& options);
    std::unique_ptr<Core> core_;
};

}  // namespace ferry::outbox
