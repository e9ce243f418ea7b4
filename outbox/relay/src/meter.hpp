#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "ferry/outbox/relay.hpp"

namespace ferry::outbox::relay {

/// Times from commit to confirm, counted in buckets.
struct Histogram {
    static constexpr std::array<double, 14> bounds_seconds{
        0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300};
    std::array<std::uint64_t, bounds_seconds.size() + 1> counts{};
    double sum_seconds = 0;

    void observe_ms(std::uint64_t ms, std::uint64_t times = 1);
};

/// What the relay's thread writes and any other reads.
class Meter {
public:
    void publish(const Figures& figures, const Histogram& histogram) {
        const std::lock_guard lock(mutex_);
        figures_ = figures;
        histogram_ = histogram;
    }
    /// What the way to the broker tells, in the text format of Prometheus.
    void publish_beside(std::string text) {
        const std::lock_guard lock(mutex_);
        beside_ = std::move(text);
    }
    [[nodiscard]] Figures figures() const {
        const std::lock_guard lock(mutex_);
        return figures_;
    }
    /// The text format of Prometheus.
    [[nodiscard]] std::string render() const;

private:
    mutable std::mutex mutex_;
    Figures figures_;
    Histogram histogram_;
    std::string beside_;
};

}  // namespace ferry::outbox::relay
