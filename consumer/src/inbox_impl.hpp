#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/clock.hpp"
#include "marks.hpp"

namespace ferry::consumer {

/// What this process knows of one producer and epoch beyond the rows: when a cursor may rise.
struct Stream {
    struct Floor {
        std::uint64_t below = 0;     // everything below this sequence was stored ...
        std::uint64_t position = 0;  // ... before this position of the log
    };
    std::deque<Floor> floors;                     // both numbers grow
    std::uint64_t first_position = 0;             // of the first message seen of this epoch
    std::uint64_t below = 0;                      // where the cursor was put
    bool closed = false;                          // earlier epochs were settled
    std::set<std::uint64_t> unsettled;            // applied, and the ack's way is not known yet
    std::map<std::uint64_t, std::uint64_t> lost;  // the ack was lost; since when (wall ms)

    void note_floor(Floor floor);
    /// How far the cursor may rise when the queue's floor is there.
    [[nodiscard]] std::uint64_t settled_below(std::uint64_t queue_floor) const;
};

/// The database side of Effects.
struct Effects::Access {
    const sqlite::Database& database;
    outbox::Outbox* outbox = nullptr;
    struct Hash : std::hash<std::string_view> {
        using is_transparent = void;
    };
    std::unordered_map<std::string, sqlite::Statement, Hash, std::equal_to<>> statements;
    std::vector<outbox::Header> headers;  // of publish(), kept for their memory
};

struct Inbox::Impl {
    Impl(sqlite::Database opened, InboxOptions chosen)
        : options(std::move(chosen)),
          database(std::move(opened)),
          access{database, nullptr, {}, {}} {}

    // One transaction that several calls may share. `busy` is the right to use the connection.
    struct Turn {
        std::uint64_t transaction = 0;
    };
    /// Waits for the connection; begins a transaction unless one is open. On failure the connection
    /// is free again.
    sqlite::Status enter(std::unique_lock<std::mutex>& lock);
    /// Commits, or leaves that to a call that waits already; returns when the commit is done.
    sqlite::Status leave(std::unique_lock<std::mutex>& lock);
    void finish(sqlite::Status result);
    /// Instead of leave(), where something was thrown on the way: nothing of the transaction is
    /// kept, and all who share it hear of it.
    void give_up() noexcept;
    sqlite::Status begin() noexcept;
    sqlite::Status commit() noexcept;
    /// Also says so where there is no memory left to say it with: whoever has the connection must
    /// come to where it is given back.
    template <class F>
    static sqlite::Status without_throwing(F&& call) noexcept {
        try {
            return call();
        } catch (const std::bad_alloc&) {
            return sqlite::Problem{sqlite::Kind::full, 0, "no memory"};  // too short to need any
        }
    }

    void each(std::span<const Incoming> messages, std::span<Handled> handled, const Effect& fn);
    struct Applying {
        Origin origin;
        std::string id;
        bool outboxed = false;
        bool fresh = false;
    };
    using Stopped = std::unordered_set<std::string_view>;  // ordering keys with a failed message
    bool has_turn(const Incoming& message, const Stopped& stopped, Handled& handled) const;
    bool is_fresh(const Incoming& message, Applying& one, Handled& handled);
    sqlite::Status mark(const Applying& one);
    bool together(std::span<const Incoming> messages, std::span<Handled> handled, const Effect& fn);
    bool effect_of_many(const Incoming& message, const Applying& applying, Handled& handled,
                        const Effect& fn);
    sqlite::Status still_open();
    Handled one(const Incoming& message, const Effect& fn);
    Handled effect(const Incoming& message, const Effect& fn);
    void note(const Incoming& message, const Applying& applying, const Handled& handled);
    sqlite::Answer<Marks::State> look(const Incoming& message, Origin& origin, bool& outboxed,
                                      std::string& id);
    [[nodiscard]] std::uint64_t wall_ms() const {
        return (options.clock != nullptr ? *options.clock : system_clock()).now().wall_ms;
    }
    void say(std::string_view text) const {
        if (options.on_event) options.on_event(text);
    }
    Status refuse(Errc code, std::string text);
    sqlite::Status open_consumer();
    void leave_cleanly();
    Status known_place(const Place& place);
    sqlite::Status tidy(const Place& place, std::uint64_t now_ms);
    sqlite::Status raise_cursors(std::uint64_t queue_floor, std::uint64_t now_ms);
    sqlite::Status keep_lost(std::uint64_t queue_floor, std::uint64_t now_ms);

    const InboxOptions options;
    sqlite::Database database;
    std::optional<sqlite::Transaction> underway;  // if `open`
    std::optional<outbox::Outbox> outgoing;
    Effects::Access access;
    std::unique_ptr<Marks> marks;
    std::int64_t consumer = 0;

    std::mutex mutex;
    std::condition_variable turn;
    bool busy = false;
    bool open = false;  // a transaction is
    std::size_t waiting = 0;
    std::uint32_t members = 0;  // calls in the open transaction
    std::uint64_t number = 1;   // of the open or next transaction
    std::map<std::uint64_t, std::pair<std::uint32_t, sqlite::Problem>> failures;  // members left
    std::chrono::steady_clock::time_point began;

    mutable std::mutex notes;  // guards the rest; never held together with SQLite calls
    std::map<std::pair<std::string, std::uint64_t>, Stream> streams;
    std::string problem;
    InboxFigures figures;
    Place place;
    std::uint64_t stored_ms = 0;
    std::uint64_t evicted_ms = 0;
    // A process ended without a word, or acks were lost where the queue had no floor: what was
    // applied may have to stay exact. Remembered over ends (`running`) until a floor is known.
    bool acks_in_doubt = false;
};

}  // namespace ferry::consumer
