#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ferry::log_reader {

enum class FileKind : std::uint8_t {
    segment,
    compacted,
    checkpoint,
    gone,  // marks a segment that was dropped on purpose
    spare,
    unfinished,
    lock,
    other
};

/// What a name in a data directory says.
struct FileName {
    FileKind kind = FileKind::other;
    std::uint64_t position = 0;  // base of a segment, `at` of a checkpoint
    std::uint64_t epoch = 0;
};

[[nodiscard]] FileName parse_name(std::string_view name);

}  // namespace ferry::log_reader
