#include "ferry/telemetry/metrics.hpp"

#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <atomic>

#include "process_figures.hpp"
#include "sample_families.hpp"

namespace ferry::telemetry {
namespace {

// 50 µs to 10 s: an fdatasync takes 100 µs on a good disk and a second on a sick one.
const prometheus::Histogram::BucketBoundaries seconds_buckets{
    0.00005, 0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.003, 0.005,
    0.01,    0.02,   0.05,   0.1,    0.2,    0.5,   1,     2,     10};
const prometheus::Histogram::BucketBoundaries count_buckets{
    0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536};

prometheus::Histogram& add_histogram(prometheus::Registry& registry, const char* name,
                                     const char* help,
                                     const prometheus::Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

/// One call for a whole batch: the histogram's lock is taken once, however many messages it holds.
void observe(prometheus::Histogram& histogram,
             const prometheus::Histogram::BucketBoundaries& buckets, double value,
             std::uint64_t count) {
    if (count == 0) return;
    if (count == 1) return histogram.Observe(value);
    const auto at = std::lower_bound(buckets.begin(), buckets.end(), value) - buckets.begin();
    std::vector<double> increments(buckets.size() + 1, 0.0);
    increments[static_cast<std::size_t>(at)] = static_cast<double>(count);
    histogram.ObserveMultiple(increments, value * static_cast<double>(count));
}

std::int64_t steady_ms() {
    using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::steady_clock;
    return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Metrics::Impl {
    explicit Impl(std::uint32_t queues_max) : samples(queues_max) {}

    prometheus::Registry registry;
    SampleFamilies samples;
    prometheus::Histogram& sync_seconds = add_histogram(
        registry, "ferry_log_fsync_seconds", "Time of one fdatasync of the log.", seconds_buckets);
    prometheus::Histogram& sync_messages =
        add_histogram(registry, "ferry_log_fsync_messages",
                      "Messages that one fdatasync made durable.", count_buckets);
    prometheus::Histogram& confirm_seconds =
        add_histogram(registry, "ferry_confirm_seconds",
                      "Time from a publish read to its confirm written.", seconds_buckets);
    prometheus::Histogram& delivery_seconds =
        add_histogram(registry, "ferry_delivery_seconds",
                      "Time from a publish read to its first delivery written.", seconds_buckets);
    std::atomic<std::int64_t> updated_ms{steady_ms()};
};

Metrics::Metrics(std::uint32_t queues_max, std::string_view version)
    : impl_(std::make_unique<Impl>(queues_max)) {
    const std::string shown = version.empty() ? FERRY_VERSION : std::string(version);
    prometheus::BuildGauge()
        .Name("ferry_build_info")
        .Help("Always 1; the labels tell what runs.")
        .Register(impl_->registry)
        .Add({{"version", shown}, {"compiler", __VERSION__}})
        .Set(1);
}

Metrics::~Metrics() = default;

void Metrics::update(const BrokerSample& broker, std::span<const QueueSample> queues) {
    impl_->samples.update(broker, queues);
    impl_->updated_ms.store(steady_ms(), std::memory_order_relaxed);
}

void Metrics::observe_sync(std::uint64_t ns, std::uint64_t messages) {
    impl_->sync_seconds.Observe(static_cast<double>(ns) / 1e9);
    impl_->sync_messages.Observe(static_cast<double>(messages));
}

void Metrics::observe_confirm_us(double us, std::uint64_t count) {
    observe(impl_->confirm_seconds, seconds_buckets, us / 1e6, count);
}

void Metrics::observe_delivery_us(double us, std::uint64_t count) {
    observe(impl_->delivery_seconds, seconds_buckets, us / 1e6, count);
}

std::chrono::milliseconds Metrics::since_update() const {
    return std::chrono::milliseconds(steady_ms() -
                                     impl_->updated_ms.load(std::memory_order_relaxed));
}

std::string Metrics::render() const {
    auto families = impl_->registry.Collect();
    const auto append = [&](std::vector<prometheus::MetricFamily> more) {
        families.insert(families.end(), std::make_move_iterator(more.begin()),
                        std::make_move_iterator(more.end()));
    };
    append(impl_->samples.Collect());
    append(process_families());
    return prometheus::TextSerializer().Serialize(families);
}

}  // namespace ferry::telemetry
