#include <algorithm>

#include "log_fixture.hpp"

namespace ferry::log {
namespace {

// Filling, dropping and compacting segments.
class SegmentsTest : public LogTest {
protected:
    // Three records of 5000 bytes, each its own batch, fill a segment of 32 KiB twice over.
    std::vector<Place> fill(CommitLog& log, int count) {
        std::vector<Place> places;
        for (int i = 0; i < count; ++i) {
            std::string text = "record " + std::to_string(i) + ' ';
            text.resize(5000, static_cast<char>('a' + i % 26));
            places.push_back(put(log, text));
            settle(log);
        }
        return places;
    }
    // Two checkpoints: all that is there ends up below the replay floor.
    void raise_floor(CommitLog& log) {
        checkpoint(log, "one");
        put(log, "in between");
        checkpoint(log, "two");
    }
    static std::string body_at(CommitLog& log, Position position) {
        auto block = log.read_block(position, 1);
        if (!block.ok()) return std::string("error: ") + std::string(block.error().what);
        return std::string(as_text(block.value().records.front().body));
    }
};

TEST_F(SegmentsTest, ADroppedSegmentIsGoneForReadersAndItsFileIsUsedAgain) {
    auto log = open();
    const auto places = fill(*log, 20);
    raise_floor(*log);
    EXPECT_GT(log->replay_floor(), 0U);
    EXPECT_TRUE(log->read_block(places[0].position, 1).ok());
    log->write_once();
    const std::size_t before = log->segments().size();
    log->drop_segment(places[0].segment);
    EXPECT_EQ(log->segments().size(), before - 1);
    auto block = log->read_block(places[0].position, 1);
    ASSERT_FALSE(block.ok());
    EXPECT_EQ(block.error().code, Errc::not_found);
    settle(*log);
    EXPECT_FALSE(std::filesystem::exists(path(names(".seg").front())) &&
                 names(".seg").front().rfind("0000000000000000", 0) == 0);
}

TEST_F(SegmentsTest, ASegmentAboveTheReplayFloorIsNotDropped) {
    auto log = open();
    fill(*log, 20);
    checkpoint(*log, "only one");
    const std::size_t before = log->segments().size();
    for (const SegmentInfo& segment : log->segments()) log->drop_segment(segment.base);
    EXPECT_EQ(log->segments().size(), before);
}

// G17
TEST_F(SegmentsTest, ALogThatDropsWhatItDoesNotNeedStaysSmallAndReopens) {
    Position last = 0;
    {
        auto log = open();
        for (int round = 0; round < 12; ++round) {
            last = fill(*log, 10).back().position;
            checkpoint(*log, "state " + std::to_string(round));
            for (const SegmentInfo& segment : log->segments()) log->drop_segment(segment.base);
            settle(*log);
        }
        EXPECT_LT(log->segments().size(), 8U);
        EXPECT_LE(names(".gone").size(), 6U) << "marks go when no checkpoint lists the segment";
        EXPECT_LE(log->stats().spares, 2U);
    }
    auto log = open();
    EXPECT_EQ(as_text(log->recovered().checkpoint), "state 11");
    EXPECT_TRUE(bodies(*log).empty());
    EXPECT_EQ(body_at(*log, last).size(), 5000U);
}

TEST_F(SegmentsTest, ADroppedSegmentDoesNotComeBackAndIsNotMissed) {
    {
        auto log = open();
        const auto places = fill(*log, 20);
        raise_floor(*log);
        log->drop_segment(places[8].segment);  // from the middle
        settle(*log);
    }
    for (int again = 0; again < 2; ++again) {
        auto log = open();
        EXPECT_EQ(as_text(log->recovered().checkpoint), "two");
        const auto segments = log->segments();
        const auto gap =
            std::adjacent_find(segments.begin(), segments.end(),
                               [](const auto& a, const auto& b) { return a.end != b.base; });
        EXPECT_NE(gap, segments.end());
    }
}

TEST_F(SegmentsTest, ACompactedSegmentKeepsTheNamedRecordsAtTheirPositions) {
    auto log = open();
    const auto places = fill(*log, 20);
    raise_floor(*log);
    const Position base = places[0].segment;
    std::vector<Keep> keep{{places[1].position, {}}, {places[3].position, {}}};
    const std::string kept = body_at(*log, places[1].position);
    const auto before = log->stats().file_bytes;
    log->compact(base, keep, {});
    EXPECT_TRUE(log->compaction_pending());
    while (log->housekeep_once()) {
    }
    EXPECT_FALSE(log->compaction_pending());
    EXPECT_EQ(log->stats().compactions, 1U);
    EXPECT_LT(log->stats().file_bytes, before);
    for (int reopened = 0; reopened < 2; ++reopened) {
        EXPECT_EQ(body_at(*log, places[1].position), kept);
        EXPECT_EQ(body_at(*log, places[3].position).size(), 5000U);
        EXPECT_EQ(log->read_block(places[0].position, 1).error().code, Errc::not_found);
        EXPECT_EQ(log->read_block(places[2].position, 1).error().code, Errc::not_found);
        EXPECT_EQ(body_at(*log, places[8].position).size(), 5000U);
        auto block = log->read_block(places[1].position, 20000);
        ASSERT_TRUE(block.ok());
        ASSERT_EQ(block.value().records.size(), 2U);
        EXPECT_EQ(block.value().records[1].position, places[3].position);
        EXPECT_TRUE(log->segments().front().compacted);
        log.reset();
        log = open();
    }
}

TEST_F(SegmentsTest, ACompactedSegmentCanBeCompactedAgainAndDropped) {
    auto log = open();
    const auto places = fill(*log, 20);
    raise_floor(*log);
    const Position base = places[0].segment;
    log->compact(base, {{places[0].position, {}}, {places[2].position, {}}}, {});
    settle(*log);
    log->compact(base, {{places[2].position, {}}}, {});
    settle(*log);
    EXPECT_EQ(log->read_block(places[0].position, 1).error().code, Errc::not_found);
    EXPECT_EQ(body_at(*log, places[2].position).size(), 5000U);
    log->drop_segment(base);
    settle(*log);
    EXPECT_TRUE(names(".cmp").empty());
    EXPECT_EQ(log->read_block(places[2].position, 1).error().code, Errc::not_found);
}

TEST_F(SegmentsTest, ASlicedRecordHoldsWhatTheSliceMadeOfIt) {
    auto log = open();
    const auto places = fill(*log, 20);
    raise_floor(*log);
    const auto slice = [](Bytes body,
                          std::span<const std::pair<std::uint32_t, std::uint32_t>> ranges)
        -> Result<std::vector<std::byte>> {
        std::vector<std::byte> out;
        for (const auto& range : ranges) {
            const Bytes piece = body.subspan(range.first, range.second);
            out.insert(out.end(), piece.begin(), piece.end());
        }
        return out;
    };
    log->compact(places[0].segment, {{places[1].position, {{0, 6}, {7, 1}}}}, slice);
    settle(*log);
    EXPECT_EQ(body_at(*log, places[1].position), "record1");
}

// G13
TEST_F(SegmentsTest, DamageIsNeitherReadNorCompactedForward) {
    auto log = open();
    const auto places = fill(*log, 20);
    raise_floor(*log);
    flip(path(names(".seg").front()), format::segment_header_bytes + places[1].position + 100);
    auto block = log->read_block(places[1].position, 1);
    ASSERT_FALSE(block.ok());
    EXPECT_EQ(block.error().code, Errc::corrupt);
    EXPECT_EQ(block.error().position, places[1].position);
    auto up_to_it = log->read_block(places[0].position, 100000);
    ASSERT_TRUE(up_to_it.ok());
    EXPECT_EQ(up_to_it.value().records.size(), 1U);
    log->compact(places[0].segment, {{places[1].position, {}}}, {});
    settle(*log);
    EXPECT_EQ(log->stats().compactions, 0U);
    EXPECT_TRUE(names(".cmp").empty());
    EXPECT_FALSE(log->failed());
    EXPECT_EQ(body_at(*log, places[0].position).size(), 5000U);
}

TEST_F(SegmentsTest, ADamagedIndexOfACompactedSegmentIsBuiltAnew) {
    std::vector<Place> places;
    {
        auto log = open();
        places = fill(*log, 20);
        raise_floor(*log);
        log->compact(places[0].segment, {{places[1].position, {}}, {places[3].position, {}}}, {});
        settle(*log);
    }
    const std::string file = path(names(".cmp").at(0));
    flip(file, contents(file).size() - 2);
    auto log = open();
    EXPECT_EQ(body_at(*log, places[3].position).size(), 5000U);
}

TEST_F(SegmentsTest, ASegmentAboveTheFloorIsNotCompacted) {
    auto log = open();
    const auto places = fill(*log, 20);
    log->compact(places[0].segment, {}, {});
    settle(*log);
    EXPECT_EQ(log->stats().compactions, 0U);
}

}  // namespace
}  // namespace ferry::log
