#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ferry::cli {

/// "5", "5s", "200ms", "2m", "1h"; without a unit: seconds, with a fraction if need be.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
/// "100", "4KiB", "4k", "1MiB"; k, M and G are powers of 1024 too.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// "250 ms", "30 s", "5 min", "3 h": rounded down.
[[nodiscard]] std::string human_span(std::uint64_t ms);

}  // namespace ferry::cli
