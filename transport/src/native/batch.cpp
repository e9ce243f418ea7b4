#include "native/batch.hpp"

#include <cstring>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::transport::native {
namespace {

void store_uint64(std::byte* at, std::uint64_t value) {
    at[0] = std::byte{0xcf};
    store_be64(at + 1, value);
}

std::byte* put(std::byte* at, std::uint8_t byte) {
    *at = static_cast<std::byte>(byte);
    return at + 1;
}

std::byte* put(std::byte* at, const void* from, std::size_t size) {
    if (size == 0) return at;  // memcpy from a null view is not allowed
    std::memcpy(at, from, size);
    return at + size;
}

std::byte* put_str(std::byte* at, std::string_view text) {
    FERRY_ASSERT(text.size() <= 255, "names and keys are checked before they are encoded");
    if (text.size() < 32) {
        at = put(at, static_cast<std::uint8_t>(0xa0U | text.size()));
    } else {
        at = put(at, 0xd9);
        at = put(at, static_cast<std::uint8_t>(text.size()));
    }
    return put(at, text.data(), text.size());
}

std::byte* put_bin(std::byte* at, Bytes bytes) {
    if (bytes.size() <= 0xff) {
        at = put(at, 0xc4);
        at = put(at, static_cast<std::uint8_t>(bytes.size()));
    } else if (bytes.size() <= 0xffff) {
        at = put(at, 0xc5);
        store_be16(at, static_cast<std::uint16_t>(bytes.size()));
        at += 2;
    } else {
        at = put(at, 0xc6);
        store_be32(at, static_cast<std::uint32_t>(bytes.size()));
        at += 4;
    }
    return put(at, bytes.data(), bytes.size());
}

Error rejected(std::string_view what) {
    return Error{Errc::rejected, 0, 0, what};
}

}  // namespace

Status check_message_head(std::string_view exchange, std::string_view routing_key,
                          Bytes properties) {
    if (!exchange.empty() && !wire::valid_name(exchange))
        return rejected("the exchange's name must be 1 to 255 of a-z A-Z 0-9 . _ -");
    if (routing_key.size() > limits::routing_key_bytes_max)
        return rejected("the routing key is longer than 255 bytes");
    if (properties.empty()) return ok_status();
    wire::Cursor cursor(properties);
    const bool fits = properties.size() <= limits::message_overhead_bytes_max - 600;
    const bool shape = cursor.next_is_nil() || cursor.next_is_map();
    if (!fits || !shape || !cursor.skip() || !cursor.at_end())
        return rejected("the properties are not one msgpack map within the limits");
    return ok_status();
}

std::byte* encode_message(std::byte* at, std::string_view exchange, std::string_view routing_key,
                          Bytes properties, Bytes payload) {
    at = put(at, 0x94);
    at = put_str(at, exchange);
    at = put_str(at, routing_key);
    at = properties.empty() ? put(at, 0xc0) : put(at, properties.data(), properties.size());
    return put_bin(at, payload);
}

Batch::Batch(std::size_t message_bytes_max)
    : data_(new std::byte[head_bytes + message_bytes_max]),
      capacity_(head_bytes + message_bytes_max) {}

void Batch::reuse(std::uint64_t first, std::uint64_t flags) {
    size_ = head_bytes;
    first_ = first;
    count_ = 0;
    flags_ = flags;
}

void Batch::append(std::string_view exchange, std::string_view routing_key, Bytes properties,
                   Bytes payload) {
    FERRY_ASSERT(has_room(encoded_bytes_max(exchange, routing_key, properties, payload)),
                 "a message is only put where it fits");
    std::byte* const begin = data_.get() + size_;
    size_ += static_cast<std::size_t>(
        encode_message(begin, exchange, routing_key, properties, payload) - begin);
    ++count_;
}

void Batch::append_raw(Bytes bytes) {
    put(data_.get() + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
}

void Batch::append_encoded(Bytes message) {
    FERRY_ASSERT(has_room(message.size()), "a message is only put where it fits");
    append_raw(message);
    ++count_;
}

void Batch::copy(const Batch& other) {
    reuse(other.first_, other.flags_);
    FERRY_ASSERT(has_room(other.message_bytes()), "the copy is made large enough");
    append_raw(other.messages());
    count_ = other.count_;
}

void Batch::make_raw(Bytes frame) {
    FERRY_ASSERT(frame.size() <= capacity_, "a frame is only put where it fits");
    size_ = 0;
    count_ = 0;
    append_raw(frame);
}

void Batch::write_head(std::uint64_t wire_first, std::uint64_t producer,
                       std::uint64_t wire_settled) {
    std::byte* const at = data_.get();
    store_be32(at, static_cast<std::uint32_t>(size_ - 4));
    at[4] = std::byte{0x96};
    at[5] = static_cast<std::byte>(wire::Verb::publish);
    store_uint64(at + 6, wire_first);
    store_uint64(at + 15, producer);
    at[24] = static_cast<std::byte>(flags_);
    store_uint64(at + 25, wire_settled);
    at[34] = std::byte{0xdd};
    store_be32(at + 35, count_);
}

}  // namespace ferry::transport::native
