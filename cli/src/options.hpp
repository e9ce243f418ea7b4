#pragma once

#include <string>

#include <CLI/App.hpp>

#include "units.hpp"

namespace ferry::cli {

/// Options whose text was checked while the line was parsed, so that parse_duration and parse_size
/// succeed.
CLI::Option* add_duration(CLI::App& command, const std::string& names, std::string& target,
                          const std::string& about);
/// The same, up to a hundred years.
CLI::Option* add_long_duration(CLI::App& command, const std::string& names, std::string& target,
                               const std::string& about);
CLI::Option* add_size(CLI::App& command, const std::string& names, std::string& target,
                      const std::string& about);

}  // namespace ferry::cli
