// What is read from disk for records that are no longer in memory.

#include "cold_reader.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "ferry/platform/random.hpp"

namespace ferry::server {
namespace {

constexpr engine::Position spacing = 60'000;  // of records
constexpr std::size_t body_bytes = 59'000;
constexpr engine::Position records = 1000;

/// A log of records of one size, none of them in memory, that counts what is read of it.
class CountingLog final : public log::CommitLog {
public:
    Result<log::Block> read_block(log::Position record, std::size_t bytes_wanted) const override {
        if (record % spacing != 0 || record >= records * spacing)
            return Error{Errc::not_found, 0, record, "no such record"};
        const std::size_t fit = std::max<std::size_t>(bytes_wanted / spacing, 1);
        const std::size_t count = std::min<std::size_t>(fit, records - record / spacing);
        log::Block block;
        block.bytes.resize(std::max(bytes_wanted, body_bytes));
        for (std::size_t i = 0; i < count; ++i) {
            // Every body says which record it is of.
            std::byte* const body = block.bytes.data() + i * 8;
            store_le(body, record + i * spacing);
            block.records.push_back({record + i * spacing, Bytes(body, 8)});
        }
        block.next = record + count * spacing;
        bytes_read += block.bytes.size();
        ++reads;
        return block;
    }
    Result<log::Block> read_cached(log::Position record, std::size_t bytes_wanted) const override {
        if (!in_page_cache) return CommitLog::read_cached(record, bytes_wanted);
        return read_block(record, bytes_wanted);
    }
    Bytes hot(log::Position) const override { return {}; }
    log::Position durable() const override { return records * spacing; }

    mutable std::atomic<std::uint64_t> bytes_read{0};
    mutable std::atomic<std::uint64_t> reads{0};
    bool in_page_cache = false;

    // Nobody asks for the rest.
    const log::Recovered& recovered() const override { return recovered_; }
    Status replay(const std::function<Status(const log::Place&, Bytes)>&) override {
        return ok_status();
    }
    log::Place append(std::span<const Bytes>) override { return {}; }
    void submit() override {}
    log::Position end() const override { return durable(); }
    std::uint64_t pending_bytes() const override { return 0; }
    bool failed() const override { return false; }
    Error failure() const override { return {}; }
    log::Space space() const override { return {}; }
    log::Stats stats() const override { return {}; }
    log::SyncStats sync_stats() const override { return {}; }
    std::vector<log::DamagedRange> damage() const override { return {}; }
    void start(std::function<void()>) override {}
    void close() override {}
    bool write_once() override { return false; }
    bool housekeep_once() override { return false; }
    void checkpoint(std::vector<std::byte>, log::Position, bool) override {}
    bool checkpoint_pending() const override { return false; }
    log::Position replay_floor() const override { return 0; }
    std::vector<log::SegmentInfo> segments() const override { return {}; }
    void drop_segment(log::Position) override {}
    void compact(log::Position, std::vector<log::Keep>, Slice) override {}
    bool compaction_pending() const override { return false; }
    void backup(std::string, std::function<void(Result<BackupResult>)>) override {}

private:
    log::Recovered recovered_;
};

class ColdReaderTest : public ::testing::Test {
protected:
    ColdReaderTest() { uv_loop_init(&loop_); }
    ~ColdReaderTest() override {
        reader_.stop();
        uv_run(&loop_, UV_RUN_DEFAULT);
        EXPECT_EQ(uv_loop_close(&loop_), 0);
    }
    /// Finds the n-th record, reading it if it must; and it is that one.
    void get(engine::Position n) {
        const engine::Position record = n * spacing;
        Bytes body = reader_.find(record);
        if (body.empty()) {
            bool done = false;
            reader_.fetch(record, [&](const Error* error) {
                EXPECT_EQ(error, nullptr);
                done = true;
            });
            while (!done) uv_run(&loop_, UV_RUN_ONCE);
            body = reader_.find(record);
        }
        ASSERT_EQ(body.size(), 8U) << n;
        EXPECT_EQ(load_le<std::uint64_t>(body.data()), record);
    }

    CountingLog log_;
    uv_loop_t loop_{};
    ColdReader reader_{&loop_, log_};
};

TEST_F(ColdReaderTest, ReadsABacklogInOrderOnceAndInFewReads) {
    for (engine::Position n = 0; n < records; ++n) get(n);
    uv_run(&loop_, UV_RUN_DEFAULT);
    EXPECT_LT(log_.bytes_read, records * spacing * 5 / 4);
    EXPECT_LT(log_.reads, records / 10);
}

TEST_F(ColdReaderTest, ReadsLittleAroundRecordsThatLieApart) {
    for (engine::Position n = 0; n < records; n += 10) get(n);
    uv_run(&loop_, UV_RUN_DEFAULT);
    EXPECT_LE(log_.bytes_read, records / 10 * spacing * 5 / 4);
}

TEST_F(ColdReaderTest, ReadsAtOnceWhatNeedsNoDisk) {
    EXPECT_TRUE(reader_.find_now(0).empty());
    log_.in_page_cache = true;
    EXPECT_TRUE(reader_.find(0).empty());
    for (engine::Position n = 0; n < records; n += 10) {
        const Bytes body = reader_.find_now(n * spacing);
        ASSERT_EQ(body.size(), 8U) << n;
        EXPECT_EQ(load_le<std::uint64_t>(body.data()), n * spacing);
    }
    EXPECT_TRUE(reader_.idle());
    EXPECT_LE(log_.bytes_read, records / 10 * spacing * 5 / 4);
    EXPECT_TRUE(reader_.find_now(records * spacing).empty());
}

TEST_F(ColdReaderTest, WaitsForAReadThatIsUnderWayInsteadOfReadingTwice) {
    log_.in_page_cache = true;
    bool done = false;
    reader_.fetch(0, [&](const Error*) { done = true; });
    EXPECT_TRUE(reader_.find_now(0).empty());
    while (!done) uv_run(&loop_, UV_RUN_ONCE);
    EXPECT_FALSE(reader_.find_now(0).empty());
    EXPECT_EQ(log_.reads, 1U);
}

TEST_F(ColdReaderTest, FindsEveryRecordWhateverTheOrderAndWhatWasReadBefore) {
    SeededRandom random(11);
    for (int round = 0; round < 5000; ++round) {
        const engine::Position from = random.below(records);
        const engine::Position count = 1 + random.below(8);
        for (engine::Position n = from; n < std::min(from + count, records); ++n) get(n);
    }
}

TEST_F(ColdReaderTest, KeepsWhatWasReadAsLongAsItFits) {
    const engine::Position fit = ColdReader::cache_bytes_max / spacing / 2;
    SeededRandom random(12);
    for (int round = 0; round < 3000; ++round) get(random.below(fit));
    uv_run(&loop_, UV_RUN_DEFAULT);
    const std::uint64_t before = log_.reads;
    for (engine::Position n = 0; n < fit; ++n) get(n);
    EXPECT_EQ(log_.reads, before);
}

}  // namespace
}  // namespace ferry::server
