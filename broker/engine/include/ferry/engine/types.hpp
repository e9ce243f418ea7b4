#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/wire/codes.hpp"

namespace ferry::engine {

using wire::Code;

/// Byte offset into the log. A message's position is that of its record plus its index in the
/// record.
using Position = std::uint64_t;
using SessionId = std::uint64_t;  // one connection; chosen by the driver, never used twice
using QueueId = std::uint32_t;
using Tag = std::uint64_t;  // delivery tag, per subscription, from 1
using Sequence = std::uint64_t;

/// A delayed publish is due within a hundred years.
constexpr std::uint64_t deliver_ahead_ms_max = 100ULL * 365 * 24 * 3600 * 1000;

/// First and last, both included.
template <class T>
struct Range {
    T first{};
    T last{};
    bool operator==(const Range&) const = default;
};

/// What stands for an ordering key in an ordered queue's index: 32 bits of its hash, never 0. Two
/// keys with one number wait for each other as if they were one. 0: no key.
using KeyNumber = std::uint32_t;

/// A run of messages that lie one behind another in one record. In ordered queues all of one key.
struct Extent {
    static constexpr std::uint32_t count_max = (1U << 19) - 1;
    static constexpr std::uint32_t offset_max = (1U << 24) - 1;

    // What is read most often lies whole in memory: a processor that has to bring what it just
    // wrote together from several stores waits until they are done.
    Position first = 0;       // position of the first message
    std::uint32_t bytes = 0;  // of all messages; an estimate unless `exact`
    KeyNumber key = 0;
    std::uint32_t count : 19 = 0;  // a record has at most 65,536
    bool exact : 1 = false;
    std::uint8_t level : 4 = 0;  // priority, in a queue that heeds it
    std::uint32_t offset_high : 8 = 0;
    std::uint16_t offset_low = 0;
    std::uint16_t index = 0;  // of the first message in its record: record() = first - index

    [[nodiscard]] Position record() const { return first - index; }
    [[nodiscard]] Position end() const { return first + count; }
    /// Requires n <= count_max.
    void set_count(std::uint32_t n) { count = n & count_max; }
    /// Of the first message's bytes in the record's body; 0: not known, walk.
    [[nodiscard]] std::uint32_t offset() const {
        return static_cast<std::uint32_t>(offset_high) << 16 | offset_low;
    }
    void set_offset(std::uint32_t at) {
        const std::uint32_t kept = at <= offset_max ? at : 0;
        offset_high = kept >> 16 & 0xffU;
        offset_low = static_cast<std::uint16_t>(kept & 0xffffU);
    }
    bool operator==(const Extent&) const = default;
};
static_assert(sizeof(Extent) == 24, "a queue's index is as large as this");

using Argument = std::variant<std::monostate, bool, std::int64_t, double, std::string>;
using Arguments = std::vector<std::pair<std::string, Argument>>;  // sorted by name

// ---- Effects: what the engine wants done. It never does any of it. ----

/// Send these messages. The bytes are found with message_bytes() in the record's body.
struct Deliver {
    SessionId session = 0;
    std::uint64_t subscription = 0;
    Tag first_tag = 0;
    Extent extent;
    std::uint32_t attempt = 1;
    Position token = 0;
    bool no_ack = false;  // the driver acks it (request 0) when the bytes went to the socket
    // Messages from elsewhere in the log that follow with the next tags, all with attempt 1 and
    // their position as token. Only for subscriptions with `some_at_a_time`.
    std::vector<Extent> more;
    std::uint32_t more_messages = 0;

    [[nodiscard]] std::uint64_t messages() const {
        return std::uint64_t{extent.count} + more_messages;
    }
};
struct Confirm {
    SessionId session = 0;
    std::uint64_t producer = 0;  // handle
    Range<Sequence> sequences;
    bool duplicate = false;
    bool repeated = false;  // a queue had seen the id, and did not get the message again
    // Of transactions, each of which is one sequence whatever it published; and that, in all.
    bool transactions = false;
    std::uint64_t messages = 0;
};
struct Refuse {
    SessionId session = 0;
    std::uint64_t producer = 0;
    Range<Sequence> sequences;
    Code code = Code::internal;
    std::string text;
};
/// The subscription of a queue with a single active consumer gets messages now, or waits.
struct Activated {
    SessionId session = 0;
    std::uint64_t subscription = 0;
    bool active = false;
};
struct Settled {
    SessionId session = 0;
    std::uint64_t request = 0;
    std::vector<Range<Tag>> lost;
};
struct Cancelled {
    SessionId session = 0;
    std::uint64_t subscription = 0;
    Code code = Code::no_such_queue;
    std::string text;
};

/// How long a message waits between a failed delivery and the next one.
enum class RetryKind : std::uint8_t { none = 0, fixed = 1, linear = 2, exponential = 3 };
/// What happens when a queue is at its limit.
enum class Overflow : std::uint8_t { drop_head = 0, reject_publish = 1, dead_letter_head = 2 };

/// What a queue does with messages beyond keeping them. Zero and empty: nothing of the kind.
struct QueuePolicy {
    RetryKind retry = RetryKind::none;
    std::uint64_t retry_delay_ms = 0;        // the first, or the step
    std::uint64_t retry_delay_max_ms = 0;    // 0: 7 days
    std::uint32_t retry_jitter_percent = 0;  // waits are shorter by up to so much
    std::uint32_t max_deliveries = 0;
    std::string dead_letter_exchange;  // with a key alone: the default exchange
    std::string dead_letter_key;       // empty: the message's own
    std::uint64_t message_ttl_ms = 0;
    std::uint64_t expires_ms = 0;  // the queue goes when nobody used it for so long
    std::uint64_t max_messages = 0;
    std::uint64_t max_bytes = 0;
    Overflow overflow = Overflow::drop_head;
    std::uint64_t dedupe_window_ms = 0;  // a message id that was seen so recently is a repeat
    std::uint64_t dedupe_max_ids = 0;    // at most so many are remembered; 0: 65,536
    bool priorities = false;             // messages of a higher priority go first

    [[nodiscard]] bool limited() const { return max_messages != 0 || max_bytes != 0; }
    [[nodiscard]] bool rejects_publish() const {
        return limited() && overflow == Overflow::reject_publish;
    }
    /// Makes room by itself, from the head.
    [[nodiscard]] bool trims() const { return limited() && overflow != Overflow::reject_publish; }
    [[nodiscard]] bool dead_letters() const {
        return !dead_letter_exchange.empty() || !dead_letter_key.empty();
    }
    bool operator==(const QueuePolicy&) const = default;
};

/// Settings for every queue whose name fits a pattern. Of several that fit, the one with the
/// highest priority counts, and among equals the first by name; a queue's own declaration goes
/// before it.
struct NamedPolicy {
    std::string name;
    std::string pattern;  // * for any run of characters, ? for one
    std::uint32_t priority = 0;
    bool from_file = false;  // from the broker's configuration: not to be changed at run time
    QueuePolicy settings;

    bool operator==(const NamedPolicy&) const = default;
};

/// One consumer of a queue.
struct ConsumerView {
    std::string queue;
    SessionId session = 0;
    std::uint64_t subscription = 0;
    std::string member;  // its name among the consumers of an ordered queue
    bool active = true;  // false: another one is the single active consumer
    std::uint64_t unacked = 0;
    std::uint64_t slots = 0;     // of an ordered queue: hash slots whose keys come to it
    std::uint64_t draining = 0;  // of these: others get them when their messages are settled
    bool pulls = false;          // asks for messages one time after another
    bool stuck = false;          // a lease ended, and it has said nothing since
    std::uint64_t unacked_bytes = 0;
    std::uint64_t window_messages = 0;
    std::uint64_t oldest_ms = 0;     // since it got the oldest that it holds
    std::uint64_t lease_ms = 0;      // that it gets with each message
    std::uint64_t silent_ms = 0;     // since it last settled, extended or asked for something
    std::uint64_t leases_ended = 0;  // messages that were taken from it
};

/// Where a list of consumers goes on: behind so many of this queue.
struct ConsumerPlace {
    std::string_view queue;
    std::size_t skip = 0;
};

/// One queue as it stands.
struct QueueView {
    std::string name;
    QueueId id = 0;
    bool durable = true, exclusive = false, auto_delete = false;
    bool ordered = false, single_active = false;
    std::uint64_t lease_ms = 0;
    std::uint64_t ready = 0, ready_bytes = 0, unacked = 0, consumers = 0;
    std::uint64_t published = 0, delivered = 0, acked = 0, returned = 0;  // since start
    std::uint64_t oldest_unacked_ms = 0;
    std::uint64_t stuck = 0;    // of the consumers: a lease ended and nothing was heard since
    std::uint64_t delayed = 0;  // wait for their time
    std::uint64_t leaving = 0;  // on their way to another queue, parked ones included
    std::uint64_t parked = 0;   // of these: no queue takes them
    std::uint64_t dead_lettered = 0, expired = 0, dropped = 0;  // since start
    std::uint64_t repeated = 0;   // publishes not stored since start: their id had been seen
    std::uint64_t ids = 0;        // that are remembered
    std::uint64_t held_keys = 0;  // ordered: keys with a message that is delivered or retried
    std::uint64_t blocked = 0;    // ordered: of `ready`, looked at and waiting for key or consumer
    // Only from show_queue(): every message of the queue below it is settled, durably.
    Position floor = 0;
    QueuePolicy policy;                 // in force
    QueuePolicy declared;               // of these, what the queue's own declaration says
    std::string policy_name;            // where the others come from; empty: no policy fits
    std::vector<ConsumerView> members;  // at most limits::consumers_shown_max
};
/// What happens with a scheduled message whose time passed unnoticed: the broker was down, its disk
/// was full, or its clock was put forward.
enum class Missed : std::uint8_t {
    once = 0,  // one message for all times that were missed
    skip = 1,  // none
};
/// A message that is published again and again. The engine knows no calendar: when it is due next
/// it is told.
struct Schedule {
    std::string name;
    std::string cron;
    std::string zone;
    Missed missed = Missed::once;
    bool paused = false;
    std::vector<std::byte> message;  // as in a publish; gets an id and a header each time
    std::uint64_t next_ms = 0;       // due then, wall clock; 0: not again
    std::uint64_t last_ms = 0;       // the last due time that is settled; 0: none
    std::uint64_t fired = 0;         // messages published
    std::uint64_t skipped = 0;       // times that were settled without a message
    std::uint64_t reached = 0;       // queues that the last message reached
};

/// A message that is on the disk and in no queue yet, because its producer still has to say whether
/// it is to be: prepare, then submit or drop. Who is silent is asked (docs/checkback.md).
struct Prepared {
    std::string id;           // chosen by the producer, who decides about it
    std::string producer;     // what it calls itself; only to be shown
    std::string check_queue;  // where the engine asks
    std::vector<std::byte> message;
    std::uint64_t check_after_ms = 0;  // before the first check; 0: the default
    std::uint32_t max_checks = 0;      // then it is parked; 0: the default
    std::uint64_t prepared_ms = 0;     // wall clock
    std::uint64_t next_check = 0;      // steady clock; of a parked one: when it was parked
    std::uint32_t checks = 0;          // put into the check queue, since it was prepared or resumed
    std::uint32_t asked = 0;           // the same since it was prepared
    std::uint64_t asked_ms = 0;        // wall clock of the last one; 0: none
    bool parked = false;
};
/// Why a check that is due is not in its queue.
enum class Unasked : std::uint8_t {
    none = 0,
    no_queue = 1,
    queue_full = 2,
    nobody_there = 3,  // nobody consumes, and what was asked before still lies there
};
/// As shown to people.
struct PreparedView {
    const Prepared* prepared = nullptr;  // valid until the next command
    std::uint64_t next_check_ms = 0;     // wall clock; 0: parked
    Unasked unasked = Unasked::none;
};

/// One who holds a lock, or waits for it.
struct LockPartyView {
    std::string holder;     // what it calls itself
    SessionId session = 0;  // 0: away
    Position token = 0;     // 0: it waits
    std::uint64_t ttl_ms = 0;
    std::uint64_t left_ms = 0;  // until it loses lock or place; 0: as long as it is there
};
struct LockView {
    std::string name;
    std::uint64_t permits = 1;
    std::uint64_t holding = 0, waiting = 0;
    std::uint64_t delayed = 0;        // permits that nobody gets yet: their holder was lost
    std::uint64_t delay_left_ms = 0;  // until the first of these is free
    // Only from lock(): at most limits::lock_parties_shown_max of each.
    std::vector<LockPartyView> holders;  // in order of token
    std::vector<LockPartyView> waiters;  // in order
};

/// Something that is so, as an answer to why(). docs/operations.md lists the names.
struct Fact {
    std::string name;
    Arguments details;  // in the order in which they are to be read
};

// Answers to requests.
struct WhyAnswer {
    std::vector<Fact> facts;
};
struct Failure {
    Code code = Code::internal;
    std::string text;
};
struct Plain {};
struct QueueAnswer {
    std::string name;
    std::uint64_t messages = 0;
    std::uint64_t consumers = 0;
};
struct CountAnswer {
    std::uint64_t messages = 0;
};
struct QueuesAnswer {
    std::uint64_t queues = 0;
};
struct PullAnswer {
    std::uint64_t delivered = 0;
    std::uint64_t ready = 0;
};
struct ProducerAnswer {
    std::uint64_t handle = 0;
    std::uint64_t epoch = 0;
    Sequence mark = 0;
    std::vector<Range<Sequence>> open;
};
/// The transaction is durable. `duplicate`: it was before.
struct TransactionAnswer {
    bool duplicate = false;
    std::uint32_t messages = 0;  // that it published
};
/// What was asked is so, durably. `duplicate`: it was before.
struct PreparedAnswer {
    bool duplicate = false;
};
/// The lock is held under `token`, or (0) so many wait before the one who asked.
struct LockAnswer {
    Position token = 0;
    std::uint64_t ahead = 0;
};
using Answer =
    std::variant<Plain, Failure, QueueAnswer, CountAnswer, QueuesAnswer, PullAnswer, ProducerAnswer,
                 QueueView, TransactionAnswer, WhyAnswer, PreparedAnswer, LockAnswer>;
struct Reply {
    SessionId session = 0;
    std::uint64_t request = 0;
    Answer answer;
};
/// Send an error with request id 0 and close.
struct CloseSession {
    SessionId session = 0;
    Code code = Code::internal;
    std::string text;
};
/// Read the index block at `record` and hand its body to index_loaded().
struct LoadIndex {
    QueueId queue = 0;
    Position record = 0;
};

/// Read the record at `record` and hand its body to body_loaded().
struct LoadBody {
    QueueId queue = 0;
    Position record = 0;
};

/// Find out when `cron` in `zone` is due next after `after_ms`, and hand that to schedule_due().
struct ScheduleDue {
    std::string name;
    std::string cron;
    std::string zone;
    std::uint64_t due_ms = 0;
    std::uint64_t after_ms = 0;
};

/// What became of a lock that a session waits for or holds. `request` is its last lock request.
struct LockTold {
    SessionId session = 0;
    std::uint64_t request = 0;
    std::string name;
    Position token = 0;
    bool granted = false;  // false: it is held no longer, or the place in the line is lost
};

using Effect = std::variant<Deliver, Confirm, Refuse, Settled, Cancelled, Reply, CloseSession,
                            LoadIndex, LoadBody, ScheduleDue, Activated, LockTold>;
/// Filled by the engine in the order in which things are to be done; emptied by the driver.
using Effects = std::vector<Effect>;

// ---- Commands' parameters ----

struct PublishCommand {
    SessionId session = 0;
    std::uint64_t producer = 0;  // handle
    Sequence first = 1;
    std::uint64_t flags = 0;
    Sequence settled = 0;
    std::uint32_t count = 0;
    Bytes messages;  // `count` messages, one behind another
};
/// What a transaction does with deliveries of one subscription of its session.
struct TransactionPart {
    std::uint64_t subscription = 0;
    bool reject = false;  // instead of ack: a dead letter, if the queue has those
    std::span<const Range<Tag>> tags;
};
struct TransactionCommand {
    SessionId session = 0;
    std::uint64_t request = 0;
    std::uint64_t producer = 0;  // handle
    Sequence sequence = 1;       // the whole transaction is one sequence of its producer
    std::uint64_t flags = 0;
    Sequence settled = 0;
    std::span<const TransactionPart> parts;
    std::uint32_t count = 0;
    Bytes messages;  // `count` messages, one behind another
    // Answered as a publish is, with Confirm and Refuse, instead of with a Reply to `request`.
    bool told_by_sequence = false;
};
/// One of several transactions that come together.
struct TransactionItem {
    std::uint32_t count = 0;  // of the next messages
    std::span<const TransactionPart> parts;
};
struct TransactionsCommand {
    SessionId session = 0;
    std::uint64_t producer = 0;  // handle
    Sequence first = 1;          // of the first transaction; the others follow on
    std::uint64_t flags = 0;
    Sequence settled = 0;
    std::span<const TransactionItem> items;
    std::uint32_t count = 0;  // of all items
    Bytes messages;           // `count` messages, one behind another
};
struct QueueOptions {
    bool durable = true;
    bool exclusive = false;
    bool auto_delete = false;
    bool passive = false;
    bool check = false;          // only say what would happen, and change nothing
    bool ordered = false;        // messages of one ordering key one after another
    bool single_active = false;  // one consumer at a time, the others wait
    std::uint64_t lease_ms = 0;  // 0: the broker's default
    QueuePolicy policy;
};
enum class ExchangeType : std::uint8_t {
    direct = 0,
    topic = 1,
    fanout = 2,
    headers = 3,
    consistent_hash = 4,
};
constexpr std::uint8_t exchange_type_max = 4;
/// What a consistent-hash exchange hashes. Messages that lack it are hashed by their routing key.
enum class HashOn : std::uint8_t { routing_key = 0, ordering_key = 1, header = 2 };
struct ExchangeOptions {
    bool durable = true;
    bool auto_delete = false;
    bool internal = false;  // takes messages from other exchanges only
    bool passive = false;
    HashOn hash_on = HashOn::routing_key;  // consistent-hash exchanges
    std::string hash_header;               // its name, with HashOn::header
};
struct Binding {
    std::string source;
    std::string destination;
    bool to_exchange = false;
    std::string key;
    Arguments arguments;  // headers exchange: x-match = all (default) | any, and what to match
    bool operator==(const Binding&) const = default;
};
struct SubscribeOptions {
    std::uint64_t window_messages = 0;
    std::uint64_t window_bytes = 0;
    bool no_ack = false;
    bool exclusive = false;
    std::uint64_t lease_ms = 0;  // 0: the queue's
    // Ordered queues: who gets which keys depends on the members' names and weights alone. Without
    // a name the engine takes one that no other subscription has.
    bool some_at_a_time = false;  // takes Deliver with `more`
    std::string member;
    std::uint64_t weight = 1;  // 1 to limits::ring_weight_max
};

struct LockCommand {
    SessionId session = 0;
    std::uint64_t request = 0;
    std::string_view name;
    std::string_view holder;     // chosen by the client: the same comes back to what it had
    std::uint64_t ttl_ms = 0;    // 0: the default
    std::uint64_t delay_ms = 0;  // nobody gets it for so long after this holder was lost
    std::uint64_t permits = 1;
    bool wait = false;  // stand in line if it is not free
};

// ---- What queries return ----

struct PolicyView {
    NamedPolicy policy;
    std::uint64_t queues = 0;  // that take settings from it
};
struct ExchangeView {
    std::string name;
    ExchangeType type = ExchangeType::direct;
    bool durable = true, auto_delete = false, internal = false;
    std::uint64_t bindings = 0;
    HashOn hash_on = HashOn::routing_key;
    std::string hash_header;
};
struct Totals {
    std::uint64_t queues = 0, exchanges = 0, producers = 0, sessions = 0;
    std::uint64_t published = 0, confirmed = 0, refused = 0, duplicates = 0, unroutable = 0;
    std::uint64_t delivered = 0, acked = 0, returned = 0, leases_expired = 0;
    std::uint64_t dead_lettered = 0, expired = 0, delayed = 0, leaving = 0, parked = 0;
    std::uint64_t transactions = 0, transactions_refused = 0, dropped = 0, repeated = 0;
    std::uint64_t ready = 0, unacked = 0, live_bytes = 0, extents_in_memory = 0;
    std::uint64_t held_keys = 0, blocked = 0;  // of ordered queues
    std::uint64_t policies = 0, schedules = 0;
    // Since start: messages of schedules, times settled without one, and those that reached nobody.
    std::uint64_t scheduled = 0, schedule_skips = 0, schedule_unroutable = 0;
    std::uint64_t prepared = 0, prepared_bytes = 0, prepared_parked = 0;
    // Since start: checks that were put into their queue, those that could not be, and decisions.
    std::uint64_t checks = 0, checks_not_put = 0, prepared_submitted = 0, prepared_dropped = 0;
    std::uint64_t locks = 0, lock_holders = 0, lock_waiters = 0;
    // Since start: grants, and how they ended; waiters that lost their place.
    std::uint64_t lock_grants = 0, lock_releases = 0, lock_losses = 0, lock_forced = 0;
    std::uint64_t lock_places_lost = 0;
};
/// Where in a queue to look.
enum class Where : std::uint8_t {
    ready,
    unacked,
    delayed,  // wait for their time, or for their next attempt
    leaving,  // on their way to another queue, parked ones included
};
struct PeekItem {
    Extent extent;
    std::uint32_t attempt = 1;
};

}  // namespace ferry::engine
