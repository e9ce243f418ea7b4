#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "ferry/platform/spin.hpp"
#include "ferry/transport/message.hpp"
#include "ferry/transport/security.hpp"
#include "ferry/wire/codes.hpp"

namespace ferry::transport {

/// Told to ClientOptions::on_state, on the I/O thread.
struct StateChange {
    enum class State : std::uint8_t {
        connected,
        disconnected,  // the client tries again by itself
        /// What existed before the reconnect could not be made again; `text` names it.
        redeclare_failed,
        /// The broker knows less of this producer than it had confirmed (a restored backup, a
        /// forgotten temporary producer): a new epoch was taken, unconfirmed messages sent again.
        history_lost,
        closed,  // for good
        /// The broker takes no messages for now, and nothing is sent; `text` says what is short:
        /// "memory" or "disk".
        blocked,
        unblocked,
    };
    State state = State::connected;
    wire::Code code = wire::Code::ok;
    std::string text;
};

/// Which of this client's declarations are made again after a reconnect.
enum class Redeclare : std::uint8_t { none, transient, all };

struct ClientOptions {
    std::string url = "ferry://127.0.0.1:7420";
    std::string name = "ferry";  // shown by the broker
    Security security;

    /// Who publishes. Empty: a random name for this client only, soon forgotten by the broker.
    std::string producer;
    /// 0: the producer's current one. A higher one fences clients that still use the current one.
    std::uint64_t epoch = 0;
    bool publisher = true;  // false: no producer is opened, publishing is rejected

    std::uint32_t connect_timeout_ms = 5000;  // Client::connect; also each later attempt
    bool connect_retry = false;  // connect() keeps trying until then if no broker is there yet
    std::uint32_t request_timeout_ms = 30000;
    std::uint32_t heartbeat_ms = 10000;
    /// Between attempts to reconnect: doubled each time, half of it chance.
    std::uint32_t backoff_min_ms = 50;
    std::uint32_t backoff_max_ms = 5000;
    Redeclare redeclare = Redeclare::transient;

    /// At most so much goes into one PUBLISH frame. Also bounded by the broker's frame limit.
    std::uint32_t batch_messages = 8192;
    std::uint32_t batch_bytes = 256U << 10;
    /// 0: a batch gathers only while the connection is busy with the one before.
    std::uint32_t linger_ms = 0;
    /// At most so much is unconfirmed; then publishing waits (or fails with would_block).
    std::uint32_t window_messages = 65536;
    std::uint64_t window_bytes = 16ULL << 20;
    bool block_when_full = true;
    /// Refusals that pass by themselves (DISK_FULL, LIMIT_REACHED, SHUTTING_DOWN) are sent again,
    /// under the same sequence, instead of being reported. Order among messages is then not kept
    /// across such a refusal.
    bool retry_refused = false;
    /// While short answers come quickly, as in calls one after the other, the I/O thread stays
    /// awake for so long after each instead of being woken for the next. 0: never. At most 1000.
    std::uint32_t spin_us = Spin::limit_us_default;

    RangeCallback on_confirm;                          // every message, also those of publish()
    std::function<void(const StateChange&)> on_state;  // must return soon
};

struct PublishOptions {
    bool mandatory = false;  // refuse with NO_ROUTE what reaches no queue
};

struct SubscribeOptions {
    std::uint32_t window_messages = 1000;
    std::uint64_t window_bytes = 8ULL << 20;
    bool no_ack = false;
    bool exclusive = false;
    std::uint64_t lease_ms = 0;  // 0: the queue's
    bool resubscribe = true;     // after a reconnect
    /// Ordered queues: which keys come here depends on the names and weights of the members alone,
    /// so a consumer that comes back under its name gets its keys again. Empty: another name each
    /// time.
    std::string member;
    std::uint32_t weight = 1;  // 1 to 64: how many keys, beside others
    /// Queues with a single active consumer: from now on messages come here, or (false) it waits
    /// until those before it have gone. On the I/O thread, also after each reconnect.
    std::function<void(bool active)> on_active;
    /// These tags had lost their lease before the ack or nack came: nothing was changed.
    std::function<void(std::uint64_t first, std::uint64_t last)> on_lease_lost;
    /// The subscription has ended for good: its queue is gone, or it could not be made again.
    std::function<void(wire::Code code, std::string_view text)> on_cancelled;
};

/// A batch of deliveries in order of tag, on the I/O thread. Views are valid during the call.
using DeliveryHandler = std::function<void(std::span<const Delivery> deliveries)>;

}  // namespace ferry::transport
