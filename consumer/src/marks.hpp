#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::consumer {

/// Who made a message, of those that came through an outbox.
struct Origin {
    std::string producer;
    std::uint64_t epoch = 0;
    std::uint64_t sequence = 0;
};
/// False: the id is not of the form PRODUCER:EPOCH:SEQUENCE.
[[nodiscard]] bool origin_of(std::string_view id, Origin& out);

/// Which messages one consumer has applied, as rows.
///
/// Per producer and epoch: exact ranges of applied sequences, and a cursor. A message below the
/// cursor cannot come again from the queue by itself, so its exact range is dropped; if it comes
/// all the same it is a duplicate, unless it was dead-lettered and sent back.
///
/// Messages of a producer come in its order, so a transaction's marks mostly make one range longer.
/// That is done in memory, and written by save().
///
/// Threads   Its connection's.
/// Requires  all writing calls inside a transaction; save() before it is committed.
class Marks {
public:
    struct Cursor {
        std::int64_t id = 0;
        std::int64_t below = 0;
        bool closes = false;  // all earlier epochs of the producer are settled
    };
    enum class State : std::uint8_t { fresh, applied };

    Marks(const sqlite::Database& database, std::int64_t consumer)
        : database_(database), consumer_(consumer) {}

    /// The rows may have changed since the last call: another transaction, or a rollback. What was
    /// not saved is dropped.
    void forget() {
        open_.clear();
        broken_ = false;
    }
    /// Writes what add() kept in memory. After a failure, or one of add(), the transaction must not
    /// be committed.
    sqlite::Status save();
    /// What add() kept may not be true: save() fails from here on.
    void distrust(const sqlite::Problem& problem) {
        problem_ = problem;
        broken_ = true;
    }
    /// `redriven`: it may be below the cursor without having been applied.
    sqlite::Answer<State> look(const Origin& origin, bool redriven);
    /// Marks what look() called fresh, before anything else was looked for. Not undone by undo().
    sqlite::Status add(const Origin& origin, std::uint64_t now_ms);
    sqlite::Answer<State> look_id(std::string_view id);
    sqlite::Status add_id(std::string_view id, std::uint64_t now_ms);

    /// The savepoint of one message, kept prepared.
    sqlite::Status savepoint();
    sqlite::Status release();
    static constexpr std::string_view undo_sql = "ROLLBACK TO ferry_effect";
    /// Requires  no add() since savepoint().
    sqlite::Status undo();

    /// Everything of this producer and epoch below the sequence is settled. Drops at most `at_most`
    /// ranges; how many is returned.
    sqlite::Answer<std::uint64_t> raise(const Origin& below, std::uint32_t at_most,
                                        std::uint64_t now_ms);
    /// All earlier epochs of the producer are settled. Requires a message of `newest.epoch`
    /// applied.
    sqlite::Status close_before(const Origin& newest);
    /// This one stays exact for ever: whether its ack arrived is not known.
    sqlite::Status keep_exact(const Origin& origin);
    /// The same for all: after a process ended without saying so.
    sqlite::Status keep_all_exact();
    sqlite::Answer<std::uint64_t> drop_ids_before(std::uint64_t seen_ms, std::uint32_t at_most);
    struct Bounds {
        std::uint32_t cursors = limits::cursors_max;
        std::uint32_t unsure_ranges = limits::unsure_ranges_max;
    };
    /// Evicts cursors seen least recently, and unsure ranges, over the bounds; some at a time.
    sqlite::Status evict(const Bounds& bounds, InboxFigures& figures);

private:
    struct Range {
        std::int64_t first = 0;
        std::int64_t last = 0;
        bool unsure = false;
    };

    /// The surroundings of a sequence of one producer, as the rows and what is not saved say.
    struct Open {
        Origin origin;  // of any message of the producer and epoch
        Cursor cursor;
        bool known = false;     // the rest is
        std::int64_t from = 0;  // for sequences from here on ...
        std::int64_t next = 0;  // ... to before here, where the next range begins
        bool before = false;    // there is a range that begins at `from`
        Range range;
        bool unsaved = false;  // it is longer than its row says
    };

    sqlite::Statement* statement(std::string_view sql);
    /// Null: there is no cursor.
    sqlite::Answer<Open*> open(const Origin& origin);
    sqlite::Status surround(Open& open, std::int64_t sequence);
    sqlite::Status find_next(Open& open, std::int64_t behind);
    sqlite::Status save(Open& open);
    sqlite::Status add_to(Open& open, std::int64_t sequence);
    /// The first row's numbers; the statement is reset. False: there is none.
    static sqlite::Answer<bool> row(sqlite::Statement* found, std::int64_t* values, int count);
    sqlite::Answer<bool> find(const Origin& origin, Cursor& out);
    sqlite::Answer<bool> closed(const Origin& origin);
    /// The last range that begins at or before the sequence.
    sqlite::Answer<bool> range_at(std::int64_t cursor, std::int64_t sequence, Range& out);
    sqlite::Answer<std::int64_t> cursor_for(const Origin& origin, std::uint64_t now_ms);
    sqlite::Status insert_range(std::int64_t cursor, const Range& range);
    sqlite::Status delete_range(std::int64_t cursor, std::int64_t first);
    sqlite::Status stretch(std::int64_t cursor, std::int64_t first, std::int64_t last);

    const sqlite::Database& database_;
    const std::int64_t consumer_;
    std::unordered_map<std::string_view, sqlite::Statement> statements_;  // keys are literals
    sqlite::Problem problem_;
    std::vector<Open> open_;  // of the transaction's producers, the newest ones
    bool broken_ = false;     // add() failed half-way
};

}  // namespace ferry::consumer
