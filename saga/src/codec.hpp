#pragma once

#include <string>

#include "ferry/platform/bytes.hpp"
#include "machine.hpp"

namespace ferry::saga {

/// The column `body`: what an instance is beside the columns of its row.
void encode_body(const Instance& instance, std::string& out);
/// False: these are not encode_body's bytes. Checks every length before it takes memory.
[[nodiscard]] bool decode_body(Bytes bytes, Instance& into);

}  // namespace ferry::saga
