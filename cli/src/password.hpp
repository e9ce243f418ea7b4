#pragma once

#include <optional>
#include <string>

namespace ferry::cli {

/// Asks at the terminal, without showing what is typed.
/// Nothing: `wrong` says why.
[[nodiscard]] std::optional<std::string> ask_password(const std::string& prompt,
                                                      std::string& wrong);
/// For a new password: asked for twice at a terminal, else the first line of stdin.
[[nodiscard]] std::optional<std::string> ask_new_password(const std::string& prompt,
                                                          std::string& wrong);

}  // namespace ferry::cli
