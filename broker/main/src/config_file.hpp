#pragma once

#include <string>
#include <string_view>

#include "settings.hpp"

namespace ferry::config {

/// Reads TOML `text` into `configuration`; `path` is for messages only. Unknown tables and keys,
/// wrong types and values out of range are refused with one sentence that names file, line, key and
/// what is allowed. True when everything was taken; else *error_text says why and `configuration`
/// is unusable.
[[nodiscard]] bool read_config_text(std::string_view text, const std::string& path,
                                    Configuration& configuration, std::string& error_text);

/// The same for a file of at most 1 MiB.
[[nodiscard]] bool read_config_file(const std::string& path, Configuration& configuration,
                                    std::string& error_text);

}  // namespace ferry::config
