#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "ferry/platform/clock.hpp"
#include "ferry/platform/planted.hpp"

namespace ferry::saga {

/// Wall-clock time that does not jump: it goes on from where it began by the monotonic clock, and
/// follows the wall clock by at most slew_ms in a second.
///
/// It never goes back, since what was noted must not lie in the future: a timer would stand still.
/// That holds over the end of a process as well when what the next one finds noted is given to
/// at_least().
///
/// Threads   any.
class SteadyWall {
public:
    static constexpr std::int64_t slew_ms = 100;

    explicit SteadyWall(const Clock& clock) : clock_(clock), last_(clock.now()) {
        now_ms_ = last_.wall_ms;
    }
    std::uint64_t now_ms() {
        const std::scoped_lock lock(mutex_);
        const Now now = clock_.now();
        if (FERRY_PLANTED("saga-timers-jump-with-the-wall-clock")) return now.wall_ms;
        const std::uint64_t passed = (now.mono.ns - last_.mono.ns) / 1'000'000;
        if (passed == 0) return now_ms_;
        now_ms_ += passed;
        last_.mono.ns += passed * 1'000'000;
        const auto behind =
            static_cast<std::int64_t>(now.wall_ms) - static_cast<std::int64_t>(now_ms_);
        budget_ = std::min<std::int64_t>(
            slew_ms, budget_ + static_cast<std::int64_t>(passed) * slew_ms / 1000);
        const std::int64_t step =
            std::clamp<std::int64_t>(behind, 0, std::max<std::int64_t>(budget_, 0));
        now_ms_ += static_cast<std::uint64_t>(step);
        budget_ -= step;
        return now_ms_;
    }
    /// It is at least so late: somebody has noted it.
    void at_least(std::uint64_t noted_ms) {
        const std::scoped_lock lock(mutex_);
        now_ms_ = std::max(now_ms_, noted_ms);
    }

private:
    const Clock& clock_;
    std::mutex mutex_;
    Now last_;
    std::uint64_t now_ms_ = 0;
    std::int64_t budget_ = 0;
};

}  // namespace ferry::saga
