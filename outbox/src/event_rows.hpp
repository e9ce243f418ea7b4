#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "row.hpp"

namespace ferry::outbox {

/// Headers that every event carries to its consumers.
inline constexpr std::string_view stream_header = "ferry-stream";
inline constexpr std::string_view version_header = "ferry-version";

/// Gives the newest version of a stream, bound as ?1; 0: there is none.
inline constexpr const char* stream_version_sql =
    "SELECT max(coalesce((SELECT max(version) FROM main.ferry_outbox WHERE stream = ?1), 0), "
    "coalesce((SELECT max(version) FROM main.ferry_outbox_sent WHERE stream = ?1), 0))";

/// Adds the two headers to a JSON object, or begins one. Requires  check_stream(stream).
[[nodiscard]] std::string with_event_headers(std::string_view headers_json, std::string_view stream,
                                             std::uint64_t version);

/// Errors    refused: an empty or too long name, or a stream's that is not UTF-8.
sqlite::Status check_stream(std::string_view stream);
sqlite::Status check_event_type(std::string_view type);

/// Errors    conflict, if the stream is not at the version that was expected.
sqlite::Status check_expected(std::string_view stream, std::uint64_t version,
                              std::optional<std::uint64_t> expected);

}  // namespace ferry::outbox
