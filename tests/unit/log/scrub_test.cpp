#include <gmock/gmock.h>

#include "codec.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "log_fixture.hpp"

// What finds rot in finished segments before anybody wants the messages. F6
namespace ferry::log {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class ScrubTest : public LogTest {
protected:
    void SetUp() override {
        directory_ = "data";
        options_.scrub_bytes_per_second = 1U << 20;
    }
    void TearDown() override {}

    std::unique_ptr<CommitLog> open_sim() {
        auto log = CommitLog::open(disk_, random_, clock_, directory_, options_, &error_text_);
        EXPECT_TRUE(log.ok()) << error_text_;
        return log.ok() ? std::move(log).value() : nullptr;
    }
    /// Records until so many segments are finished; where each record went.
    std::vector<Place> fill(CommitLog& log, std::size_t finished) {
        std::vector<Place> places;
        while (log.segments().size() <= finished) {
            places.push_back(put(log, std::string(5000, 'x')));
            flush(log);
        }
        return places;
    }
    /// Time goes by until every finished segment was looked at once more.
    void pass(CommitLog& log) {
        const std::uint64_t before = log.stats().scrub_passes;
        for (int seconds = 0; seconds < 100 && log.stats().scrub_passes == before; ++seconds) {
            clock_.advance_ms(1000);
            while (log.housekeep_once()) {
            }
        }
        EXPECT_GT(log.stats().scrub_passes, before);
    }
    std::string file_of(Position base) {
        for (const auto& file : disk_.image().files) {
            const Bytes bytes = file.second->bytes();
            if (file.first.find("spare") != std::string::npos || bytes.size() < 4096) continue;
            const auto header = decode_segment_header(bytes.first(4096));
            if (header.ok() && header.value().base == base) return file.first;
        }
        return {};
    }
    void rot(const Place& place, std::uint64_t into) {
        const std::string path = file_of(place.segment);
        ASSERT_FALSE(path.empty());
        disk_.flip_bit(path, format::segment_header_bytes + (place.position - place.segment) + into,
                       3);
    }

    sim::SimFileSystem disk_;
    sim::SimClock clock_;
    SeededRandom random_{7};
};

TEST_F(ScrubTest, FindsNothingInAHealthyLogAndReadsAllOfIt) {
    auto log = open_sim();
    fill(*log, 3);
    pass(*log);
    EXPECT_THAT(log->damage(), IsEmpty());
    EXPECT_GE(log->stats().scrubbed_bytes, 3 * 5000U * 5);
}

TEST_F(ScrubTest, NamesTheFileAndTheRangeOfARottenBatchAndOnlyThat) {
    auto log = open_sim();
    const std::vector<Place> places = fill(*log, 3);
    const Place& rotten = places[places.size() / 2];
    rot(rotten, 100);
    pass(*log);
    const std::vector<DamagedRange> damage = log->damage();
    ASSERT_THAT(damage, SizeIs(1));
    EXPECT_EQ("data/" + damage[0].file, file_of(rotten.segment));
    EXPECT_LE(damage[0].first, rotten.position);
    EXPECT_GT(damage[0].end, rotten.position + 5000);
    // One record a batch here: the neighbours are not in doubt.
    EXPECT_LT(damage[0].end - damage[0].first, 5000 + 2 * 512);
    EXPECT_FALSE(log->failed()) << "the rest of the log is well";
}

TEST_F(ScrubTest, ListsAPlaceOnceHoweverOftenItIsFound) {
    options_.scrub_every_ms = 1000;
    auto log = open_sim();
    rot(fill(*log, 2).front(), 50);
    pass(*log);
    pass(*log);
    pass(*log);
    EXPECT_THAT(log->damage(), SizeIs(1));
}

TEST_F(ScrubTest, FindsRotInACompactedSegmentToo) {
    options_.scrub_every_ms = 1000;
    auto log = open_sim();
    const std::vector<Place> places = fill(*log, 2);
    checkpoint(*log, "one");
    put(*log, "more");
    checkpoint(*log, "two");
    log->compact(0, {Keep{places[0].position, {}}, Keep{places[1].position, {}}},
                 [](Bytes body, auto) -> Result<std::vector<std::byte>> {
                     return std::vector<std::byte>(body.begin(), body.end());
                 });
    settle(*log);
    ASSERT_EQ(log->stats().compactions, 1U);
    std::string path;
    for (const auto& file : disk_.image().files) {
        const Bytes bytes = file.second->bytes();
        if (bytes.size() < 4096 || file.first.find("spare") != std::string::npos) continue;
        const auto header = decode_segment_header(bytes.first(4096));
        if (header.ok() && header.value().compacted) path = file.first;
    }
    ASSERT_FALSE(path.empty());
    disk_.flip_bit(path, format::segment_header_bytes + 2000, 1);
    pass(*log);  // one that began before
    pass(*log);
    EXPECT_THAT(log->damage(), SizeIs(1));
}

TEST_F(ScrubTest, KeepsToItsPaceAndBeginsAPassOnlyWhenItIsTime) {
    options_.scrub_bytes_per_second = 1024;  // far slower than one piece a second
    auto log = open_sim();
    fill(*log, 3);
    clock_.advance_ms(1000);
    while (log->housekeep_once()) {
    }
    const std::uint64_t first = log->stats().scrubbed_bytes;
    EXPECT_GT(first, 0U);
    clock_.advance_ms(1000);
    while (log->housekeep_once()) {
    }
    EXPECT_EQ(log->stats().scrubbed_bytes, first) << "that piece is worth many seconds";

    options_.scrub_bytes_per_second = 1U << 20;
    log.reset();
    log = open_sim();
    pass(*log);
    const std::uint64_t after = log->stats().scrubbed_bytes;
    clock_.advance_ms(options_.scrub_every_ms / 2);
    while (log->housekeep_once()) {
    }
    EXPECT_EQ(log->stats().scrubbed_bytes, after);
    clock_.advance_ms(options_.scrub_every_ms);
    while (log->housekeep_once()) {
    }
    EXPECT_GT(log->stats().scrubbed_bytes, after);
}

TEST_F(ScrubTest, RestsAfterEveryPassAndNotOnlyTheFirst) {
    auto log = open_sim();
    fill(*log, 3);
    for (int passes = 0; passes < 3; ++passes) {
        pass(*log);
        const std::uint64_t read = log->stats().scrubbed_bytes;
        for (int minutes = 0; minutes < 60; ++minutes) {
            clock_.advance_ms(60'000);
            while (log->housekeep_once()) {
            }
        }
        EXPECT_EQ(log->stats().scrubbed_bytes, read) << "an hour after pass " << passes + 1;
        clock_.advance_ms(options_.scrub_every_ms);
    }
}

TEST_F(ScrubTest, TakesASegmentThatIsUsedAgainHalfWayThroughForWhatItIs) {
    options_.segment_bytes = 1U << 20;  // several pieces
    options_.batch_bytes_max = 256U << 10;
    options_.scrub_bytes_per_second = 1U << 18;
    auto log = open_sim();
    const auto fill_large = [&](std::size_t finished) {
        while (log->segments().size() < finished) {
            put(*log, std::string(100'000, 'x'));
            flush(*log);
        }
    };
    fill_large(3);
    checkpoint(*log, "one");
    put(*log, "more");
    checkpoint(*log, "two");
    ASSERT_LT(log->stats().scrubbed_bytes, options_.segment_bytes) << "half way through the first";
    ASSERT_GT(log->stats().scrubbed_bytes, 0U);
    fill_large(log->segments().size() + 1);  // takes a spare, so that the dropped file is wanted
    log->drop_segment(0);
    settle(*log);
    fill_large(log->segments().size() + 2);
    settle(*log);
    for (int seconds = 0; seconds < 60; ++seconds) {
        clock_.advance_ms(1000);
        while (log->housekeep_once()) {
        }
    }
    EXPECT_GE(log->stats().scrub_passes, 1U);
    EXPECT_THAT(log->damage(), IsEmpty()) << log->damage().front().file;
}

TEST_F(ScrubTest, GoesOnWhenASegmentIsDroppedUnderIt) {
    options_.scrub_bytes_per_second = 1024;
    auto log = open_sim();
    fill(*log, 3);
    checkpoint(*log, "one");
    put(*log, "more");
    checkpoint(*log, "two");
    clock_.advance_ms(1000);
    while (log->housekeep_once()) {
    }
    log->drop_segment(0);
    settle(*log);
    for (int i = 0; i < 100; ++i) {
        clock_.advance_ms(60'000);
        while (log->housekeep_once()) {
        }
    }
    EXPECT_GE(log->stats().scrub_passes, 1U);
    EXPECT_THAT(log->damage(), IsEmpty()) << "a recycled file is no rot";
}

}  // namespace
}  // namespace ferry::log
