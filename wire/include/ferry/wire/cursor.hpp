#pragma once

#include <array>
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

    bool read_uint(std::uint64_t& out) {
        if (at_ == end_ || tag() >= 0x80) return read_wide_uint(out);
        out = tag();
        ++at_;
        return true;
    }
    bool read_int(std::int64_t& out);
    bool read_bool(bool& out);
    bool read_double(double& out);  // float 32 or 64
    bool read_nil();
    bool read_str(std::string_view& out);
    bool read_bin(Bytes& out);
    /// Declared counts are only promises: the caller bounds them before it believes them.
    bool read_array(std::uint32_t& count) { return read_count(0x90, 0x0f, 0xdc, count); }
    bool read_map(std::uint32_t& count) { return read_count(0x80, 0x0f, 0xde, count); }
    /// Steps over one value of any type, iteratively, to limits::msgpack_depth_max.
    bool skip() { return skip_flat() || skip_deep(); }

    [[nodiscard]] bool next_is_nil() const { return at_ != end_ && *at_ == std::byte{0xc0}; }
    [[nodiscard]] bool next_is_str() const {
        return at_ != end_ && ((tag() & 0xe0U) == 0xa0 || (tag() >= 0xd9 && tag() <= 0xdb));
    }
    [[nodiscard]] bool next_is_bin() const { return at_ != end_ && tag() >= 0xc4 && tag() <= 0xc6; }
    [[nodiscard]] bool next_is_map() const {
        return at_ != end_ && ((tag() & 0xf0U) == 0x80 || tag() == 0xde || tag() == 0xdf);
    }
    [[nodiscard]] bool next_is_bool() const;
    [[nodiscard]] bool next_is_integer() const;
    [[nodiscard]] bool next_is_double() const;

private:
    [[nodiscard]] std::uint8_t tag() const { return static_cast<std::uint8_t>(*at_); }
    bool take(std::size_t header, std::size_t length, Bytes& out) {
        if (remaining() < header || remaining() - header < length) return false;
        out = Bytes(at_ + header, length);
        at_ += header + length;
        return true;
    }
    bool read_count(std::uint8_t fix_base, std::uint8_t fix_mask, std::uint8_t tag16,
                    std::uint32_t& count);
    bool read_wide_uint(std::uint64_t& out);
    bool skip_flat();
    bool skip_deep();

    const std::byte* at_;
    const std::byte* end_;
};

// Every message of a publish is read by these: they are here to be inlined.

inline bool Cursor::read_nil() {
    if (!next_is_nil()) return false;
    ++at_;
    return true;
}

inline bool Cursor::read_str(std::string_view& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    Bytes bytes;
    bool done = false;
    if ((t & 0xe0U) == 0xa0) {
        done = take(1, t & 0x1fU, bytes);
    } else if (t == 0xd9 && remaining() >= 2) {
        done = take(2, static_cast<std::size_t>(at_[1]), bytes);
    } else if (t == 0xda && remaining() >= 3) {
        done = take(3, load_be16(at_ + 1), bytes);
    } else if (t == 0xdb && remaining() >= 5) {
        done = take(5, load_be32(at_ + 1), bytes);
    }
    if (done) out = as_text(bytes);
    return done;
}

inline bool Cursor::read_bin(Bytes& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    if (t == 0xc4 && remaining() >= 2) return take(2, static_cast<std::size_t>(at_[1]), out);
    if (t == 0xc5 && remaining() >= 3) return take(3, load_be16(at_ + 1), out);
    if (t == 0xc6 && remaining() >= 5) return take(5, load_be32(at_ + 1), out);
    return false;
}

inline bool Cursor::read_count(std::uint8_t fix_base, std::uint8_t fix_mask, std::uint8_t tag16,
                               std::uint32_t& count) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    if ((t & static_cast<std::uint8_t>(~fix_mask)) == fix_base) {
        count = t & fix_mask;
        ++at_;
        return true;
    }
    if (t == tag16 && remaining() >= 3) {
        count = load_be16(at_ + 1);
        at_ += 3;
        return true;
    }
    if (t == tag16 + 1 && remaining() >= 5) {
        count = load_be32(at_ + 1);
        at_ += 5;
        return true;
    }
    return false;
}

namespace detail {
/// Bytes of a value that begins with `tag`, where the tag alone says it; 0: it does not.
constexpr std::uint8_t bytes_by_tag(unsigned tag) {
    if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) return 1;
    if (tag >= 0xa0 && tag < 0xc0) return static_cast<std::uint8_t>(1 + (tag & 0x1fU));
    constexpr std::uint8_t from_ca[] = {5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18};
    return tag >= 0xca && tag <= 0xd8 ? from_ca[tag - 0xca] : std::uint8_t{0};
}
inline constexpr auto tag_bytes = [] {
    std::array<std::uint8_t, 256> table{};
    for (unsigned tag = 0; tag < table.size(); ++tag) table[tag] = bytes_by_tag(tag);
    return table;
}();
}  // namespace detail

/// Steps over a scalar, a text or bytes, or a map of these alone, which is what properties mostly
/// are. False: it is something else (see skip_deep()).
inline bool Cursor::skip_flat() {
    const std::byte* const before = at_;
    std::uint64_t values = 1;
    std::uint32_t pairs = 0;
    if (read_map(pairs)) values = std::uint64_t{pairs} * 2;
    for (; values > 0; --values) {
        std::string_view text;
        Bytes bytes;
        const std::size_t size = at_ == end_ ? 0U : detail::tag_bytes[tag()];
        if (size != 0 && size <= remaining()) {
            at_ += size;
        } else if (size != 0 || !(read_bin(bytes) || read_str(text))) {
            at_ = before;
            return false;
        }
    }
    return true;
}

}  // namespace ferry::wire
