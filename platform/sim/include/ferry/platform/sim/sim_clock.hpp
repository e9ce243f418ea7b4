#pragma once

#include <atomic>

#include "ferry/platform/clock.hpp"

namespace ferry::sim {

/// A clock that stands still until told otherwise. Threads: any.
class SimClock final : public Clock {
public:
    static constexpr std::uint64_t ns_per_ms = 1'000'000;

    explicit SimClock(std::uint64_t wall_ms = 1'700'000'000'000) : wall_ms_(wall_ms) {}

    [[nodiscard]] Now now() const override { return Now{Instant{mono_ns_}, wall_ms_}; }

    /// Time passes, on both clocks.
    void advance_ms(std::uint64_t ms) {
        mono_ns_ += ms * ns_per_ms;
        wall_ms_ += ms;
    }
    /// Somebody sets the wall clock, forward or back; the monotonic clock knows nothing of it.
    void set_wall_ms(std::uint64_t wall_ms) { wall_ms_ = wall_ms; }

private:
    std::atomic<std::uint64_t> mono_ns_{ns_per_ms};  // not 0, which code may take for "never"
    std::atomic<std::uint64_t> wall_ms_;
};

}  // namespace ferry::sim
