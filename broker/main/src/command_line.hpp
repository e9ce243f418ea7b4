#pragma once

#include <optional>

#include "settings.hpp"

namespace ferry::config {

/// Reads flags and the file that they name; flags win. Prints what is wrong (or --help, --version)
/// itself. Empty: leave with *exit_code, nothing else was touched.
[[nodiscard]] std::optional<Configuration> read_command_line(int argc, char** argv, int* exit_code);

}  // namespace ferry::config
