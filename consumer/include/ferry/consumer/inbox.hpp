#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/consumer/fence.hpp"
#include "ferry/consumer/incoming.hpp"
#include "ferry/consumer/source.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::consumer {

namespace limits {
inline constexpr std::uint32_t cursors_max = 100'000;  // producers (and epochs) per consumer
inline constexpr std::uint32_t unsure_ranges_max = 10'000;
inline constexpr std::uint32_t tidy_rows_max = 1'000;  // rows removed in one transaction
inline constexpr std::uint32_t floors_max = 64;        // candidates per producer, in memory
}  // namespace limits

/// What to do with a message whose publisher gave it no id.
enum class NoId : std::uint8_t {
    refuse,    // poison, saying so
    position,  // its position in the broker's log is its id: redeliveries are known, a message
               // published twice is two messages
};

struct InboxOptions {
    /// The consumer's name: what another consumer in the same database applied is not taken for
    /// this one's (C8). One name reads one queue.
    std::string consumer;
    Duration id_retention{7LL * 24 * 3600 * 1000};  // of ids that are no outbox's
    NoId no_id = NoId::refuse;
    /// A transaction that takes longer is reported: fn must not wait for anybody.
    Duration slow_transaction{100};
    std::chrono::milliseconds busy_timeout{1'000};
    /// fn may be called again for a message within one call of apply_batch(), in another
    /// transaction and with everything undone that it wrote before: then messages need no
    /// savepoints, which is much cheaper, and only when one fails after it has written do all of
    /// the batch run again, each with its own. Requires that fn keeps nothing but its writes, and
    /// changes rows only by INSERT, UPDATE and DELETE.
    bool repeatable = false;
    bool outgoing = true;  // open the outbox of this database, for Effects::publish
    std::function<void(std::string_view)> on_event;
    const Clock* clock = nullptr;  // null: the system's. Outlives the inbox
};

struct InboxFigures {
    std::uint64_t applied = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t failed = 0;  // rolled back
    std::uint64_t busy = 0;    // delayed because the database was locked
    std::uint64_t transactions = 0;
    std::uint64_t slow_transactions = 0;
    std::uint64_t transaction_us_max = 0;
    std::uint64_t collapsed = 0;         // ranges that cursors made superfluous
    std::uint64_t evicted_cursors = 0;   // cursors_max was reached
    std::uint64_t evicted_ranges = 0;    // unsure_ranges_max was reached
    std::uint64_t beyond_retention = 0;  // redelivered after its id may have been forgotten
};

/// What a handler may do inside the inbox's transaction.
///
/// Threads, Lifetime   of the call that hands it out.
/// Requires  no COMMIT, ROLLBACK or BEGIN on this connection, and no waiting for anything but this
///           database: every writer of the file waits meanwhile.
/// Errors    The first failure is kept: the transaction is rolled back, whatever fn returns then.
class Effects {
public:
    /// One statement with its parameters; kept prepared by its text. False: it failed.
    template <class... Values>
    bool run(std::string_view sql, const Values&... values) {
        sqlite::Statement* const statement = prepare(sql);
        if (statement == nullptr) return false;
        int index = 0;
        (statement->bind(++index, values), ...);
        return run(*statement);
    }
    /// The first column of the first row as a whole number; false: no row, NULL, or a failure.
    template <class... Values>
    bool integer(std::int64_t& value, std::string_view sql, const Values&... values) {
        sqlite::Statement* const statement = prepare(sql);
        if (statement == nullptr) return false;
        int index = 0;
        (statement->bind(++index, values), ...);
        return integer(*statement, value);
    }
    /// A statement of the caller's, kept prepared by its text and ready to bind. Null: it failed.
    ///
    /// Lifetime  Until the next call that takes a text.
    sqlite::Statement* prepare(std::string_view sql);
    /// Rows changed by the last run().
    [[nodiscard]] std::int64_t changes() const;
    /// Takes back all that was written for this message. False: it failed.
    ///
    /// Requires  an inbox whose effects are not InboxOptions::repeatable.
    bool undo();
    /// A message that leaves exactly if this transaction commits. Unless set, its correlation id is
    /// the incoming one's (or its id), and the header ferry-causation is the incoming id.
    bool publish(outbox::Message message);
    /// See fence.hpp. False: the token is old, the effect must not be; handled() is poison then.
    bool fence(std::string_view resource, std::uint64_t token);

    [[nodiscard]] const Incoming& message() const { return message_; }
    [[nodiscard]] const sqlite::Database& database() const;
    /// What the first failure amounts to: later for a busy or full database, poison for a fence,
    /// else retry; done if nothing failed.
    [[nodiscard]] const Handled& handled() const { return handled_; }
    /// Remembers a failure of the caller's own statements.
    void failed(const sqlite::Problem& problem);

private:
    friend class Inbox;
    struct Access;
    Effects(Access& access, const Incoming& message) : access_(access), message_(message) {}
    bool run(sqlite::Statement& statement);
    bool integer(sqlite::Statement& statement, std::int64_t& value);

    Access& access_;
    const Incoming& message_;
    Handled handled_;
};

/// Makes the effect of one message. Handled::done() commits, everything else rolls back.
using Effect = std::function<Handled(Effects& effects)>;

/// How a failure of the database is handled: later if it passes by itself, else retry.
[[nodiscard]] Handled handled_of(const sqlite::Problem& problem);

/// Gives each message one effect: the mark that it was applied, the handler's writes and outgoing
/// messages are one transaction in the consumer's own database.
///
/// Threads   Any, also at the same time. Transactions run one at a time; calls that come while
///           another runs join its commit, so that one sync serves many.
/// Blocking  On the disk, and up to busy_timeout on other writers of the file.
/// Memory    docs/consumer.md says what is kept; nothing is forgotten after a time, except ids that
///           are no outbox's.
class Inbox {
public:
    /// Makes the tables (ferry_inbox_*, ferry_fence) in a database in WAL mode, and the database if
    /// there is none. Does nothing where they are.
    ///
    /// Errors    schema: newer tables, or not WAL. Others as sqlite::Database::open.
    static sqlite::Status init(const std::string& path);
    /// Errors    schema (no tables: run init; newer; not WAL), refused (an option).
    static sqlite::Answer<std::unique_ptr<Inbox>> open(const std::string& path,
                                                       InboxOptions options);
    ~Inbox();
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;

    /// done: fn's effect is committed, or this message's was before (then fn is not called). What
    /// else fn or the database says is returned, and nothing was changed.
    Handled apply(const Incoming& message, const Effect& fn);
    /// Many messages in one transaction, each in a savepoint of its own: one that fails does not
    /// undo the others. After a failed one, later ones of its ordering key are not tried
    /// (Handled::later).
    void apply_batch(std::span<const Incoming> messages, std::span<Handled> handled,
                     const Effect& fn);
    /// Has it an effect? For tests and tools.
    sqlite::Answer<bool> applied(const Incoming& message);

    // ---- the runtime's ----

    /// conflict: the broker is not as this inbox left it (its data is another's, or from before a
    /// backup was restored); last_problem() says what to do. The inbox has not changed.
    Status check_place(const Place& place);
    /// Acks of these ids are on the broker's disk; or it is not known.
    void settled(std::span<const std::string> ids);
    void unsettled(std::span<const std::string> ids);
    /// Forgets what cannot come again. Short transactions. Errors as check_place; would_block: the
    /// database is busy, later.
    Status tend(const Place& place);
    [[nodiscard]] std::string last_problem() const;
    [[nodiscard]] InboxFigures figures() const;

private:
    struct Impl;
    explicit Inbox(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::consumer
