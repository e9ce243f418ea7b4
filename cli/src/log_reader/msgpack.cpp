#include "log_reader/msgpack.hpp"

#include <bit>
#include <string>

#include "log_reader/hex.hpp"

namespace ferry::log_reader {
namespace {

using Json = nlohmann::ordered_json;

std::uint64_t big_endian(ByteReader& bytes, unsigned length) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < length; ++i) value = value << 8 | bytes.u8();
    return value;
}

bool read_text(ByteReader& bytes, std::uint64_t length, Json& out) {
    const auto taken = bytes.take(length);
    out = std::string(reinterpret_cast<const char*>(taken.data()), taken.size());
    return !bytes.failed();
}

bool read_bin(ByteReader& bytes, std::uint64_t length, Json& out) {
    const auto taken = bytes.take(length);
    out = printable(taken);
    return !bytes.failed();
}

bool read_array(ByteReader& bytes, std::uint64_t count, Json& out, int depth_left) {
    if (count > bytes.remaining()) return false;
    out = Json::array();
    for (std::uint64_t i = 0; i < count; ++i) {
        Json element;
        if (!read_msgpack(bytes, element, depth_left - 1)) return false;
        out.push_back(std::move(element));
    }
    return true;
}

bool read_map(ByteReader& bytes, std::uint64_t count, Json& out, int depth_left) {
    if (count > bytes.remaining()) return false;
    out = Json::object();
    for (std::uint64_t i = 0; i < count; ++i) {
        Json key;
        Json value;
        if (!read_msgpack(bytes, key, depth_left - 1)) return false;
        if (!read_msgpack(bytes, value, depth_left - 1)) return false;
        out[key.is_string() ? key.get<std::string>()
                            : key.dump(-1, ' ', false, Json::error_handler_t::replace)] =
            std::move(value);
    }
    return true;
}

std::int64_t signed_value(ByteReader& bytes, unsigned length) {
    const std::uint64_t raw = big_endian(bytes, length);
    const unsigned shift = 64 - 8 * length;
    return static_cast<std::int64_t>(raw << shift) >> shift;
}

bool read_tagged(ByteReader& bytes, std::uint8_t tag, Json& out, int depth_left) {
    switch (tag) {
        case 0xc0:
            out = nullptr;
            return true;
        case 0xc2:
            out = false;
            return true;
        case 0xc3:
            out = true;
            return true;
        case 0xc4:
        case 0xc5:
        case 0xc6:
            return read_bin(bytes, big_endian(bytes, 1U << (tag - 0xc4U)), out);
        case 0xca:
            out = std::bit_cast<float>(static_cast<std::uint32_t>(big_endian(bytes, 4)));
            break;
        case 0xcb:
            out = std::bit_cast<double>(big_endian(bytes, 8));
            break;
        case 0xcc:
        case 0xcd:
        case 0xce:
        case 0xcf:
            out = big_endian(bytes, 1U << (tag - 0xccU));
            break;
        case 0xd0:
        case 0xd1:
        case 0xd2:
        case 0xd3:
            out = signed_value(bytes, 1U << (tag - 0xd0U));
            break;
        case 0xd9:
        case 0xda:
        case 0xdb:
            return read_text(bytes, big_endian(bytes, 1U << (tag - 0xd9U)), out);
        case 0xdc:
        case 0xdd:
            return read_array(bytes, big_endian(bytes, 2U << (tag - 0xdcU)), out, depth_left);
        case 0xde:
        case 0xdf:
            return read_map(bytes, big_endian(bytes, 2U << (tag - 0xdeU)), out, depth_left);
        default:
            return false;  // extension types have no place in a message
    }
    return !bytes.failed();
}

}  // namespace

bool read_msgpack(ByteReader& bytes, Json& out, int depth_left) {
    if (depth_left <= 0) return false;
    const std::uint8_t tag = bytes.u8();
    if (bytes.failed()) return false;
    if (tag < 0x80) {
        out = tag;
        return true;
    }
    if (tag >= 0xe0) {
        out = static_cast<std::int64_t>(static_cast<std::int8_t>(tag));
        return true;
    }
    if (tag < 0x90) return read_map(bytes, tag & 0x0FU, out, depth_left);
    if (tag < 0xa0) return read_array(bytes, tag & 0x0FU, out, depth_left);
    if (tag < 0xc0) return read_text(bytes, tag & 0x1FU, out);
    return read_tagged(bytes, tag, out, depth_left);
}

}  // namespace ferry::log_reader
