#include "backoff.hpp"

#include <algorithm>

namespace ferry::consumer {

Duration backoff(Duration first, Duration cap, std::uint64_t failures, std::uint64_t random) {
    auto wait = static_cast<std::uint64_t>(std::max<std::int64_t>(1, first.count()));
    const auto most = static_cast<std::uint64_t>(std::max<std::int64_t>(1, cap.count()));
    for (std::uint64_t i = 1; i < failures && wait < most; ++i) wait *= 2;
    wait = std::min(wait, most);
    const std::uint64_t half = wait / 2;
    return Duration(static_cast<std::int64_t>(wait - half + random % (half + 1)));
}

}  // namespace ferry::consumer
