#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "ferry/wire/message.hpp"
#include "output.hpp"

namespace ferry::cli {

/// What the broker adds to a message when it hands it out.
struct Envelope {
    std::string_view queue;
    std::uint64_t position = 0;
    std::uint64_t attempt = 0;
    std::uint64_t published_ms = 0;
};

/// A message for programs: "payload" when it is UTF-8, else "payload_base64".
[[nodiscard]] Json message_json(const wire::Message& message, const Envelope& envelope);
[[nodiscard]] Json header_json(const wire::HeaderValue& value);
/// Puts text as it is under `name`, other bytes as base64 under `name`_base64.
void put_bytes(Json& object, const std::string& name, std::string_view bytes);

/// Reads "name=value". A value that is true, false, null or a number is sent as one; put it into
/// double quotes to send text. Empty: there is no '='.
[[nodiscard]] std::optional<std::pair<std::string, wire::HeaderValue>> parse_header(
    std::string_view text);

}  // namespace ferry::cli
