#include "checkpoint_file.hpp"
#include "codec.hpp"
#include "log_fixture.hpp"

// docs/storage-format.md shows these bytes; a reader may be written from them.
namespace ferry::log {
namespace {

std::string hex(Bytes bytes) {
    std::string out;
    for (std::byte b : bytes) {
        out += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4U];
        out += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15U];
    }
    return out;
}

std::vector<std::byte> example_batch() {
    std::vector<std::byte> batch(format::batch_header_bytes + 8 + 5);
    const Bytes body = as_bytes("hello");
    store_le(batch.data() + 64, std::uint32_t{5});
    store_le(batch.data() + 68, record_crc(1024 + 64, body));
    std::memcpy(batch.data() + 72, body.data(), body.size());
    const BatchHeader header{0,          0x0102030405060708, 1024, 512, 13, 1,
                             0xa1b2c3d4, 1'700'000'000'000};
    seal_batch(header, batch);
    return batch;
}

TEST(Format, TheWorkedExampleOfABatchIsWhatTheCodecWrites) {
    EXPECT_EQ(hex(example_batch()),
              "464241545d0dba9a080706050403020100040000000000000002000000000000"
              "0d00000001000000d4c3b2a1000000000068e5cf8b0100000000000000000000"
              "0500000007ee6e5768656c6c6f");
}

TEST(Format, TheWorkedExampleReadsBack) {
    const auto batch = example_batch();
    const auto header = decode_batch(batch, 0x0102030405060708, 1024, 512);
    ASSERT_TRUE(header.has_value());
    EXPECT_TRUE(batch_intact(*header, batch));
    EXPECT_EQ(header->durable_upto, 512U);
    std::vector<std::string> bodies;
    EXPECT_TRUE(walk_records(*header, Bytes(batch).subspan(64), [&](Position position, Bytes body) {
        EXPECT_EQ(position, 1024U + 64U);
        bodies.emplace_back(as_text(body));
    }));
    EXPECT_EQ(bodies, std::vector<std::string>{"hello"});
}

TEST(Format, ABatchOfAnotherEpochOrPlaceIsNotTakenForOurs) {
    const auto batch = example_batch();
    EXPECT_FALSE(decode_batch(batch, 0x0102030405060709, 1024, 512).has_value());
    EXPECT_FALSE(decode_batch(batch, 0x0102030405060708, 1536, 512).has_value());
    EXPECT_FALSE(decode_batch(batch, 0x0102030405060708, 1024, 76).has_value());
}

TEST(Format, EveryFlippedBitOfABatchIsNoticed) {
    const auto good = example_batch();
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        auto bad = good;
        bad[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
        const auto header = decode_batch(bad, 0x0102030405060708, 1024, 512);
        const bool taken = header && header->length + 64 <= bad.size() &&
                           batch_intact(*header, Bytes(bad).first(64 + header->length));
        EXPECT_FALSE(taken) << "bit " << bit;
    }
}

TEST(Format, TheSegmentHeaderIsAsDocumented) {
    std::vector<std::byte> bytes(format::segment_header_bytes);
    encode_segment_header({0x1111, 0x2222, 0x3000, 0x4000, 0x55555555, false, 0}, bytes);
    EXPECT_EQ(hex(Bytes(bytes).first(56)),
              "4652595345473031010000000000000011110000000000002222000000000000"
              "0030000000000000004000000000000055555555dde5dbf8");
    for (std::size_t bit = 0; bit < 56 * 8; ++bit) {
        auto bad = bytes;
        bad[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
        EXPECT_FALSE(decode_segment_header(bad).ok()) << "bit " << bit;
    }
}

TEST(Format, EveryFlippedBitOfACheckpointIsNoticed) {
    auto files = make_posix_file_system();
    const std::string path = ::testing::TempDir() + "checkpoint-" + std::to_string(::getpid());
    CheckpointHeader header{1, 2, 1536, 1024, true, 3, {{0, 1, 512}, {512, 2, 0}}};
    const auto good = encode_checkpoint(header, as_bytes("state"));
    for (std::size_t bit = 0; bit <= good.size() * 8; ++bit) {
        auto bytes = good;
        const bool damaged = bit < good.size() * 8;
        // Bytes 76 to 79 and 84 to 95 of the header are reserved and carry nothing.
        const std::size_t at = bit / 8;
        if (damaged && at >= 84 && at < 96) continue;
        if (damaged) bytes[at] ^= std::byte{1} << static_cast<int>(bit % 8);
        {
            auto file = files->open(path, FileSystem::Open::create);
            ASSERT_TRUE(file.ok());
            ASSERT_TRUE(file.value()->write_at(0, bytes).ok());
        }
        auto read = read_checkpoint(*files, path);
        EXPECT_EQ(read.ok(), !damaged) << "bit " << bit;
        if (!read.ok()) continue;
        EXPECT_TRUE(read.value().header.clean);
        EXPECT_EQ(read.value().header.at, 1536U);
        EXPECT_EQ(read.value().header.segments.size(), 2U);
        EXPECT_EQ(as_text(read.value().state), "state");
    }
    files->remove(path).ignore("a temporary file");
}

}  // namespace
}  // namespace ferry::log
