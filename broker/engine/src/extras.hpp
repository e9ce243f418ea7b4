#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>

#include "expiry_index.hpp"
#include "id_window.hpp"
#include "timer_list.hpp"

namespace ferry::engine {

/// Why a message leaves its queue for another one. The numbers are in the log.
enum class LeaveReason : std::uint8_t {
    rejected = 1,
    max_deliveries = 2,
    expired = 3,
    length_limit = 4,
    moved = 5,
};
[[nodiscard]] std::string_view name_of(LeaveReason reason);

/// Messages of which the log says that they leave: nobody gets them from this queue any more. They
/// are still the queue's until the record that stores them elsewhere takes them off it.
struct Leaving {
    Extent extent;
    std::uint32_t attempts = 0;
    LeaveReason reason = LeaveReason::rejected;
    std::uint64_t wall_ms = 0;
    std::string target;   // moved: a queue, or empty for where they came from
    bool parked = false;  // no queue takes them now, or they cannot be read
};

/// Ids of delayed messages are found by this.
[[nodiscard]] std::uint64_t hash_of_id(std::string_view id);

/// An operator's request to move messages, served in dispatch().
struct WaitingMove {
    std::uint64_t session = 0;
    std::uint64_t request = 0;
    std::uint64_t left = 0;
    std::uint64_t moved = 0;
    std::string target;
};

/// What only some queues have, beside the hot structures.
struct Extras {
    TimerList retries;                                 // by the broker's steady clock
    TimerList scheduled;                               // by the wall clock
    std::multimap<std::uint64_t, TimerList::Key> ids;  // of scheduled messages, by hash_of_id()
    ExpiryIndex expiry;
    std::size_t expiry_prune_at = 1024;
    std::uint64_t used_ms = 0;  // steady clock: when somebody consumed or declared last
    std::map<Position, Leaving> leaving;
    std::set<Position> outbound;  // records of leaving messages that are to be sent off
    std::set<Position> loading;   // of these, those that are being read
    std::uint64_t leaving_messages = 0;
    std::uint64_t parked = 0;  // messages of these
    std::uint64_t parked_generation = 0;
    std::deque<WaitingMove> moves;
    IdWindow seen;                   // ids of published messages
    std::uint64_t seen_trimmed = 0;  // by the publish command with this number
    std::uint64_t alarm_ns = 0;      // in State::alarms; 0: none

    std::uint64_t dead_lettered = 0, expired = 0, dropped = 0, repeated = 0;
};

}  // namespace ferry::engine
