#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::transport::native {

/// What is wrong with a message beside its payload; `properties`: msgpack, or empty.
[[nodiscard]] Status check_message_head(std::string_view exchange, std::string_view routing_key,
                                        Bytes properties);
[[nodiscard]] inline std::size_t encoded_bytes_max(std::string_view exchange,
                                                   std::string_view routing_key, Bytes properties,
                                                   Bytes payload) {
    return 1 + 3 + exchange.size() + 3 + routing_key.size() + 1 + properties.size() + 5 +
           payload.size();
}
/// Writes a message. Requires that it was checked, and room for encoded_bytes_max() at `at`.
/// Returns where it ends.
std::byte* encode_message(std::byte* at, std::string_view exchange, std::string_view routing_key,
                          Bytes properties, Bytes payload);

/// One PUBLISH frame in the making: messages are encoded behind room for the frame's beginning,
/// which is filled in each time it is sent, because handle, epoch and `settled` differ from
/// connection to connection. All integers of the beginning have a fixed width, so that nothing
/// moves.
///
/// Threads   One at a time; PublishPipe's lock sees to that. Sent batches are only read.
class Batch {
public:
    // length 4, array 1, verb 1, sequence 9, producer 9, flags 1, settled 9, array of messages 5
    static constexpr std::size_t head_bytes = 39;

    explicit Batch(std::size_t message_bytes_max);

    /// Makes an emptied batch fit for new messages.
    /// `flags`: of PUBLISH.
    void reuse(std::uint64_t first, std::uint64_t flags);
    [[nodiscard]] bool has_room(std::size_t bytes) const { return capacity_ - size_ >= bytes; }
    /// Requires  has_room(encoded_bytes_max(...)).
    void append(std::string_view exchange, std::string_view routing_key, Bytes properties,
                Bytes payload);
    /// A message that is msgpack already. Requires  has_room(message.size()).
    void append_encoded(Bytes message);
    /// Becomes what `other` is. Requires room for it.
    void copy(const Batch& other);
    /// Becomes some other frame, which goes out in its turn among the publishes. Requires room for
    /// it.
    void make_raw(Bytes frame);
    void write_head(std::uint64_t wire_first, std::uint64_t producer, std::uint64_t wire_settled);

    [[nodiscard]] Bytes frame() const { return {data_.get(), size_}; }
    [[nodiscard]] Bytes messages() const { return {data_.get() + head_bytes, size_ - head_bytes}; }
    [[nodiscard]] std::size_t message_bytes() const { return size_ - head_bytes; }
    [[nodiscard]] std::size_t capacity() const { return capacity_ - head_bytes; }
    [[nodiscard]] std::uint64_t first() const { return first_; }
    [[nodiscard]] std::uint64_t last() const { return first_ + count_ - 1; }
    [[nodiscard]] std::uint32_t count() const { return count_; }
    [[nodiscard]] std::uint64_t flags() const { return flags_; }

private:
    void append_raw(Bytes bytes);

    std::unique_ptr<std::byte[]> data_;
    std::size_t capacity_;
    std::size_t size_ = head_bytes;
    std::uint64_t first_ = 0;
    std::uint32_t count_ = 0;
    std::uint64_t flags_ = 0;
};

using BatchPtr = std::shared_ptr<Batch>;

}  // namespace ferry::transport::native
