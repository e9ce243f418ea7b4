#pragma once

#include <cstdint>

#include "ferry/platform/bytes.hpp"

namespace ferry {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `data`, continuing from `seed` (0 to begin).
/// crc32c(b, crc32c(a)) == crc32c(a followed by b). Guards against accident, not against an
/// attacker.
[[nodiscard]] std::uint32_t crc32c(Bytes data, std::uint32_t seed = 0) noexcept;

}  // namespace ferry
