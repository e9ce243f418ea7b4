#include "ferry/wire/encoder.hpp"

#include <array>
#include <bit>
#include <cstring>

#ifndef MSGPACK_NO_BOOST
#define MSGPACK_NO_BOOST
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <msgpack/pack.hpp>
#pragma GCC diagnostic pop

#include "ferry/platform/assert.hpp"

namespace ferry::wire {
namespace {

// What msgpack::packer writes into.
struct Sink {
    Buffer& out;
    void write(const char* data, std::size_t size) {
        const auto* begin = reinterpret_cast<const std::byte*>(data);
        out.insert(out.end(), begin, begin + size);
    }
};

// Many numbers go through it, and then to the buffer together.
struct Gathered {
    static constexpr std::size_t number_bytes_max = 9;
    std::array<char, 64 * number_bytes_max> bytes;
    std::size_t used = 0;

    void write(const char* data, std::size_t size) {
        std::memcpy(bytes.data() + used, data, size);
        used += size;
    }
    [[nodiscard]] bool full() const { return used + number_bytes_max > bytes.size(); }
    void move_to(Buffer& out) {
        Sink{out}.write(bytes.data(), used);
        used = 0;
    }
};

template <class F>
void pack(Buffer& out, F&& with) {
    Sink sink{out};
    msgpack::packer<Sink> packer(sink);
    with(packer);
}

}  // namespace

Encoder& Encoder::uint(std::uint64_t value) {
    if (value < 0x80) {
        out_.push_back(static_cast<std::byte>(value));
        return *this;
    }
    pack(out_, [&](auto& p) { p.pack_uint64(value); });
    return *this;
}
Encoder& Encoder::integer(std::int64_t value) {
    pack(out_, [&](auto& p) { p.pack_int64(value); });
    return *this;
}
Encoder& Encoder::real(double value) {
    // Not the library's: it writes a whole number as an integer, and so changes the type that the
    // reader sees; from 2^63 on into one that no header may have.
    out_.push_back(std::byte{0xcb});
    const auto bits = std::bit_cast<std::uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8)
        out_.push_back(static_cast<std::byte>(bits >> shift & 0xff));
    return *this;
}
Encoder& Encoder::boolean(bool value) {
    out_.push_back(value ? std::byte{0xc3} : std::byte{0xc2});
    return *this;
}
Encoder& Encoder::nil() {
    out_.push_back(std::byte{0xc0});
    return *this;
}
Encoder& Encoder::str(std::string_view text) {
    pack(out_, [&](auto& p) {
        p.pack_str(static_cast<std::uint32_t>(text.size()));
        p.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
    });
    return *this;
}
Encoder& Encoder::bin(Bytes bytes) {
    pack(out_, [&](auto& p) {
        p.pack_bin(static_cast<std::uint32_t>(bytes.size()));
        p.pack_bin_body(as_text(bytes).data(), static_cast<std::uint32_t>(bytes.size()));
    });
    return *this;
}
Encoder& Encoder::array(std::uint32_t count) {
    pack(out_, [&](auto& p) { p.pack_array(count); });
    return *this;
}
Encoder& Encoder::array(std::span<const std::uint64_t> numbers) {
    array(static_cast<std::uint32_t>(numbers.size()));
    Gathered gathered;
    msgpack::packer<Gathered> packer(gathered);
    for (const std::uint64_t number : numbers) {
        if (gathered.full()) gathered.move_to(out_);
        packer.pack_uint64(number);
    }
    gathered.move_to(out_);
    return *this;
}
Encoder& Encoder::map(std::uint32_t count) {
    pack(out_, [&](auto& p) { p.pack_map(count); });
    return *this;
}
Encoder& Encoder::raw(Bytes bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return *this;
}

std::size_t begin_frame(Buffer& out, Verb verb, std::uint32_t fields) {
    const std::size_t mark = out.size();
    out.resize(mark + 4);
    Encoder(out).array(fields).uint(static_cast<std::uint64_t>(verb));
    return mark;
}

void end_frame(Buffer& out, std::size_t mark) {
    FERRY_ASSERT(out.size() >= mark + 4, "the frame was never begun");
    store_be32(out.data() + mark, static_cast<std::uint32_t>(out.size() - mark - 4));
}

}  // namespace ferry::wire
