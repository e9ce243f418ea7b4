#include <algorithm>
#include <vector>

#include "ferry/wire/frame.hpp"
#include "ferry/wire/message.hpp"
#include "ferry/wire/origin.hpp"
#include "input.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

constexpr std::uint32_t frame_bytes_max = 4096;

struct Cut {
    std::vector<std::vector<std::byte>> bodies;
    bool too_large = false;
    bool operator==(const Cut&) const = default;
};

// As a connection does it: what came is kept until a whole frame is there.
Cut cut_in_chunks(Bytes stream, Bytes chunk_sizes) {
    Cut cut;
    std::vector<std::byte> kept;
    std::size_t next_size = 0;
    while (!stream.empty() && !cut.too_large) {
        std::size_t n = stream.size();
        if (!chunk_sizes.empty()) {
            n = std::size_t{1} +
                static_cast<std::uint8_t>(chunk_sizes[next_size++ % chunk_sizes.size()]);
        }
        const Bytes chunk = stream.first(std::min(n, stream.size()));
        stream = stream.subspan(chunk.size());
        kept.insert(kept.end(), chunk.begin(), chunk.end());
        std::size_t used = 0;
        for (;;) {
            const wire::FrameSlice slice =
                wire::next_frame(Bytes(kept).subspan(used), frame_bytes_max);
            if (slice.state == wire::FrameSlice::State::too_large) cut.too_large = true;
            if (slice.state != wire::FrameSlice::State::complete) break;
            require(slice.used == slice.needed && slice.body.size() + 4 == slice.used);
            require(slice.body.size() <= frame_bytes_max);
            cut.bodies.emplace_back(slice.body.begin(), slice.body.end());
            used += slice.used;
        }
        kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(used));
        require(kept.size() <= frame_bytes_max + 4 + 256 || chunk_sizes.empty());
    }
    return cut;
}

}  // namespace

void frames(Bytes bytes) {
    Input input(bytes);
    const Bytes sizes = input.take(input.below(8));
    const Bytes stream = input.rest();
    require(cut_in_chunks(stream, {}) == cut_in_chunks(stream, sizes));
}

void messages(Bytes bytes) {
    if (const auto origin = wire::parse_origin(as_text(bytes)); origin.ok()) {
        std::string again;
        wire::format_origin(origin.value(), again);
        require(again == as_text(bytes));
    }
    wire::Cursor head_cursor(bytes);
    wire::FrameHead head;
    if (wire::read_head(head_cursor, head)) require(head.fields >= 2);

    wire::Cursor cursor(bytes);
    wire::MessageView view;
    while (wire::read_message(cursor, view)) {
        require(!view.whole.empty() && view.payload.size() < view.whole.size());
        wire::Properties properties;
        wire::PropertyViews views;
        const bool readable = wire::read_properties(view.properties, properties);
        require(wire::view_properties(view.properties, views) == readable);
        if (!readable) continue;
        require(views.id == properties.id && views.ordering_key == properties.ordering_key);
        require(views.published_at_ms == properties.published_at_ms);
        require(views.headers.empty() == properties.headers.empty());
        // What was understood can be said again and understood again.
        wire::Buffer again;
        wire::Encoder out(again);
        wire::write_properties(out, properties);
        wire::Properties back;
        require(wire::read_properties(again, back));
        require(back.id == properties.id && back.reply_to == properties.reply_to);
        require(back.headers.size() == properties.headers.size());
    }
    wire::Cursor skipper(bytes);
    const std::size_t before = skipper.remaining();
    require(skipper.skip() ? skipper.remaining() < before : skipper.remaining() == before);
}

}  // namespace ferry::fuzz
