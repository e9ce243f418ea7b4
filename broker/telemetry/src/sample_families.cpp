#include "sample_families.hpp"

#include <algorithm>
#include <set>

namespace ferry::telemetry {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

struct BrokerFigure {
    const char* name;
    const char* help;
    MetricType type;
    double (*value)(const BrokerSample&);
};

struct QueueFigure {
    const char* name;
    const char* help;
    MetricType type;
    double (*value)(const QueueSample&);
};

constexpr auto counter = MetricType::Counter;
constexpr auto gauge = MetricType::Gauge;

#define FERRY_FIGURE(sample, field) [](const sample& s) { return static_cast<double>(s.field); }

const BrokerFigure broker_figures[] = {
    {"ferry_messages_published_total", "Messages accepted from publishers.", counter,
     FERRY_FIGURE(BrokerSample, published)},
    {"ferry_messages_confirmed_total", "Messages confirmed to publishers.", counter,
     FERRY_FIGURE(BrokerSample, confirmed)},
    {"ferry_messages_refused_total", "Messages refused with an error code.", counter,
     FERRY_FIGURE(BrokerSample, refused)},
    {"ferry_messages_delivered_total", "Messages delivered to consumers, redeliveries included.",
     counter, FERRY_FIGURE(BrokerSample, delivered)},
    {"ferry_messages_acked_total", "Messages acked by consumers.", counter,
     FERRY_FIGURE(BrokerSample, acked)},
    {"ferry_messages_returned_total",
     "Messages that went back to their queue: nacked, lease ended or connection lost.", counter,
     FERRY_FIGURE(BrokerSample, returned)},
    {"ferry_leases_expired_total", "Messages that were taken back because their lease ended.",
     counter, FERRY_FIGURE(BrokerSample, leases_expired)},
    {"ferry_transactions_total", "Transactions carried out.", counter,
     FERRY_FIGURE(BrokerSample, transactions)},
    {"ferry_transactions_refused_total", "Transactions refused as a whole.", counter,
     FERRY_FIGURE(BrokerSample, transactions_refused)},
    {"ferry_messages_ready", "Messages waiting for a consumer.", gauge,
     FERRY_FIGURE(BrokerSample, ready)},
    {"ferry_messages_ready_bytes", "Bytes of the messages waiting for a consumer.", gauge,
     FERRY_FIGURE(BrokerSample, ready_bytes)},
    {"ferry_messages_unacked", "Messages delivered and not acked yet.", gauge,
     FERRY_FIGURE(BrokerSample, unacked)},
    {"ferry_queues", "Queues.", gauge, FERRY_FIGURE(BrokerSample, queues)},
    {"ferry_exchanges", "Exchanges.", gauge, FERRY_FIGURE(BrokerSample, exchanges)},
    {"ferry_policies", "Policies.", gauge, FERRY_FIGURE(BrokerSample, policies)},
    {"ferry_schedules", "Schedules.", gauge, FERRY_FIGURE(BrokerSample, schedules)},
    {"ferry_schedule_messages_total", "Messages that schedules published.", counter,
     FERRY_FIGURE(BrokerSample, scheduled)},
    {"ferry_schedule_skipped_total", "Due times that were missed and skipped.", counter,
     FERRY_FIGURE(BrokerSample, schedule_skips)},
    {"ferry_schedule_unroutable_total", "Due times whose message reached no queue.", counter,
     FERRY_FIGURE(BrokerSample, schedule_unroutable)},
    {"ferry_prepared", "Messages prepared and not decided, parked ones included.", gauge,
     FERRY_FIGURE(BrokerSample, prepared)},
    {"ferry_prepared_bytes", "Their bytes, in the broker's memory.", gauge,
     FERRY_FIGURE(BrokerSample, prepared_bytes)},
    {"ferry_prepared_parked", "Of these, those that nobody decided in spite of all checks.", gauge,
     FERRY_FIGURE(BrokerSample, prepared_parked)},
    {"ferry_prepared_checks_total", "Checks put into their queues.", counter,
     FERRY_FIGURE(BrokerSample, checks)},
    {"ferry_prepared_checks_not_put_total",
     "Checks that were due and could not be put into their queue: missing, full or not consumed.",
     counter, FERRY_FIGURE(BrokerSample, checks_not_put)},
    {"ferry_prepared_submitted_total", "Prepared messages that were published.", counter,
     FERRY_FIGURE(BrokerSample, prepared_submitted)},
    {"ferry_prepared_dropped_total", "Prepared messages that were dropped.", counter,
     FERRY_FIGURE(BrokerSample, prepared_dropped)},
    {"ferry_locks", "Locks that somebody holds or awaits.", gauge,
     FERRY_FIGURE(BrokerSample, locks)},
    {"ferry_lock_holders", "Holders of locks.", gauge, FERRY_FIGURE(BrokerSample, lock_holders)},
    {"ferry_lock_waiters", "Who stands in line for a lock.", gauge,
     FERRY_FIGURE(BrokerSample, lock_waiters)},
    {"ferry_lock_grants_total", "Locks granted.", counter, FERRY_FIGURE(BrokerSample, lock_grants)},
    {"ferry_lock_releases_total", "Locks let go by their holders.", counter,
     FERRY_FIGURE(BrokerSample, lock_releases)},
    {"ferry_lock_losses_total", "Locks whose holder was not heard of for their time to live.",
     counter, FERRY_FIGURE(BrokerSample, lock_losses)},
    {"ferry_lock_forced_total", "Locks taken from their holders by an operator.", counter,
     FERRY_FIGURE(BrokerSample, lock_forced)},
    {"ferry_lock_places_lost_total", "Waiters that did not come back to their place in line.",
     counter, FERRY_FIGURE(BrokerSample, lock_places_lost)},
    {"ferry_service_instances", "Registered instances of services.", gauge,
     FERRY_FIGURE(BrokerSample, instances)},
    {"ferry_service_registrations_total", "Instances registered, or changed.", counter,
     FERRY_FIGURE(BrokerSample, instances_registered)},
    {"ferry_service_expirations_total", "Instances that nobody kept alive.", counter,
     FERRY_FIGURE(BrokerSample, instances_expired)},
    {"ferry_replies_total", "Replies handed to the connections that called.", counter,
     FERRY_FIGURE(BrokerSample, replies)},
    {"ferry_replies_dropped_total", "Replies to connections that were gone.", counter,
     FERRY_FIGURE(BrokerSample, replies_dropped)},
    {"ferry_connections", "Open connections.", gauge, FERRY_FIGURE(BrokerSample, connections)},
    {"ferry_connections_accepted_total", "Connections accepted.", counter,
     FERRY_FIGURE(BrokerSample, connections_accepted)},
    {"ferry_sign_ins_total", "Users that signed in.", counter,
     FERRY_FIGURE(BrokerSample, sign_ins)},
    {"ferry_sign_ins_failed_total", "Attempts to sign in that failed.", counter,
     FERRY_FIGURE(BrokerSample, sign_ins_failed)},
    {"ferry_permissions_denied_total", "Requests and publishes that a user had no right to.",
     counter, FERRY_FIGURE(BrokerSample, permissions_denied)},
    {"ferry_tls_handshakes_failed_total", "Connections that ended for what TLS refused.", counter,
     FERRY_FIGURE(BrokerSample, handshakes_failed)},
    {"ferry_tls_certificate_expires_timestamp_seconds",
     "When the certificate in use is over, in seconds since 1970; 0: there is none.", gauge,
     FERRY_FIGURE(BrokerSample, certificate_ends)},
    {"ferry_users", "Users that may sign in.", gauge, FERRY_FIGURE(BrokerSample, users)},
    {"ferry_audit_dropped_total", "Audit events that could not be written.", counter,
     FERRY_FIGURE(BrokerSample, audit_dropped)},
    {"ferry_memory_blocked", "1 while publishers are held back because memory is short.", gauge,
     FERRY_FIGURE(BrokerSample, memory_blocked)},
    {"ferry_connections_refused_total", "Connections turned away, limits.connections reached.",
     counter, FERRY_FIGURE(BrokerSample, connections_refused)},
    {"ferry_protocol_errors_total", "Connections closed for a frame that breaks the protocol.",
     counter, FERRY_FIGURE(BrokerSample, protocol_errors)},
    {"ferry_publishers_blocked", "Connections not read at the moment because the log is behind.",
     gauge, FERRY_FIGURE(BrokerSample, publishers_blocked)},
    {"ferry_received_bytes_total", "Bytes read from connections.", counter,
     FERRY_FIGURE(BrokerSample, received_bytes)},
    {"ferry_sent_bytes_total", "Bytes written to connections.", counter,
     FERRY_FIGURE(BrokerSample, sent_bytes)},
    {"ferry_log_fsyncs_total", "Completed fdatasync calls of the commit log.", counter,
     FERRY_FIGURE(BrokerSample, syncs)},
    {"ferry_log_written_bytes_total", "Bytes written to the commit log.", counter,
     FERRY_FIGURE(BrokerSample, log_written_bytes)},
    {"ferry_log_compactions_total", "Segments compacted.", counter,
     FERRY_FIGURE(BrokerSample, compactions)},
    {"ferry_log_scrubbed_bytes_total", "Bytes of finished segments read again and checked.",
     counter, FERRY_FIGURE(BrokerSample, scrubbed_bytes)},
    {"ferry_log_scrub_passes_total", "Times that every finished segment was checked.", counter,
     FERRY_FIGURE(BrokerSample, scrub_passes)},
    {"ferry_log_damaged_ranges", "Places of the log that the checks found damaged, since start.",
     gauge, FERRY_FIGURE(BrokerSample, damaged_ranges)},
    {"ferry_log_read_errors_total", "Stored messages that could not be read back.", counter,
     FERRY_FIGURE(BrokerSample, read_errors)},
    {"ferry_log_file_bytes", "Size of all files of the commit log, spares included.", gauge,
     FERRY_FIGURE(BrokerSample, log_file_bytes)},
    {"ferry_log_live_bytes", "Bytes in the commit log that somebody still needs.", gauge,
     FERRY_FIGURE(BrokerSample, log_live_bytes)},
    {"ferry_log_pending_bytes", "Bytes appended to the commit log and not durable yet.", gauge,
     FERRY_FIGURE(BrokerSample, log_pending_bytes)},
    {"ferry_log_segments", "Segments of the commit log.", gauge,
     FERRY_FIGURE(BrokerSample, log_segments)},
    {"ferry_disk_full", "1 while publishes are refused because the disk is full.", gauge,
     FERRY_FIGURE(BrokerSample, disk_full)},
    {"ferry_log_failed", "1 after a write or fsync failed: the broker is about to stop.", gauge,
     FERRY_FIGURE(BrokerSample, log_failed)},
};

const QueueFigure queue_figures[] = {
    {"ferry_queue_published_total", "Messages routed to the queue.", counter,
     FERRY_FIGURE(QueueSample, published)},
    {"ferry_queue_delivered_total", "Messages delivered from the queue, redeliveries included.",
     counter, FERRY_FIGURE(QueueSample, delivered)},
    {"ferry_queue_acked_total", "Messages of the queue acked.", counter,
     FERRY_FIGURE(QueueSample, acked)},
    {"ferry_queue_returned_total", "Messages that went back to the queue.", counter,
     FERRY_FIGURE(QueueSample, returned)},
    {"ferry_queue_ready", "Messages waiting in the queue.", gauge,
     FERRY_FIGURE(QueueSample, ready)},
    {"ferry_queue_ready_bytes", "Bytes of the messages waiting in the queue.", gauge,
     FERRY_FIGURE(QueueSample, ready_bytes)},
    {"ferry_queue_unacked", "Messages of the queue delivered and not acked yet.", gauge,
     FERRY_FIGURE(QueueSample, unacked)},
    {"ferry_queue_delayed", "Messages of the queue that wait for their time.", gauge,
     FERRY_FIGURE(QueueSample, delayed)},
    {"ferry_queue_leaving", "Messages on their way to another queue, parked ones included.", gauge,
     FERRY_FIGURE(QueueSample, leaving)},
    {"ferry_queue_parked", "Messages that are to leave the queue and that no queue takes.", gauge,
     FERRY_FIGURE(QueueSample, parked)},
    {"ferry_queue_blocked", "Ready messages of an ordered queue that wait for key or consumer.",
     gauge, FERRY_FIGURE(QueueSample, blocked)},
    {"ferry_queue_held_keys", "Keys of an ordered queue that are out or wait for a retry.", gauge,
     FERRY_FIGURE(QueueSample, held_keys)},
    {"ferry_queue_dead_lettered_total", "Messages of the queue that became dead letters.", counter,
     FERRY_FIGURE(QueueSample, dead_lettered)},
    {"ferry_queue_expired_total", "Messages of the queue whose time to live ended.", counter,
     FERRY_FIGURE(QueueSample, expired)},
    {"ferry_queue_dropped_total", "Messages of the queue that went because of its limit.", counter,
     FERRY_FIGURE(QueueSample, dropped)},
    {"ferry_queue_repeated_total", "Messages not stored in the queue because it had seen their id.",
     counter, FERRY_FIGURE(QueueSample, repeated)},
    {"ferry_queue_consumers", "Consumers of the queue.", gauge,
     FERRY_FIGURE(QueueSample, consumers)},
    {"ferry_queue_consumers_stuck",
     "Consumers of the queue that let a lease end and were not heard since.", gauge,
     FERRY_FIGURE(QueueSample, stuck)},
    {"ferry_queue_oldest_unacked_seconds", "Age of the oldest unacked delivery; 0 without one.",
     gauge, [](const QueueSample& s) { return static_cast<double>(s.oldest_unacked_ms) / 1000.0; }},
};

#undef FERRY_FIGURE

void set(prometheus::ClientMetric& metric, MetricType type, double value) {
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
}

void sum_into(QueueSample& total, const QueueSample& queue) {
    total.published += queue.published;
    total.delivered += queue.delivered;
    total.acked += queue.acked;
    total.returned += queue.returned;
    total.ready += queue.ready;
    total.ready_bytes += queue.ready_bytes;
    total.unacked += queue.unacked;
    total.consumers += queue.consumers;
    total.stuck += queue.stuck;
    total.delayed += queue.delayed;
    total.leaving += queue.leaving;
    total.parked += queue.parked;
    total.blocked += queue.blocked;
    total.held_keys += queue.held_keys;
    total.dead_lettered += queue.dead_lettered;
    total.expired += queue.expired;
    total.dropped += queue.dropped;
    total.repeated += queue.repeated;
    total.oldest_unacked_ms = std::max(total.oldest_unacked_ms, queue.oldest_unacked_ms);
}

/// A sum over changing members may fall, which rate() would take for a restart and count the whole
/// sum again; so only rises are passed on.
void grow(std::uint64_t& total, std::uint64_t before, std::uint64_t now) {
    total += now > before ? now - before : 0;
}

}  // namespace

void SampleFamilies::update(const BrokerSample& broker, std::span<const QueueSample> queues) {
    const std::lock_guard lock(mutex_);
    broker_ = broker;
    admit(queues);
    QueueSample sums;
    for (const QueueSample& queue : queues) {
        const auto own = queues_.find(queue.name);
        if (own == queues_.end()) {
            sum_into(sums, queue);
        } else {
            own->second = queue;
            own->second.name = {};
        }
    }
    QueueSample other = sums;
    other.published = other_.published;
    other.delivered = other_.delivered;
    other.acked = other_.acked;
    other.returned = other_.returned;
    other.dead_lettered = other_.dead_lettered;
    other.expired = other_.expired;
    other.dropped = other_.dropped;
    other.repeated = other_.repeated;
    grow(other.published, other_before_.published, sums.published);
    grow(other.delivered, other_before_.delivered, sums.delivered);
    grow(other.acked, other_before_.acked, sums.acked);
    grow(other.returned, other_before_.returned, sums.returned);
    grow(other.dead_lettered, other_before_.dead_lettered, sums.dead_lettered);
    grow(other.expired, other_before_.expired, sums.expired);
    grow(other.dropped, other_before_.dropped, sums.dropped);
    grow(other.repeated, other_before_.repeated, sums.repeated);
    other_ = other;
    other_before_ = sums;
}

/// Forgets vanished queues, then gives free places to new ones. Requires mutex_.
void SampleFamilies::admit(std::span<const QueueSample> queues) {
    std::set<std::string_view> present;
    for (const QueueSample& queue : queues) present.insert(queue.name);
    for (auto it = queues_.begin(); it != queues_.end();) {
        it = present.contains(it->first) ? std::next(it) : queues_.erase(it);
    }
    for (const QueueSample& queue : queues) {
        if (queues_.size() >= queues_max_) return;
        if (!queues_.contains(queue.name)) queues_.emplace(queue.name, QueueSample{});
    }
}

std::vector<MetricFamily> SampleFamilies::Collect() const {
    const std::lock_guard lock(mutex_);
    std::vector<MetricFamily> families;
    for (const BrokerFigure& figure : broker_figures) {
        prometheus::ClientMetric metric;
        set(metric, figure.type, figure.value(broker_));
        families.push_back({figure.name, figure.help, figure.type, {metric}});
    }
    for (const QueueFigure& figure : queue_figures) {
        MetricFamily family{figure.name, figure.help, figure.type, {}};
        const auto add = [&](const std::string& name, const QueueSample& queue) {
            prometheus::ClientMetric metric;
            metric.label = {{"queue", name}};
            set(metric, figure.type, figure.value(queue));
            family.metric.push_back(std::move(metric));
        };
        for (const auto& entry : queues_) add(entry.first, entry.second);
        add("_other", other_);
        families.push_back(std::move(family));
    }
    return families;
}

}  // namespace ferry::telemetry
