#pragma once

#include <cstdint>

namespace ferry::config {

inline constexpr int exit_clean = 0;
inline constexpr int exit_cannot_start = 1;
inline constexpr int exit_usage = 2;
inline constexpr int exit_storage_failed = 74;  // EX_IOERR of sysexits.h

/// SIGPIPE would kill the broker when a client goes away, SIGXFSZ when a file limit is reached;
/// both also come back as errors of the call, which is where they are handled.
void ignore_signals_that_are_errors();

/// Raises the soft limit of open files as far as it may and returns it.
std::uint64_t raise_open_files_limit();

}  // namespace ferry::config
