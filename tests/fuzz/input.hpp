#pragma once

#include <cstdlib>

#include "ferry/platform/bytes.hpp"

namespace ferry::fuzz {

/// Numbers and pieces of bytes drawn from the fuzzer's input; zeros when it is used up.
class Input {
public:
    explicit Input(Bytes bytes) : bytes_(bytes) {}

    [[nodiscard]] bool empty() const { return bytes_.empty(); }
    std::uint8_t u8() {
        if (bytes_.empty()) return 0;
        const auto value = static_cast<std::uint8_t>(bytes_[0]);
        bytes_ = bytes_.subspan(1);
        return value;
    }
    std::uint32_t u16() {
        const std::uint32_t low = u8();
        return low | std::uint32_t{u8()} << 8;
    }
    std::uint32_t below(std::uint32_t bound) { return u8() % bound; }
    Bytes take(std::size_t n) {
        const Bytes part = bytes_.first(n < bytes_.size() ? n : bytes_.size());
        bytes_ = bytes_.subspan(part.size());
        return part;
    }
    Bytes rest() { return take(bytes_.size()); }

private:
    Bytes bytes_;
};

/// Not an assertion of the program: what the fuzzer found does not hold.
inline void require(bool condition) {
    if (!condition) std::abort();
}

}  // namespace ferry::fuzz
