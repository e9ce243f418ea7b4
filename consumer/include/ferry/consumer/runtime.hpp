#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/consumer/incoming.hpp"
#include "ferry/consumer/source.hpp"
#include "ferry/platform/random.hpp"

namespace ferry::consumer {

class Inbox;

/// Runs on a thread of the pool. What it throws counts as Handled::retry.
using Handler = std::function<Handled(const Incoming& message)>;
/// Many at once: fills `handled`, of the same length. Messages of one ordering key stand in their
/// order; when one of them is not done, later ones of that key must not be done either
/// (Inbox::apply_batch sees to it).
using BatchHandler =
    std::function<void(std::span<const Incoming> messages, std::span<Handled> handled)>;

/// Waits between attempts: doubled each time up to the cap, half of it chance.
struct RetryPolicy {
    Duration first{100};
    Duration cap{60'000};
    /// After so many attempts, of which this process saw at least one fail, a message is poison.
    std::uint32_t attempts_max = 10;
    /// A message delivered so often is poison unseen: its handler may be what ends the process.
    std::uint32_t deliveries_max = 100;
    /// Waits after Handled::later.
    Duration later_first{5};
    Duration later_cap{1'000};
};

struct RuntimeOptions {
    std::string name = "consumer";  // in metrics and idempotency keys
    std::uint32_t threads = 4;
    /// At most so many messages go to one call of a BatchHandler.
    std::uint32_t batch = 1;
    RetryPolicy retry;
    Duration lease{60'000};        // as the source's; extended at a third of it
    Duration stuck_after{30'000};  // a handler that runs longer shows in health
    /// Told about after each settled ack and each second: keeps the inbox small. May be null.
    Inbox* inbox = nullptr;
    /// What went wrong, for the log: one sentence. Any thread; must return soon.
    std::function<void(std::string_view)> on_event;
    Random* random = nullptr;  // null: the system's
};

struct Health {
    bool ok = true;
    std::string reason;          // one sentence when not ok
    std::uint64_t waiting = 0;   // received, not begun
    std::uint64_t running = 0;   // in handlers
    std::uint64_t delayed = 0;   // waiting for another attempt
    std::uint64_t stuck = 0;     // running for longer than stuck_after
    std::uint64_t unplaced = 0;  // poison without a place to go: retried at the cap
    Duration since_progress{0};  // since a message was last done, or since the start
    bool connected = false;
};

/// Totals since the start.
struct Figures {
    std::uint64_t received = 0;
    std::uint64_t done = 0;
    std::uint64_t retried = 0;
    std::uint64_t later = 0;
    std::uint64_t dead_lettered = 0;
    std::uint64_t leases_lost = 0;
    std::uint64_t leases_extended = 0;
    std::uint64_t acks_settled = 0;
    std::uint64_t redelivered_while_held = 0;
};

/// Runs handlers over a queue: messages of one ordering key one after another in their order,
/// everything else in parallel.
///
/// Threads   start() makes options.threads + 3 of them; the destructor joins them. All calls from
///           any thread, stop() and the destructor not from a handler.
/// Order     A message that waits for its next attempt holds later ones of its key, and no others.
/// Retries   A message with an ordering key waits in this process with the lease extended, so that
///           order is kept; one without waits at the broker. Attempts are counted by the broker
///           across processes.
/// Leases    Extended while a message waits or runs, however slow the handler is.
/// Poison    Goes to the source's dead letters. Where there are none it is tried again at the
///           retry cap for ever, holds its key, and health() says so.
class Runtime {
public:
    /// Errors    rejected: an option is out of range. With an inbox also what
    ///           Inbox::check_place says: conflict, when the broker's data went back (C15).
    static Result<std::unique_ptr<Runtime>> start(std::unique_ptr<Source> source, Handler handler,
                                                  RuntimeOptions options);
    static Result<std::unique_ptr<Runtime>> start_batched(std::unique_ptr<Source> source,
                                                          BatchHandler handler,
                                                          RuntimeOptions options);
    /// Takes nothing new, lets running handlers finish, acks, leaves; what was not begun goes back
    /// to the queue. indeterminate: handlers still ran after `timeout`; the destructor waits for
    /// them.
    Status stop(Duration timeout);
    ~Runtime();
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    [[nodiscard]] Health health() const;
    [[nodiscard]] Figures figures() const;
    /// Prometheus text format, also of the inbox. docs/consumer.md lists the names.
    [[nodiscard]] std::string metrics() const;
    /// The source has ended (its queue was deleted, the client closed), or the inbox refused to go
    /// on: nothing comes any more. The reason is in health().
    [[nodiscard]] bool ended() const;

private:
    struct Impl;
    explicit Runtime(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::consumer
