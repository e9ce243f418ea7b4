#pragma once

#include <cstdint>

#include "ferry/platform/bytes.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::wire {

/// Looks for one frame at the beginning of `bytes`.
struct FrameSlice {
    enum class State : std::uint8_t { complete, incomplete, too_large };
    State state = State::incomplete;
    Bytes body;            // the msgpack after the length, when complete
    std::size_t used = 0;  // bytes to step over, when complete
    std::size_t needed =
        0;  // total bytes (with the length) that the frame will take; 0: unknown yet
};
[[nodiscard]] FrameSlice next_frame(Bytes bytes, std::uint32_t frame_bytes_max);

/// Verb, request id and number of fields (with verb and id) of a frame; leaves the cursor at the
/// third field.
struct FrameHead {
    Verb verb{};
    std::uint64_t request = 0;
    std::uint32_t fields = 0;
};
bool read_head(Cursor& cursor, FrameHead& out);

}  // namespace ferry::wire
