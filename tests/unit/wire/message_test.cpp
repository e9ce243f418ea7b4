// Messages, frames, names and codes.

#include "ferry/wire/message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <set>

#include "ferry/wire/codes.hpp"
#include "ferry/wire/frame.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::wire {
namespace {

Message full_message() {
    Message m;
    m.exchange = "orders";
    m.routing_key = "eu.paid";
    m.payload = std::string("binary\0payload", 14);
    m.properties.id = "id-1";
    m.properties.ordering_key = "customer-7";
    m.properties.headers = {{"nothing", std::monostate{}},
                            {"flag", true},
                            {"minus", std::int64_t{-5}},
                            {"real", 0.25},
                            {"text", std::string("hello")},
                            {"bytes", std::vector<std::byte>{std::byte{1}, std::byte{0}}}};
    m.properties.content_type = "text/plain";
    m.properties.published_at_ms = 1'700'000'000'000;
    m.properties.priority = 9;
    m.properties.reply_to = "answers";
    m.properties.correlation_id = "c-1";
    return m;
}

Buffer encoded(const Message& m) {
    Buffer bytes;
    Encoder out(bytes);
    write_message(out, m);
    return bytes;
}

bool reads(const Message& m) {
    const Buffer bytes = encoded(m);
    Cursor cursor{Bytes(bytes)};
    MessageView view;
    Properties properties;
    return read_message(cursor, view) && cursor.at_end() &&
           read_properties(view.properties, properties);
}

TEST(Message, ARealStaysARealAlsoWhenItIsWhole) {
    for (const double real :
         {0.0, -0.0, 5.0, -7.0, 0x1p63, 0x1p64, 1e300, std::numeric_limits<double>::infinity()}) {
        Message m;
        m.properties.headers = {{"real", real}};
        EXPECT_EQ(check_message(m), "") << real;
        const Buffer bytes = encoded(m);
        Cursor cursor{Bytes(bytes)};
        MessageView view;
        Properties back;
        ASSERT_TRUE(read_message(cursor, view) && read_properties(view.properties, back)) << real;
        const auto* const value = std::get_if<double>(&back.headers.at(0).second);
        ASSERT_NE(value, nullptr) << real;
        EXPECT_EQ(std::bit_cast<std::uint64_t>(*value), std::bit_cast<std::uint64_t>(real));
    }
}

TEST(MessageCodec, ReadsBackEveryPart) {
    const Message m = full_message();
    const Buffer bytes = encoded(m);
    Cursor cursor{Bytes(bytes)};
    MessageView view;
    ASSERT_TRUE(read_message(cursor, view));
    EXPECT_TRUE(cursor.at_end());
    EXPECT_EQ(view.exchange, m.exchange);
    EXPECT_EQ(view.routing_key, m.routing_key);
    EXPECT_EQ(as_text(view.payload), m.payload);
    EXPECT_EQ(view.whole.size(), bytes.size());
    Properties p;
    ASSERT_TRUE(read_properties(view.properties, p));
    EXPECT_EQ(p.id, m.properties.id);
    EXPECT_EQ(p.ordering_key, m.properties.ordering_key);
    EXPECT_EQ(p.headers, m.properties.headers);
    EXPECT_EQ(p.content_type, m.properties.content_type);
    EXPECT_EQ(p.published_at_ms, m.properties.published_at_ms);
    EXPECT_EQ(p.priority, m.properties.priority);
    EXPECT_EQ(p.reply_to, m.properties.reply_to);
    EXPECT_EQ(p.correlation_id, m.properties.correlation_id);
}

TEST(MessageCodec, ViewsShowWhatReadingCopies) {
    const Message m = full_message();
    Buffer bytes;
    Encoder out(bytes);
    write_properties(out, m.properties);
    PropertyViews views;
    ASSERT_TRUE(view_properties(bytes, views));
    EXPECT_EQ(views.id, m.properties.id);
    EXPECT_EQ(views.ordering_key, m.properties.ordering_key);
    EXPECT_EQ(views.published_at_ms, m.properties.published_at_ms);
    EXPECT_EQ(views.priority, m.properties.priority);
    Buffer again;
    Encoder same(again);
    write_properties(same, views);
    EXPECT_EQ(again, bytes);
}

TEST(MessageCodec, RefusesEveryTruncation) {
    const Buffer bytes = encoded(full_message());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        Cursor cursor{Bytes(bytes).first(length)};
        MessageView view;
        EXPECT_FALSE(read_message(cursor, view)) << length;
    }
}

TEST(MessageCodec, PassesOnKeysItDoesNotKnowAndChecksThoseItKnows) {
    const auto with = [](std::uint64_t key, const auto& value) {
        Buffer bytes;
        Encoder out(bytes);
        out.map(1).uint(key);
        value(out);
        Properties p;
        PropertyViews views;
        const bool reads = read_properties(bytes, p);
        EXPECT_EQ(view_properties(bytes, views), reads);
        return reads;
    };
    const auto nil = [](Encoder& out) { out.nil(); };
    EXPECT_TRUE(with(11, nil));
    EXPECT_TRUE(with(257, nil)) << "257 is no other way to write 1";
    EXPECT_TRUE(with(UINT64_MAX, nil));
    EXPECT_FALSE(with(1, nil));
    EXPECT_FALSE(with(8, [](Encoder& out) { out.uint(10); }));
    EXPECT_FALSE(with(3, [](Encoder& out) { out.map(1).uint(1).nil(); }));
    EXPECT_FALSE(with(3, [](Encoder& out) { out.map(1).str("a").array(0); }));
}

TEST(MessageLimits, HoldAtOneLessExactlyAndOneMore) {
    const auto check = [](std::uint32_t limit, auto&& set, bool by_reading) {
        for (const std::uint32_t size : {limit - 1, limit, limit + 1}) {
            Message m;
            m.routing_key = "q";
            set(m, size);
            EXPECT_EQ(check_message(m).empty(), size <= limit) << size;
            if (by_reading) {
                EXPECT_EQ(reads(m), size <= limit) << size;
            }
        }
    };
    const auto text = [](std::uint32_t n) { return std::string(n, 'x'); };
    check(
        limits::name_bytes_max, [&](Message& m, std::uint32_t n) { m.exchange = text(n); }, true);
    check(
        limits::routing_key_bytes_max,
        [&](Message& m, std::uint32_t n) { m.routing_key = text(n); }, true);
    check(
        limits::short_text_bytes_max,
        [&](Message& m, std::uint32_t n) { m.properties.id = text(n); }, true);
    check(
        limits::short_text_bytes_max,
        [&](Message& m, std::uint32_t n) { m.properties.correlation_id = text(n); }, true);
    check(
        limits::priority_max,
        [&](Message& m, std::uint32_t n) { m.properties.priority = static_cast<std::uint8_t>(n); },
        true);
    check(
        limits::headers_max,
        [&](Message& m, std::uint32_t n) {
            for (std::uint32_t i = 0; i < n; ++i)
                m.properties.headers.emplace_back(std::to_string(i), true);
        },
        true);
    check(
        limits::short_text_bytes_max,
        [&](Message& m, std::uint32_t n) {
            m.properties.headers = {{text(n), true}};
        },
        true);
    // One header "h": map 1, name 2, str 16 header 3.
    check(
        limits::headers_bytes_max,
        [&](Message& m, std::uint32_t n) {
            m.properties.headers = {{"h", text(n - 6)}};
        },
        true);
    check(
        limits::payload_bytes_max, [&](Message& m, std::uint32_t n) { m.payload = text(n); },
        false);
}

TEST(MessageLimits, LetTheLargestMessageIntoOneFrame) {
    Message m;
    m.exchange = m.routing_key = std::string(255, 'x');
    Properties& p = m.properties;
    p.id = p.ordering_key = p.content_type = p.reply_to = p.correlation_id = std::string(255, 'y');
    p.published_at_ms = UINT64_MAX;
    p.priority = 9;
    p.headers = {{"h", std::string(limits::headers_bytes_max - 6, 'z')}};
    m.payload = std::string(limits::payload_bytes_max, 'p');
    ASSERT_EQ(check_message(m), "");
    Buffer frame;
    const std::size_t mark = begin_frame(frame, Verb::publish, 6);
    Encoder out(frame);
    out.uint(UINT64_MAX).uint(UINT64_MAX).uint(1).uint(UINT64_MAX).array(1);
    write_message(out, m);
    end_frame(frame, mark);
    EXPECT_EQ(next_frame(frame, limits::frame_bytes_max).state, FrameSlice::State::complete);
}

TEST(Names, AreOneTo255OfTheAllowedCharacters) {
    EXPECT_TRUE(valid_name("a"));
    EXPECT_TRUE(valid_name("A-z_0.9"));
    EXPECT_TRUE(valid_name(std::string(255, 'n')));
    EXPECT_FALSE(valid_name(""));
    EXPECT_FALSE(valid_name(std::string(256, 'n')));
    for (const char* bad : {"a b", "a/b", "a\n", "\xc3\xa4", "a#", "a*"})
        EXPECT_FALSE(valid_name(bad));
}

TEST(Frames, AreCutAtTheirLengthInAnyChunks) {
    Buffer bytes;
    for (const char* payload : {"one", "", "three"}) {
        const std::size_t mark = begin_frame(bytes, Verb::heartbeat, 3);
        Encoder(bytes).uint(0).str(payload);
        end_frame(bytes, mark);
    }
    std::size_t at = 0;
    int frames = 0;
    for (std::size_t length = 0; length <= bytes.size(); ++length) {
        const FrameSlice slice = next_frame(Bytes(bytes).subspan(at, length - at), 1000);
        if (slice.state != FrameSlice::State::complete) continue;
        Cursor cursor(slice.body);
        FrameHead head;
        ASSERT_TRUE(read_head(cursor, head));
        EXPECT_EQ(head.verb, Verb::heartbeat);
        EXPECT_EQ(head.fields, 3u);
        at += slice.used;
        ++frames;
    }
    EXPECT_EQ(frames, 3);
    EXPECT_EQ(at, bytes.size());
}

TEST(Frames, OverTheLimitAreRefusedBeforeTheyCome) {
    const Buffer header{std::byte{0}, std::byte{0}, std::byte{16}, std::byte{1}};
    EXPECT_EQ(next_frame(header, 4096).state, FrameSlice::State::too_large);
    EXPECT_EQ(next_frame(header, 4097).state, FrameSlice::State::incomplete);
    EXPECT_EQ(next_frame(Bytes(header).first(3), 1).state, FrameSlice::State::incomplete);
}

TEST(Frames, NeedAVerbAndARequest) {
    const auto head_of = [](auto&& write) {
        Buffer bytes;
        Encoder out(bytes);
        write(out);
        Cursor cursor{Bytes(bytes)};
        FrameHead head;
        return read_head(cursor, head);
    };
    EXPECT_TRUE(head_of([](Encoder& o) { o.array(2).uint(4).uint(0); }));
    EXPECT_FALSE(head_of([](Encoder& o) { o.array(1).uint(4); }));
    EXPECT_FALSE(head_of([](Encoder& o) { o.array(2).uint(256).uint(0); }));
    EXPECT_FALSE(head_of([](Encoder& o) { o.array(2).integer(-1).uint(0); }));
    EXPECT_FALSE(head_of([](Encoder& o) { o.map(2).uint(4).uint(0); }));
}

// The example at the end of docs/protocol.md.
TEST(Frames, LookAsTheProtocolPageShows) {
    Buffer frame;
    const std::size_t mark = begin_frame(frame, Verb::publish, 6);
    Encoder out(frame);
    out.uint(1).uint(1).uint(0).uint(0).array(1);
    Message m;
    m.routing_key = "q";
    m.payload = "hi";
    write_message(out, m);
    end_frame(frame, mark);
    const unsigned char page[] = {0x00, 0x00, 0x00, 0x10, 0x96, 0x0a, 0x01, 0x01, 0x00, 0x00,
                                  0x91, 0x94, 0xa0, 0xa1, 0x71, 0xc0, 0xc4, 0x02, 0x68, 0x69};
    ASSERT_EQ(frame.size(), sizeof page);
    for (std::size_t i = 0; i < frame.size(); ++i)
        EXPECT_EQ(static_cast<unsigned char>(frame[i]), page[i]) << i;
}

TEST(Codes, HaveDistinctNumbersAndNames) {
    std::set<std::string> names;
    int known = 0;
    for (unsigned n = 0; n < 700; ++n) {
        const CodeInfo& info = code_info(static_cast<Code>(n));
        if (info.name == "UNKNOWN") continue;
        ++known;
        EXPECT_TRUE(names.insert(std::string(info.name)).second) << info.name;
        EXPECT_FALSE(info.meaning.empty());
    }
    EXPECT_GT(known, 25);
}

}  // namespace
}  // namespace ferry::wire
