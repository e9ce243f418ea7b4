#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "log_reader/batch.hpp"
#include "log_reader/catalog.hpp"
#include "log_reader/input_file.hpp"
#include "log_reader/names.hpp"

namespace ferry::log_reader {

/// Checks the header of a compacted segment and fills `out`, with `end` as the file says.
bool read_compacted_header(InputFile& file, const FileName& name, Segment& out, Report& report);

/// Something wrong in a compacted segment; an empty text means nothing is.
struct CompactedFault {
    std::uint64_t offset = 0;
    std::uint64_t position = 0;
    std::string_view text = {};
    bool only_index = false;  // it can be made again from the entries
};

/// Gives all records in order and checks everything behind the header. Stops at the first fault:
/// without a sound entry nobody knows where the next one begins. `on_record` returns false to stop.
[[nodiscard]] CompactedFault read_entries(InputFile& file, const Segment& segment,
                                          const std::function<bool(const Record&)>& on_record);

}  // namespace ferry::log_reader
