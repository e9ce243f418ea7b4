#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "log_reader/little_endian.hpp"

namespace ferry::log_reader {

/// Takes values off the front of bytes it does not own. After the first value that is cut short or
/// out of range failed() is true and every further value is 0: callers check once, at the end.
/// Threads: one.
class ByteReader {
public:
    explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] std::size_t remaining() const { return rest_.size(); }

    std::span<const std::byte> take(std::uint64_t length) {
        if (failed_ || length > rest_.size()) {
            failed_ = true;
            rest_ = {};
            return {};
        }
        const auto taken = rest_.first(static_cast<std::size_t>(length));
        rest_ = rest_.subspan(static_cast<std::size_t>(length));
        return taken;
    }
    std::uint8_t u8() {
        const auto bytes = take(1);
        return bytes.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(bytes[0]);
    }
    std::uint32_t u32() {
        const auto bytes = take(4);
        return bytes.empty() ? 0 : read_u32(bytes, 0);
    }
    std::uint64_t u64() {
        const auto bytes = take(8);
        return bytes.empty() ? 0 : read_u64(bytes, 0);
    }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 70; shift += 7) {
            const std::uint8_t byte = u8();
            if (failed_) return 0;
            const std::uint64_t bits = byte & 0x7FU;
            if (shift == 63 && bits > 1) break;  // does not fit into 64 bits
            value |= bits << shift;
            if ((byte & 0x80U) == 0) return value;
        }
        failed_ = true;
        rest_ = {};
        return 0;
    }
    std::int64_t zigzag() {
        const std::uint64_t value = varint();
        return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
    }
    /// A count of things of at least one byte each: more than there are bytes left is a lie.
    std::uint64_t count() {
        const std::uint64_t value = varint();
        if (value > rest_.size()) {
            failed_ = true;
            rest_ = {};
            return 0;
        }
        return value;
    }
    std::string text() {
        const auto bytes = take(varint());
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

private:
    std::span<const std::byte> rest_;
    bool failed_ = false;
};

}  // namespace ferry::log_reader
