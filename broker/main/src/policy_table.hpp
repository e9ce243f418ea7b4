#pragma once

#include <string>
#include <string_view>

#include "ferry/engine/types.hpp"
#include "settings.hpp"

namespace ferry::config {

/// Sets one key of a [[policy]] table. Empty, or what the key must be; nothing was changed then.
[[nodiscard]] std::string set_policy_key(engine::NamedPolicy& policy, std::string_view key,
                                         const RawValue& value);

/// The table as the file would write it.
[[nodiscard]] std::string policy_text(const engine::NamedPolicy& policy);

}  // namespace ferry::config
