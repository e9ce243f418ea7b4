#pragma once

#include <cstddef>
#include <span>

#include <nlohmann/json.hpp>

namespace ferry::log_reader {

/// What a record says, as the section "Record bodies" of docs/storage-format.md lays it out.
/// Without `whole` payloads are shown by their length only. What cannot be read is shown in hex
/// with the reason: the record's CRC was right, so it is of a newer version rather than damaged.
[[nodiscard]] nlohmann::ordered_json body_json(std::span<const std::byte> body, bool whole);

}  // namespace ferry::log_reader
