#include "ferry/platform/crc32c.hpp"

#include "crc32c_portable.hpp"
#include "ferry/platform/planted.hpp"

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace ferry {

#ifdef __SSE4_2__

std::uint32_t crc32c(Bytes data, std::uint32_t seed) noexcept {
    std::uint64_t crc = ~seed;
    const std::byte* at = data.data();
    std::size_t left = data.size();
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
