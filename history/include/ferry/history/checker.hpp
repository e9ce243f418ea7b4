#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/history/history.hpp"

namespace ferry::history {

/// What can be wrong with a history. One name, one definition (docs/chaos.md lists them for users).
enum class Violation : std::uint8_t {
    lost_prefix,          ///< confirmed, never seen again: before a producer's first survivor
    lost_middle,          ///< with survivors on both sides
    lost_suffix,          ///< behind its last survivor
    lost_delivery,        ///< handed out, not acked, never handed out again
    lost_effect,          ///< its transaction committed, and no handler's effect came of it
    duplicate_append,     ///< one message at two positions of one queue
    duplicate_effect,     ///< more than one effect of one message in one queue
    acked_redelivery,     ///< handed out after its ack was confirmed
    double_lease,         ///< handed out while somebody else's lease of it was live
    token_conflict,       ///< two leases of one message with one token: a late ack would count
    stale_ack,            ///< an ack confirmed although a later lease had been given
    phantom_unknown,      ///< delivered or in effect, and nobody ever published it
    phantom_changed,      ///< with another body or headers than published
    phantom_queue,        ///< in a queue where nobody published it
    phantom_failed,       ///< every try of publishing it was refused for good
    phantom_rolled_back,  ///< the transaction that would have published it was rolled back
    phantom_undurable,    ///< confirmed or delivered above what was synced
    position_conflict,    ///< two messages at one position, or a position behind those of before a
                          ///< crash
    producer_reordering,  ///< one producer, queue and key: the later one lies before the earlier
                          ///< one
    realtime_reordering,  ///< confirmed before the other was even asked for, and lies behind it
    delivery_reordering,  ///< ordered queue: delivered before one ahead of it of its key was
                          ///< settled
    false_empty,          ///< a queue was said to be empty that was not
    over_delivery,        ///< more live leases of one consumer than its window
    attempt_error,        ///< the count of deliveries or the flag redelivered does not fit
    late_expiry,          ///< delivered after its time to live
    early_expiry,         ///< dropped before its time to live
    conservation,         ///< what the broker says it has is not what it can have
    not_drained,          ///< the history does not end with everything settled
    stuck,                ///< messages are ready, faults are over, and nobody is given any
    saga_states,          ///< a saga with no final state, or with more than one
    saga_effects,         ///< a step's effects are not one (completed) or not undone (compensated)
    saga_order,           ///< steps or compensations out of order, or a step behind a compensation
    torn_transaction,     ///< one part of a transaction took effect and another did not
    two_fates,            ///< acked and a dead letter as well, or delivered after it became one
    dead_letter_unasked,  ///< a dead letter that nothing had made one
    over_attempts,        ///< delivered more often than its queue allows
    double_lock,          ///< more holders of a lock at a time than permits
    lock_token,           ///< a lock's token that is not above those before, or has two holders
};
inline constexpr std::size_t violation_count = std::size_t{38};

/// `lost_middle` as "lost-middle".
[[nodiscard]] std::string_view name_of(Violation violation) noexcept;
/// What it means, in a sentence without an end.
[[nodiscard]] std::string_view meaning_of(Violation violation) noexcept;

/// How much may be demanded of the counts of deliveries.
enum class Attempts : std::uint8_t {
    unchecked,
    growing,  ///< each is more than the one before: some deliveries were seen by nobody
    exact,    ///< one more, but for crashes of a broker, each of which may count one that was not
};

/// What the run that made the history promised. The defaults fit clients' own notes of a run that
/// ended calmly.
struct Rules {
    std::set<std::uint32_t> ordered_queues;          ///< strict order by key
    std::set<std::uint32_t> no_ack_queues;           ///< a delivery there is the end of a message
    std::set<std::uint32_t> dead_letter_queues;      ///< where messages of others may turn up
    std::set<std::uint32_t> dead_letter_from;        ///< whose messages turn up there, if not acked
    std::set<std::uint32_t> brokers;                 ///< processes whose crash ends every lease
    std::map<std::uint32_t, std::uint32_t> windows;  ///< consumer: how many live leases at most
    std::map<std::uint32_t, std::uint32_t> deliveries_max;  ///< queue: of one message at most
    std::map<std::uint32_t, std::uint32_t> lock_permits;    ///< lock: holders at a time, if not 1
    std::uint64_t lease_ns = 0;      ///< a lease is over by itself after so long; 0: only by events
    std::uint64_t tolerance_ns = 0;  ///< between an event and the note of it
    std::uint64_t retry_delay_ns = 0;  ///< what was given back may rest for so long
    std::uint64_t healed_ns = 0;       ///< when faults ended; 0: unknown
    std::uint64_t stuck_ns = 0;     ///< after healed_ns, longest silence of a queue; 0: unchecked
    bool drain_expected = true;     ///< an event `drained` has to be there
    bool effects_expected = true;   ///< each committed message has an effect
    bool effects_once = true;       ///< and only one
    bool positions_checked = true;  ///< positions are the broker's log positions
    bool wall_jumps = false;  ///< a restart may find another time: no life over a crash is judged
    /// Events stand in the order in which the broker did things, not in that in which clients heard
    /// of them. Only then can a queue that is said to be empty be judged.
    bool broker_order = false;
    Attempts attempts = Attempts::growing;
};

/// One kind of violation.
struct Finding {
    Violation what = Violation::lost_prefix;
    std::uint64_t count = 0;
    std::vector<std::uint64_t> ids;   ///< of the first messages (or sagas) that have it
    std::vector<std::size_t> events;  ///< indices into the history: all that is known of the first
    std::string first;                ///< the first one in words
};
inline constexpr std::size_t ids_shown_max = 32;
inline constexpr std::size_t events_shown_max = 40;

struct Report {
    std::vector<Finding> findings;  ///< in the order of Violation, none twice
    std::uint64_t events = 0;
    std::uint64_t messages = 0;   ///< distinct, per queue
    std::uint64_t confirmed = 0;  ///< of them
    std::uint64_t committed = 0;
    std::uint64_t deliveries = 0;
    std::uint64_t acked = 0;
    std::uint64_t effects = 0;
    std::uint64_t sagas = 0;

    [[nodiscard]] bool clean() const noexcept { return findings.empty(); }
    /// Null: there is none.
    [[nodiscard]] const Finding* find(Violation what) const noexcept;
};

/// Judges a history. Knows no broker: definitions are in terms of what clients saw.
///
/// A call without an answer, and one answered with info, may have taken effect at any later time,
/// at most once; nothing is held against either way. O(n log n) time, O(n) memory. Any history is
/// taken, also one that no run could make: what cannot be understood is not judged.
/// Threads: any; no state.
[[nodiscard]] Report check(const History& history, const Rules& rules);

/// The report for people: a line of figures, then each finding with its first ids and events.
[[nodiscard]] std::string text_of(const Report& report, const History& history);
/// One event on one line, without its end.
[[nodiscard]] std::string text_of(const Event& event);

/// Confirmed and lost messages per producer and second, as CSV with a heading: what a plot of a
/// loss is made from.
[[nodiscard]] std::string losses_csv(const History& history, const Rules& rules);

}  // namespace ferry::history
