#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "ferry/telemetry/metrics.hpp"

namespace ferry::telemetry {

/// Turns the newest samples into metric families. The broker counts for itself; nothing is counted
/// twice here, and a queue that vanished simply is not in the next sample.
class SampleFamilies final : public prometheus::Collectable {
public:
    explicit SampleFamilies(std::uint32_t queues_max) : queues_max_(queues_max) {}

    void update(const BrokerSample& broker, std::span<const QueueSample> queues);
    [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

private:
    void admit(std::span<const QueueSample> queues);

    const std::uint32_t queues_max_;
    mutable std::mutex mutex_;
    BrokerSample broker_;
    // name -> figures. The sample's own name is not set: the key is the name.
    std::map<std::string, QueueSample, std::less<>> queues_;
    QueueSample other_;         // all queues without series of their own; totals never fall
    QueueSample other_before_;  // their plain sums at the last update
};

}  // namespace ferry::telemetry
