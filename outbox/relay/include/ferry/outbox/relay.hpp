#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/outbox/limits.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/sqlite/problem.hpp"
#include "ferry/transport/security.hpp"
#include "ferry/transport/sequenced.hpp"

namespace ferry::outbox::relay {

/// What happens to the messages of an ordering key after one of them was parked.
enum class Policy : std::uint8_t {
    block,  // they wait until an operator retries or skips it
    skip,   // they go on without it
};

/// docs/relay.md shows the same table.
struct Rules {
    Policy policy = Policy::block;
    std::uint32_t attempts_max = 10;  // refusals of one message before it is parked
    std::uint64_t backoff_min_ms = 50;
    std::uint64_t backoff_max_ms = 30'000;
    std::uint32_t waiting_rows_max = 50'000;  // refused ones and those that wait behind them
    std::uint32_t open_rows_max = 60'000;     // left out below the broker's mark; it takes 65,536
    std::uint32_t window_min = 64;            // rows in flight, after a refusal
    std::uint32_t window_max = 16'384;        // and when all goes well
};

enum class LogLevel : std::uint8_t { info, warning, error };

/// Makes the way to the broker. `events` outlives it.
using PublisherFactory =
    std::function<transport::Answer<std::unique_ptr<transport::SequencedPublisher>>(
        transport::SequencedEvents& events)>;

struct Options {
    std::string database;  // path of the SQLite file
    std::string url = "ferry://127.0.0.1:7420";
    transport::Security security;  // for `url`
    PublisherFactory publisher;    // empty: the native protocol to `url`
    Rules rules;
    std::uint64_t retain_ms = 0;  // how long sent messages are kept; 0: not. Events always are
    std::uint64_t lease_ms = 10'000;
    std::uint64_t fallback_ms = 1'000;    // looks for messages that nobody announced
    std::uint64_t mark_pause_ms = 4;      // the database is left to others between two write steps
    std::uint32_t mark_rows_max = 4'000;  // rows in one write step
    /// While the application commits, a backlog (more than 4,096 rows) is sent no faster than this,
    /// or than twice what is added, so that commits do not wait behind it for disk and processor.
    /// At least 1.
    std::uint64_t active_rows_per_s = 25'000;
    /// A message for the default exchange whose queue is not there is refused, and so retried and
    /// parked, instead of being dropped.
    bool mandatory = true;
    /// Takes a new epoch first: after a restored backup, where the message system does not notice
    /// it (Kafka). What was sent and not marked is sent again under new ids.
    bool new_epoch = false;
    bool once = false;  // ends by itself when all was sent that can be
    std::function<void(LogLevel, std::string_view)> log;  // on the relay's thread; one line each
    const Clock* clock = nullptr;                         // null: the system's
    Random* random = nullptr;                             // null: the system's
};

/// What a relay tells of itself. Totals count from its start.
struct Figures {
    bool leading = false;         // holds the lease
    bool connected = false;       // to the broker
    bool stuck = false;           // too many rows wait behind refused ones
    std::uint64_t sent = 0;       // confirmed by the broker
    std::uint64_t published = 0;  // handed to it; more than `sent` when some were sent again
    std::uint64_t refused = 0;
    std::uint64_t duplicates = 0;
    std::uint64_t marked = 0;
    std::uint64_t mark_failures = 0;  // write steps that failed for want of disk or a lock
    std::uint64_t busy = 0;           // of them: another connection held the lock
    std::uint64_t connects = 0;
    std::uint64_t new_epochs = 0;      // taken because the database was restored or copied
    std::uint64_t new_identities = 0;  // taken because a copy of it has the old one
    std::uint64_t leases_lost = 0;
    std::uint64_t wakes = 0;
    std::uint64_t parked = 0;
    std::uint64_t waiting = 0;  // read, and kept back
    std::uint64_t in_flight = 0;
    std::uint64_t unmarked = 0;  // sent, still in the table
    std::uint64_t lag_rows = 0;  // committed, not sent; by ids
    double lag_seconds = 0;      // age of the oldest of them
    std::uint64_t epoch = 0;
    std::uint64_t floor = 0;
    std::uint64_t wal_bytes = 0;
    std::string producer;
};

/// Sends the messages of one outbox to the broker, in order, each once, and takes them out of the
/// table: a thread beside the application, or the whole of `ferry relay`.
///
/// Several relays may run for one database; one of them holds the lease and works.
///
/// Threads   start() makes one (and the transport its own). All functions: any thread.
/// Lifetime  Options::clock, random and what `log` uses outlive it. The destructor stops at once:
///           what is under way then is found again by the next relay.
/// Blocking  start() opens the database. stop() as said. Nothing else.
/// Failure   Nothing is lost and nothing is sent twice, whenever it is killed. Broker gone, disk
///           full and locks of others are waited for; `log` and figures() tell.
class Relay {
public:
    /// Errors    Those of opening and checking the database (not_found, refused, schema …), and a
    ///           URL that is none.
    static sqlite::Answer<std::unique_ptr<Relay>> start(Options options);

    /// Something was committed. Commits of connections with the WAL hook, of this process or
    /// others, say so by themselves.
    void wake() noexcept;

    /// Takes no new messages, waits for the answers under way, marks, gives the lease back and
    /// ends. False: not everything was done within `patience`; the next relay does it.
    bool stop(std::chrono::milliseconds patience);

    /// Waits until the relay has ended by itself (Options::once), or for good because of a failure
    /// that waiting cannot mend. False: it still runs.
    bool wait_ended(std::chrono::milliseconds patience);
    /// Why it has ended for good; empty: it has not, or all is well.
    [[nodiscard]] std::string failure() const;

    [[nodiscard]] Figures figures() const;
    /// The same in the text format of Prometheus, with a histogram of commit to confirm.
    [[nodiscard]] std::string metrics() const;

    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

private:
    struct Impl;
    explicit Relay(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::outbox::relay
