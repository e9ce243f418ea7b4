#include "ferry/platform/xxh64.hpp"

#include <gtest/gtest.h>

#include <string>

namespace ferry {
namespace {

// Published values of XXH64; a second implementation in another language gave them too.
TEST(Xxh64, GivesThePublishedValues) {
    EXPECT_EQ(xxh64(as_bytes("")), 0xef46db3751d8e999ULL);
    EXPECT_EQ(xxh64(as_bytes("a")), 0xd24ec4f1a98c6e5bULL);
    EXPECT_EQ(xxh64(as_bytes("abc")), 0x44bc2cf5ad770999ULL);
    EXPECT_EQ(xxh64(as_bytes("The quick brown fox jumps over the lazy dog")),
              0x0b242d361fda71bcULL);
    EXPECT_EQ(xxh64(as_bytes("Nobody inspects the spammish repetition")), 0xfbcea83c8a378bf1ULL);
    EXPECT_EQ(xxh64(as_bytes(""), 2654435761U), 0xac75fda2929b17efULL);
}

TEST(Xxh64, DependsOnEveryByteAndOnTheSeed) {
    const std::string text(100, 'x');
    for (std::size_t size = 1; size <= text.size(); ++size) {
        std::string other = text.substr(0, size);
        const std::uint64_t before = xxh64(as_bytes(other));
        EXPECT_NE(before, xxh64(as_bytes(other), 1));
        for (std::size_t at = 0; at < size; ++at) {
            other[at] = 'y';
            EXPECT_NE(before, xxh64(as_bytes(other))) << size << " " << at;
            other[at] = 'x';
        }
    }
}

}  // namespace
}  // namespace ferry
