#include "ferry/platform/crc32c.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "crc32c_portable.hpp"
#include "ferry/platform/random.hpp"

namespace ferry {
namespace {

std::vector<std::byte> bytes_from(std::initializer_list<int> values) {
    std::vector<std::byte> bytes;
    for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

std::vector<std::byte> counted(int from, int step) {
    std::vector<std::byte> bytes;
    for (int i = 0; i < 32; ++i) bytes.push_back(static_cast<std::byte>(from + i * step));
    return bytes;
}

// RFC 3720, appendix B.4.
TEST(Crc32c, gives_the_values_that_the_standard_prints) {
    const std::vector<std::byte> zeros(32, std::byte{0});
    const std::vector<std::byte> ones(32, std::byte{0xFF});
    EXPECT_EQ(crc32c(zeros), 0x8A9136AAU);
    EXPECT_EQ(crc32c(ones), 0x62A8AB43U);
    EXPECT_EQ(crc32c(counted(0, 1)), 0x46DD794EU);
    EXPECT_EQ(crc32c(counted(31, -1)), 0x113FDB5CU);
    EXPECT_EQ(crc32c(bytes_from({0x01, 0xC0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
                                 0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                 0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0})),
              0xD9963A56U);
    EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);
    EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, is_the_same_with_and_without_the_processors_help_at_every_length_and_alignment) {
    SeededRandom random(7);
    std::vector<std::byte> noise(1700);  // long enough for all ways through it, and what they leave
    for (std::byte& b : noise) b = static_cast<std::byte>(random.next());
    for (std::size_t from = 0; from < 9; ++from) {
        for (std::size_t size = 0; size + from <= noise.size(); ++size) {
            const Bytes part = Bytes(noise).subspan(from, size);
            const auto seed = static_cast<std::uint32_t>(random.next());
            ASSERT_EQ(crc32c(part, seed), detail::crc32c_portable(part, seed))
                << from << " " << size;
        }
    }
}

TEST(Crc32c, of_a_whole_is_that_of_its_parts_in_a_row) {
    const std::string_view text = "the quick brown fox jumps over the lazy dog";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        const std::uint32_t head = crc32c(as_bytes(text.substr(0, cut)));
        EXPECT_EQ(crc32c(as_bytes(text.substr(cut)), head), crc32c(as_bytes(text)));
    }
}

TEST(Crc32c, notices_every_single_flipped_bit) {
    std::vector<std::byte> data = counted(3, 5);
    const std::uint32_t before = crc32c(data);
    for (std::size_t bit = 0; bit < data.size() * 8; ++bit) {
        const auto mask = static_cast<std::byte>(1U << (bit % 8));
        data[bit / 8] ^= mask;
        EXPECT_NE(crc32c(data), before);
        data[bit / 8] ^= mask;
    }
}

}  // namespace
}  // namespace ferry
