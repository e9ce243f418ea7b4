#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ferry::outbox {

using Json = nlohmann::json;

/// Parses at most limits::json_depth_max levels. Nothing: it is not JSON, or nested deeper.
[[nodiscard]] std::optional<Json> parse_json(std::string_view text);

/// Appends "text" with quotes and escapes. Bytes that are no UTF-8 become U+FFFD.
void append_json_text(std::string_view text, std::string& out);

}  // namespace ferry::outbox
