#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ferry::telemetry {

/// One queue's figures. Totals count from the start of the process or of the queue and never fall
/// while the queue lives.
struct QueueSample {
    std::string_view name;
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;
    std::uint64_t acked = 0;
    std::uint64_t returned = 0;
    std::uint64_t ready = 0;
    std::uint64_t ready_bytes = 0;
    std::uint64_t unacked = 0;
    std::uint64_t consumers = 0;
    std::uint64_t stuck = 0;  // of the consumers
    std::uint64_t delayed = 0;
    std::uint64_t leaving = 0;
    std::uint64_t parked = 0;
    std::uint64_t blocked = 0;
    std::uint64_t held_keys = 0;
    std::uint64_t dead_lettered = 0;
    std::uint64_t expired = 0;
    std::uint64_t dropped = 0;            // over the queue's limit
    std::uint64_t repeated = 0;           // not stored, their id had been seen
    std::uint64_t oldest_unacked_ms = 0;  // 0: nothing is unacked
};

/// The whole broker's figures at one moment. Totals count from the start of the process.
struct BrokerSample {
    // Totals.
    std::uint64_t published = 0;  // accepted, before routing
    std::uint64_t confirmed = 0;
    std::uint64_t refused = 0;
    std::uint64_t delivered = 0;
    std::uint64_t acked = 0;
    std::uint64_t returned = 0;  // nacked, lease ended, or connection lost
    std::uint64_t leases_expired = 0;
    std::uint64_t transactions = 0;
    std::uint64_t transactions_refused = 0;
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_refused = 0;
    std::uint64_t protocol_errors = 0;  // connections closed for a bad frame
    std::uint64_t sign_ins = 0;
    std::uint64_t sign_ins_failed = 0;
    std::uint64_t permissions_denied = 0;
    std::uint64_t handshakes_failed = 0;
    std::uint64_t audit_dropped = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t syncs = 0;
    std::uint64_t log_written_bytes = 0;
    std::uint64_t compactions = 0;
    std::uint64_t scrubbed_bytes = 0;
    std::uint64_t scrub_passes = 0;
    std::uint64_t damaged_ranges = 0;
    std::uint64_t read_errors = 0;  // stored messages that could not be read back
    std::uint64_t scheduled = 0;    // messages of schedules
    std::uint64_t schedule_skips = 0;
    std::uint64_t schedule_unroutable = 0;
    std::uint64_t checks = 0;  // put into their queues
    std::uint64_t checks_not_put = 0;
    std::uint64_t prepared_submitted = 0;
    std::uint64_t prepared_dropped = 0;
    std::uint64_t lock_grants = 0;
    std::uint64_t lock_releases = 0;
    std::uint64_t lock_losses = 0;
    std::uint64_t lock_forced = 0;
    std::uint64_t lock_places_lost = 0;
    std::uint64_t instances_registered = 0;
    std::uint64_t instances_expired = 0;
    std::uint64_t replies = 0;
    std::uint64_t replies_dropped = 0;  // the connection that called was gone
    // Levels.
    std::uint64_t users = 0;
    std::int64_t certificate_ends = 0;  // seconds since 1970; 0: no TLS
    bool memory_blocked = false;
    std::uint64_t ready = 0;
    std::uint64_t ready_bytes = 0;
    std::uint64_t unacked = 0;
    std::uint64_t queues = 0;
    std::uint64_t exchanges = 0;
    std::uint64_t policies = 0;
    std::uint64_t schedules = 0;
    std::uint64_t prepared = 0;
    std::uint64_t prepared_bytes = 0;
    std::uint64_t prepared_parked = 0;
    std::uint64_t locks = 0;
    std::uint64_t lock_holders = 0;
    std::uint64_t lock_waiters = 0;
    std::uint64_t instances = 0;
    std::uint64_t connections = 0;
    std::uint64_t publishers_blocked = 0;  // connections not read because the log is behind
    std::uint64_t log_file_bytes = 0;
    std::uint64_t log_live_bytes = 0;
    std::uint64_t log_pending_bytes = 0;
    std::uint64_t log_segments = 0;
    bool disk_full = false;
    bool log_failed = false;
};

/// What the broker tells Prometheus. docs/operations.md lists the names.
///
/// Threads   update() and observe_*() on one thread (the loop's) or any; render() on any. They
/// share one
///           short lock; render() works on a copy.
/// Blocking  update() and observe_*() never touch a file or socket; render() reads /proc.
/// Bounds    At most `queues_max` queues have series of their own: the first ones seen keep theirs
/// until
///           they vanish from a sample. All others are summed up under queue="_other".
class Metrics {
public:
    explicit Metrics(std::uint32_t queues_max, std::string_view version = "");
    ~Metrics();
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    /// Replaces all sampled figures. Meant to be called about once a second.
    void update(const BrokerSample& broker, std::span<const QueueSample> queues);

    /// One fdatasync that took `ns` and made `messages` messages durable.
    void observe_sync(std::uint64_t ns, std::uint64_t messages);
    /// `count` messages whose confirm left `us` microseconds after they arrived.
    void observe_confirm_us(double us, std::uint64_t count = 1);
    /// `count` messages first delivered `us` microseconds after they arrived.
    void observe_delivery_us(double us, std::uint64_t count = 1);

    /// How long ago update() was called last: a loop that hangs shows here. Counts from
    /// construction.
    [[nodiscard]] std::chrono::milliseconds since_update() const;

    /// The text exposition format, version 0.0.4.
    [[nodiscard]] std::string render() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::telemetry
