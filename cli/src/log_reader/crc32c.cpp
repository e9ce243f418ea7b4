#include "log_reader/crc32c.hpp"

#include <array>

#include "log_reader/little_endian.hpp"

namespace ferry::log_reader {
namespace {

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

consteval Table make_table() {
    Table table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
        }
        table[0][i] = crc;
    }
    for (std::uint32_t i = 0; i < 256; ++i) {
        for (std::size_t k = 1; k < 8; ++k) {
            const std::uint32_t before = table[k - 1][i];
            table[k][i] = (before >> 8) ^ table[0][before & 0xFFU];
        }
    }
    return table;
}

constexpr Table table = make_table();

}  // namespace

// Eight bytes a step through eight tables: no special instructions, yet a segment takes well under
// a second.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) {
    std::uint32_t crc = ~seed;
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        const std::uint64_t word = read_u64(bytes, at) ^ crc;
        crc = 0;
        for (std::size_t k = 0; k < 8; ++k) {
            crc ^= table[7 - k][(word >> (8 * k)) & 0xFFU];
        }
    }
    for (; at < bytes.size(); ++at) {
        crc = (crc >> 8) ^ table[0][(crc ^ static_cast<std::uint32_t>(bytes[at])) & 0xFFU];
    }
    return ~crc;
}

}  // namespace ferry::log_reader
