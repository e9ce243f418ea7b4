#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nlohmann/json.hpp>

namespace ferry::log_reader {

/// What a record at `position` says, as the section "Record bodies" of docs/storage-format.md lays
/// it out. Without `whole` messages are only counted. A body that cannot be read gets "unreadable"
/// and its bytes in hex: its CRC was right, so a newer version (or a defect) wrote it.
[[nodiscard]] nlohmann::ordered_json body_json(std::uint64_t position,
                                               std::span<const std::byte> body, bool whole);

}  // namespace ferry::log_reader
