#pragma once

#include <cstdint>

#include "ferry/platform/bytes.hpp"

namespace ferry {

/// XXH64 (Yann Collet's xxHash, 64 bits): fast, well mixed, the same on every machine, and there in
/// every language. For spreading, not for secrets: whoever knows the seed can make collisions.
[[nodiscard]] std::uint64_t xxh64(Bytes bytes, std::uint64_t seed = 0);

}  // namespace ferry
