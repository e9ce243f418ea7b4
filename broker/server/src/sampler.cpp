#include "sampler.hpp"

#include "ferry/telemetry/metrics.hpp"

namespace ferry::server {

namespace {
// With more queues than this their figures are gathered less often: it takes the loop's time.
constexpr std::uint64_t many_queues = 5'000;
constexpr std::uint64_t seldom_seconds = 15;

void add_prepared(telemetry::BrokerSample& broker, const engine::Totals& totals) {
    broker.prepared = totals.prepared;
    broker.prepared_bytes = totals.prepared_bytes;
    broker.prepared_parked = totals.prepared_parked;
    broker.checks = totals.checks;
    broker.checks_not_put = totals.checks_not_put;
    broker.prepared_submitted = totals.prepared_submitted;
    broker.prepared_dropped = totals.prepared_dropped;
}

void add_locks(telemetry::BrokerSample& broker, const engine::Totals& totals) {
    broker.locks = totals.locks;
    broker.lock_holders = totals.lock_holders;
    broker.lock_waiters = totals.lock_waiters;
    broker.lock_grants = totals.lock_grants;
    broker.lock_releases = totals.lock_releases;
    broker.lock_losses = totals.lock_losses;
    broker.lock_forced = totals.lock_forced;
    broker.lock_places_lost = totals.lock_places_lost;
}

// What goes from connection to connection.
void add_direct(telemetry::BrokerSample& broker, const Hub& hub) {
    broker.connections = hub.connections();
    broker.replies = hub.figures.replies;
    broker.replies_dropped = hub.figures.replies_dropped;
    broker.instances = hub.registry.all().size();
    broker.instances_registered = hub.registry.registered;
    broker.instances_expired = hub.registry.expired;
}

// What comes again or waits for a decision.
void add_schedules(telemetry::BrokerSample& broker, const engine::Totals& totals) {
    broker.policies = totals.policies;
    broker.schedules = totals.schedules;
    broker.scheduled = totals.scheduled;
    broker.schedule_skips = totals.schedule_skips;
    broker.schedule_unroutable = totals.schedule_unroutable;
    add_prepared(broker, totals);
    add_locks(broker, totals);
}

void add_security(telemetry::BrokerSample& broker, const Hub& hub) {
    const Figures& figures = hub.figures;
    broker.connections = hub.connections();
    broker.sign_ins = figures.sign_ins;
    broker.sign_ins_failed = figures.sign_ins_failed;
    broker.permissions_denied = figures.permissions_denied;
    broker.handshakes_failed = figures.handshakes_failed;
    broker.audit_dropped = figures.audit_dropped;
    broker.users = hub.gate.users();
    broker.certificate_ends = hub.gate.certificate_ends();
    broker.memory_blocked = hub.blocked() == Blocked::memory;
}
}  // namespace

void Sampler::on_progress() {
    const log::SyncStats stats = hub_.log.sync_stats();
    if (stats.syncs == syncs_) return;
    syncs_ = stats.syncs;
    const std::uint64_t confirmed = hub_.engine.confirmed();
    hub_.figures.metrics.observe_sync(stats.sync_ns_last, confirmed - confirmed_);
    confirmed_ = confirmed;
}

namespace {
telemetry::QueueSample sample_of(const engine::QueueView& queue) {
    telemetry::QueueSample sample;
    sample.name = queue.name;
    sample.published = queue.published;
    sample.delivered = queue.delivered;
    sample.acked = queue.acked;
    sample.returned = queue.returned;
    sample.ready = queue.ready;
    sample.ready_bytes = queue.ready_bytes;
    sample.unacked = queue.unacked;
    sample.consumers = queue.consumers;
    sample.stuck = queue.stuck;
    sample.delayed = queue.delayed;
    sample.leaving = queue.leaving;
    sample.parked = queue.parked;
    sample.blocked = queue.blocked;
    sample.held_keys = queue.held_keys;
    sample.dead_lettered = queue.dead_lettered;
    sample.expired = queue.expired;
    sample.dropped = queue.dropped;
    sample.repeated = queue.repeated;
    sample.oldest_unacked_ms = queue.oldest_unacked_ms;
    return sample;
}
}  // namespace

void Sampler::on_second() {
    const engine::Totals totals = hub_.engine.totals();
    if (totals.queues <= many_queues || seconds_ % seldom_seconds == 0) {
        queues_ = hub_.engine.queues({}, limits::queues_max, hub_.now());
    }
    ++seconds_;
    std::vector<telemetry::QueueSample> samples;
    samples.reserve(queues_.size());
    telemetry::BrokerSample broker;
    for (const engine::QueueView& queue : queues_) {
        samples.push_back(sample_of(queue));
        broker.ready_bytes += queue.ready_bytes;
    }
    broker.published = totals.published;
    broker.confirmed = totals.confirmed;
    broker.refused = totals.refused;
    broker.delivered = totals.delivered;
    broker.acked = totals.acked;
    broker.returned = totals.returned;
    broker.leases_expired = totals.leases_expired;
    broker.transactions = totals.transactions;
    broker.transactions_refused = totals.transactions_refused;
    broker.ready = totals.ready;
    broker.unacked = totals.unacked;
    broker.queues = totals.queues;
    broker.exchanges = totals.exchanges;
    add_schedules(broker, totals);
    const Figures& figures = hub_.figures;
    broker.connections_accepted = figures.connections_accepted;
    broker.connections_refused = figures.connections_refused;
    broker.protocol_errors = figures.protocol_errors;
    add_security(broker, hub_);
    broker.received_bytes = figures.received_bytes;
    broker.sent_bytes = figures.sent_bytes;
    broker.read_errors = figures.read_errors;
    broker.publishers_blocked = figures.publishers_blocked;
    add_direct(broker, hub_);
    const log::Stats log = hub_.log.stats();
    broker.syncs = log.syncs;
    broker.log_written_bytes = log.bytes_written;
    broker.compactions = log.compactions;
    broker.scrubbed_bytes = log.scrubbed_bytes;
    broker.scrub_passes = log.scrub_passes;
    broker.damaged_ranges = log.damaged_ranges;
    broker.log_file_bytes = log.file_bytes;
    broker.log_live_bytes = totals.live_bytes;
    broker.log_pending_bytes = hub_.log.pending_bytes();
    broker.log_segments = log.segments;
    broker.disk_full = hub_.log.space() == log::Space::full;
    broker.log_failed = hub_.log.failed();
    figures.metrics.update(broker, samples);
}

}  // namespace ferry::server
