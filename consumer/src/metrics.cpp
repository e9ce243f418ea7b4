#include "metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "ferry/consumer/inbox.hpp"

namespace ferry::consumer {
namespace {

const prometheus::Histogram::BucketBoundaries handler_buckets{
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100};
const prometheus::Histogram::BucketBoundaries effect_buckets{
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 300, 3600};

}  // namespace

struct Metrics::Impl {
    explicit Impl(const std::string& name) : consumer(name) {}

    prometheus::Histogram& histogram(const char* name, const char* help,
                                     const prometheus::Histogram::BucketBoundaries& buckets) {
        return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
            {{"consumer", consumer}}, buckets);
    }
    /// Counts up to a total that is kept elsewhere.
    void total(const char* name, const char* help, std::uint64_t value) {
        auto& counter = prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(
            {{"consumer", consumer}});
        const double missing = static_cast<double>(value) - counter.Value();
        if (missing > 0) counter.Increment(missing);
    }
    void level(const char* name, const char* help, double value) {
        prometheus::BuildGauge()
            .Name(name)
            .Help(help)
            .Register(registry)
            .Add({{"consumer", consumer}})
            .Set(value);
    }

    const std::string consumer;
    std::mutex mutex;  // two renderings at once
    prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
    prometheus::Histogram& handler = histogram("ferry_consumer_handler_seconds",
                                               "Time of a handler, per message.", handler_buckets);
    prometheus::Histogram& commit_to_effect =
        histogram("ferry_consumer_commit_to_effect_seconds",
                  "Time from the publisher's commit to the effect.", effect_buckets);
};

Metrics::Metrics(const std::string& consumer) : impl_(std::make_unique<Impl>(consumer)) {}
Metrics::~Metrics() = default;

void Metrics::observe_handler(double seconds) {
    impl_->handler.Observe(seconds);
}
// A histogram locks for each call, so a batch is counted here and added at once. Its messages come
// in runs of the same millisecond.
void Metrics::observe_commit_to_effect(std::span<const Incoming> messages,
                                       std::span<const Handled> handled, std::uint64_t now_ms) {
    std::vector<double> counts;
    double sum = 0;
    std::uint64_t last_published = 0;
    std::size_t last_bucket = 0;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const std::uint64_t published = messages[i].published_at_ms();
        if (handled[i].kind != Handled::Kind::done || published == 0 || now_ms < published)
            continue;
        const double seconds = static_cast<double>(now_ms - published) / 1000.0;
        if (messages.size() == 1) return impl_->commit_to_effect.Observe(seconds);
        if (published != last_published) {
            last_published = published;
            last_bucket = static_cast<std::size_t>(
                std::lower_bound(effect_buckets.begin(), effect_buckets.end(), seconds) -
                effect_buckets.begin());
        }
        if (counts.empty()) counts.resize(effect_buckets.size() + 1);
        counts[last_bucket] += 1;
        sum += seconds;
    }
    if (!counts.empty()) impl_->commit_to_effect.ObserveMultiple(counts, sum);
}

std::string Metrics::render(const Figures& figures, const Health& health,
                            const InboxFigures* inbox) {
    const std::scoped_lock lock(impl_->mutex);
    Impl& m = *impl_;
    m.total("ferry_consumer_received_total", "Deliveries received.", figures.received);
    m.total("ferry_consumer_done_total", "Messages done.", figures.done);
    m.total("ferry_consumer_retried_total", "Attempts that failed.", figures.retried);
    m.total("ferry_consumer_later_total", "Attempts put off without a failure.", figures.later);
    m.total("ferry_consumer_dead_lettered_total", "Messages given up.", figures.dead_lettered);
    m.total("ferry_consumer_leases_lost_total", "Leases lost before the ack.", figures.leases_lost);
    m.level("ferry_consumer_waiting", "Messages received and not begun.",
            static_cast<double>(health.waiting));
    m.level("ferry_consumer_running", "Messages in handlers.", static_cast<double>(health.running));
    m.level("ferry_consumer_delayed", "Messages and keys that wait for another attempt.",
            static_cast<double>(health.delayed));
    m.level("ferry_consumer_stuck", "Handlers that run for too long.",
            static_cast<double>(health.stuck));
    m.level("ferry_consumer_healthy", "1: nothing is wrong.", health.ok ? 1 : 0);
    m.level("ferry_consumer_connected", "1: connected to the broker.", health.connected ? 1 : 0);
    m.level("ferry_consumer_since_progress_seconds", "Since a message was last done.",
            static_cast<double>(health.since_progress.count()) / 1000.0);
    if (inbox != nullptr) {
        m.total("ferry_inbox_applied_total", "Effects committed.", inbox->applied);
        m.total("ferry_inbox_duplicates_total", "Repeats recognised.", inbox->duplicates);
        m.total("ferry_inbox_failed_total", "Effects rolled back.", inbox->failed);
        m.total("ferry_inbox_busy_total", "Effects delayed by a locked or full database.",
                inbox->busy);
        m.total("ferry_inbox_transactions_total", "Transactions.", inbox->transactions);
        m.total("ferry_inbox_slow_transactions_total", "Transactions that took too long.",
                inbox->slow_transactions);
        m.total("ferry_inbox_collapsed_ranges_total", "Ranges replaced by a cursor.",
                inbox->collapsed);
        m.total("ferry_inbox_evicted_cursors_total", "Cursors dropped over the limit.",
                inbox->evicted_cursors);
        m.total("ferry_inbox_evicted_ranges_total", "Unsure ranges dropped over the limit.",
                inbox->evicted_ranges);
        m.total("ferry_inbox_beyond_retention_total",
                "Messages redelivered when their id may have been forgotten.",
                inbox->beyond_retention);
        m.level("ferry_inbox_transaction_seconds_max", "Longest transaction.",
                static_cast<double>(inbox->transaction_us_max) / 1e6);
    }
    return prometheus::TextSerializer().Serialize(m.registry.Collect());
}

}  // namespace ferry::consumer
