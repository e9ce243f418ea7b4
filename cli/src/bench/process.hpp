#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ferry::cli::bench {

/// The ferryd that listens at `url`, if that is on this machine and its process may be looked at.
[[nodiscard]] std::optional<std::uint64_t> find_broker_process(const std::string& url);

/// Processor time that a process has used so far. Empty: it is gone or may not be looked at.
[[nodiscard]] std::optional<double> process_cpu_seconds(std::uint64_t pid);
/// The same for this process.
[[nodiscard]] double own_cpu_seconds();

}  // namespace ferry::cli::bench
