#include "ferry/wire/cursor.hpp"

#include <bit>

#include "ferry/wire/limits.hpp"

namespace ferry::wire {

bool Cursor::next_is_bool() const {
    return at_ != end_ && (tag() == 0xc2 || tag() == 0xc3);
}
bool Cursor::next_is_integer() const {
    return at_ != end_ && (tag() < 0x80 || tag() >= 0xe0 || (tag() >= 0xcc && tag() <= 0xd3));
}
bool Cursor::next_is_double() const {
    return at_ != end_ && (tag() == 0xca || tag() == 0xcb);
}

bool Cursor::read_wide_uint(std::uint64_t& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    std::size_t width = 0;
    switch (t) {
        case 0xcc:
        case 0xd0:
            width = 1;
            break;
        case 0xcd:
        case 0xd1:
            width = 2;
            break;
        case 0xce:
        case 0xd2:
            width = 4;
            break;
        case 0xcf:
        case 0xd3:
            width = 8;
            break;
        default:
            return false;
    }
    if (remaining() < 1 + width) return false;
    std::uint64_t value = 0;
    switch (width) {
        case 1:
            value = static_cast<std::uint64_t>(at_[1]);
            break;
        case 2:
            value = load_be16(at_ + 1);
            break;
        case 4:
            value = load_be32(at_ + 1);
            break;
        default:
            value = load_be64(at_ + 1);
            break;
    }
    const bool is_signed = t >= 0xd0;
    if (is_signed && (value >> (8 * width - 1)) != 0) return false;  // negative
    out = value;
    at_ += 1 + width;
    return true;
}

bool Cursor::read_int(std::int64_t& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    if (t >= 0xe0) {
        out = std::int64_t{t} - 0x100;
        ++at_;
        return true;
    }
    if (t >= 0xd0 && t <= 0xd3) {
        const std::size_t width = std::size_t{1} << (t - 0xd0);
        if (remaining() < 1 + width) return false;
        switch (width) {
            case 1:
                out = std::to_integer<std::int64_t>(at_[1]);
                if (out >= 0x80) out -= 0x100;
                break;
            case 2:
                out = static_cast<std::int16_t>(load_be16(at_ + 1));
                break;
            case 4:
                out = static_cast<std::int32_t>(load_be32(at_ + 1));
                break;
            default:
                out = static_cast<std::int64_t>(load_be64(at_ + 1));
                break;
        }
        at_ += 1 + width;
        return true;
    }
    const std::byte* const before = at_;
    std::uint64_t value = 0;
    if (!read_uint(value)) return false;
    if (value > static_cast<std::uint64_t>(INT64_MAX)) {
        at_ = before;
        return false;
    }
    out = static_cast<std::int64_t>(value);
    return true;
}

bool Cursor::read_bool(bool& out) {
    if (!next_is_bool()) return false;
    out = tag() == 0xc3;
    ++at_;
    return true;
}

bool Cursor::read_double(double& out) {
    if (!next_is_double()) return false;
    if (tag() == 0xca) {
        if (remaining() < 5) return false;
        out = static_cast<double>(std::bit_cast<float>(load_be32(at_ + 1)));
        at_ += 5;
        return true;
    }
    if (remaining() < 9) return false;
    out = std::bit_cast<double>(load_be64(at_ + 1));
    at_ += 9;
    return true;
}

bool Cursor::skip_deep() {
    const std::byte* const before = at_;
    // How many values are still to come on each open level; depth counts here as it does when
    // decoding.
    std::uint64_t left[limits::msgpack_depth_max + 1];
    left[0] = 1;
    std::uint32_t depth = 0;
    const auto fail = [&] {
        at_ = before;
        return false;
    };
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) return true;
            --depth;
        }
        --left[depth];
        std::uint32_t count = 0;
        std::string_view text;
        Bytes bytes;
        if (at_ == end_) return fail();
        if (next_is_str()) {
            if (!read_str(text)) return fail();
        } else if (next_is_bin()) {
            if (!read_bin(bytes)) return fail();
        } else if (next_is_map() || (tag() & 0xf0U) == 0x90 || tag() == 0xdc || tag() == 0xdd) {
            const bool map = next_is_map();
            if (!(map ? read_map(count) : read_array(count))) return fail();
            if (depth == limits::msgpack_depth_max) return fail();
            left[++depth] = map ? std::uint64_t{count} * 2 : count;
        } else if (tag() >= 0xc7 && tag() <= 0xc9) {  // ext 8, 16, 32
            const std::size_t width = std::size_t{1} << (tag() - 0xc7);
            if (remaining() < 2 + width) return fail();
            const std::size_t length = width == 1   ? static_cast<std::size_t>(at_[1])
                                       : width == 2 ? load_be16(at_ + 1)
                                                    : load_be32(at_ + 1);
            if (!take(2 + width, length, bytes)) return fail();
        } else {
            const std::size_t size = detail::tag_bytes[tag()];
            if (size == 0 || remaining() < size) return fail();
            at_ += size;
        }
    }
}

}  // namespace ferry::wire
