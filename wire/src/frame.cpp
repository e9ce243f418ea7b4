#include "ferry/wire/frame.hpp"

namespace ferry::wire {

FrameSlice next_frame(Bytes bytes, std::uint32_t frame_bytes_max) {
    FrameSlice slice;
    if (bytes.size() < limits::frame_length_bytes) return slice;
    const std::uint32_t length = load_be32(bytes.data());
    if (length > frame_bytes_max) {
        slice.state = FrameSlice::State::too_large;
        return slice;
    }
    slice.needed = std::size_t{limits::frame_length_bytes} + length;
    if (bytes.size() < slice.needed) return slice;
    slice.state = FrameSlice::State::complete;
    slice.body = bytes.subspan(limits::frame_length_bytes, length);
    slice.used = slice.needed;
    return slice;
}

bool read_head(Cursor& cursor, FrameHead& out) {
    std::uint64_t verb = 0;
    if (!cursor.read_array(out.fields) || out.fields < 2) return false;
    if (!cursor.read_uint(verb) || verb > 255 || !cursor.read_uint(out.request)) return false;
    out.verb = static_cast<Verb>(verb);
    return true;
}

}  // namespace ferry::wire
