#include "log_fixture.hpp"

namespace ferry::log {
namespace {

using RoundTrip = LogTest;

TEST_F(RoundTrip, WhatWasAppendedIsReplayedInOrderWithItsPlaces) {
    std::vector<Place> places;
    {
        auto log = open();
        EXPECT_TRUE(log->recovered().created);
        EXPECT_TRUE(bodies(*log).empty());
        for (int i = 0; i < 100; ++i) places.push_back(put(*log, "record " + std::to_string(i)));
        EXPECT_EQ(log->durable(), 0U);
        EXPECT_GT(log->pending_bytes(), 0U);
        flush(*log);
        EXPECT_EQ(log->durable(), log->end());
        EXPECT_EQ(log->pending_bytes(), 0U);
    }
    auto log = open();
    EXPECT_FALSE(log->recovered().created);
    const auto found = replay(*log);
    ASSERT_EQ(found.size(), 100U);
    for (std::size_t i = 0; i < 100; ++i) {
        EXPECT_EQ(found[i].body, "record " + std::to_string(i));
        EXPECT_EQ(found[i].place.position, places[i].position);
    }
}

TEST_F(RoundTrip, WhatWasNotSubmittedIsNotWritten) {
    {
        auto log = open();
        put(*log, "submitted");
        flush(*log);
        put(*log, "only appended");
        EXPECT_FALSE(log->write_once());
    }
    EXPECT_EQ(bodies(*open()), std::vector<std::string>{"submitted"});
}

TEST_F(RoundTrip, ARecordIsTheConcatenationOfItsParts) {
    {
        auto log = open();
        const Bytes parts[] = {as_bytes("one "), as_bytes(""), as_bytes("two "), as_bytes("three")};
        const Place place = log->append(parts);
        EXPECT_EQ(as_text(log->hot(place.position)), "one two three");
        flush(*log);
    }
    EXPECT_EQ(bodies(*open()), std::vector<std::string>{"one two three"});
}

TEST_F(RoundTrip, ALogThatFillsSegmentsRollsAndReplaysAcrossThem) {
    std::vector<std::string> expected;
    std::map<Position, Position> segment_of;
    {
        auto log = open();
        for (int i = 0; i < 300; ++i) {
            expected.push_back(std::to_string(i) +
                               std::string(static_cast<std::size_t>(i) * 7, 'x'));
            const Place place = put(*log, expected.back());
            segment_of[place.position] = place.segment;
            if (i % 3 == 0) settle(*log);
        }
        settle(*log);
        const auto segments = log->segments();
        EXPECT_GT(segments.size(), 8U);
        for (std::size_t i = 0; i + 1 < segments.size(); ++i)
            EXPECT_EQ(segments[i].end, segments[i + 1].base);
    }
    auto log = open();
    const auto found = replay(*log);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].body, expected[i]);
}

TEST_F(RoundTrip, TheLargestAllowedRecordFits) {
    const std::string largest(options_.batch_bytes_max - 4096, 'L');
    {
        auto log = open();
        for (int i = 0; i < 5; ++i) put(*log, largest);
        settle(*log);
    }
    EXPECT_EQ(bodies(*open()), std::vector<std::string>(5, largest));
}

// G10, G14
TEST_F(RoundTrip, ReopeningAgainAndAgainLosesNothingAndReusesNoPosition) {
    std::vector<std::string> expected;
    Position last = 0;
    std::uint64_t epoch = 0;
    for (int run = 0; run < 10; ++run) {
        auto log = open();
        EXPECT_GT(log->recovered().epoch, epoch);
        epoch = log->recovered().epoch;
        EXPECT_EQ(bodies(*log), expected);
        for (int i = 0; i < 4; ++i) {
            expected.push_back("run " + std::to_string(run) + " record " + std::to_string(i));
            const Place place = put(*log, expected.back());
            EXPECT_GT(place.position, last);
            last = place.position;
            flush(*log);
        }
    }
}

TEST_F(RoundTrip, HotGivesTheNewestRecordsFromMemoryAndNothingForOldOnes) {
    options_.cache_bytes = 16 * 1024;
    auto log = open();
    const Place first = put(*log, "first");
    flush(*log);
    EXPECT_EQ(as_text(log->hot(first.position)), "first");
    Place last{};
    for (int i = 0; i < 40; ++i) {
        last = put(*log, std::string(4000, static_cast<char>('a' + i % 26)));
        flush(*log);
    }
    EXPECT_TRUE(log->hot(first.position).empty());
    EXPECT_EQ(log->hot(last.position).size(), 4000U);
    EXPECT_TRUE(log->hot(log->end() + 4096).empty());
}

TEST_F(RoundTrip, ReadBlockGivesWholeRecordsAndWhereToReadOn) {
    auto log = open();
    std::vector<Place> places;
    for (int i = 0; i < 200; ++i) {
        places.push_back(put(*log, "body " + std::to_string(i) + std::string(90, '.')));
        if (i % 7 == 0) flush(*log);
    }
    flush(*log);
    std::size_t seen = 0;
    Position at = places[0].position;
    while (at < log->durable()) {
        auto block = log->read_block(at, 6000);
        ASSERT_TRUE(block.ok()) << block.error().what << " at " << at;
        for (const StoredRecord& record : block.value().records) {
            ASSERT_LT(seen, places.size());
            EXPECT_EQ(record.position, places[seen].position);
            EXPECT_EQ(as_text(record.body), "body " + std::to_string(seen) + std::string(90, '.'));
            ++seen;
        }
        ASSERT_GT(block.value().next, at);
        at = block.value().next;
    }
    EXPECT_EQ(seen, places.size());
    for (const Place& place : places) {
        auto block = log->read_block(place.position, 1);
        ASSERT_TRUE(block.ok());
        EXPECT_EQ(block.value().records.front().position, place.position);
    }
}

TEST_F(RoundTrip, ReadBlockReadsOnWhereverAReadHappensToEnd) {
    auto log = open();
    std::vector<Place> places;
    for (std::size_t i = 0; i < 600; ++i) {
        places.push_back(put(*log, std::string(400 + i % 113, 'e')));
        if (i % 3 != 0) settle(*log);
    }
    settle(*log);
    for (std::size_t wanted = 4096; wanted < 4096 + 600; wanted += 7) {
        std::size_t seen = 0;
        for (Position at = places[0].position; at < log->durable();) {
            auto block = log->read_block(at, wanted);
            ASSERT_TRUE(block.ok()) << block.error().what << " at " << at << " wanted " << wanted;
            seen += block.value().records.size();
            at = block.value().next;
        }
        ASSERT_EQ(seen, places.size()) << wanted;
    }
}

TEST_F(RoundTrip, ReadBlockReadsARecordThatIsLongerThanWhatWasAskedFor) {
    auto log = open();
    const Place place = put(*log, std::string(12000, 'z'));
    flush(*log);
    auto block = log->read_block(place.position, 10);
    ASSERT_TRUE(block.ok());
    EXPECT_EQ(block.value().records.front().body.size(), 12000U);
}

TEST_F(RoundTrip, ReadCachedGivesTheSameOrWouldBlock) {
    auto log = open();
    for (int i = 0; i < 50; ++i) put(*log, std::string(100, 'c'));
    const Place last = put(*log, std::string(12000, 'z'));
    flush(*log);
    const Place pending = put(*log, "pending");
    log->submit();
    const auto block = log->read_block(last.position, 1);
    const auto cached = log->read_cached(last.position, 1);
    ASSERT_TRUE(block.ok());
    if (cached.ok()) {
        ASSERT_EQ(cached.value().records.size(), block.value().records.size());
        EXPECT_EQ(as_text(cached.value().records[0].body), std::string(12000, 'z'));
        EXPECT_EQ(cached.value().next, block.value().next);
    } else {
        EXPECT_EQ(cached.error().code, Errc::would_block);
    }
    EXPECT_EQ(log->read_cached(pending.position, 1).error().code, Errc::would_block);
}

TEST_F(RoundTrip, WhatIsNotDurableCannotBeReadFromDisk) {
    auto log = open();
    const Place place = put(*log, "pending");
    log->submit();
    auto block = log->read_block(place.position, 10);
    ASSERT_FALSE(block.ok());
    EXPECT_EQ(block.error().code, Errc::not_found);
}

TEST_F(RoundTrip, ManySubmittedBatchesTakeOneSync) {
    auto log = open();
    for (int i = 0; i < 10; ++i) {
        put(*log, "turn");
        log->submit();
    }
    EXPECT_TRUE(log->write_once());
    EXPECT_FALSE(log->write_once());
    EXPECT_EQ(log->stats().syncs, 1U);
    EXPECT_EQ(log->stats().batches, 10U);
    EXPECT_EQ(log->durable(), log->end());
}

}  // namespace
}  // namespace ferry::log
