#pragma once

#include <string>

#include "command.hpp"
#include "units.hpp"

namespace ferry::cli {

/// Options whose text was checked while the line was parsed, so that parse_duration and parse_size
/// succeed.
Flag* add_duration(Command& command, const std::string& names, std::string& target,
                   const std::string& about);
/// The same, up to a hundred years.
Flag* add_long_duration(Command& command, const std::string& names, std::string& target,
                        const std::string& about);
Flag* add_size(Command& command, const std::string& names, std::string& target,
               const std::string& about);

}  // namespace ferry::cli
