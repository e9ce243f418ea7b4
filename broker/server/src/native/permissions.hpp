#pragma once

#include <string_view>

namespace ferry::server::native {

/// What a queue without a name is held against; the broker's own names begin so.
inline constexpr std::string_view generated_name = "amq.gen-";

}  // namespace ferry::server::native
