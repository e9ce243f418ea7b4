#pragma once

#include <string>

#include "records.hpp"

namespace ferry::engine {

/// Empty if the policy is sound; otherwise what is wrong with it and what is allowed.
[[nodiscard]] std::string complaint_of(const QueuePolicy& policy);

/// The names of the settings in which two policies differ, as declarations call them.
[[nodiscard]] std::vector<std::string> differences(const QueuePolicy& a, const QueuePolicy& b);

/// How long a message waits that was delivered `attempts` (> 0) times and failed; 0: not at all.
/// The jitter is a hash of position and attempts: the same for the same message, and different for
/// neighbours.
[[nodiscard]] std::uint64_t retry_delay_ms(const QueuePolicy& policy, std::uint32_t attempts,
                                           Position position);

/// What counts for a queue: its own declaration, and what that leaves open from the policy.
/// Settings that make sense only together (retries; dead letters; limits) come from one of the two.
[[nodiscard]] QueuePolicy merged(const QueuePolicy& own, const QueuePolicy& policy);

/// Whether a name fits a pattern with * (any run of characters) and ? (one).
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view name);

void put_policy(std::vector<std::byte>& out, const QueuePolicy& policy);
/// A policy that this version does not know rejects the reader.
[[nodiscard]] QueuePolicy get_policy(Reader& in);

}  // namespace ferry::engine
