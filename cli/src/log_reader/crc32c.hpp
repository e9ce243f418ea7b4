#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ferry::log_reader {

/// CRC-32C (Castagnoli). The reader has its own so that a mistake in the broker's cannot hide
/// itself. `seed` is the CRC of the bytes before, to go on from there.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0);

}  // namespace ferry::log_reader
