#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ferry/history/checker.hpp"

namespace ferry::history {

/// An index into the history. `never`: it did not happen, which is later than all that did.
using At = std::size_t;
inline constexpr At never = std::numeric_limits<At>::max();

/// A message in somebody's hands.
struct Lease {
    At granted = never;
    At asked = never;       ///< the first ack or nack of it was sent
    At acked = never;       ///< an ack was confirmed
    At undone = never;      ///< an ack or reject was sent that the broker took along when it died
    At returned = never;    ///< the first nack was sent
    At ended = never;       ///< somebody saw it end, or its holder or a broker died
    At live_until = never;  ///< up to here nobody else may have had it
    std::uint64_t live_until_ns = 0;  ///< the same as a time, also behind the history's end
    std::uint64_t token = 0;
    std::uint64_t position = 0;
    std::uint64_t payload = 0;
    std::uint32_t holder = 0;
    std::uint32_t attempt = 0;
    bool redelivered = false;
    bool may_be_acked = false;  ///< an ack was sent that was not refused
    bool rejected = false;      ///< a reject was sent
    bool let_go = false;        ///< an ack or a reject was sent
};

/// One message in one queue (0: where its producer's exchange sent it).
struct Message {
    std::uint64_t id = 0;
    std::uint32_t queue = 0;
    std::uint32_t producer = 0;
    std::uint64_t key = 0;
    std::uint64_t payload = 0;
    std::uint64_t expires_ns = 0;        ///< at the latest
    std::uint64_t expires_first_ns = 0;  ///< at the earliest
    At asked_first = never;              ///< of its publishes
    At asked_last = 0;
    At confirmed = never;
    bool asked = false;       ///< any publish
    bool unsettled = false;   ///< a publish without an answer, or answered with info
    std::uint32_t open = 0;   ///< publishes that have no answer yet
    std::uint32_t tries = 0;  ///< publishes, answered or not
    At commit_asked = never;
    At committed = never;
    At rolled_back = never;
    std::uint32_t application = 0;  ///< who committed
    At expired = never;
    At dead = never;
    std::uint64_t dead_position = 0;  ///< of the dead letter that it became
    std::vector<Lease> leases;
    std::vector<std::pair<std::uint64_t, At>>
        positions;  ///< distinct, and when each was seen first
    std::vector<At> effects;

    [[nodiscard]] bool attempted() const { return asked || commit_asked != never; }
    /// Every try failed for good.
    [[nodiscard]] bool refused() const {
        return asked && confirmed == never && !unsettled && open == 0;
    }
    [[nodiscard]] bool may_be_acked() const;
    /// The earliest event that may have settled it for good; `never` if nothing can have.
    [[nodiscard]] At settled() const;
    /// The earliest event from which on what lies behind it of its key may be given out. What a
    /// crash undid comes again in its order, whatever was given out in between.
    [[nodiscard]] At let_pass() const;
};

/// Publishes and settlements that are one.
struct Transaction {
    std::uint64_t group = 0;
    bool done = false;
    bool refused = false;
    std::vector<std::uint32_t> publishes;                          ///< indices of messages
    std::vector<std::pair<std::uint32_t, std::uint64_t>> settled;  ///< and tokens of leases
};

/// A history, sorted by what its events are about. Everything here is what clients know.
class Ledger {
public:
    Ledger(const History& history, const Rules& rules);

    [[nodiscard]] const History& history() const { return history_; }
    [[nodiscard]] const Rules& rules() const { return rules_; }
    [[nodiscard]] const std::vector<Message>& messages() const { return messages_; }
    /// The same message in all its queues.
    [[nodiscard]] const std::vector<std::uint32_t>& places(std::uint64_t id) const;

    /// The last time that this queue was said to be drained; nothing: never was.
    [[nodiscard]] At drained(std::uint32_t queue) const;
    /// The first purge of the queue that may have taken what was published at `from`.
    [[nodiscard]] At purged(std::uint32_t queue, At from) const;
    /// Crashes of a broker in (from, to).
    [[nodiscard]] std::size_t broker_crashes(At from, At to) const;
    /// The first of them after `from`.
    [[nodiscard]] At broker_crash(At from) const;
    /// The first event at or after that time.
    [[nodiscard]] At at_time(std::uint64_t time_ns) const;
    /// The time of an event; of `never`: the end of all time.
    [[nodiscard]] std::uint64_t time(At at) const;
    /// Gone by other ways than an ack: expired (or due to), dead-lettered, purged.
    [[nodiscard]] bool excused(const Message& message, At drained) const;
    [[nodiscard]] const std::vector<std::pair<At, std::uint64_t>>& durable() const {
        return durable_;
    }
    [[nodiscard]] const std::vector<Transaction>& transactions() const { return transactions_; }
    struct Call {
        At asked = never;
        At answered = never;
        std::uint32_t queue = 0;
    };
    /// Polls that were answered "empty".
    [[nodiscard]] const std::vector<Call>& empty_polls() const { return polls_; }

private:
    void note(const Event& event, At at);
    void note_publish(const Event& event, At at);
    void note_commit(const Event& event, At at);
    void note_settle(const Event& event, At at);
    void note_life(const Event& event, Message& of);
    Transaction* transaction(const Event& event);
    void bury();
    void note_poll(const Event& event, At at);
    void note_purge(const Event& event, At at);
    void finish_leases();
    void find_undone(Message& message);
    Message& message(std::uint32_t queue, std::uint64_t id);
    Message* named(const Event& event);
    Lease* lease_of(const Event& event);

    const History& history_;
    const Rules& rules_;
    std::vector<Message> messages_;
    std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> by_id_;
    std::unordered_map<std::uint64_t, std::uint32_t> by_position_;  // mixed with the queue
    std::unordered_map<std::uint32_t, At> drained_;
    std::unordered_map<std::uint32_t, std::vector<At>> purges_;
    std::unordered_map<std::uint32_t, std::vector<At>> crashes_;
    std::vector<At> broker_crashes_;
    std::vector<std::uint64_t> times_;  // never going back
    std::vector<std::pair<At, std::uint64_t>> durable_;
    std::unordered_map<std::uint32_t, At> open_polls_;  // by process
    std::vector<Call> polls_;
    std::vector<Transaction> transactions_;
    std::unordered_map<std::uint64_t, std::size_t> transaction_of_;  // by group
};

}  // namespace ferry::history
