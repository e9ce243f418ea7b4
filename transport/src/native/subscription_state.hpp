#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ferry/transport/options.hpp"
#include "native/ranges.hpp"

namespace ferry::transport::native {

/// What is known of one subscription, or of the pulls of one queue.
///
/// Threads   `mutex` guards everything that is not const; `call_mutex` is held while the handler
/// runs.
struct SubscriptionState : std::enable_shared_from_this<SubscriptionState> {
    SubscriptionState(std::uint64_t number, std::string_view of_queue, SubscribeOptions with,
                      DeliveryHandler call, bool for_pull)
        : id(number),
          queue(of_queue),
          options(std::move(with)),
          handler(std::move(call)),
          pull(for_pull),
          window_messages(options.window_messages),
          window_bytes(options.window_bytes) {}

    struct Extension {
        Range range;
        std::uint64_t lease_ms = 0;
    };
    /// Settlements that wait for the next turn of the I/O thread.
    struct Notes {
        std::vector<Range> acks;
        std::vector<Range> requeues;
        std::vector<Range> rejects;
        std::vector<Extension> extensions;
        std::vector<Extension> delays;  // the time is the delay

        [[nodiscard]] bool empty() const {
            return acks.empty() && requeues.empty() && rejects.empty() && extensions.empty() &&
                   delays.empty();
        }
    };

    const std::uint64_t id;
    const std::string queue;
    const SubscribeOptions options;
    const DeliveryHandler handler;
    const bool pull;

    std::mutex call_mutex;
    std::atomic<bool> silenced{false};  // the handler must not begin any more; set under call_mutex
                                        // elsewhere than on the I/O thread

    std::mutex mutex;
    std::condition_variable arrived;
    bool active = true;
    bool established = false;      // the broker has accepted it at least once
    std::uint64_t generation = 0;  // of the connection it lives on; 0: on none
    std::uint64_t last_tag = 0;    // highest delivered on this connection
    std::uint32_t window_messages;
    std::uint64_t window_bytes;
    std::deque<Received> waiting;  // for next()
    std::uint64_t waiting_bytes = 0;
    bool stopped_reading = false;  // the connection is not read until some of `waiting` has gone
    Notes notes;
    bool noted = false;  // is in Core's list of those with notes

    std::mutex pull_mutex;  // one pull at a time

    /// Requires  mutex held.
    [[nodiscard]] bool overfull() const {
        return waiting.size() >= 2ULL * window_messages + 16 ||
               waiting_bytes >= 2 * window_bytes + (4U << 20);
    }
    [[nodiscard]] bool half_empty() const {
        return waiting.size() <= window_messages && waiting_bytes <= window_bytes;
    }
};

}  // namespace ferry::transport::native
