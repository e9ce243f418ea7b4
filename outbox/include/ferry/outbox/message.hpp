#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "ferry/platform/bytes.hpp"
#include "ferry/sqlite/problem.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::outbox {

using Header = std::pair<std::string, wire::HeaderValue>;

/// A message to be sent. Views: everything lives until the call that takes it has returned. What
/// is empty or 0 is absent. limits.hpp says how long the parts may be.
struct Message {
    std::string_view exchange = {};  // "": the default one, where the routing key is a queue's name
    std::string_view routing_key = {};
    Bytes payload = {};
    std::string_view ordering_key = {};  // messages with the same one stay in order of commit
    std::string_view content_type = {};
    /// Values are texts, whole numbers, numbers, true, false and null; bytes are refused.
    std::span<const Header> headers = {};
    std::string_view correlation_id = {};
    std::string_view reply_to = {};
    std::uint64_t delay_ms = 0;       // from now; not together with deliver_at_ms
    std::uint64_t deliver_at_ms = 0;  // milliseconds since 1970
    std::uint64_t ttl_ms = 0;         // from now; not together with expires_at_ms
    std::uint64_t expires_at_ms = 0;
    std::uint8_t priority = 0;  // 0 to 9
};

/// The JSON object that the column `headers` holds. Appends to `out`.
///
/// Errors    refused: a name is empty or too long, there are too many, a value is of bytes or not a
///           finite number.
sqlite::Status headers_to_json(std::span<const Header> headers, std::string& out);

/// Reads the column `headers`, which anybody may have written.
///
/// Errors    refused: no JSON object, over a limit, a value that is an array or an object, or a
///           whole number beyond 64 bits; the text names the header.
sqlite::Answer<wire::Headers> headers_from_json(std::string_view json);

}  // namespace ferry::outbox
