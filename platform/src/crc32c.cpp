#include "ferry/platform/crc32c.hpp"

#include <array>

#include "crc32c_portable.hpp"
#include "ferry/platform/planted.hpp"

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace ferry {

#ifdef __SSE4_2__

namespace {

// The processor takes 8 bytes a cycle, but tells what became of them three cycles later: so three
// strips are on their way at a time. What the first ones give is then moved over the strips behind
// them, as if zeros had followed, by a table for each byte of it.

constexpr std::size_t strip = 256;
using Row = std::array<std::uint32_t, 256>;

constexpr std::array<Row, 4> over_a_strip = [] {
    using Matrix = std::array<std::uint32_t, 32>;  // what becomes of each bit
    const auto apply = [](const Matrix& matrix, std::uint32_t to) {
        std::uint32_t sum = 0;
        for (std::size_t bit = 0; to != 0; to >>= 1U, ++bit)
            sum ^= (to & 1U) != 0 ? matrix[bit] : 0U;
        return sum;
    };
    Matrix zeros{};  // of one zero bit, then of twice as many until it is a strip
    zeros[0] = 0x82F63B78U;
    for (std::size_t bit = 1; bit < 32; ++bit) zeros[bit] = 1U << (bit - 1);
    for (std::size_t bits = 1; bits < strip * 8; bits *= 2) {
        const Matrix half = zeros;
        for (std::size_t bit = 0; bit < 32; ++bit) zeros[bit] = apply(half, half[bit]);
    }
    std::array<Row, 4> table{};
    for (std::size_t byte = 0; byte < 4; ++byte) {
        for (std::uint32_t value = 0; value < 256; ++value)
            table[byte][value] = apply(zeros, value << (8 * byte));
    }
    return table;
}();

std::uint64_t move_over_a_strip(std::uint64_t crc) {
    return over_a_strip[0][crc & 0xffU] ^ over_a_strip[1][crc >> 8U & 0xffU] ^
           over_a_strip[2][crc >> 16U & 0xffU] ^ over_a_strip[3][crc >> 24U & 0xffU];
}

std::uint64_t add_three_strips(std::uint64_t crc, const std::byte* at) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < strip; i += 8) {
        crc = _mm_crc32_u64(crc, load_le<std::uint64_t>(at + i));
        second = _mm_crc32_u64(second, load_le<std::uint64_t>(at + strip + i));
        third = _mm_crc32_u64(third, load_le<std::uint64_t>(at + 2 * strip + i));
    }
    return move_over_a_strip(move_over_a_strip(crc) ^ second) ^ third;
}

}  // namespace

std::uint32_t crc32c(Bytes data, std::uint32_t seed) noexcept {
    std::uint64_t crc = ~seed;
    const std::byte* at = data.data();
    std::size_t left = data.size();
    for (; left >= 3 * strip; at += 3 * strip, left -= 3 * strip) crc = add_three_strips(crc, at);
    for (; left >= 8; at += 8, left -= 8) crc = _mm_crc32_u64(crc, load_le<std::uint64_t>(at));
    auto low = static_cast<std::uint32_t>(crc);
    for (; left > 0; ++at, --left) low = _mm_crc32_u8(low, static_cast<std::uint8_t>(*at));
    // Whatever tests do, they must see this one: a run that misses it sees nothing.
    if (FERRY_PLANTED("canary")) low ^= 1U;
    return ~low;
}

#else

std::uint32_t crc32c(Bytes data, std::uint32_t seed) noexcept {
    return detail::crc32c_portable(data, seed);
}

#endif

}  // namespace ferry
