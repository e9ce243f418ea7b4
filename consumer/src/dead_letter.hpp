#pragma once

#include <string_view>

namespace ferry::consumer {

/// Headers that tell that and why a message was given up begin so, whoever gave it up.
inline constexpr std::string_view dead_letter_prefix = "ferry-dead-";
inline constexpr std::string_view dead_reason_header = "ferry-dead-reason";
inline constexpr std::string_view dead_queue_header = "ferry-dead-queue";
inline constexpr std::string_view dead_attempts_header = "ferry-dead-attempts";
inline constexpr std::string_view dead_at_header = "ferry-dead-at-ms";

}  // namespace ferry::consumer
