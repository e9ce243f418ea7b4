#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

namespace ferry::log_reader {

[[nodiscard]] std::string hex(std::span<const std::byte> bytes);

/// The bytes as text if that is what they are (UTF-8), else {"hex": …}.
[[nodiscard]] nlohmann::ordered_json printable(std::span<const std::byte> bytes);

}  // namespace ferry::log_reader
