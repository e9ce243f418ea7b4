#pragma once

#include <bit>
#include <cstdint>

#include "ferry/platform/bytes.hpp"

namespace ferry::sim {

inline std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
    return hash ^ (hash >> 29);
}

/// Not for keys that an enemy chooses: it tells disk images of the same test apart.
inline std::uint64_t hash_bytes(Bytes data, std::uint64_t seed) {
    // Four lanes, since a single chain of multiplications would take most of the crash suite's
    // time.
    std::uint64_t lanes[4] = {seed, seed ^ 0x1234567887654321ULL, ~seed, seed + 0xC0FFEE};
    std::size_t at = 0;
    for (; at + 32 <= data.size(); at += 32) {
        for (std::size_t lane = 0; lane < 4; ++lane) {
            lanes[lane] = mix(lanes[lane], load_le<std::uint64_t>(data.data() + at + lane * 8));
        }
    }
    std::uint64_t hash = mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
    for (; at < data.size(); ++at) hash = mix(hash, static_cast<std::uint64_t>(data[at]) + 1);
    return mix(hash, data.size());
}

}  // namespace ferry::sim
