#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "ferry/engine/types.hpp"
#include "records.hpp"
#include "varint.hpp"

namespace ferry::engine {

/// Who holds which lock and who waits for it, in order.
///
/// Durable, and changed by records only: the parties with their terms, the order of the line, and
/// the permits that a lost holder keeps shut. Not durable: which session a party belongs to, and
/// when it loses what it has. After a restart everybody is away and has its whole time to live to
/// come back: clocks say nothing of how long the broker was gone for the holder, so it is given
/// more time rather than less.
///
/// Threads   The engine's.
class Locks {
public:
    /// What a party asked for.
    struct Terms {
        std::uint64_t ttl_ms = 0;
        std::uint64_t delay_ms = 0;
    };
    struct Party {
        Terms terms;
        Position at = 0;     // of the record that made it what it is
        bool holds = false;  // then `at` is its token
        SessionId session = 0;
        std::uint64_t request = 0;
        std::uint64_t deadline_ns = 0;  // 0: none
    };
    struct Delay {
        std::uint64_t ms = 0;
        std::uint64_t deadline_ns = 0;
    };
    using Parties = std::map<std::string, Party, std::less<>>;  // by holder
    struct Lock {
        std::string name;
        std::uint64_t permits = 1;
        Parties parties;
        std::map<Position, Parties::value_type*> line;    // who waits, in order
        std::map<Position, Parties::value_type*> grants;  // who holds, by token
        std::map<Position, Delay> delays;                 // by the token that was lost

        [[nodiscard]] bool has_room() const { return grants.size() + delays.size() < permits; }
    };
    using Map = std::map<std::string, Lock, std::less<>>;
    /// How a grant ended. The numbers are in the log.
    enum class End : std::uint8_t { released = 0, lost = 1, forced = 2 };
    struct Alarm {
        std::string lock;
        std::string holder;     // or
        Position delay_of = 0;  // the token whose delay is over
    };

    [[nodiscard]] const Map& all() const { return all_; }
    [[nodiscard]] Lock* find(std::string_view name);
    [[nodiscard]] const Lock* find(std::string_view name) const;
    [[nodiscard]] std::uint64_t holders() const { return holders_; }
    [[nodiscard]] std::uint64_t waiters() const { return waiters_; }

    // -- what records do --
    Lock& make(std::string_view name, std::uint64_t permits);
    /// Requires  no such party.
    Party& add_waiter(Lock& lock, std::string_view holder, const Terms& terms, Position at);
    /// A waiter becomes a holder, or a new party one.
    Party& grant(Lock& lock, std::string_view holder, const Terms& terms, Position token);
    /// The party goes; what was lost or forced shuts a permit for its delay. May end the lock:
    /// returns false then.
    bool end(Lock& lock, std::string_view holder, End how);
    bool open(Lock& lock, Position token);
    [[nodiscard]] static bool has_record(RecordType type) {
        return type >= RecordType::lock_wait && type <= RecordType::lock_open;
    }
    /// False: the record does not fit what came before it.
    [[nodiscard]] bool replay(RecordType type, Position at, Bytes body);
    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

    // -- what records do not say --
    /// After a restart: everybody has its time from now.
    void start(Instant now);
    void attach(Lock& lock, std::string_view holder, SessionId session, std::uint64_t request);
    void set_deadline(Lock& lock, std::string_view holder, std::uint64_t deadline_ns);
    void set_delay_deadline(Lock& lock, Position token, std::uint64_t deadline_ns);
    void detach_all(SessionId session, Instant now);
    [[nodiscard]] std::uint64_t next_alarm_ns() const {
        return alarms_.empty() ? UINT64_MAX : alarms_.begin()->first.first;
    }
    /// Takes the next alarm that is due.
    [[nodiscard]] std::optional<Alarm> take_alarm(Instant now);
    /// Locks whose line may move because somebody came back.
    [[nodiscard]] LockView view(const Lock& lock, Instant now, bool whole) const;

private:
    void forget_session(const Lock& lock, const Parties::value_type& party);
    void disarm(std::uint64_t deadline_ns, Position at);
    bool drop_if_empty(Lock& lock);

    Map all_;
    std::uint64_t holders_ = 0;
    std::uint64_t waiters_ = 0;
    std::map<std::pair<std::uint64_t, Position>, Alarm> alarms_;  // Position: to tell them apart
    std::map<SessionId, std::set<std::pair<std::string, std::string>>> by_session_;
};

/// Bodies of the records; docs/storage-format.md.
void put_lock_party(std::vector<std::byte>& out, RecordType type, const Locks::Lock& lock,
                    std::string_view holder, const Locks::Terms& terms);
void put_lock_end(std::vector<std::byte>& out, const Locks::Lock& lock, std::string_view holder,
                  Position token, Locks::End how);
void put_lock_leave(std::vector<std::byte>& out, const Locks::Lock& lock, std::string_view holder);
void put_lock_open(std::vector<std::byte>& out, const Locks::Lock& lock, Position token);

/// Empty if such a lock can be asked for; otherwise what is wrong with it and what is allowed.
[[nodiscard]] std::string complaint_of(const LockCommand& command);

}  // namespace ferry::engine
