#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/engine/types.hpp"
#include "ferry/wire/cursor.hpp"

// Reading the fields of requests. "False" always means that the frame is malformed.
namespace ferry::server::native {

/// An option that a verb knows. Exactly one target is set.
struct Option {
    std::string_view name;
    bool* flag = nullptr;
    std::uint64_t* number = nullptr;
    std::optional<std::uint64_t>* maybe_number = nullptr;
    std::string_view* text = nullptr;
    std::vector<std::string_view>* texts = nullptr;  // of an array; what is no str is passed over
    std::uint64_t least = 0;
    std::uint64_t most = UINT64_MAX;
};

/// Reads an option map. What is wrong with a well-formed one (unknown key, wrong type, out of
/// range) goes to `complaint`, for BAD_OPTION.
[[nodiscard]] bool read_options(wire::Cursor& cursor, std::span<const Option> known,
                                std::string& complaint);

/// Reads a flat array of first and last; at most limits::ranges_per_frame_max ranges.
[[nodiscard]] bool read_ranges(wire::Cursor& cursor,
                               std::vector<engine::Range<std::uint64_t>>& out);

/// The same behind what `out` holds already; at most that many in all.
[[nodiscard]] bool append_ranges(wire::Cursor& cursor,
                                 std::vector<engine::Range<std::uint64_t>>& out);

/// Reads a binding's arguments, sorts them by name and refuses a name that comes twice.
[[nodiscard]] bool read_arguments(wire::Cursor& cursor, engine::Arguments& out);

}  // namespace ferry::server::native
