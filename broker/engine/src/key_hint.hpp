#pragma once

#include <cstdint>

namespace ferry::engine {

/// Where what is known of a key that is held may be found at once (held_keys.hpp).
using KeyHint = std::uint32_t;
inline constexpr KeyHint no_key_hint = UINT32_MAX;

}  // namespace ferry::engine
