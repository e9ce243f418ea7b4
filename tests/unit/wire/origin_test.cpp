#include "ferry/wire/origin.hpp"

#include <gtest/gtest.h>

#include "ferry/platform/random.hpp"

namespace ferry::wire {
namespace {

std::string text_of(const Origin& origin) {
    std::string text;
    format_origin(origin, text);
    return text;
}

TEST(Origin, IsReadBackAsItWasWritten) {
    const Origin origin{"3f9c-A_z.9", 1, 42};
    EXPECT_EQ(text_of(origin), "3f9c-A_z.9:1:42");
    const std::string text = text_of(origin);
    const auto read = parse_origin(text);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value(), origin);
}

TEST(Origin, TheLargestFitsItsLimit) {
    const std::string producer(limits::origin_producer_bytes_max, 'p');
    constexpr std::uint64_t most = (1ULL << 63) - 1;
    const std::string text = text_of({producer, most, most});
    EXPECT_EQ(text.size(), limits::origin_bytes_max);
    const auto read = parse_origin(text);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().sequence, most);
}

TEST(Origin, AnythingElseIsRefused) {
    const std::string long_producer(limits::origin_producer_bytes_max + 1, 'p');
    const std::string texts[] = {"",
                                 ":",
                                 "::",
                                 "p",
                                 "p:1",
                                 "p:1:",
                                 "p::1",
                                 ":1:1",
                                 "p:0:1",
                                 "p:1:0",
                                 "p:01:1",
                                 "p:1:01",
                                 "p:+1:1",
                                 "p:1:-1",
                                 " p:1:1",
                                 "p:1:1 ",
                                 "p:1:1:1",
                                 "p:1:9223372036854775808",
                                 "p/q:1:1",
                                 "p:1:1x",
                                 "p:1:0x10",
                                 "p:1 :1",
                                 "p\n:1:1",
                                 std::string("p\0:1:1", 6),
                                 "\xc3\xa9:1:1",
                                 "p:1:99999999999999999999",
                                 long_producer + ":1:1"};
    for (const std::string& text : texts) EXPECT_FALSE(parse_origin(text).ok()) << text;
}

TEST(Origin, RandomTextIsEitherRefusedOrWrittenTheSameAgain) {
    SeededRandom random(7);
    const std::string_view letters = "p1:0:9a-._ ::9";
    int accepted = 0;
    for (int i = 0; i < 200000; ++i) {
        std::string text;
        const std::uint64_t size = random.below(12);
        for (std::uint64_t k = 0; k < size; ++k) text += letters[random.below(letters.size())];
        const auto read = parse_origin(text);
        if (!read.ok()) continue;
        ++accepted;
        ASSERT_EQ(text_of(read.value()), text);
    }
    EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace ferry::wire
