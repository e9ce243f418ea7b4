#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"

namespace ferry::engine {

// Record bodies: LEB128 variable-length integers, texts with their length in front.

inline void put_u8(std::vector<std::byte>& out, std::uint8_t value) {
    out.push_back(static_cast<std::byte>(value));
}
inline void put_varint(std::vector<std::byte>& out, std::uint64_t value) {
    if (value < 0x80) return put_u8(out, static_cast<std::uint8_t>(value));
    std::byte bytes[10];
    std::size_t size = 0;
    for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<std::byte>(value | 0x80);
    bytes[size++] = static_cast<std::byte>(value);
    out.insert(out.end(), bytes, bytes + size);
}
/// Appends varints, for who has many of them: room for `most` is made at once.
class VarintWriter {
public:
    VarintWriter(std::vector<std::byte>& out, std::size_t most) : out_(out) {
        const std::size_t before = out.size();
        out.resize(before + most * 10);
        at_ = out.data() + before;
    }
    ~VarintWriter() { out_.resize(static_cast<std::size_t>(at_ - out_.data())); }
    VarintWriter(const VarintWriter&) = delete;
    VarintWriter& operator=(const VarintWriter&) = delete;

    void put(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) *at_++ = static_cast<std::byte>(value | 0x80);
        *at_++ = static_cast<std::byte>(value);
    }

private:
    std::vector<std::byte>& out_;
    std::byte* at_;
};
inline void put_u64(std::vector<std::byte>& out, std::uint64_t value) {
    std::byte bytes[8];
    store_le(bytes, value);
    out.insert(out.end(), bytes, bytes + 8);
}
inline void put_text(std::vector<std::byte>& out, std::string_view text) {
    put_varint(out, text.size());
    const Bytes bytes = as_bytes(text);
    out.insert(out.end(), bytes.begin(), bytes.end());
}

/// Reads what the put_ functions wrote. After the first mismatch ok() is false and every read gives
/// zero.
class Reader {
public:
    explicit Reader(Bytes bytes)
        : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] bool at_end() const { return at_ == end_; }
    [[nodiscard]] std::size_t offset() const { return static_cast<std::size_t>(at_ - begin_); }
    [[nodiscard]] std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
    [[nodiscard]] Bytes rest() const { return {at_, end_}; }

    std::uint8_t u8() {
        if (at_ == end_) return fail<std::uint8_t>();
        return static_cast<std::uint8_t>(*at_++);
    }
    std::uint64_t u64() {
        if (remaining() < 8) return fail<std::uint64_t>();
        at_ += 8;
        return load_le<std::uint64_t>(at_ - 8);
    }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ == end_) return fail<std::uint64_t>();
            const auto byte = static_cast<std::uint8_t>(*at_++);
            value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
            if (byte < 0x80) return value;
        }
        return fail<std::uint64_t>();
    }
    /// A varint that has to be at most `max`.
    template <class T>
    T bounded(std::uint64_t max) {
        const std::uint64_t value = varint();
        if (value > max) return fail<T>();
        return static_cast<T>(value);
    }
    /// A count of things that take at least `each` bytes, so it can be believed before memory is
    /// taken.
    std::size_t count(std::size_t each) {
        const std::uint64_t value = varint();
        if (value > remaining() / each) return fail<std::size_t>();
        return static_cast<std::size_t>(value);
    }
    /// The caller found something wrong.
    void reject() { fail<int>(); }
    std::string_view text() {
        const std::size_t size = count(1);
        const std::string_view view = as_text({at_, size});
        at_ += size;
        return view;
    }

private:
    template <class T>
    T fail() {
        ok_ = false;
        at_ = end_;
        return T{};
    }
    const std::byte* begin_;
    const std::byte* at_;
    const std::byte* end_;
    bool ok_ = true;
};

}  // namespace ferry::engine
