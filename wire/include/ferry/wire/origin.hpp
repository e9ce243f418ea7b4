#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/platform/result.hpp"

namespace ferry::limits {

inline constexpr std::uint32_t origin_producer_bytes_max = 64;
/// PRODUCER, two colons and two numbers of 19 digits.
inline constexpr std::uint32_t origin_bytes_max = origin_producer_bytes_max + 2 + 2 * 19;

}  // namespace ferry::limits

namespace ferry::wire {

/// Name of the header by which a relay tells how far its producer is finished: an integer F. Every
/// sequence of the same producer and epoch below F is at the broker for good, or was given up.
inline constexpr std::string_view floor_header = "ferry-floor";

/// End-to-end identity of a message: who made it, in which life of its database, and its row there.
/// As text "PRODUCER:EPOCH:SEQUENCE", which is the message's id property. It stays the same however
/// often the message is sent, so an inbox can tell a message that it has seen.
struct Origin {
    std::string_view producer;   // 1 to 64 of [a-zA-Z0-9._-]; points into the text it was read from
    std::uint64_t epoch = 0;     // from 1 to 2^63 - 1
    std::uint64_t sequence = 0;  // from 1 to 2^63 - 1

    bool operator==(const Origin&) const = default;
};

[[nodiscard]] bool valid_origin(const Origin& origin);

/// Replaces `out` by the text. Requires  valid_origin(origin).
void format_origin(const Origin& origin, std::string& out);

/// Reads exactly what format_origin writes: no spaces, signs, leading zeros or anything behind, so
/// that two texts never mean the same message. `text` may be anything.
///
/// Errors    rejected: it is not an origin, but some other producer's id.
[[nodiscard]] Result<Origin> parse_origin(std::string_view text);

}  // namespace ferry::wire
