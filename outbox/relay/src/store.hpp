#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core.hpp"
#include "encode.hpp"
#include "ferry/sqlite/database.hpp"
#include "ferry/sqlite/wal_sync.hpp"

namespace ferry::outbox::relay {

/// Names of ferry_outbox_state that belong to the relay alone.
namespace state {
/// Sequence at the broker = row id - base. Moves with a new epoch, which begins at sequence 1.
inline constexpr std::string_view base = "relay_base";
/// Rows up to this one may have been published in this epoch. Written before they are.
inline constexpr std::string_view reserved = "relay_reserved";
/// Highest row that the broker confirmed in this epoch.
inline constexpr std::string_view confirmed = "relay_confirmed";
inline constexpr std::string_view epoch_reason = "relay_epoch_reason";
inline constexpr std::string_view epoch_ms = "relay_epoch_ms";
}  // namespace state

/// What a relay must know before it connects.
struct Start {
    std::string producer;
    std::uint64_t epoch = 0;
    std::uint64_t base = 0;
    std::uint64_t reserved = 0;
    std::uint64_t confirmed = 0;
    std::uint64_t last_id = 0;        // highest ever given out, as SQLite knows it
    std::uint64_t first_pending = 0;  // 0: the table is empty
};

/// One write transaction of a relay.
struct WriteWish {
    const IdRanges* finished = nullptr;
    std::uint32_t rows_max = 0;
    std::span<const Refusal> refusals;
    std::uint64_t reserve = 0;         // 0: not
    std::uint64_t confirmed_upto = 0;  // highest row that the broker confirmed
    std::uint64_t wall_ms = 0;
    std::uint64_t lease_until_ms = 0;
    std::uint64_t retain_ms = 0;
};
struct WriteDone {
    std::vector<Range> marked;
    std::uint64_t rows = 0;  // deleted
};

/// The relay's side of the database. Every change is made only by the holder of the lease: its
/// fence number is looked at in the same transaction (conflict: it was lost, nothing was changed).
///
/// Threads   One.
class Store {
public:
    /// Errors    not_found, refused (not WAL), schema, and those of opening.
    static sqlite::Answer<Store> open(const std::string& path);

    // ---- reading; each its own short read transaction ----
    sqlite::Answer<Start> start() const;
    /// 0: the table is empty.
    sqlite::Answer<std::uint64_t> max_id();
    /// What sqlite_sequence says.
    sqlite::Answer<std::uint64_t> last_id();
    /// Calls `with` for rows after `after` up to `upto`, until it returns false. What it is shown
    /// survives a power cut, also where the writer's connection does not sync its commits:
    /// otherwise a message could be sent whose transaction the power cut takes back (O14).
    /// Syncs the log for that, once for all rows that max_id() has seen: a backlog is read in many
    /// steps, and the application's own commits stand in the same queue for the disk.
    template <class F>
    sqlite::Status read(std::uint64_t after, std::uint64_t upto, std::uint64_t most, F&& with) {
        read_.bind(1, after).bind(2, upto).bind(3, most);
        for (bool first = true;; first = false) {
            const auto row = read_.step();
            if (!row.ok()) return row.error();
            if (!row.value()) return sqlite::ok_status();
            if (first && upto > synced_upto_) {
                if (auto synced = sqlite::sync_wal(database_); !synced.ok()) {
                    read_.reset();
                    return synced.error();
                }
                synced_upto_ = std::max(upto, seen_max_);
            }
            if (!with(view(read_))) break;
        }
        read_.reset();
        return sqlite::ok_status();
    }
    /// Calls `with` for these rows, in this order, if they exist.
    template <class F>
    sqlite::Status read_one(std::uint64_t id, F&& with) {
        read_.bind(1, id - 1).bind(2, id).bind(3, 1);
        const auto row = read_.step();
        if (!row.ok()) return row.error();
        if (row.value()) with(view(read_));
        read_.reset();
        return sqlite::ok_status();
    }
    /// Nothing: there is no such row. Empty: it has no key.
    sqlite::Answer<std::optional<std::string>> key_of(std::uint64_t id);
    /// Creation time of the first row from `id` on.
    sqlite::Answer<std::optional<std::uint64_t>> created_ms_from(std::uint64_t id);
    /// Parked rows whose message is there.
    sqlite::Answer<std::vector<ParkedRow>> parked(std::uint64_t wall_ms);
    /// Id and key of the rows in a range, ascending.
    sqlite::Answer<std::vector<std::pair<std::uint64_t, std::string>>> keys(Range ids);

    // ---- the lease ----
    struct Lease {
        std::string owner;
        std::uint64_t fence = 0;
        std::uint64_t until_ms = 0;
    };
    sqlite::Answer<Lease> lease() const;
    /// Takes it if it is as `seen`. conflict: it has changed meanwhile.
    sqlite::Answer<std::uint64_t> take_lease(const Lease& seen, const std::string& owner,
                                             std::uint64_t until_ms);
    /// conflict: it is somebody else's.
    sqlite::Status renew_lease(std::uint64_t until_ms);
    sqlite::Status release_lease();
    [[nodiscard]] std::uint64_t fence() const { return fence_; }

    // ---- changing ----
    sqlite::Answer<WriteDone> write(const WriteWish& wish);
    /// Deletes kept messages that were sent before this moment, in one bounded step; never events,
    /// never anything unsent. True: there may be more.
    sqlite::Answer<bool> expire(std::uint64_t before_ms, std::uint32_t rows_max);
    /// A new epoch, or with `producer` a new identity, whose sequences begin before the first row
    /// that is there.
    sqlite::Status begin_anew(std::string_view producer, std::string_view reason,
                              std::uint64_t wall_ms);

    [[nodiscard]] std::string path() const { return database_.path(); }

private:
    explicit Store(sqlite::Database database) : database_(std::move(database)) {}
    sqlite::Status prepare();
    static RowView view(const sqlite::Statement& row);
    sqlite::Status check_fence();
    sqlite::Status mark(const WriteWish& wish, WriteDone& done);
    sqlite::Status mark_range(Range range, const WriteWish& wish, bool events, WriteDone& done);
    sqlite::Status write_refusals(const WriteWish& wish);
    sqlite::Status set(std::string_view name, std::uint64_t value);

    sqlite::Database database_;
    sqlite::Statement read_;
    sqlite::Statement max_id_;
    sqlite::Statement last_id_;
    sqlite::Statement key_of_;
    sqlite::Statement created_;
    sqlite::Statement fence_of_;
    sqlite::Statement set_;
    sqlite::Statement nth_;
    sqlite::Statement has_events_;
    sqlite::Statement keep_;
    sqlite::Statement delete_;
    sqlite::Statement delete_parked_;
    sqlite::Statement park_;
    sqlite::Statement kept_;
    sqlite::Statement expire_;
    std::uint64_t fence_ = 0;
    std::uint64_t expired_upto_ = 0;
    std::uint64_t seen_max_ = 0;     // max_id() said so
    std::uint64_t synced_upto_ = 0;  // rows up to this one are on the disk
};

}  // namespace ferry::outbox::relay
