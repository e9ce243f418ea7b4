#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::schedule {

inline constexpr std::size_t cron_bytes_max = 255;
inline constexpr std::size_t zone_bytes_max = 64;
/// What does not happen for so many years never happens: the longest wait of a cron expression is
/// eight years, for a 29th of February around 2100.
inline constexpr int years_ahead_max = 10;

/// When a cron expression is due, in a time zone of the system's database.
///
/// An expression is `minute hour day-of-month month day-of-week` with numbers, `*`, lists `1,2`,
/// ranges `1-5`, steps `*/5` or `10-50/5`, names of months and weekdays, or one of @hourly, @daily,
/// @weekly, @monthly, @yearly. If both day fields are restricted, either is enough.
///
/// Where the clock is put forward or back: an expression that allows every hour follows the time
/// that passes, so in the hour that comes twice it is due twice, and in the skipped one never. Any
/// other is due once: in the doubled hour the first time, and what falls into the skipped hour at
/// the moment of the jump.
///
/// Threads   Any. Blocking: the first use of a zone reads a small file.
/// Memory    A zone that was used stays loaded; there are some hundreds.

/// Empty if both are sound; otherwise what is wrong and what is allowed. An expression that is
/// never due, as on the 30th of February, is wrong too.
[[nodiscard]] std::string complaint_of(std::string_view cron, std::string_view zone);

/// The first time after `after_ms` (ms since 1970, as is the result). Empty: the expression or the
/// zone is not sound, or nothing is due within years_ahead_max.
[[nodiscard]] std::optional<std::uint64_t> next_after(std::string_view cron, std::string_view zone,
                                                      std::uint64_t after_ms);

}  // namespace ferry::schedule
