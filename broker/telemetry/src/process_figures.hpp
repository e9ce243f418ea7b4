#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace ferry::telemetry {

/// The process_* families that Prometheus' own clients export, read from /proc. What cannot be read
/// is left out rather than reported as zero.
[[nodiscard]] std::vector<prometheus::MetricFamily> process_families();

}  // namespace ferry::telemetry
