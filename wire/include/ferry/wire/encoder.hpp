#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::wire {

using Buffer = std::vector<std::byte>;

/// Appends msgpack values to a buffer it does not own. Threads: one.
class Encoder {
public:
    explicit Encoder(Buffer& out) : out_(out) {}

    Encoder& uint(std::uint64_t value);
    Encoder& integer(std::int64_t value);
    Encoder& real(double value);  // a float 64, also of a whole number
    Encoder& boolean(bool value);
    Encoder& nil();
    Encoder& str(std::string_view text);
    Encoder& bin(Bytes bytes);
    Encoder& array(std::uint32_t count);
    /// As array() and uint() of each.
    Encoder& array(std::span<const std::uint64_t> numbers);
    Encoder& map(std::uint32_t count);
    /// Bytes that are msgpack already.
    Encoder& raw(Bytes bytes);

private:
    Buffer& out_;
};

/// Begins a frame in `out` (length to come) and writes the array header and the verb. `fields`
/// counts the verb too. Returns the mark that end_frame() wants.
[[nodiscard]] std::size_t begin_frame(Buffer& out, Verb verb, std::uint32_t fields);
/// Fills in the length of the frame begun at `mark`.
void end_frame(Buffer& out, std::size_t mark);

}  // namespace ferry::wire
