#include <algorithm>

#include "codec.hpp"
#include "log_fixture.hpp"

namespace ferry::log {
namespace {

constexpr std::uint64_t header = format::segment_header_bytes;

class RecoveryTest : public LogTest {
protected:
    // Batches of one record each, every one synced before the next is written.
    std::vector<Place> write_batches(int count, std::string_view prefix = "batch ") {
        std::vector<Place> places;
        auto log = open();
        for (int i = 0; i < count; ++i) {
            places.push_back(put(*log, std::string(prefix) + std::to_string(i)));
            flush(*log);
        }
        return places;
    }
    // File offset of the batch that holds the only record at `place`.
    static std::uint64_t batch_offset(const Place& place) {
        return header + (place.position - place.segment - format::batch_header_bytes);
    }
    void expect_refused(Errc code) {
        const auto before = snapshot();
        auto log = try_open();
        ASSERT_FALSE(log.ok());
        EXPECT_EQ(log.error().code, code) << error_text_;
        EXPECT_FALSE(error_text_.empty());
        EXPECT_EQ(snapshot(), before) << "refused, and yet changed something";
    }
};

// G13
TEST_F(RecoveryTest, ATornTailIsCutAndCounted) {
    const auto places = write_batches(5);
    flip(path(names(".seg").at(0)), batch_offset(places[4]) + 70);
    auto log = open();
    EXPECT_EQ(bodies(*log).size(), 4U);
    EXPECT_GT(log->recovered().torn_bytes, 0U);
}

// G13
TEST_F(RecoveryTest, DamageToWhatALaterBatchVouchesForIsRefusedWithItsPosition) {
    const auto places = write_batches(5);
    flip(path(names(".seg").at(0)), batch_offset(places[2]) + 70);
    expect_refused(Errc::corrupt);
    const Position bad = places[2].position - format::batch_header_bytes;
    EXPECT_EQ(try_open().error().position, bad);
    EXPECT_NE(
        error_text_.find("positions " + std::to_string(bad) + " to " + std::to_string(bad + 512)),
        std::string::npos)
        << error_text_;
}

TEST_F(RecoveryTest, TheSameDamageIsATornTailWhenNothingVouchesForIt) {
    std::vector<Place> places;
    {
        auto log = open();
        for (int i = 0; i < 5; ++i) {
            places.push_back(put(*log, "batch " + std::to_string(i)));
            log->submit();  // five batches, one sync: none of them knows of another
        }
        flush(*log);
    }
    flip(path(names(".seg").at(0)), batch_offset(places[2]) + 70);
    auto log = open();
    EXPECT_EQ(bodies(*log).size(), 2U);
    EXPECT_EQ(log->recovered().torn_bytes, 3 * 512U);
}

TEST_F(RecoveryTest, ASealMakesTheLastBatchVouchedFor) {
    std::vector<Place> places;
    options_.seal_after_ms = 0;
    {
        auto log = open();
        places.push_back(put(*log, "the only one"));
        flush(*log);
        EXPECT_EQ(log->stats().batches, 2U);
        EXPECT_FALSE(log->write_once()) << "one seal is enough";
        EXPECT_EQ(log->durable(), log->end());
    }
    {
        auto log = open();
        EXPECT_EQ(log->recovered().rewritten_bytes, 0U);
        EXPECT_EQ(bodies(*log), std::vector<std::string>{"the only one"});
    }
    flip(path(names(".seg").at(0)), batch_offset(places[0]) + 70);
    expect_refused(Errc::corrupt);
}

TEST_F(RecoveryTest, TheUnprovenTailIsWrittenAgainAndKeepsItsPositions) {
    const auto places = write_batches(3);
    for (int again = 0; again < 3; ++again) {
        auto log = open();
        EXPECT_EQ(log->recovered().rewritten_bytes, 512U);
        const auto found = replay(*log);
        ASSERT_EQ(found.size(), 3U);
        EXPECT_EQ(found[2].place.position, places[2].position);
        EXPECT_GT(found[2].place.segment, 0U);
        auto block = log->read_block(places[2].position, 1);
        ASSERT_TRUE(block.ok());
        EXPECT_EQ(as_text(block.value().records[0].body), "batch 2");
    }
    EXPECT_EQ(names(".seg").size(), 2U) << "superseded segments are removed";
}

TEST_F(RecoveryTest, AnUnprovenBatchThatIsOverwrittenByRotAfterTheCopyDoesNotMatter) {
    const auto places = write_batches(3);
    { auto log = open(); }
    // The old segment ends where the new one begins.
    for (const std::string& name : names(".seg"))
        if (name.rfind("0000000000000000", 0) == 0) {
            EXPECT_EQ(contents(path(name)).size(), batch_offset(places[2]));
        }
}

TEST_F(RecoveryTest, AMissingSegmentInTheMiddleIsRefused) {
    {
        auto log = open();
        for (int i = 0; i < 30; ++i) {
            put(*log, std::string(8000, 'm'));
            settle(*log);
        }
    }
    const auto segments = names(".seg");
    ASSERT_GT(segments.size(), 3U);
    std::filesystem::remove(path(segments[1]));
    expect_refused(Errc::rejected);
}

TEST_F(RecoveryTest, AMissingSegmentBelowTheCheckpointIsRefusedToo) {
    {
        auto log = open();
        for (int i = 0; i < 30; ++i) {
            put(*log, std::string(8000, 'm'));
            settle(*log);
        }
        checkpoint(*log, "state");
    }
    std::filesystem::remove(path(names(".seg").at(1)));
    expect_refused(Errc::rejected);
    EXPECT_NE(error_text_.find("missing"), std::string::npos) << error_text_;
}

TEST_F(RecoveryTest, ASegmentOfAnotherLogIsRefused) {
    {
        auto log = open();
        for (int i = 0; i < 10; ++i) {
            put(*log, std::string(8000, 'm'));
            settle(*log);
        }
    }
    const std::string name = names(".seg").at(1);
    std::string bytes = contents(path(name));
    auto decoded = decode_segment_header(as_bytes(bytes));
    ASSERT_TRUE(decoded.ok());
    SegmentHeader foreign = decoded.value();
    foreign.log_id ^= 1;
    encode_segment_header(foreign,
                          MutableBytes(reinterpret_cast<std::byte*>(bytes.data()), header));
    set_contents(path(name), bytes);
    expect_refused(Errc::rejected);
    EXPECT_NE(error_text_.find("another log"), std::string::npos) << error_text_;
}

TEST_F(RecoveryTest, ANewerFormatIsRefusedUntouched) {
    write_batches(2);
    const std::string name = names(".seg").at(0);
    std::string bytes = contents(path(name));
    bytes[8] = 2;
    set_contents(path(name), bytes);
    expect_refused(Errc::rejected);
    EXPECT_NE(error_text_.find("newer"), std::string::npos) << error_text_;
}

TEST_F(RecoveryTest, ADamagedSegmentHeaderIsRefused) {
    write_batches(2);
    flip(path(names(".seg").at(0)), 33);
    expect_refused(Errc::corrupt);
}

TEST_F(RecoveryTest, ReplayStartsAtTheNewestCheckpoint) {
    {
        auto log = open();
        put(*log, "before");
        checkpoint(*log, "state one");
        put(*log, "between");
        checkpoint(*log, "state two");
        put(*log, "after");
        settle(*log);
    }
    auto log = open();
    const auto& state = log->recovered().checkpoint;
    EXPECT_EQ(as_text(state), "state two");
    EXPECT_FALSE(log->recovered().clean);
    EXPECT_EQ(bodies(*log), std::vector<std::string>{"after"});
    EXPECT_EQ(names(".ckp").size(), 2U);
}

TEST_F(RecoveryTest, ACheckpointInTheMiddleOfABatchReplaysTheRestOfIt) {
    {
        auto log = open();
        put(*log, "covered");
        log->checkpoint({}, log->end(), false);
        put(*log, "not covered");
        settle(*log);
        EXPECT_FALSE(log->checkpoint_pending());
    }
    EXPECT_EQ(bodies(*open()), std::vector<std::string>{"not covered"});
}

TEST_F(RecoveryTest, ADamagedCheckpointMeansALongerReplayAndNothingElse) {
    {
        auto log = open();
        put(*log, "before");
        checkpoint(*log, "state one");
        put(*log, "between");
        checkpoint(*log, "state two");
        put(*log, "after");
        settle(*log);
    }
    const auto checkpoints = names(".ckp");
    ASSERT_EQ(checkpoints.size(), 2U);
    flip(path(checkpoints[1]), contents(path(checkpoints[1])).size() - 1);
    {
        auto log = open();
        EXPECT_EQ(log->recovered().checkpoints_bad, 1U);
        EXPECT_EQ(as_text(log->recovered().checkpoint), "state one");
        EXPECT_EQ(bodies(*log), (std::vector<std::string>{"between", "after"}));
    }
    flip(path(checkpoints[0]), 40);
    auto log = open();
    EXPECT_EQ(log->recovered().checkpoints_bad, 2U);
    EXPECT_TRUE(log->recovered().checkpoint.empty());
    EXPECT_EQ(bodies(*log), (std::vector<std::string>{"before", "between", "after"}));
}

TEST_F(RecoveryTest, WithoutAnyCheckpointDroppedSegmentsAreRefused) {
    {
        auto log = open();
        for (int i = 0; i < 20; ++i) {
            put(*log, std::string(8000, 'm'));
            settle(*log);
        }
        checkpoint(*log, "one");
        put(*log, "x");
        checkpoint(*log, "two");
        log->drop_segment(0);
        settle(*log);
    }
    for (const std::string& name : names(".ckp")) flip(path(name), 20);
    expect_refused(Errc::corrupt);
}

TEST_F(RecoveryTest, ACleanStopNeedsNoReplay) {
    {
        auto log = open();
        for (int i = 0; i < 50; ++i) put(*log, "something");
        checkpoint(*log, "all of it", true);
        log->close();
    }
    for (int again = 0; again < 2; ++again) {
        auto log = open();
        EXPECT_TRUE(log->recovered().clean);
        EXPECT_EQ(log->recovered().rewritten_bytes, 0U);
        EXPECT_TRUE(bodies(*log).empty());
        EXPECT_EQ(as_text(log->recovered().checkpoint), "all of it");
    }
    {
        auto log = open();
        put(*log, "new");
        flush(*log);
    }
    auto log = open();
    EXPECT_FALSE(log->recovered().clean);
    EXPECT_EQ(bodies(*log), std::vector<std::string>{"new"});
}

TEST_F(RecoveryTest, UnfinishedFilesAreDeletedAndStrangersLeftAlone) {
    write_batches(1);
    set_contents(path("0000000000000200-0000000000000009.seg.tmp"), "half");
    set_contents(path("NOTES"), "the operator's");
    { auto log = open(); }
    EXPECT_TRUE(names(".tmp").empty());
    EXPECT_EQ(contents(path("NOTES")), "the operator's");
}

TEST_F(RecoveryTest, TwoLogsCannotHaveOneDirectory) {
    auto log = open();
    put(*log, "mine");
    settle(*log);
    expect_refused(Errc::conflict);
    put(*log, "still works");
    settle(*log);
    EXPECT_FALSE(log->failed());
}

TEST_F(RecoveryTest, BadOptionsAreRefusedBeforeAnythingIsMade) {
    options_.segment_bytes = 5000;
    auto log = try_open();
    ASSERT_FALSE(log.ok());
    EXPECT_EQ(log.error().code, Errc::rejected);
    EXPECT_FALSE(std::filesystem::exists(directory_));
}

TEST_F(RecoveryTest, ASegmentSizeMayBeChangedBetweenRuns) {
    write_batches(40, std::string(500, 'q'));
    options_.segment_bytes = 16 * 1024;
    {
        auto log = open();
        EXPECT_EQ(bodies(*log).size(), 40U);
        for (int i = 0; i < 10; ++i) {
            put(*log, std::string(5000, 's'));
            settle(*log);
        }
    }
    options_.segment_bytes = 64 * 1024;
    EXPECT_EQ(bodies(*open()).size(), 50U);
}

}  // namespace
}  // namespace ferry::log
