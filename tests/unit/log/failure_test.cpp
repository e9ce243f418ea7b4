#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "log_fixture.hpp"

// What the log does when the disk does not do its part.
namespace ferry::log {
namespace {

class FailureTest : public LogTest {
protected:
    void SetUp() override { directory_ = "data"; }
    void TearDown() override {}
    std::unique_ptr<CommitLog> open_sim() {
        auto log = CommitLog::open(disk_, random_, clock_, directory_, options_, &error_text_);
        EXPECT_TRUE(log.ok()) << error_text_;
        return log.ok() ? std::move(log).value() : nullptr;
    }
    void inject(sim::Call call, sim::Fault::Kind kind) {
        sim::Fault fault;
        fault.only = call;
        fault.kind = kind;
        disk_.inject(fault);
    }

    sim::SimFileSystem disk_;
    sim::SimClock clock_;
    SeededRandom random_{7};
};

// G11
TEST_F(FailureTest, AFailedSyncIsFinalAndConfirmsNothing) {
    auto log = open_sim();
    put(*log, "fine");
    flush(*log);
    const Position durable = log->durable();
    put(*log, "in doubt");
    log->submit();
    inject(sim::Call::sync_data, sim::Fault::Kind::io_error);
    EXPECT_FALSE(log->write_once());
    EXPECT_TRUE(log->failed());
    EXPECT_EQ(log->failure().code, Errc::io_failed);
    EXPECT_EQ(log->durable(), durable);
    disk_.clear_faults();
    EXPECT_FALSE(log->write_once());
    EXPECT_FALSE(log->housekeep_once());
    EXPECT_EQ(log->durable(), durable) << "no second sync is believed";
}

TEST_F(FailureTest, AFailedWriteIsFinalToo) {
    auto log = open_sim();
    put(*log, "in doubt");
    log->submit();
    inject(sim::Call::write, sim::Fault::Kind::io_error);
    EXPECT_FALSE(log->write_once());
    EXPECT_TRUE(log->failed());
    EXPECT_EQ(log->durable(), 0U);
}

TEST_F(FailureTest, AWriteThatFindsTheDiskFullIsHeldAndDoneWhenThereIsRoom) {
    auto log = open_sim();
    put(*log, "patient");
    log->submit();
    inject(sim::Call::write, sim::Fault::Kind::short_write);
    EXPECT_FALSE(log->write_once());
    EXPECT_FALSE(log->failed());
    EXPECT_EQ(log->durable(), 0U);
    put(*log, "second");
    log->submit();
    while (log->write_once()) {
    }
    EXPECT_EQ(log->durable(), log->end());
    log.reset();
    EXPECT_EQ(bodies(*open_sim()), (std::vector<std::string>{"patient", "second"}));
}

// G12
TEST_F(FailureTest, AFullDiskIsReportedWhenOnlyTheReserveIsLeftAndEndsByItself) {
    // Room for the first segment, the reserve and one spare, and no more.
    const std::uint64_t file_bytes = options_.segment_bytes + format::segment_header_bytes;
    disk_.set_capacity(3 * file_bytes + 50'000);
    options_.spare_segments = 1;
    auto log = open_sim();
    settle(*log);
    EXPECT_EQ(log->space(), Space::ok);
    EXPECT_EQ(log->stats().spares, 2U);
    std::vector<Place> places;
    while (log->segments().size() < 2) {
        places.push_back(put(*log, std::string(8000, 'f')));
        settle(*log);
    }
    EXPECT_EQ(log->space(), Space::full) << "only the reserve is left";
    EXPECT_FALSE(log->failed());

    // What frees space goes on from the reserve.
    while (log->segments().size() < 3) {
        put(*log, std::string(8000, 'a'));
        settle(*log);
    }
    EXPECT_EQ(log->durable(), log->end());

    // The reserve is used up: held, neither confirmed nor failed.
    while (log->segments().size() < 4) {
        put(*log, std::string(8000, 'h'));
        log->submit();
        log->write_once();
    }
    EXPECT_LT(log->durable(), log->end());
    EXPECT_FALSE(log->failed());

    disk_.set_capacity(100 * file_bytes);
    settle(*log);
    EXPECT_EQ(log->durable(), log->end());
    settle(*log);
    EXPECT_EQ(log->space(), Space::ok);
}

// G12, F4
TEST_F(FailureTest, ANearlyFullDiskIsReportedBeforeItIsFullAndEndsAFifthLater) {
    constexpr std::uint64_t capacity = 100'000'000;
    disk_.set_capacity(capacity);
    options_.low_water_bytes = 99'000'000;  // never more than a twentieth: 5,000,000
    auto log = open_sim();
    settle(*log);
    EXPECT_EQ(log->space(), Space::ok);

    auto filler = disk_.open("data/filler", FileSystem::Open::create);
    ASSERT_TRUE(filler.ok());
    const std::vector<std::byte> mega(1'000'000);
    std::uint64_t written = 0;
    while (disk_.space(directory_).value().available_bytes >= 5'000'000) {
        ASSERT_TRUE(filler.value()->write_at(written, mega).ok());
        written += mega.size();
    }
    clock_.advance_ms(1001);
    log->housekeep_once();
    EXPECT_EQ(log->space(), Space::full);
    put(*log, "what frees space goes on");
    settle(*log);
    EXPECT_EQ(log->durable(), log->end());

    const auto available = [&] { return disk_.space(directory_).value().available_bytes; };
    filler = Error{};
    ASSERT_TRUE(disk_.remove("data/filler").ok());
    filler = disk_.open("data/filler", FileSystem::Open::create);
    written = 0;
    while (available() >= 6'000'000) {
        ASSERT_TRUE(filler.value()->write_at(written, mega).ok());
        written += mega.size();
    }
    ASSERT_GT(available(), 5'000'000U);
    clock_.advance_ms(1001);
    log->housekeep_once();
    EXPECT_EQ(log->space(), Space::full) << "not to and fro at the mark";
    ASSERT_TRUE(disk_.remove("data/filler").ok());
    filler = Error{};
    clock_.advance_ms(1001);
    log->housekeep_once();
    EXPECT_EQ(log->space(), Space::ok);
}

TEST_F(FailureTest, ACheckpointIsWrittenOnAFullDiskByGivingUpTheBallast) {
    auto log = open_sim();
    settle(*log);
    std::uint64_t used = 0;
    for (const auto& file : disk_.image().files) used += file.second->bytes().size();
    disk_.set_capacity(used + 100);
    put(*log, "x");
    log->submit();
    log->write_once();
    log->checkpoint(std::vector<std::byte>(5000), log->end(), false);
    EXPECT_TRUE(log->housekeep_once());
    EXPECT_FALSE(log->checkpoint_pending());
    EXPECT_FALSE(log->failed());
}

TEST_F(FailureTest, ACheckpointThatFindsNoRoomAtAllIsTriedAgain) {
    auto log = open_sim();
    settle(*log);
    disk_.set_capacity(1);
    put(*log, "x");
    log->submit();
    log->write_once();
    log->checkpoint(std::vector<std::byte>(100'000), log->end(), false);
    while (log->housekeep_once()) {
    }
    EXPECT_TRUE(log->checkpoint_pending());
    EXPECT_FALSE(log->failed());
    disk_.set_capacity(10'000'000);
    while (log->housekeep_once()) {
    }
    EXPECT_FALSE(log->checkpoint_pending());
}

TEST_F(FailureTest, ACheckpointWaitsUntilWhatItCoversIsDurable) {
    auto log = open_sim();
    put(*log, "x");
    log->checkpoint({}, log->end(), false);
    while (log->housekeep_once()) {
    }
    EXPECT_TRUE(log->checkpoint_pending());
    settle(*log);
    EXPECT_FALSE(log->checkpoint_pending());
}

TEST_F(FailureTest, AnIdleLogIsSealedOnceAndNotBeforeItsTime) {
    auto log = open_sim();
    put(*log, "x");
    log->submit();
    EXPECT_TRUE(log->write_once());
    EXPECT_FALSE(log->write_once());
    clock_.advance_ms(options_.seal_after_ms + 1);
    EXPECT_TRUE(log->write_once());
    EXPECT_EQ(log->stats().batches, 2U);
    clock_.advance_ms(100 * options_.seal_after_ms);
    EXPECT_FALSE(log->write_once());
}

TEST_F(FailureTest, NoSealTakesThePositionsOfARecordThatIsBeingGathered) {
    auto log = open_sim();
    put(*log, "x");
    flush(*log);
    const Place gathered = put(*log, "y");
    clock_.advance_ms(options_.seal_after_ms + 1);
    EXPECT_FALSE(log->write_once());
    flush(*log);
    EXPECT_EQ(as_text(log->hot(gathered.position)), "y");
    log.reset();
    EXPECT_EQ(bodies(*open_sim()), (std::vector<std::string>{"x", "y"}));
}

TEST_F(FailureTest, IntervalModeReportsProgressAfterTheWriteAndSyncsWhenItIsTime) {
    options_.durability = Durability::interval;
    options_.interval_ms = 100;
    auto log = open_sim();
    put(*log, "x");
    flush(*log);
    EXPECT_EQ(log->durable(), log->end());
    EXPECT_EQ(log->stats().syncs, 0U);
    log->checkpoint({}, log->end(), false);
    while (log->housekeep_once()) {
    }
    EXPECT_TRUE(log->checkpoint_pending()) << "a checkpoint never runs ahead of the sync";
    clock_.advance_ms(101);
    EXPECT_TRUE(log->write_once());
    EXPECT_EQ(log->stats().syncs, 1U);
    settle(*log);
    EXPECT_FALSE(log->checkpoint_pending());
}

}  // namespace
}  // namespace ferry::log
