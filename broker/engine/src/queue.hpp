#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include <memory>

#include "chunk_list.hpp"
#include "extras.hpp"
#include "ferry/platform/planted.hpp"
#include "key_gate.hpp"
#include "ready_queue.hpp"

namespace ferry::engine {

struct Subscription;

/// A pull that is answered in dispatch().
struct WaitingPull {
    SessionId session = 0;
    std::uint64_t request = 0;
    std::uint64_t subscription = 0;
    std::uint64_t messages_max = 0;
    std::uint64_t bytes_max = 0;
};

/// One queue: what waits, who consumes, how far deliveries may go.
///
/// *Horizon*: positions below it may have been delivered at least once, and the log says so. It
/// moves ahead of deliveries in large steps (or rides on the publish record when a consumer is
/// waiting), so that after a crash every message that anybody may have seen is marked redelivered
/// without a log record per delivery.
struct Queue {
    Queue(QueueId queue_id, std::string queue_name, LiveSpace& live)
        : id(queue_id), name(std::move(queue_name)), ready(live) {}

    QueueId id;
    std::string name;
    QueueOptions options;
    std::uint64_t lease_ms = 0;
    // options.policy is what counts. Where a named policy fits: which, and what was declared.
    const NamedPolicy* named_policy = nullptr;
    std::unique_ptr<const QueuePolicy> declared;
    [[nodiscard]] const QueuePolicy& declared_policy() const {
        return declared != nullptr ? *declared : options.policy;
    }
    SessionId owner = 0;  // exclusive queues
    bool had_consumer = false;

    ReadyQueue ready;
    std::vector<Subscription*> subscriptions;  // in order of subscribing
    std::size_t next_subscription = 0;         // round robin
    std::size_t stuck = 0;                     // of the subscriptions
    bool exclusive_consumer = false;
    std::vector<Subscription*> pullers;
    std::deque<WaitingPull> waiting_pulls;

    Position horizon = 0;          // as far as records say
    Position horizon_durable = 0;  // as far as durable records say
    Position horizon_gate = 0;     // the record that makes `horizon` durable
    Position handed_out_end = 0;   // past the newest message that anybody got since the start

    // What a queue with a limit has room for, as of the publish command with this number.
    struct {
        std::uint64_t plan = 0;
        std::uint64_t messages = 0;
        std::uint64_t bytes = 0;
    } room;

    std::vector<Span> acks;  // of this turn, not yet in a record

    std::unique_ptr<Extras> extras;  // null for most queues
    std::unique_ptr<KeyGate> gate;   // ordered queues

    std::uint64_t unacked = 0;
    bool dirty = false;    // in State::dirty
    bool awaited = false;  // in State::awaiting_log

    std::uint64_t published = 0, delivered = 0, acked = 0, returned = 0;

    /// A publish record says that its messages, which end here, count as delivered. A step that is
    /// under way has to be durable all the same: its record comes before this one, and covers what
    /// lies between.
    void carry_horizon(Position end) {
        const bool step_done = horizon_durable >= horizon;
        horizon = std::max(horizon, end);
        if (step_done) horizon_durable = horizon;
    }

    /// How many of the subscriptions, from the first, may get messages.
    [[nodiscard]] std::size_t active_subscriptions() const {
        return options.single_active ? std::min<std::size_t>(1, subscriptions.size())
                                     : subscriptions.size();
    }
};

/// One consumer of one queue, on one session.
struct Subscription {
    SessionId session = 0;
    std::uint64_t id = 0;
    Queue* queue = nullptr;
    SubscribeOptions options;
    bool pull_only = false;
    std::uint32_t gate_member = KeyGate::none;
    std::size_t open_delivery =
        SIZE_MAX;  // index in State::effects of the last one, if still there
    Tag next_tag = 1;
    std::uint64_t unacked = 0;
    std::uint64_t unacked_bytes = 0;
    ChunkList chunks;
    Instant earliest_deadline{UINT64_MAX};  // a lower bound
    Instant heard_at;                       // when it last settled or asked for something
    bool stuck = false;                     // a lease ended after that
    std::uint64_t leases_ended = 0;

    /// Books what is delivered to it, and what it holds no longer.
    void hold(const Extent& extent) {
        unacked += extent.count;
        unacked_bytes += extent.bytes;
        queue->unacked += extent.count;
        if (extent.key != 0 && queue->gate != nullptr) queue->gate->taken(extent.key);
    }
    void let_go(const Extent& extent) {
        unacked -= extent.count;
        unacked_bytes -= extent.bytes;
        queue->unacked -= extent.count;
        if (extent.key != 0 && queue->gate != nullptr) queue->gate->left(extent.key);
    }
    [[nodiscard]] std::uint64_t credit_messages() const {
        if (pull_only || unacked >= options.window_messages) return 0;
        // One message is always allowed, whatever its size.
        if (unacked > 0 && unacked_bytes >= options.window_bytes) return 0;
        if (FERRY_PLANTED("engine-window-off-by-one")) return options.window_messages - unacked + 1;
        return options.window_messages - unacked;
    }
    [[nodiscard]] std::uint64_t credit_bytes() const {
        return unacked_bytes >= options.window_bytes ? 1 : options.window_bytes - unacked_bytes;
    }
};

}  // namespace ferry::engine
