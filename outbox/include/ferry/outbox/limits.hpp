#pragma once

#include <cstdint>

#include "ferry/wire/limits.hpp"

/// Every limit of an outbox. docs/outbox-schema.md shows the same table.
namespace ferry::outbox::limits {

inline constexpr int schema_version = 1;

/// Default and highest setting of the largest payload; what a broker takes with the default and
/// the highest limits.frame_bytes.
inline constexpr std::uint32_t payload_bytes_default = ferry::limits::payload_bytes_max;
inline constexpr std::uint32_t payload_bytes_cap =
    ferry::limits::frame_bytes_cap - ferry::limits::message_overhead_bytes_max;
inline constexpr std::uint32_t name_bytes_max = ferry::limits::name_bytes_max;
inline constexpr std::uint32_t routing_key_bytes_max = ferry::limits::routing_key_bytes_max;
/// Ordering key, content type, correlation id, reply-to, name of a header, name of a stream.
inline constexpr std::uint32_t short_text_bytes_max = ferry::limits::short_text_bytes_max;
inline constexpr std::uint32_t headers_max = ferry::limits::headers_max;
/// Of the JSON text. It is also held against the broker's limit for the encoded headers.
inline constexpr std::uint32_t headers_json_bytes_max = 32U << 10;
inline constexpr std::uint32_t priority_max = ferry::limits::priority_max;
/// Of the JSON text of ferry_publish's and ferry_append's options.
inline constexpr std::uint32_t options_json_bytes_max = 64U << 10;
inline constexpr std::uint32_t json_depth_max = 8;
/// Dates end with the year 9999, delays after ten years.
inline constexpr std::uint64_t time_ms_max = 253'402'300'799'999ULL;
inline constexpr std::uint64_t delay_ms_max = 10ULL * 366 * 24 * 3600 * 1000;
/// Reason of a parked message.
inline constexpr std::uint32_t reason_bytes_max = 1000;
/// Pages of WAL after which our hook makes a checkpoint, as SQLite itself does.
inline constexpr int checkpoint_pages = 1000;
/// Rows in one transaction of purge, skip and other bulk work.
inline constexpr std::uint32_t bulk_rows_max = 1000;
/// Rows that list gives at once.
inline constexpr std::uint32_t list_rows_max = 10'000;
/// Events in one append.
inline constexpr std::uint32_t events_per_append_max = 10'000;

}  // namespace ferry::outbox::limits
