#include "ferry/platform/bytes.hpp"

#include <bit>

// load_le and friends copy without swapping, and the be variants always swap.
static_assert(std::endian::native == std::endian::little,
              "ferry runs on little-endian machines only");
