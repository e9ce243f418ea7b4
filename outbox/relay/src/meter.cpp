#include "meter.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace ferry::outbox::relay {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily family(const char* name, const char* help, MetricType type, double value) {
    MetricFamily family;
    family.name = name;
    family.help = help;
    family.type = type;
    ClientMetric metric;
    if (type == MetricType::Counter) {
        metric.counter.value = value;
    } else {
        metric.gauge.value = value;
    }
    family.metric.push_back(std::move(metric));
    return family;
}

MetricFamily family(const Histogram& histogram) {
    MetricFamily family;
    family.name = "ferry_relay_commit_to_confirm_seconds";
    family.help = "From the row's created_ms to the broker's confirm, as of the wall clock.";
    family.type = MetricType::Histogram;
    ClientMetric metric;
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
        total += histogram.counts[i];
        ClientMetric::Bucket bucket;
        bucket.cumulative_count = total;
        bucket.upper_bound = i < Histogram::bounds_seconds.size()
                                 ? Histogram::bounds_seconds[i]
                                 : std::numeric_limits<double>::infinity();
        metric.histogram.bucket.push_back(bucket);
    }
    metric.histogram.sample_count = total;
    metric.histogram.sample_sum = histogram.sum_seconds;
    family.metric.push_back(std::move(metric));
    return family;
}

}  // namespace

void Histogram::observe_ms(std::uint64_t ms, std::uint64_t times) {
    const double seconds = static_cast<double>(ms) / 1000;
    const auto* const at = std::lower_bound(bounds_seconds.begin(), bounds_seconds.end(), seconds);
    counts[static_cast<std::size_t>(at - bounds_seconds.begin())] += times;
    sum_seconds += seconds * static_cast<double>(times);
}

std::string Meter::render() const {
    Figures f;
    Histogram histogram;
    std::string beside;
    {
        const std::lock_guard lock(mutex_);
        f = figures_;
        histogram = histogram_;
        beside = beside_;
    }
    struct Row {
        const char* name;
        const char* help;
        MetricType type;
        double value;
    };
    const auto counter = MetricType::Counter;
    const auto gauge = MetricType::Gauge;
    const auto d = [](std::uint64_t value) { return static_cast<double>(value); };
    const Row rows[] = {
        {"ferry_relay_leading", "1: this relay holds the lease.", gauge, f.leading ? 1.0 : 0.0},
        {"ferry_relay_connected", "1: the broker has the producer open.", gauge,
         f.connected ? 1.0 : 0.0},
        {"ferry_relay_stuck", "1: so many rows wait behind refused ones that no more are read.",
         gauge, f.stuck ? 1.0 : 0.0},
        {"ferry_relay_lag_rows", "Rows committed and not sent, by ids.", gauge, d(f.lag_rows)},
        {"ferry_relay_lag_seconds", "Age of the oldest of them.", gauge, f.lag_seconds},
        {"ferry_relay_unmarked_rows", "Rows sent and still in the table.", gauge, d(f.unmarked)},
        {"ferry_relay_parked_rows", "Rows that wait for an operator.", gauge, d(f.parked)},
        {"ferry_relay_waiting_rows", "Rows read and kept back.", gauge, d(f.waiting)},
        {"ferry_relay_in_flight_rows", "Rows published and not answered.", gauge, d(f.in_flight)},
        {"ferry_relay_wal_bytes", "Size of the database's WAL file.", gauge, d(f.wal_bytes)},
        {"ferry_relay_epoch", "Epoch of the producer.", gauge, d(f.epoch)},
        {"ferry_relay_sent_total", "Messages the broker confirmed.", counter, d(f.sent)},
        {"ferry_relay_published_total", "Messages handed to the broker.", counter, d(f.published)},
        {"ferry_relay_duplicates_total", "Confirms of what was there already.", counter,
         d(f.duplicates)},
        {"ferry_relay_refused_total", "Refusals.", counter, d(f.refused)},
        {"ferry_relay_marked_total", "Rows taken out of the table.", counter, d(f.marked)},
        {"ferry_relay_mark_failures_total", "Write steps that failed and are repeated.", counter,
         d(f.mark_failures)},
        {"ferry_relay_busy_total", "Of them: another connection held the lock.", counter,
         d(f.busy)},
        {"ferry_relay_connects_total", "Connections to the broker.", counter, d(f.connects)},
        {"ferry_relay_leases_lost_total", "Leases lost to another relay.", counter,
         d(f.leases_lost)},
        {"ferry_relay_wakes_total", "Announced commits.", counter, d(f.wakes)},
        {"ferry_relay_new_epochs_total",
         "New epochs taken because the database was restored or copied.", counter, d(f.new_epochs)},
        {"ferry_relay_new_identities_total",
         "New producers made because a copy of the database has the old one.", counter,
         d(f.new_identities)},
    };
    std::vector<MetricFamily> families;
    for (const Row& row : rows) {
        families.push_back(family(row.name, row.help, row.type, row.value));
    }
    families.push_back(family(histogram));
    return prometheus::TextSerializer().Serialize(families) + beside;
}

}  // namespace ferry::outbox::relay
