#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "ferry/platform/clock.hpp"

namespace ferry::test {

/// The system's clock, so much later.
class ShiftedClock final : public Clock {
public:
    [[nodiscard]] Now now() const override {
        Now now = system_clock().now();
        now.mono.ns += shift_ms_ * 1'000'000;
        now.wall_ms += shift_ms_;
        return now;
    }
    void pass(std::chrono::milliseconds time) {
        shift_ms_ += static_cast<std::uint64_t>(time.count());
    }

private:
    std::atomic<std::uint64_t> shift_ms_{0};
};

}  // namespace ferry::test
