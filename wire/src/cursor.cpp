#include "ferry/wire/cursor.hpp"

#include <bit>

#include "ferry/wire/limits.hpp"

namespace ferry::wire {

bool Cursor::next_is_str() const {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    return (t & 0xe0U) == 0xa0 || (t >= 0xd9 && t <= 0xdb);
}
bool Cursor::next_is_bin() const {
    return at_ != end_ && tag() >= 0xc4 && tag() <= 0xc6;
}
bool Cursor::next_is_map() const {
    return at_ != end_ && ((tag() & 0xf0U) == 0x80 || tag() == 0xde || tag() == 0xdf);
}
bool Cursor::next_is_bool() const {
    return at_ != end_ && (tag() == 0xc2 || tag() == 0xc3);
}
bool Cursor::next_is_integer() const {
    return at_ != end_ && (tag() < 0x80 || tag() >= 0xe0 || (tag() >= 0xcc && tag() <= 0xd3));
}
bool Cursor::next_is_double() const {
    return at_ != end_ && (tag() == 0xca || tag() == 0xcb);
}

bool Cursor::read_uint(std::uint64_t& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    if (t < 0x80) {
        out = t;
        ++at_;
        return true;
    }
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

bool Cursor::read_nil() {
    if (!next_is_nil()) return false;
    ++at_;
    return true;
}

bool Cursor::take(std::size_t header, std::size_t length, Bytes& out) {
    if (remaining() < header || remaining() - header < length) return false;
    out = Bytes(at_ + header, length);
    at_ += header + length;
    return true;
}

bool Cursor::read_str(std::string_view& out) {
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

bool Cursor::read_bin(Bytes& out) {
    if (at_ == end_) return false;
    const std::uint8_t t = tag();
    if (t == 0xc4 && remaining() >= 2) return take(2, static_cast<std::size_t>(at_[1]), out);
    if (t == 0xc5 && remaining() >= 3) return take(3, load_be16(at_ + 1), out);
    if (t == 0xc6 && remaining() >= 5) return take(5, load_be32(at_ + 1), out);
    return false;
}

bool Cursor::read_count(std::uint8_t fix_base, std::uint8_t fix_mask, std::uint8_t tag16,
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

bool Cursor::read_array(std::uint32_t& count) {
    return read_count(0x90, 0x0f, 0xdc, count);
}
bool Cursor::read_map(std::uint32_t& count) {
    return read_count(0x80, 0x0f, 0xde, count);
}

namespace {
// Bytes of a scalar beginning with `t`, without its declared length; 0: not a scalar this function
// knows.
std::size_t scalar_bytes(std::uint8_t t) {
    if (t < 0x80 || t >= 0xe0 || t == 0xc0 || t == 0xc2 || t == 0xc3) return 1;
    switch (t) {
        case 0xcc:
        case 0xd0:
            return 2;
        case 0xcd:
        case 0xd1:
            return 3;
        case 0xca:
        case 0xce:
        case 0xd2:
            return 5;
        case 0xcb:
        case 0xcf:
        case 0xd3:
            return 9;
        case 0xd4:
            return 3;
        case 0xd5:
            return 4;
        case 0xd6:
            return 6;
        case 0xd7:
            return 10;
        case 0xd8:
            return 18;
        default:
            return 0;
    }
}
}  // namespace

bool Cursor::skip() {
    const std::byte* const before = at_;
    // How many values are still to come on each open level; depth counts here as it does when
    // decoding.
    std::uint64_t left[limits::msgpack_depth_max + 1] = {1};
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
            const std::size_t size = scalar_bytes(tag());
            if (size == 0 || remaining() < size) return fail();
            at_ += size;
        }
    }
}

}  // namespace ferry::wire
