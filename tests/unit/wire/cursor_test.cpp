// The cursor against msgpack-cxx on random bytes: what one takes the other takes, with the same
// value and the same number of bytes.

#include <gtest/gtest.h>

#ifndef MSGPACK_NO_BOOST
#define MSGPACK_NO_BOOST
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <msgpack.hpp>
#pragma GCC diagnostic pop

#include <bit>
#include <optional>

#include "ferry/platform/random.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::wire {
namespace {

// What msgpack-cxx says of the first value in `bytes`.
struct Reference {
    msgpack::object_handle handle;
    std::size_t used = 0;
    bool ok = false;
};

Reference reference_of(const Buffer& bytes) {
    Reference r;
    // No value in so few bytes is larger; without limits msgpack allocates what a count declares.
    const msgpack::unpack_limit limit(1000, 1000, 1000, 1000, 1000, 100);
    try {
        r.handle = msgpack::unpack(reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                                   r.used, nullptr, nullptr, limit);
        r.ok = true;
    } catch (const msgpack::unpack_error&) {
        r.ok = false;
    } catch (const std::bad_alloc&) {
        r.ok = false;
    }
    return r;
}

// Bytes that begin with every kind of tag equally often, the lengths mostly small.
Buffer random_bytes(SeededRandom& random) {
    Buffer bytes(random.below(40));
    for (std::byte& b : bytes) {
        const std::uint64_t kind = random.below(4);
        b = static_cast<std::byte>(kind == 0   ? random.below(256)
                                   : kind == 1 ? 0
                                               : random.below(16));
    }
    if (!bytes.empty()) bytes[0] = static_cast<std::byte>(random.below(256));
    return bytes;
}

void compare_scalars(const Buffer& bytes, const Reference& r) {
    const msgpack::object* o = r.ok ? &r.handle.get() : nullptr;
    const auto type = o != nullptr ? o->type : msgpack::type::NIL;
    const bool is_int = o != nullptr && (type == msgpack::type::POSITIVE_INTEGER ||
                                         type == msgpack::type::NEGATIVE_INTEGER);
    const auto same_end = [&](const Cursor& c) { EXPECT_EQ(bytes.size() - c.remaining(), r.used); };

    std::uint64_t u = 0;
    Cursor uint_cursor{Bytes(bytes)};
    const bool is_uint = is_int && type == msgpack::type::POSITIVE_INTEGER;
    ASSERT_EQ(uint_cursor.read_uint(u), is_uint);
    if (is_uint) {
        EXPECT_EQ(u, o->via.u64);
        same_end(uint_cursor);
    }
    std::int64_t i = 0;
    Cursor int_cursor{Bytes(bytes)};
    const bool fits = is_int && (!is_uint || o->via.u64 <= static_cast<std::uint64_t>(INT64_MAX));
    ASSERT_EQ(int_cursor.read_int(i), fits);
    if (fits) {
        EXPECT_EQ(i, is_uint ? static_cast<std::int64_t>(o->via.u64) : o->via.i64);
        same_end(int_cursor);
    }
    bool flag = false;
    Cursor bool_cursor{Bytes(bytes)};
    ASSERT_EQ(bool_cursor.read_bool(flag), o != nullptr && type == msgpack::type::BOOLEAN);
    if (o != nullptr && type == msgpack::type::BOOLEAN) {
        EXPECT_EQ(flag, o->via.boolean);
    }

    double real = 0;
    Cursor real_cursor{Bytes(bytes)};
    const bool is_real =
        o != nullptr && (type == msgpack::type::FLOAT32 || type == msgpack::type::FLOAT64);
    ASSERT_EQ(real_cursor.read_double(real), is_real);
    if (is_real) {
        EXPECT_EQ(std::bit_cast<std::uint64_t>(real), std::bit_cast<std::uint64_t>(o->via.f64));
        same_end(real_cursor);
    }
    Cursor nil_cursor{Bytes(bytes)};
    ASSERT_EQ(nil_cursor.read_nil(), o != nullptr && type == msgpack::type::NIL);
}

void compare_texts(const Buffer& bytes, const Reference& r) {
    const msgpack::object* o = r.ok ? &r.handle.get() : nullptr;
    std::string_view text;
    Cursor str_cursor{Bytes(bytes)};
    const bool is_str = o != nullptr && o->type == msgpack::type::STR;
    ASSERT_EQ(str_cursor.read_str(text), is_str);
    if (is_str) {
        EXPECT_EQ(text, std::string_view(o->via.str.ptr, o->via.str.size));
        EXPECT_EQ(bytes.size() - str_cursor.remaining(), r.used);
    } else {
        EXPECT_EQ(str_cursor.remaining(), bytes.size()) << "a refused read moves nothing";
    }
    Bytes bin;
    Cursor bin_cursor{Bytes(bytes)};
    const bool is_bin = o != nullptr && o->type == msgpack::type::BIN;
    ASSERT_EQ(bin_cursor.read_bin(bin), is_bin);
    if (is_bin) {
        EXPECT_EQ(as_text(bin), std::string_view(o->via.bin.ptr, o->via.bin.size));
    }
}

TEST(Cursor, TakesTheScalarsThatMsgpackTakesAndNoOthers) {
    SeededRandom random(7);
    for (int round = 0; round < 20'000; ++round) {
        const Buffer bytes = random_bytes(random);
        const Reference r = reference_of(bytes);
        SCOPED_TRACE(round);
        compare_scalars(bytes, r);
        compare_texts(bytes, r);
        if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
}

TEST(Cursor, SkipsWhatMsgpackUnpacksUpToTheDepthLimit) {
    SeededRandom random(8);
    int skipped = 0;
    for (int round = 0; round < 20'000; ++round) {
        const Buffer bytes = random_bytes(random);
        const Reference r = reference_of(bytes);
        Cursor cursor{Bytes(bytes)};
        const bool done = cursor.skip();
        if (done) {
            ++skipped;
            EXPECT_TRUE(r.ok) << "round " << round;
            EXPECT_EQ(bytes.size() - cursor.remaining(), r.used) << "round " << round;
        } else {
            EXPECT_EQ(cursor.remaining(), bytes.size());
        }
    }
    EXPECT_GT(skipped, 3'000);
}

TEST(Cursor, ReadsWhatTheEncoderWroteAtEveryWidth) {
    for (unsigned bits = 0; bits < 64; ++bits) {
        for (const std::int64_t off : {-1, 0, 1}) {
            const auto value = static_cast<std::int64_t>((std::uint64_t{1} << bits) +
                                                         static_cast<std::uint64_t>(off));
            for (const std::int64_t signed_value : {value, value == INT64_MIN ? value : -value}) {
                Buffer bytes;
                Encoder(bytes).integer(signed_value);
                Cursor cursor{Bytes(bytes)};
                std::int64_t back = 0;
                ASSERT_TRUE(cursor.read_int(back));
                EXPECT_EQ(back, signed_value);
                EXPECT_TRUE(cursor.at_end());
            }
            Buffer bytes;
            Encoder(bytes).uint(static_cast<std::uint64_t>(value));
            Cursor cursor{Bytes(bytes)};
            std::uint64_t back = 0;
            ASSERT_TRUE(cursor.read_uint(back));
            EXPECT_EQ(back, static_cast<std::uint64_t>(value));
        }
    }
}

TEST(Cursor, ReadsArraysMapsAndTextsAtTheEdgesOfTheirHeaders) {
    for (const std::uint32_t count : {0U, 15U, 16U, 31U, 32U, 255U, 256U, 65'535U, 65'536U}) {
        Buffer bytes;
        Encoder(bytes).array(count);
        std::uint32_t back = 0;
        Cursor array{Bytes(bytes)};
        ASSERT_TRUE(array.read_array(back));
        EXPECT_EQ(back, count);
        bytes.clear();
        Encoder(bytes).map(count);
        Cursor map{Bytes(bytes)};
        EXPECT_FALSE(Cursor(Bytes(bytes)).read_array(back));
        ASSERT_TRUE(map.read_map(back));
        EXPECT_EQ(back, count);
        bytes.clear();
        Encoder(bytes).str(std::string(count, 's'));
        std::string_view text;
        Cursor str{Bytes(bytes)};
        ASSERT_TRUE(str.read_str(text));
        EXPECT_EQ(text.size(), count);
    }
}

TEST(Cursor, RefusesEveryTruncationOfAValue) {
    Buffer bytes;
    Encoder(bytes)
        .array(4)
        .str("exchange")
        .uint(70'000)
        .map(1)
        .uint(1)
        .real(0.5)
        .bin(as_bytes("abc"));
    Cursor whole{Bytes(bytes)};
    EXPECT_TRUE(whole.skip());
    EXPECT_TRUE(whole.at_end());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        Cursor cursor{Bytes(bytes).first(length)};
        EXPECT_FALSE(cursor.skip()) << length;
        EXPECT_EQ(cursor.remaining(), length);
    }
}

TEST(Cursor, SkipsNestingUpToTheLimitAndNotBeyond) {
    for (const std::uint32_t depth : {limits::msgpack_depth_max - 1, limits::msgpack_depth_max,
                                      limits::msgpack_depth_max + 1}) {
        Buffer bytes(depth, std::byte{0x91});
        bytes.push_back(std::byte{0xc0});
        Cursor cursor{Bytes(bytes)};
        EXPECT_EQ(cursor.skip(), depth <= limits::msgpack_depth_max) << depth;
    }
}

TEST(Cursor, DoesNotBelieveACountThatTheBytesCannotHold) {
    const Buffer bytes{std::byte{0xdd}, std::byte{0xff}, std::byte{0xff},
                       std::byte{0xff}, std::byte{0xff}, std::byte{0xc0}};
    Cursor cursor{Bytes(bytes)};
    EXPECT_FALSE(cursor.skip());
}

}  // namespace
}  // namespace ferry::wire
