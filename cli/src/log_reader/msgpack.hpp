#pragma once

#include <nlohmann/json.hpp>

#include "log_reader/byte_reader.hpp"

namespace ferry::log_reader {

/// Takes one msgpack value off `bytes`. `bin` becomes text if it is UTF-8, else {"hex": …}; map
/// keys become text. False: cut short, of an unknown type, or nested deeper than a message may be.
bool read_msgpack(ByteReader& bytes, nlohmann::ordered_json& out, int depth_left = 8);

}  // namespace ferry::log_reader
