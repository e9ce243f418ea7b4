#pragma once

#include <compare>
#include <cstdint>

namespace ferry {

/// A moment on the monotonic clock. Only differences mean anything.
struct Instant {
    std::uint64_t ns = 0;
    auto operator<=>(const Instant&) const = default;
};

/// Both clocks read together.
struct Now {
    Instant mono;               // CLOCK_MONOTONIC: leases, heartbeats, retries
    std::uint64_t wall_ms = 0;  // milliseconds since 1970: what people see, expiry dates
};

/// The only source of time. Threads: any.
class Clock {
public:
    virtual ~Clock() = default;
    [[nodiscard]] virtual Now now() const = 0;
};

/// The operating system's clock; lives for ever.
[[nodiscard]] Clock& system_clock();

}  // namespace ferry
