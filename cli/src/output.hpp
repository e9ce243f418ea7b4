#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ferry/platform/bytes.hpp"

namespace ferry::cli {

using Json = nlohmann::ordered_json;

/// One line of JSON on stdout; bytes that are not UTF-8 become the replacement character.
void print_json(const Json& value);

/// Lines up columns; the first row is the heading. Numbers are for the caller to format; columns
/// whose heading begins with '>' are set flush right (without the '>').
void print_table(const std::vector<std::vector<std::string>>& rows);
[[nodiscard]] std::string format_table(const std::vector<std::vector<std::string>>& rows);

[[nodiscard]] bool valid_utf8(std::string_view text);
[[nodiscard]] std::string base64(Bytes bytes);
/// False: it is not base64; `out` is unspecified then.
[[nodiscard]] bool from_base64(std::string_view text, std::string& out);

/// "1,234,567"
[[nodiscard]] std::string with_commas(std::uint64_t value);
/// "1.5 MiB"
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
[[nodiscard]] std::string hex16(std::uint64_t value);

/// Writes to stdout; false: it cannot take more (closed pipe, full disk).
bool write_out(std::string_view text);
bool flush_out();

}  // namespace ferry::cli
