#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ferry::log_reader {

/// Requires  at + size of the integer <= bytes.size().
[[nodiscard]] inline std::uint64_t read_u64(std::span<const std::byte> bytes, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        value |= static_cast<std::uint64_t>(bytes[at + i]) << (8 * i);
    }
    return value;
}
[[nodiscard]] inline std::uint32_t read_u32(std::span<const std::byte> bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        value |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
    }
    return value;
}

}  // namespace ferry::log_reader
