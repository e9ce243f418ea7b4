#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace ferry {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Fixed-width integers at unaligned places. The log is little-endian, frames are big-endian.
template <class T>
inline T load_le(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;  // x86-64 and AArch64 run little-endian; checked in bytes.cpp
}
template <class T>
inline void store_le(std::byte* at, T value) {
    std::memcpy(at, &value, sizeof value);
}
inline std::uint16_t load_be16(const std::byte* at) {
    return __builtin_bswap16(load_le<std::uint16_t>(at));
}
inline std::uint32_t load_be32(const std::byte* at) {
    return __builtin_bswap32(load_le<std::uint32_t>(at));
}
inline std::uint64_t load_be64(const std::byte* at) {
    return __builtin_bswap64(load_le<std::uint64_t>(at));
}
inline void store_be16(std::byte* at, std::uint16_t value) {
    store_le(at, __builtin_bswap16(value));
}
inline void store_be32(std::byte* at, std::uint32_t value) {
    store_le(at, __builtin_bswap32(value));
}
inline void store_be64(std::byte* at, std::uint64_t value) {
    store_le(at, __builtin_bswap64(value));
}

}  // namespace ferry
