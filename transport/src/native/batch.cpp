#include "native/batch.hpp"

#include "ferry/platform/assert.hpp"

namespace ferry::transport::native {
namespace {

void store_uint64(std::byte* at, std::uint64_t value) {
    at[0] = std::byte{0xcf};
    store_be64(at + 1, value);
}

}  // namespace

Batch::Batch(std::size_t message_bytes_max)
    : data_(new std::byte[head_bytes + message_bytes_max]),
      capacity_(head_bytes + message_bytes_max) {}

void Batch::reuse(std::uint64_t first, std::uint64_t flags) {
    size_ = head_bytes;
    first_ = first;
    count_ = 0;
    flags_ = flags;
}

void Batch::put_str(std::string_view text) {
    FERRY_ASSERT(text.size() <= 255, "names and keys are checked before they are encoded");
    if (text.size() < 32) {
        put(static_cast<std::uint8_t>(0xa0U | text.size()));
    } else {
        put(0xd9);
        put(static_cast<std::uint8_t>(text.size()));
    }
    put(text.data(), text.size());
}

void Batch::put_bin(Bytes bytes) {
    if (bytes.size() <= 0xff) {
        put(0xc4);
        put(static_cast<std::uint8_t>(bytes.size()));
    } else if (bytes.size() <= 0xffff) {
        put(0xc5);
        store_be16(data_.get() + size_, static_cast<std::uint16_t>(bytes.size()));
        size_ += 2;
    } else {
        put(0xc6);
        store_be32(data_.get() + size_, static_cast<std::uint32_t>(bytes.size()));
        size_ += 4;
    }
    put(bytes.data(), bytes.size());
}

void Batch::append(std::string_view exchange, std::string_view routing_key, Bytes properties,
                   Bytes payload) {
    FERRY_ASSERT(has_room(encoded_bytes_max(exchange, routing_key, properties, payload)),
                 "a message is only put where it fits");
    put(0x94);
    put_str(exchange);
    put_str(routing_key);
    if (properties.empty()) {
        put(0xc0);
    } else {
        put(properties.data(), properties.size());
    }
    put_bin(payload);
    ++count_;
}

void Batch::append_encoded(Bytes message) {
    FERRY_ASSERT(has_room(message.size()), "a message is only put where it fits");
    put(message.data(), message.size());
    ++count_;
}

void Batch::copy(const Batch& other) {
    reuse(other.first_, other.flags_);
    FERRY_ASSERT(has_room(other.message_bytes()), "the copy is made large enough");
    put(other.messages().data(), other.message_bytes());
    count_ = other.count_;
}

void Batch::make_raw(Bytes frame) {
    FERRY_ASSERT(frame.size() <= capacity_, "a frame is only put where it fits");
    size_ = 0;
    count_ = 0;
    put(frame.data(), frame.size());
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
