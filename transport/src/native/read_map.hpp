#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/wire/cursor.hpp"

// Maps and arrays of the protocol's answers, entry by entry.
namespace ferry::transport::native {

/// Calls `with(key, cursor)` for each entry of a map; it returns true if it read the value.
template <class F>
bool each_entry(wire::Cursor& cursor, F&& with) {
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view key;
        if (!cursor.read_str(key)) return false;
        const std::byte* const before = cursor.position();
        if (!with(key, cursor) && (cursor.position() != before || !cursor.skip())) return false;
    }
    return true;
}

/// Calls `with(cursor)` for each element. The declared count is not believed: each read checks.
template <class F>
bool each_element(wire::Cursor& cursor, F&& with) {
    std::uint32_t count = 0;
    if (!cursor.read_array(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!with(cursor)) return false;
    }
    return true;
}

inline bool read_text(wire::Cursor& cursor, std::string& out) {
    std::string_view text;
    if (!cursor.read_str(text)) return false;
    out.assign(text);
    return true;
}

}  // namespace ferry::transport::native
