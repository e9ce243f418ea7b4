#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "log_directory.hpp"
#include "log_reader/catalog.hpp"
#include "log_reader/crc32c.hpp"
#include "log_reader/names.hpp"
#include "log_reader/walker.hpp"

namespace ferry::log_reader_test {
namespace {

using log_reader::Catalog;
using log_reader::Finding;
using log_reader::FoundRecord;
using log_reader::Report;
using log_reader::Severity;
using log_reader::Walker;

struct Reading {
    Catalog catalog;
    Report report;
    std::vector<std::string> bodies;
    std::vector<std::uint64_t> positions;

    [[nodiscard]] std::vector<Finding> of(Severity severity) const {
        std::vector<Finding> out;
        for (const Finding& finding : report.findings) {
            if (finding.severity == severity) out.push_back(finding);
        }
        return out;
    }
};

Reading read(const TemporaryDirectory& directory, std::uint64_t from = 0,
             std::size_t limit = SIZE_MAX) {
    Reading reading;
    if (!read_catalog(directory.path(), reading.catalog, reading.report)) return reading;
    Walker(reading.catalog, reading.report).walk(from, [&](const FoundRecord& record) {
        reading.bodies.emplace_back(reinterpret_cast<const char*>(record.body.data()),
                                    record.body.size());
        reading.positions.push_back(record.position);
        return reading.bodies.size() < limit;
    });
    return reading;
}

using Texts = std::vector<std::string>;

TEST(LogReaderCrc, MatchesThePublishedCheckValue) {
    const std::string digits = "123456789";
    const auto bytes = std::as_bytes(std::span(digits));
    EXPECT_EQ(log_reader::crc32c(bytes), 0xE3069283U);
    EXPECT_EQ(log_reader::crc32c(bytes.subspan(4), log_reader::crc32c(bytes.first(4))),
              0xE3069283U);
}

TEST(LogReaderCrc, AgreesWithTheBitByBitDefinitionAtEveryLength) {
    std::string text;
    for (int i = 0; i < 70; ++i) {
        EXPECT_EQ(log_reader::crc32c(std::as_bytes(std::span(text))), plain_crc(text)) << i;
        text += static_cast<char>(i * 37);
    }
}

TEST(LogReaderNames, AreTakenOnlyInTheirExactForm) {
    using log_reader::FileKind;
    const auto name = log_reader::parse_name("0000000000001000-00000000000000ff.seg");
    EXPECT_EQ(name.kind, FileKind::segment);
    EXPECT_EQ(name.position, 0x1000U);
    EXPECT_EQ(name.epoch, 0xffU);
    EXPECT_EQ(log_reader::parse_name("0000000000001000-00000000000000FF.seg").kind,
              FileKind::other);
    EXPECT_EQ(log_reader::parse_name("1000-ff.seg").kind, FileKind::other);
    EXPECT_EQ(log_reader::parse_name("0000000000001000-00000000000000ff.seg.tmp").kind,
              FileKind::unfinished);
    EXPECT_EQ(log_reader::parse_name("spare-3.seg").kind, FileKind::spare);
    EXPECT_EQ(log_reader::parse_name("LOCK").kind, FileKind::lock);
}

TEST(LogReader, ReadsEveryRecordOfSeveralBatchesInOrder) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    segment.add({{"one", "two"}});
    segment.add({{std::string(5000, 'x')}});
    segment.add({{}, segment.end()});
    directory.write(segment.name(), segment.file());
    const Reading reading = read(directory);
    EXPECT_EQ(reading.bodies, (Texts{"one", "two", std::string(5000, 'x')}));
    EXPECT_EQ(reading.positions, (std::vector<std::uint64_t>{64, 64 + 11, 512 + 64}));
    EXPECT_TRUE(reading.report.findings.empty());
    EXPECT_EQ(reading.report.batches, 3U);
    EXPECT_EQ(reading.report.seals, 1U);
    EXPECT_EQ(reading.report.end, segment.end());
    EXPECT_EQ(reading.report.log_id, log_id);
}

TEST(LogReader, GoesOnFromSegmentToSegmentAndBeginsWhereAsked) {
    const TemporaryDirectory directory;
    SegmentBytes first(0, 1);
    first.add({{"a"}});
    first.add({{"b"}});
    SegmentBytes second(first.end(), 1, first.last_crc());
    second.add({{"c"}, first.end()});
    directory.write(first.name(), first.file());
    directory.write(second.name(), second.file());
    EXPECT_EQ(read(directory).bodies, (Texts{"a", "b", "c"}));
    EXPECT_EQ(read(directory, 512).bodies, (Texts{"b", "c"}));
    EXPECT_EQ(read(directory, 577).bodies, (Texts{"c"})) << "b is at 576";
    EXPECT_EQ(read(directory, 0, 2).bodies, (Texts{"a", "b"}));
}

TEST(LogReader, LetsTheHigherEpochOwnWhatTwoSegmentsHave) {
    const TemporaryDirectory directory;
    SegmentBytes old_run(0, 1);
    old_run.add({{"kept"}});
    const std::uint64_t proven = old_run.end();
    old_run.add({{"written again by the next run"}});
    SegmentBytes new_run(proven, 2, 0);
    new_run.add({{"again"}, proven});
    directory.write(old_run.name(), old_run.file());
    directory.write(new_run.name(), new_run.file());
    const Reading reading = read(directory);
    EXPECT_EQ(reading.bodies, (Texts{"kept", "again"}));
    EXPECT_FALSE(reading.report.damaged());
}

TEST(LogReader, CallsABadBatchTornWhenNothingLaterSaysThatItWasDurable) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    segment.add({{"good"}});
    const std::uint64_t bad = segment.add({{"half written"}});
    segment.bytes()[segment.offset(bad) + 70] ^= 1;
    directory.write(segment.name(), segment.file());
    const Reading reading = read(directory);
    EXPECT_EQ(reading.bodies, (Texts{"good"}));
    EXPECT_FALSE(reading.report.damaged());
    ASSERT_EQ(reading.of(Severity::torn).size(), 1U);
    EXPECT_EQ(reading.of(Severity::torn)[0].position, bad);
    EXPECT_EQ(reading.report.torn_bytes, 512U);
    EXPECT_EQ(reading.report.end, bad);
}

TEST(LogReader, CallsTheSameBytesDamageWhenALaterBatchSaysThatTheyWereDurable) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    segment.add({{"good"}});
    const std::uint64_t bad = segment.add({{"confirmed"}});
    segment.bytes()[segment.offset(bad) + 70] ^= 1;
    const std::uint64_t after = segment.add({{"later"}, segment.end()});
    directory.write(segment.name(), segment.file());
    const Reading reading = read(directory);
    EXPECT_TRUE(reading.report.damaged());
    const auto damage = reading.of(Severity::damage);
    ASSERT_EQ(damage.size(), 1U);
    EXPECT_EQ(damage[0].file, segment.name());
    EXPECT_EQ(damage[0].offset, segment.offset(bad));
    EXPECT_EQ(damage[0].position, bad);
    EXPECT_EQ(damage[0].position_end, after);
    EXPECT_EQ(reading.bodies, (Texts{"good", "later"})) << "what can be read still is";
}

TEST(LogReader, CallsATornMiddleBatchTornWhenTheLaterOneDoesNotVouchForIt) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    segment.add({{"good"}});
    const std::uint64_t bad = segment.add({{"x"}});
    segment.bytes()[segment.offset(bad) + 70] ^= 1;
    segment.add({{"y"}, bad});
    directory.write(segment.name(), segment.file());
    const Reading reading = read(directory);
    EXPECT_FALSE(reading.report.damaged());
    EXPECT_EQ(reading.bodies, (Texts{"good"}));
    EXPECT_EQ(reading.report.torn_bytes, 1024U);
}

TEST(LogReader, NoticesAZeroedSectorInTheMiddleOfConfirmedData) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    const std::uint64_t bad = segment.add({{std::string(3000, 'x')}});
    segment.add({{"later"}, segment.end()});
    segment.bytes().replace(segment.offset(bad) + 1024, 512, 512, '\0');
    directory.write(segment.name(), segment.file());
    const Reading reading = read(directory);
    ASSERT_EQ(reading.of(Severity::damage).size(), 1U);
    EXPECT_EQ(reading.of(Severity::damage)[0].position, bad);
}

TEST(LogReader, DoesNotTakeLeftoversOfARecycledFileForBatches) {
    const TemporaryDirectory directory;
    SegmentBytes former(1 << 20, 1);
    former.add({{"former 1"}});
    former.add({{"former 2"}, former.end()});
    SegmentBytes segment(0, 2);
    segment.add({{"new"}});
    std::string bytes = segment.file();
    bytes.replace(4096 + 512, 512, former.bytes(), 4096 + 512, 512);
    directory.write(segment.name(), bytes);
    const Reading reading = read(directory);
    EXPECT_EQ(reading.bodies, (Texts{"new"}));
    EXPECT_TRUE(reading.report.findings.empty());
}

TEST(LogReader, NoticesASwappedBatchByTheChain) {
    const TemporaryDirectory directory;
    SegmentBytes other(0, 1);
    other.add({{"other"}});
    SegmentBytes segment(0, 1);
    segment.add({{"first"}});
    segment.add({{"second"}, segment.end()});
    segment.add({{"third"}, segment.end()});
    std::string bytes = segment.file();
    bytes.replace(4096, 512, other.bytes(), 4096,
                  512);  // whole and in its place, but another history
    directory.write(segment.name(), bytes);
    EXPECT_TRUE(read(directory).report.damaged());
}

TEST(LogReader, NamesASegmentThatIsMissingInTheMiddle) {
    const TemporaryDirectory directory;
    SegmentBytes first(0, 1);
    first.add({{"a"}});
    SegmentBytes second(first.end(), 1, first.last_crc());
    second.add({{"b"}, first.end()});
    SegmentBytes third(second.end(), 1, second.last_crc());
    third.add({{"c"}, second.end()});
    directory.write(first.name(), first.file());
    directory.write(third.name(), third.file());
    const Reading reading = read(directory);
    const auto damage = reading.of(Severity::damage);
    ASSERT_EQ(damage.size(), 1U);
    EXPECT_EQ(damage[0].position, first.end());
    EXPECT_EQ(damage[0].position_end, second.end());
    EXPECT_EQ(reading.bodies, (Texts{"a", "c"}));
}

TEST(LogReader, NoticesASegmentOfAnotherLog) {
    const TemporaryDirectory directory;
    SegmentBytes first(0, 1);
    first.add({{"a"}});
    SegmentBytes second(first.end(), 1, first.last_crc());
    second.add({{"b"}, first.end()});
    std::string foreign = first.file();
    foreign.replace(16, 8, u64(42));
    foreign.replace(52, 4, u32(plain_crc(foreign.substr(0, 52))));
    directory.write(first.name(), foreign);
    directory.write(second.name(), second.file());
    EXPECT_TRUE(read(directory).report.damaged());
}

TEST(LogReader, RefusesANewerFormatAndABrokenHeader) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1);
    std::string newer = segment.file();
    newer.replace(8, 4, u32(2));
    newer.replace(52, 4, u32(plain_crc(newer.substr(0, 52))));
    directory.write(segment.name(), newer);
    EXPECT_EQ(read(directory).of(Severity::damage)[0].offset, 8U);
    std::string broken = segment.file();
    broken[40] ^= 1;
    directory.write(segment.name(), broken);
    EXPECT_EQ(read(directory).of(Severity::damage)[0].offset, 52U);
    directory.write(segment.name(), "short");
    EXPECT_TRUE(read(directory).report.damaged());
}

TEST(LogReader, NoticesABitThatFlipsAnywhereInConfirmedData) {
    const TemporaryDirectory directory;
    SegmentBytes segment(0, 1, 0, 4096);
    segment.add({{"one", "two"}});
    const std::uint64_t second = segment.add({{"three"}, segment.end()});
    segment.add({{}, segment.end()});
    const std::string sound = segment.file();
    const std::size_t from = segment.offset(0);
    for (std::size_t at = from; at < segment.offset(second) + 512; at += 5) {
        std::string flipped = sound;
        flipped[at] = static_cast<char>(flipped[at] ^ (1 << (at % 8)));
        directory.write(segment.name(), flipped);
        ASSERT_TRUE(read(directory).report.damaged()) << "byte " << at;
    }
}

TEST(LogReader, SaysThatADirectoryCannotBeRead) {
    Catalog catalog;
    Report report;
    EXPECT_FALSE(read_catalog("/no/such/directory", catalog, report));
    EXPECT_TRUE(report.damaged());
}

TEST(LogReader, FindsNothingInAnEmptyDirectory) {
    const TemporaryDirectory directory;
    const Reading reading = read(directory);
    EXPECT_TRUE(reading.catalog.segments.empty());
    EXPECT_FALSE(reading.report.damaged());
}

}  // namespace
}  // namespace ferry::log_reader_test
