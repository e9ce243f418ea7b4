#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ferry/platform/bytes.hpp"

namespace ferry::detail {

// Slicing by eight: table k holds the effect of a byte that is followed by k zero bytes.
using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr CrcTables make_crc_tables() {
    constexpr std::uint32_t polynomial = 0x82F63B78;  // Castagnoli, bits reversed
    CrcTables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? polynomial : 0U);
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < 8; ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t before = tables[k - 1][byte];
            tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFFU];
        }
    }
    return tables;
}

inline constexpr CrcTables crc_tables = make_crc_tables();

/// The same as crc32c() without the processor's help; also what the tests compare it with.
inline std::uint32_t crc32c_portable(Bytes data, std::uint32_t seed) noexcept {
    const CrcTables& t = crc_tables;
    std::uint32_t crc = ~seed;
    const std::byte* at = data.data();
    std::size_t left = data.size();
    for (; left >= 8; at += 8, left -= 8) {
        const std::uint32_t low = load_le<std::uint32_t>(at) ^ crc;
        const std::uint32_t high = load_le<std::uint32_t>(at + 4);
        crc = t[7][low & 0xFFU] ^ t[6][(low >> 8) & 0xFFU] ^ t[5][(low >> 16) & 0xFFU] ^
              t[4][low >> 24] ^ t[3][high & 0xFFU] ^ t[2][(high >> 8) & 0xFFU] ^
              t[1][(high >> 16) & 0xFFU] ^ t[0][high >> 24];
    }
    for (; left > 0; ++at, --left) {
        crc = (crc >> 8) ^ t[0][(crc ^ static_cast<std::uint32_t>(*at)) & 0xFFU];
    }
    return ~crc;
}

}  // namespace ferry::detail
