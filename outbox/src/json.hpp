#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ferry::outbox {

using Json = nlohmann::json;

/// Parses at most limits::json_depth_max levels. Nothing: it is not JSON, or nested deeper.
[[nodiscard]] std::optional<Json> parse_json(std::string_view text);

/// Appends "text" with quotes and escapes. False: it is not UTF-8, and nothing was appended.
[[nodiscard]] bool append_json_text(std::string_view text, std::string& out);

}  // namespace ferry::outbox
