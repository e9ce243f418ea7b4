#pragma once

#include <string>
#include <string_view>

#include "ferry/consumer/incoming.hpp"

namespace ferry::consumer {

// Headers of dead letters, as the broker writes them (docs/retries.md), so that its redrive works
// for those that a consumer made.
inline constexpr std::string_view death_prefix = "ferry-death-";
inline constexpr std::string_view death_reason_header = "ferry-death-reason";
inline constexpr std::string_view death_queue_header = "ferry-death-queue";
inline constexpr std::string_view death_exchange_header = "ferry-death-exchange";
inline constexpr std::string_view death_key_header = "ferry-death-routing-key";
inline constexpr std::string_view death_count_header = "ferry-death-count";
inline constexpr std::string_view death_attempts_header = "ferry-death-attempts";
inline constexpr std::string_view death_first_header = "ferry-death-first-ms";
inline constexpr std::string_view death_last_header = "ferry-death-last-ms";
/// Only ours: what the handler said.
inline constexpr std::string_view death_text_header = "ferry-death-text";
/// An operator moved the message to this queue.
inline constexpr std::string_view moved_header = "ferry-moved-from";

/// What goes to the dead letters in place of the message.
[[nodiscard]] transport::Message dead_copy(const Incoming& message, std::string_view reason,
                                           const std::string& queue,
                                           const std::string& dead_letter_queue);

}  // namespace ferry::consumer
