#include "native/fields.hpp"

#include <gtest/gtest.h>

#include "ferry/wire/encoder.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::server::native {
namespace {

struct Read {
    bool well_formed = false;
    std::string complaint;
    bool flag = false;
    std::uint64_t number = 5;
};

template <class F>
Read read(F&& write) {
    wire::Buffer bytes;
    wire::Encoder out(bytes);
    write(out);
    wire::Cursor cursor(bytes);
    Read result;
    std::vector<std::string_view> list;
    const Option known[] = {
        {.name = "flag", .flag = &result.flag},
        {.name = "number", .number = &result.number, .least = 2, .most = 9},
        {.name = "list", .texts = &list},
    };
    result.well_formed = read_options(cursor, known, result.complaint) && cursor.at_end();
    return result;
}

TEST(Options, SetWhatIsGivenAndLeaveTheRest) {
    const Read both =
        read([](auto& out) { out.map(2).str("number").uint(9).str("flag").boolean(true); });
    EXPECT_TRUE(both.well_formed);
    EXPECT_EQ(both.complaint, "");
    EXPECT_TRUE(both.flag);
    EXPECT_EQ(both.number, 9U);
    const Read none = read([](auto& out) { out.map(0); });
    EXPECT_TRUE(none.well_formed);
    EXPECT_EQ(none.number, 5U);
}

TEST(Options, ComplainAboutUnknownKeysWrongTypesAndRangesButReadOn) {
    for (const Read& bad : {
             read(
                 [](auto& out) { out.map(2).str("colour").str("blue").str("flag").boolean(true); }),
             read([](auto& out) { out.map(2).str("number").uint(10).str("flag").boolean(true); }),
             read([](auto& out) { out.map(2).str("number").uint(1).str("flag").boolean(true); }),
             read([](auto& out) { out.map(2).str("number").str("9").str("flag").boolean(true); }),
             read([](auto& out) { out.map(2).str("list").uint(1).str("flag").boolean(true); }),
         }) {
        EXPECT_TRUE(bad.well_formed);
        EXPECT_NE(bad.complaint, "");
        EXPECT_TRUE(bad.flag) << "what follows is read: " << bad.complaint;
        EXPECT_EQ(bad.number, 5U);
    }
    EXPECT_NE(read([](auto& out) { out.map(1).str("flag").uint(1); }).complaint, "");
}

TEST(Options, AreMalformedWithoutAMapOfStrings) {
    EXPECT_FALSE(read([](auto& out) { out.array(0); }).well_formed);
    EXPECT_FALSE(read([](auto& out) { out.map(1).uint(1).uint(2); }).well_formed);
    EXPECT_FALSE(read([](auto& out) { out.map(2).str("flag").boolean(true); }).well_formed);
}

bool ranges_ok(std::initializer_list<std::uint64_t> numbers) {
    wire::Buffer bytes;
    wire::Encoder out(bytes);
    out.array(static_cast<std::uint32_t>(numbers.size()));
    for (const std::uint64_t number : numbers) out.uint(number);
    wire::Cursor cursor(bytes);
    std::vector<engine::Range<std::uint64_t>> ranges;
    return read_ranges(cursor, ranges) && ranges.size() * 2 == numbers.size();
}

TEST(Ranges, ArePairsInOrder) {
    EXPECT_TRUE(ranges_ok({}));
    EXPECT_TRUE(ranges_ok({1, 1}));
    EXPECT_TRUE(ranges_ok({5, 9, 1, 2}));
    EXPECT_FALSE(ranges_ok({1}));
    EXPECT_FALSE(ranges_ok({2, 1}));
}

TEST(Ranges, AreLimitedBeforeTheyTakeMemory) {
    for (const std::uint32_t count :
         {limits::ranges_per_frame_max, limits::ranges_per_frame_max + 1}) {
        wire::Buffer bytes;
        wire::Encoder out(bytes);
        out.array(count * 2);
        for (std::uint32_t i = 0; i < count; ++i) out.uint(i).uint(i);
        wire::Cursor cursor(bytes);
        std::vector<engine::Range<std::uint64_t>> ranges;
        EXPECT_EQ(read_ranges(cursor, ranges), count == limits::ranges_per_frame_max);
    }
    const std::byte lie[] = {std::byte{0xdd}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff},
                             std::byte{0xfe}};
    wire::Cursor cursor(lie);
    std::vector<engine::Range<std::uint64_t>> ranges;
    EXPECT_FALSE(read_ranges(cursor, ranges));
    EXPECT_EQ(ranges.capacity(), 0U);
}

TEST(Arguments, AreSortedAndComeOnce) {
    wire::Buffer bytes;
    wire::Encoder(bytes).map(3).str("b").integer(-1).str("a").str("x").str("c").nil();
    wire::Cursor cursor(bytes);
    engine::Arguments arguments;
    ASSERT_TRUE(read_arguments(cursor, arguments));
    ASSERT_EQ(arguments.size(), 3U);
    EXPECT_EQ(arguments[0].first, "a");
    EXPECT_EQ(arguments[1].second, engine::Argument(std::int64_t{-1}));
    bytes.clear();
    wire::Encoder(bytes).map(2).str("a").uint(1).str("a").uint(2);
    wire::Cursor again(bytes);
    arguments.clear();
    EXPECT_FALSE(read_arguments(again, arguments));
}

}  // namespace
}  // namespace ferry::server::native
