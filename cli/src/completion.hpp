#pragma once

#include <string>
#include <string_view>

#include "command.hpp"

namespace ferry::cli {

/// A completion script made from the command table itself, so that it cannot lag behind it.
/// Requires  shell is "bash", "zsh" or "fish".
[[nodiscard]] std::string completion_script(const Command& program, std::string_view shell);

}  // namespace ferry::cli
