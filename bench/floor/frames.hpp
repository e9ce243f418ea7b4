#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"

namespace ferry::floor {

// u32 length, then: kind (1 byte), number (u64: messages in a publish, a running total in the
// others), and for publish so many msgpack messages [routing key, nil, payload].
enum class Kind : std::uint8_t { publish = 'P', confirm = 'K', consumer = 'C', ack = 'A' };

struct Frame {
    Kind kind;
    std::uint64_t number;
    Bytes messages;
    Bytes whole;  // with the length in front
};

inline constexpr std::size_t frame_head_bytes = 4 + 1 + 8;

/// Appends a frame without messages.
void put_frame(std::string& out, Kind kind, std::uint64_t number);
/// Appends a publish of `count` messages with this payload.
void put_publish(std::string& out, std::uint64_t count, std::string_view payload);

/// Bytes off a socket, given back as frames.
class FrameBuffer {
public:
    /// Room for at least `bytes` more.
    MutableBytes room(std::size_t bytes);
    void filled(std::size_t bytes) { end_ += bytes; }
    /// The next whole frame; valid until room() is called again.
    std::optional<Frame> next();

private:
    std::vector<std::byte> bytes_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

/// Steps over every message, as a broker must to route it. Returns the sum of the keys' first
/// bytes, so that no compiler leaves the walk out.
std::uint64_t walk(const Frame& frame);

}  // namespace ferry::floor
