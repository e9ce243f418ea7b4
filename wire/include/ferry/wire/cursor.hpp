#pragma once

#include <cstdint>
#include <string_view>

#include "ferry/platform/bytes.hpp"

namespace ferry::wire {

/// Pull decoder for msgpack (github.com/msgpack/msgpack/blob/master/spec.md) over bytes it does not
/// own.
///
/// Every read returns false, and leaves the cursor where it was, when the next value is of another
/// type, out of range or cut short. Nothing is allocated, whatever a length or count declares.
/// Threads: one.
class Cursor {
public:
    explicit Cursor(Bytes bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    [[nodiscard]] bool at_end() const { return at_ == end_; }
    [[nodiscard]] const std::byte* position() const { return at_; }
    [[nodiscard]] std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }

    bool read_uint(std::uint64_t& out);
    bool read_int(std::int64_t& out);
    bool read_bool(bool& out);
    bool read_double(double& out);  // float 32 or 64
    bool read_nil();
    bool read_str(std::string_view& out);
    bool read_bin(Bytes& out);
    /// Declared counts are only promises: the caller bounds them before it believes them.
    bool read_array(std::uint32_t& count);
    bool read_map(std::uint32_t& count);
    /// Steps over one value of any type, iteratively, to limits::msgpack_depth_max.
    bool skip();

    [[nodiscard]] bool next_is_nil() const { return at_ != end_ && *at_ == std::byte{0xc0}; }
    [[nodiscard]] bool next_is_str() const;
    [[nodiscard]] bool next_is_bin() const;
    [[nodiscard]] bool next_is_map() const;
    [[nodiscard]] bool next_is_bool() const;
    [[nodiscard]] bool next_is_integer() const;
    [[nodiscard]] bool next_is_double() const;

private:
    [[nodiscard]] std::uint8_t tag() const { return static_cast<std::uint8_t>(*at_); }
    bool take(std::size_t header, std::size_t length, Bytes& out);
    bool read_count(std::uint8_t fix_base, std::uint8_t fix_mask, std::uint8_t tag16,
                    std::uint32_t& count);

    const std::byte* at_;
    const std::byte* end_;
};

}  // namespace ferry::wire
