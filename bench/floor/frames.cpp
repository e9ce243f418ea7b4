#include "frames.hpp"

#include <cstring>

#include "ferry/platform/assert.hpp"

namespace ferry::floor {
namespace {

constexpr std::string_view key = "orders";
constexpr char array_of_3 = static_cast<char>(0x93);
constexpr char short_text = static_cast<char>(0xa0);
constexpr char nil = static_cast<char>(0xc0);
constexpr char bin32 = static_cast<char>(0xc6);

void put_head(std::string& out, std::size_t length, Kind kind, std::uint64_t number) {
    std::byte head[frame_head_bytes];
    store_be32(head, static_cast<std::uint32_t>(length));
    head[4] = static_cast<std::byte>(kind);
    store_be64(head + 5, number);
    out.append(as_text(head));
}

}  // namespace

void put_frame(std::string& out, Kind kind, std::uint64_t number) {
    put_head(out, frame_head_bytes - 4, kind, number);
}

void put_publish(std::string& out, std::uint64_t count, std::string_view payload) {
    const std::size_t each = 1 + 1 + key.size() + 1 + 5 + payload.size();
    put_head(out, frame_head_bytes - 4 + count * each, Kind::publish, count);
    std::byte length[4];
    store_be32(length, static_cast<std::uint32_t>(payload.size()));
    for (std::uint64_t i = 0; i < count; ++i) {
        out += array_of_3;
        out += static_cast<char>(short_text | static_cast<char>(key.size()));
        out += key;
        out += nil;
        out += bin32;
        out += as_text(length);
        out += payload;
    }
}

MutableBytes FrameBuffer::room(std::size_t bytes) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (bytes_.size() - end_ < bytes) {
        std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        if (bytes_.size() - end_ < bytes) bytes_.resize(end_ + 2 * bytes);
    }
    return MutableBytes(bytes_).subspan(end_);
}

std::optional<Frame> FrameBuffer::next() {
    const Bytes waiting = Bytes(bytes_).subspan(begin_, end_ - begin_);
    if (waiting.size() < frame_head_bytes) return std::nullopt;
    const std::size_t size = 4 + std::size_t{load_be32(waiting.data())};
    if (waiting.size() < size) return std::nullopt;
    begin_ += size;
    return Frame{static_cast<Kind>(waiting[4]), load_be64(waiting.data() + 5),
                 waiting.subspan(frame_head_bytes, size - frame_head_bytes), waiting.first(size)};
}

std::uint64_t walk(const Frame& frame) {
    const std::byte* at = frame.messages.data();
    const std::byte* const end = at + frame.messages.size();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < frame.number; ++i) {
        FERRY_ASSERT(end - at > 2 && at[0] == std::byte{0x93}, "a message begins here");
        const auto key_bytes = static_cast<std::ptrdiff_t>(at[1] & std::byte{0x1f});
        sum += static_cast<std::uint64_t>(at[2]);
        at += 2 + key_bytes;
        FERRY_ASSERT(end - at >= 6 && at[1] == std::byte{0xc6}, "a payload follows the key");
        at += 6 + std::ptrdiff_t{load_be32(at + 2)};
        FERRY_ASSERT(at <= end, "the message ends inside its frame");
    }
    return sum;
}

}  // namespace ferry::floor
