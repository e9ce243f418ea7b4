#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "ferry/transport/message.hpp"
#include "ferry/wire/codes.hpp"

namespace ferry::transport {

/// Told to ClientOptions::on_state, on the I/O thread.
struct StateChange {
    enum class State : std::uint8_t {
        connected,         // hello, producer and re-declarations are done
        disconnected,      // the client tries again by itself
        redeclare_failed,  // something that existed before the reconnect could not be made again;
                           // `text` names it
        history_lost,      // the broker knows less of this producer than it confirmed before (a
                       // restored backup, a forgotten temporary producer): a new epoch was taken,
                       // unconfirmed messages are sent again
        closed,  // for good
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

    /// Who publishes. Empty: a random name for this client only, which the broker forgets a while
    /// after.
    std::string producer;
    std::uint64_t epoch =
        0;  // 0: the producer's current one. Higher than the current one fences older clients
    bool publisher = true;  // false: no producer is opened, publishing is rejected

    std::uint32_t connect_timeout_ms = 5000;  // Client::connect; also each later attempt
    bool connect_retry =
        false;  // keep trying within connect_timeout_ms when the broker is not there yet
    std::uint32_t request_timeout_ms = 30000;
    std::uint32_t heartbeat_ms = 10000;
    std::uint32_t backoff_min_ms =
        50;  // between attempts to reconnect: doubled each time, with jitter
    std::uint32_t backoff_max_ms = 5000;
    Redeclare redeclare = Redeclare::transient;

    /// At most so much goes into one PUBLISH frame. Also bounded by the broker's frame limit.
    std::uint32_t batch_messages = 8192;
    std::uint32_t batch_bytes = 256U << 10;
    /// 0: a batch goes out as soon as the connection is free to write it, and gathers only while it
    /// is not.
    std::uint32_t linger_ms = 0;
    /// At most so much is unconfirmed; then publishing waits (or fails with would_block).
    std::uint32_t window_messages = 65536;
    std::uint64_t window_bytes = 16ULL << 20;
    bool block_when_full = true;
    /// Refusals that pass by themselves (DISK_FULL, LIMIT_REACHED, SHUTTING_DOWN) are sent again,
    /// under the same sequence, instead of being reported. Order among messages is then not kept
    /// across such a refusal.
    bool retry_refused = false;

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
    /// Tags first to last had lost their lease before the ack or nack came: it changed nothing for
    /// them.
    std::function<void(std::uint64_t first, std::uint64_t last)> on_lease_lost;
    /// The subscription has ended for good: its queue is gone, or it could not be made again.
    std::function<void(wire::Code code, std::string_view text)> on_cancelled;
};

/// A batch of deliveries in order of tag, on the I/O thread. Views are valid during the call.
using DeliveryHandler = std::function<void(std::span<const Delivery> deliveries)>;

}  // namespace ferry::transport
