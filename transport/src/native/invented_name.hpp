#pragma once

#include <string>
#include <string_view>

#include "ferry/platform/random.hpp"

namespace ferry::transport::native {

/// `prefix` and 128 random bits.
inline std::string invented_name(std::string_view prefix, Random& random = system_random()) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string name(prefix);
    for (int word = 0; word < 2; ++word) {
        std::uint64_t bits = random.next();
        for (int i = 0; i < 16; ++i, bits >>= 4) name.push_back(digits[bits & 15]);
    }
    return name;
}

}  // namespace ferry::transport::native
