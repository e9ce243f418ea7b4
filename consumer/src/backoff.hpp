#pragma once

#include <cstdint>

#include "ferry/consumer/runtime.hpp"

namespace ferry::consumer {

/// `first` doubled `failures - 1` times up to `cap`; half of it chance, so that what failed
/// together does not come back together.
[[nodiscard]] Duration backoff(Duration first, Duration cap, std::uint64_t failures,
                               std::uint64_t random);

}  // namespace ferry::consumer
