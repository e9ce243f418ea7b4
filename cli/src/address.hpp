#pragma once

#include <cstdint>
#include <string>

namespace ferry::cli {

/// HOST:PORT, also [HOST]:PORT. False: it is neither; what was written to `host` and `port` does
/// not count.
[[nodiscard]] bool split_address(const std::string& text, std::string& host, std::uint16_t& port);

}  // namespace ferry::cli
