#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "log_reader/catalog.hpp"
#include "log_reader/input_file.hpp"
#include "log_reader/names.hpp"

namespace ferry::log_reader {

/// Checks the header of a compacted segment and fills `out`, with `end` as the file says.
bool read_compacted_header(InputFile& file, const FileName& name, Segment& out, Report& report);

}  // namespace ferry::log_reader
