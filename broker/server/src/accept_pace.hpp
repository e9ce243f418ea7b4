#pragma once

#include <algorithm>
#include <cstdint>

namespace ferry::server {

/// How fast connections are taken: a storm of them waits in the kernel's queue, instead of taking
/// the loop's time from those that are there.
class AcceptPace {
public:
    /// `burst` at once, then `per_second`.
    AcceptPace(std::uint32_t per_second, std::uint32_t burst)
        : per_second_(per_second), burst_(burst), tokens_(burst) {}

    /// False: not now; try again when wait_ms has passed.
    [[nodiscard]] bool take(std::uint64_t now_ms) {
        if (now_ms > refilled_ms_) {
            const double gained = static_cast<double>(now_ms - refilled_ms_) * per_second_ / 1000.0;
            tokens_ = std::min(tokens_ + gained, static_cast<double>(burst_));
            refilled_ms_ = now_ms;
        }
        if (tokens_ < 1) return false;
        tokens_ -= 1;
        return true;
    }

    static constexpr std::uint64_t wait_ms = 5;

private:
    double per_second_;
    std::uint32_t burst_;
    double tokens_;
    std::uint64_t refilled_ms_ = 0;
};

}  // namespace ferry::server
