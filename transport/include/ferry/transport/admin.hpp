#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ferry/wire/message.hpp"

namespace ferry::transport {

/// What the broker said of itself in hello.
struct ServerInfo {
    std::string server;
    std::string log_id;
    std::uint64_t session = 0;
    std::uint64_t heartbeat_ms = 0;
    std::uint64_t frame_bytes_max = 0;
    std::uint64_t payload_bytes_max = 0;
    std::string reply_to;      // where replies to this connection's calls go
    std::uint64_t now_ms = 0;  // the broker's wall clock when it said hello
};

/// What a queue does with messages beyond keeping them; docs/retries.md. Zero and empty: nothing of
/// the kind.
struct QueuePolicy {
    std::string retry;                       // "fixed", "linear" or "exponential"
    std::uint64_t retry_delay_ms = 0;        // the first delay, or the step
    std::uint64_t retry_delay_max_ms = 0;    // 0: 7 days
    std::uint64_t retry_jitter_percent = 0;  // delays are shorter by up to so much
    std::uint64_t max_deliveries = 0;        // then the message is a dead letter
    std::uint64_t message_ttl_ms = 0;        // a message expires after so long in the queue
    std::uint64_t expires_ms = 0;            // the queue goes when nobody used it for so long
    std::uint64_t max_length = 0;            // messages; see docs/limits.md for what counts
    std::uint64_t max_bytes = 0;
    std::uint64_t dedupe_window_ms = 0;  // ids seen so recently are not stored again
    std::uint64_t dedupe_max_ids = 0;    // at most so many are remembered; 0: 65,536
    bool priorities = false;             // messages of a higher priority go first
    std::string overflow;                // "drop_head", "reject_publish", "dead_letter_head"
    std::string dead_letter_exchange;    // empty with a key: the default exchange
    std::string dead_letter_key;         // empty: the message's own
};

struct QueueOptions {
    bool durable = true;
    bool exclusive = false;
    bool auto_delete = false;
    bool passive = false;        // only ask whether it exists
    bool check = false;          // only ask whether it could be declared so
    bool ordered = false;        // messages of one ordering key one after another
    bool single_active = false;  // one consumer at a time, the others wait for their turn
    std::uint64_t lease_ms = 0;  // 0: the broker's default
    QueuePolicy policy;
};

struct DeclaredQueue {
    std::string name;
    std::uint64_t messages = 0;
    std::uint64_t consumers = 0;
};

struct DeleteQueueOptions {
    bool if_unused = false;
    bool if_empty = false;
};

/// One consumer of a queue.
struct QueueMember {
    std::string queue;   // only from list_consumers, as the client
    std::string client;  // the name that it gave itself
    std::uint64_t session = 0;
    std::uint64_t subscription = 0;
    std::string member;  // its name, in an ordered queue
    bool active = true;  // false: waits, in a queue with a single active consumer
    std::uint64_t unacked = 0;
    std::uint64_t slots = 0;     // of 1024: the share of keys that come to it
    std::uint64_t draining = 0;  // of these, so many go to others when it has settled them
    bool pulls = false;          // asks for messages, one time after another
    /// A lease of it ended and nothing was heard of it since: while somebody else consumes, it gets
    /// no new messages.
    bool stuck = false;
    std::uint64_t unacked_bytes = 0;
    std::uint64_t window_messages = 0;
    std::uint64_t oldest_ms = 0;     // since it got the oldest message that it holds
    std::uint64_t lease_ms = 0;      // that it gets with each message
    std::uint64_t silent_ms = 0;     // since it last settled, extended or asked for something
    std::uint64_t leases_ended = 0;  // messages that were taken from it
};

/// Where a list of consumers goes on: behind so many of this queue.
struct ConsumerPlace {
    std::string queue;
    std::uint64_t skip = 0;
};

struct ConsumerPage {
    std::vector<QueueMember> consumers;  // by the name of the queue
    bool more = false;
    ConsumerPlace next;  // if there are more: where to go on
};

struct QueueInfo {
    std::string name;
    bool durable = false;
    bool exclusive = false;
    bool auto_delete = false;
    std::uint64_t lease_ms = 0;
    std::uint64_t ready = 0;
    std::uint64_t ready_bytes = 0;
    std::uint64_t unacked = 0;
    std::uint64_t consumers = 0;
    std::uint64_t stuck = 0;  // of the consumers; see QueueMember
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;
    std::uint64_t acked = 0;
    std::uint64_t returned = 0;
    std::uint64_t delayed = 0;  // wait for their time
    std::uint64_t leaving = 0;  // on their way to another queue, parked ones included
    std::uint64_t parked = 0;   // of these: no queue takes them
    std::uint64_t dead_lettered = 0;
    std::uint64_t expired = 0;
    std::uint64_t dropped = 0;   // over the limit
    std::uint64_t repeated = 0;  // not stored: their id had been seen
    std::uint64_t ids = 0;       // that are remembered
    std::uint64_t oldest_unacked_ms = 0;
    bool ordered = false;
    bool single_active = false;
    std::uint64_t held_keys = 0;  // ordered: keys with a message delivered, or waiting for a retry
    std::uint64_t blocked = 0;    // of `ready`: looked at, and waiting for their key or consumer
    std::vector<QueueMember> members;  // only from show_queue; at most 256
    /// Only from show_queue: every message of the queue below this position is settled, and a crash
    /// of the broker brings none of them back.
    std::uint64_t floor = 0;
    /// Only from show_queue: the settings in force that are not zero or empty; of these, those of
    /// the queue's own declaration; and the policy that the others come from, if any.
    wire::Headers policy;
    wire::Headers declared;
    std::string policy_name;
};

/// Settings for every queue whose name fits `pattern`; docs/policies.md.
struct PolicyOptions {
    std::string pattern;         // * for any run of characters, ? for one
    std::uint64_t priority = 0;  // of several that fit, the highest counts
    bool check = false;          // only ask whether it could be set so
    QueuePolicy settings;
};

struct PolicyInfo {
    std::string name;
    std::string pattern;
    std::uint64_t priority = 0;
    std::string source;        // "config" or "runtime"
    std::uint64_t queues = 0;  // that take settings from it
    wire::Headers settings;    // those that are not zero or empty
};

/// A message that is published again and again; docs/time.md.
struct ScheduleOptions {
    std::string cron;
    std::string zone = "UTC";
    std::string missed = "once";  // or "skip"
    bool paused = false;
    bool check = false;  // only ask whether it could be set so
    wire::Message message;
};

struct ScheduleInfo {
    std::string name;
    std::string cron;
    std::string zone;
    std::string missed;
    bool paused = false;
    std::uint64_t next_ms = 0;  // ms since 1970; 0: not due again
    std::uint64_t last_ms = 0;
    std::uint64_t fired = 0;    // messages published
    std::uint64_t skipped = 0;  // times without a message
    std::uint64_t reached = 0;  // queues that the last message reached
    wire::Message message;      // only from show_schedule
};

struct SchedulePage {
    std::vector<ScheduleInfo> schedules;  // in order of name
    bool more = false;
};

/// Something that is so; docs/operations.md lists the names.
struct Fact {
    std::string name;
    wire::Headers details;
};

/// What why() is about: the whole queue, or one message.
struct WhyTarget {
    std::uint64_t position = 0;
    std::string id;  // of delayed messages
};

struct PolicyPage {
    std::vector<PolicyInfo> policies;  // in order of name
    bool more = false;
};

struct QueuePage {
    std::vector<QueueInfo> queues;  // in order of name
    bool more = false;              // ask again with after = the last name
};

/// Which messages move_messages takes.
struct MoveSelection {
    std::uint64_t position = 0;  // this one; 0: from the head of the queue
    std::uint64_t count = 0;     // at most; 0: up to 1,000,000
    bool parked = false;         // those that no queue took, instead of those that are ready
};

struct PeekedMessage {
    std::uint64_t position = 0;
    std::uint64_t attempt = 0;
    std::uint64_t published_ms = 0;
    wire::Message message;
};

struct ExchangeOptions {
    bool durable = true;
    bool auto_delete = false;
    bool internal = false;
    bool passive = false;
    /// Type "consistent-hash": "routing_key" (if empty), "ordering_key" or "header:NAME".
    std::string hash;
};

/// From exchange `source` to the queue or exchange `destination`.
struct Binding {
    std::string source;
    std::string destination;
    std::string kind = "queue";  // or "exchange"
    std::string key;
    wire::Headers arguments;
};

struct ExchangeInfo {
    std::string name;
    std::string type;
    bool durable = false;
    bool auto_delete = false;
    bool internal = false;
    std::string hash;  // of a consistent-hash exchange
    std::uint64_t binding_count = 0;
    std::vector<Binding> bindings;  // only from show_exchange
};

struct ExchangePage {
    std::vector<ExchangeInfo> exchanges;
    bool more = false;
};

/// Figures of the whole broker. `figures` has every whole number that it sent, by its name in
/// docs/protocol.md.
struct BrokerStats {
    std::string version;
    std::string log_id;
    std::map<std::string, std::uint64_t> figures;

    /// 0 when the broker did not send it.
    [[nodiscard]] std::uint64_t figure(const std::string& name) const {
        const auto found = figures.find(name);
        return found == figures.end() ? 0 : found->second;
    }
};

struct BackupInfo {
    std::uint64_t upto = 0;
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;
};

}  // namespace ferry::transport
