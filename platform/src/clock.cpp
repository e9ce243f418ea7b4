#include "ferry/platform/clock.hpp"

#include <time.h>

namespace ferry {
namespace {

std::uint64_t read_ns(clockid_t which) {
    timespec at{};
    // Cannot fail for these two clocks, which every Linux has.
    static_cast<void>(clock_gettime(which, &at));
    return static_cast<std::uint64_t>(at.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(at.tv_nsec);
}

class SystemClock final : public Clock {
public:
    [[nodiscard]] Now now() const override {
        return Now{Instant{read_ns(CLOCK_MONOTONIC)}, read_ns(CLOCK_REALTIME) / 1'000'000U};
    }
};

}  // namespace

Clock& system_clock() {
    static SystemClock clock;
    return clock;
}

}  // namespace ferry
