#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "log_directory.hpp"
#include "log_reader/catalog.hpp"
#include "log_reader/manifest.hpp"
#include "log_reader/walker.hpp"

// Checkpoints, compacted segments, dropped segments and the manifest of a backup.
namespace ferry::log_reader_test {
namespace {

using log_reader::Catalog;
using log_reader::Manifest;
using log_reader::Report;
using log_reader::Severity;
using log_reader::Walker;
using Texts = std::vector<std::string>;

struct Reading {
    Report report;
    Texts bodies;

    [[nodiscard]] std::string damage() const {
        for (const auto& finding : report.findings) {
            if (finding.severity == Severity::damage) return finding.text;
        }
        return {};
    }
};

Reading read(const TemporaryDirectory& directory) {
    Reading reading;
    Catalog catalog;
    if (!read_catalog(directory.path(), catalog, reading.report)) return reading;
    Walker(catalog, reading.report).walk(0, [&](const log_reader::FoundRecord& record) {
        reading.bodies.emplace_back(reinterpret_cast<const char*>(record.body.data()),
                                    record.body.size());
        return true;
    });
    return reading;
}

void put(const TemporaryDirectory& directory, const NamedFile& file) {
    directory.write(file.name, file.bytes);
}

/// Three segments of one record each.
struct ThreeSegments {
    SegmentBytes first{0, 1};
    std::uint64_t first_end = first.add({{"a"}}) + 512;
    SegmentBytes second{first_end, 1, first.last_crc()};
    std::uint64_t second_end = second.add({{"b"}, first_end}) + 512;
    SegmentBytes third{second_end, 1, second.last_crc()};
    std::uint64_t third_end = third.add({{"c"}, second_end}) + 512;

    [[nodiscard]] std::vector<Listed> all() const {
        return {{0, 1, first_end}, {first_end, 1, second_end}, {second_end, 1, 0}};
    }
};

TEST(LogReaderCheckpoint, ProvesWhatIsBelowItWhenTheLogEndsTooEarly) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    segment.add({{"a"}});
    const std::uint64_t lost = segment.add({{"b"}});
    segment.bytes()[segment.offset(lost) + 70] ^= 1;
    directory.write(segment.name(), segment.file());
    EXPECT_EQ(read(directory).damage(), "") << "a torn tail without the checkpoint";
    put(directory, checkpoint_file(lost + 512, 1, {{0, 1, 0}}));
    EXPECT_NE(read(directory).damage(), "");
}

TEST(LogReaderCheckpoint, AllowsAGapThatItKnowsOf) {
    const ThreeSegments log;
    const TemporaryDirectory directory;
    directory.write(log.first.name(), log.first.file());
    directory.write(log.third.name(), log.third.file());
    put(directory,
        checkpoint_file(log.third_end, 1, {{0, 1, log.first_end}, {log.second_end, 1, 0}}));
    const Reading reading = read(directory);
    EXPECT_EQ(reading.damage(), "");
    EXPECT_EQ(reading.bodies, (Texts{"a", "c"}));
}

TEST(LogReaderCheckpoint, NamesAListedSegmentThatIsMissingUnlessItIsMarkedAsGone) {
    const ThreeSegments log;
    const TemporaryDirectory directory;
    directory.write(log.first.name(), log.first.file());
    directory.write(log.third.name(), log.third.file());
    put(directory, checkpoint_file(log.third_end, 1, log.all()));
    EXPECT_EQ(read(directory).damage(), "a segment that the checkpoint lists is missing");
    directory.write(hex16(log.first_end) + "-" + hex16(1) + ".gone", "");
    EXPECT_EQ(read(directory).damage(), "");
}

TEST(LogReaderCheckpoint, IsPassedOverWhenItIsDamagedInAnyByte) {
    SegmentBytes segment(0, 1);
    segment.add({{"a"}});
    segment.add({{}, segment.end()});
    const NamedFile sound = checkpoint_file(segment.end(), 1, {{0, 1, 0}});
    for (std::size_t at = 0; at < sound.bytes.size(); ++at) {
        if (at >= 84 && at < 96) continue;  // covered by nothing: it is unused
        const TemporaryDirectory directory;
        directory.write(segment.name(), segment.file());
        NamedFile flipped = sound;
        flipped.bytes[at] = static_cast<char>(flipped.bytes[at] ^ 4);
        put(directory, flipped);
        const Reading reading = read(directory);
        ASSERT_EQ(reading.report.checkpoints, 0U) << "byte " << at;
        ASSERT_EQ(reading.damage(), "") << "it is a cache";
    }
}

TEST(LogReaderCheckpoint, IsNeededWhenTheBeginningOfTheLogIsGone) {
    const ThreeSegments log;
    const TemporaryDirectory directory;
    directory.write(log.third.name(), log.third.file());
    EXPECT_EQ(read(directory).damage(),
              "no readable checkpoint, and the log does not reach back to position 0");
    put(directory, checkpoint_file(log.third_end, 1, {{log.second_end, 1, 0}}));
    EXPECT_EQ(read(directory).damage(), "");
}

TEST(LogReaderCompacted, GivesTheRecordsThatWereKeptAtTheirPositions) {
    const ThreeSegments log;
    const TemporaryDirectory directory;
    directory.write(log.first.name(), log.first.file());
    directory.write(log.second.name(), log.second.file());
    directory.write(log.third.name(), log.third.file());
    put(directory, compacted_file(log.first_end, 1, log.second_end, {{log.first_end + 64, "B"}}));
    put(directory, checkpoint_file(log.third_end, 1, log.all()));
    const Reading reading = read(directory);
    EXPECT_EQ(reading.damage(), "");
    EXPECT_EQ(reading.bodies, (Texts{"a", "B", "c"}))
        << "the compacted file counts before the plain one";
    EXPECT_EQ(reading.report.compacted, 1U);
}

TEST(LogReaderCompacted, NoticesDamageInEveryByteThatCounts) {
    const ThreeSegments log;
    const NamedFile sound =
        compacted_file(0, 1, log.first_end, {{64, "kept"}, {300, std::string(100, 'x')}});
    for (std::size_t at = 0; at < sound.bytes.size(); at += at == 63 ? 4033 : 1) {
        const TemporaryDirectory directory;
        directory.write(log.second.name(), log.second.file());
        put(directory,
            checkpoint_file(log.second_end, 1, {{0, 1, log.first_end}, {log.first_end, 1, 0}}));
        NamedFile flipped = sound;
        flipped.bytes[at] = static_cast<char>(flipped.bytes[at] ^ 1);
        put(directory, flipped);
        ASSERT_FALSE(read(directory).report.findings.empty()) << "byte " << at;
    }
}

std::string manifest_text(const std::vector<NamedFile>& files) {
    std::string text = "ferry-backup 1\nlog " + hex16(log_id) + "\nupto 4096\n";
    std::array<char, 16> crc{};
    for (const NamedFile& file : files) {
        std::snprintf(crc.data(), crc.size(), "%08x", plain_crc(file.bytes));
        text +=
            "file " + file.name + " " + std::to_string(file.bytes.size()) + " " + crc.data() + "\n";
    }
    std::snprintf(crc.data(), crc.size(), "%08x", plain_crc(text));
    return text + "end " + crc.data() + "\n";
}

TEST(Manifest, IsReadAndItsFilesAreChecked) {
    const TemporaryDirectory directory;
    const std::vector<NamedFile> files{{"one.seg", "first"},
                                       {"two.ckp", std::string(3'000'000, 'x')}};
    for (const NamedFile& file : files) put(directory, file);
    directory.write("MANIFEST", manifest_text(files));
    Manifest manifest;
    std::string why;
    ASSERT_TRUE(log_reader::read_manifest(directory.path(), manifest, why)) << why;
    EXPECT_EQ(manifest.log_id, log_id);
    EXPECT_EQ(manifest.upto, 4096U);
    ASSERT_EQ(manifest.files.size(), 2U);
    for (const auto& entry : manifest.files) {
        EXPECT_EQ(log_reader::check_file(directory.path(), entry, {}), "");
    }
    directory.write("one.seg", "f1rst");
    EXPECT_NE(log_reader::check_file(directory.path(), manifest.files[0], {}), "");
    directory.write("one.seg", "first and more");
    EXPECT_NE(log_reader::check_file(directory.path(), manifest.files[0], {}), "");
}

TEST(Manifest, IsRefusedWhenAnyByteOfItIsOtherwise) {
    const std::string sound = manifest_text({{"one.seg", "first"}});
    const TemporaryDirectory directory;
    for (std::size_t at = 0; at < sound.size(); ++at) {
        std::string flipped = sound;
        flipped[at] = static_cast<char>(flipped[at] ^ 1);
        directory.write("MANIFEST", flipped);
        Manifest manifest;
        std::string why;
        ASSERT_FALSE(log_reader::read_manifest(directory.path(), manifest, why)) << "byte " << at;
        ASSERT_FALSE(why.empty());
        directory.write("MANIFEST", sound.substr(0, at));
        ASSERT_FALSE(log_reader::read_manifest(directory.path(), manifest, why)) << "cut at " << at;
    }
}

TEST(Manifest, DoesNotLeadOutOfItsDirectory) {
    const TemporaryDirectory directory;
    for (const char* name : {"../etc", "/etc/passwd", "a/b", ".hidden"}) {
        directory.write("MANIFEST", manifest_text({{name, "x"}}));
        Manifest manifest;
        std::string why;
        EXPECT_FALSE(log_reader::read_manifest(directory.path(), manifest, why)) << name;
    }
}

}  // namespace
}  // namespace ferry::log_reader_test
