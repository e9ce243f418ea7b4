#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"

namespace ferry::wire {

/// Keys of a message's property map.
enum class Property : std::uint8_t {
    id = 1,
    ordering_key = 2,
    headers = 3,
    content_type = 4,
    published_at = 5,
    expires_at = 6,
    deliver_at = 7,
    priority = 8,
    reply_to = 9,
    correlation_id = 10,
};

/// A message as it lies in a frame or a log record: array(4) [exchange, routing key, properties or
/// nil, payload]. All views point into the bytes it was read from.
struct MessageView {
    std::string_view exchange;
    std::string_view routing_key;
    Bytes properties;  // msgpack of nil or the map
    Bytes payload;
    Bytes whole;  // the message's own msgpack
};

using HeaderValue =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::byte>>;
using Headers = std::vector<std::pair<std::string, HeaderValue>>;

/// Optional parts of a message. Empty or zero means absent (priority 0 is the default one).
struct Properties {
    std::string id;
    std::string ordering_key;
    Headers headers;
    std::string content_type;
    std::uint64_t published_at_ms = 0;  // wall clock of the publisher
    std::uint64_t expires_at_ms = 0;
    std::uint64_t deliver_at_ms = 0;
    std::uint8_t priority = 0;
    std::string reply_to;
    std::string correlation_id;
};

/// A message that owns its parts, for applications.
struct Message {
    std::string exchange;  // "": the default exchange, where the routing key is a queue's name
    std::string routing_key;
    Properties properties;
    std::string payload;
};

/// Reads one message and checks every part of it against limits.hpp; false: malformed or over a
/// limit. Hot path: does not look into a property map beyond checking its shape.
bool read_message(Cursor& cursor, MessageView& out);

/// Steps over a message that read_message accepted before. False: there is none.
inline bool skip_message(Cursor& cursor) {
    std::uint32_t fields = 0;
    std::string_view text;
    Bytes payload;
    return cursor.read_array(fields) && fields == 4 && cursor.read_str(text) &&
           cursor.read_str(text) && (cursor.read_nil() || cursor.skip()) &&
           cursor.read_bin(payload);
}

/// Decodes a property map that read_message accepted. False: an unknown key's value is fine, a
/// known key of the wrong type is not.
bool read_properties(Bytes properties, Properties& out);

/// The ordering key in a property map that read_message accepted; empty if there is none.
[[nodiscard]] std::string_view ordering_key_of(Bytes properties);

/// Appends the message. The caller has checked sizes (check_message).
void write_message(Encoder& out, const Message& message);
void write_properties(Encoder& out, const Properties& properties);
/// The map of headers alone.
void write_headers(Encoder& out, const Headers& headers);

/// Properties that lie elsewhere, for who must not copy them for every message. `headers` is the
/// msgpack of the map, as write_headers gives it; empty: none.
struct PropertyViews {
    std::string_view id = {};
    std::string_view ordering_key = {};
    Bytes headers = {};
    std::string_view content_type = {};
    std::uint64_t published_at_ms = 0;
    std::uint64_t expires_at_ms = 0;
    std::uint64_t deliver_at_ms = 0;
    std::uint64_t priority = 0;
    std::string_view reply_to = {};
    std::string_view correlation_id = {};
};
void write_properties(Encoder& out, const PropertyViews& properties);
/// As read_properties, true for the same maps, but nothing is copied: the views point into
/// `properties`.
bool view_properties(Bytes properties, PropertyViews& out);

/// What is wrong with a message that somebody wants to publish; empty: nothing.
[[nodiscard]] std::string check_message(const Message& message);

/// Queue and exchange names: 1 to 255 of [a-zA-Z0-9._-].
[[nodiscard]] bool valid_name(std::string_view name);

}  // namespace ferry::wire
