#pragma once

#include <string>

#include "log_reader/catalog.hpp"
#include "log_reader/names.hpp"

namespace ferry::log_reader {

/// Reads and checks a checkpoint as a whole. An unreadable one is a note, not damage: the broker
/// passes it over and uses the one before it, or replays from the beginning.
void read_checkpoint(const std::string& file_name, const FileName& name, Catalog& catalog,
                     Report& report);

}  // namespace ferry::log_reader
