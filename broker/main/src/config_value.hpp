#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ferry/server/config.hpp"

namespace ferry::config {

/// "512", "64KiB", "64MiB", "1GiB": bytes. Nothing else: a size that is read wrongly costs data or
/// memory.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// "250ms", "30s", "5min", "2h": milliseconds.
[[nodiscard]] std::optional<std::uint64_t> parse_duration_ms(std::string_view text);

/// "127.0.0.1:7420", "[::1]:7420", "localhost:7420" (which is 127.0.0.1). Numeric otherwise: a
/// broker must not listen on whatever a name server answers.
[[nodiscard]] std::optional<server::Address> parse_address(std::string_view text);

[[nodiscard]] bool is_loopback(const server::Address& address);

[[nodiscard]] std::string size_text(std::uint64_t bytes);
[[nodiscard]] std::string duration_text(std::uint64_t ms);
/// host:port as parse_address takes it.
[[nodiscard]] std::string address_text(const server::Address& address);

}  // namespace ferry::config
