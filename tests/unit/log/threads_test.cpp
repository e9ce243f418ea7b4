#include <condition_variable>
#include <mutex>
#include <thread>

#include "log_fixture.hpp"

namespace ferry::log {
namespace {

// Waits for the writer as an event loop does: by being woken.
struct Progress {
    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t count = 0;

    void notify() {
        {
            const std::lock_guard lock(mutex);
            ++count;
        }
        changed.notify_all();
    }
    template <class Done>
    void wait(Done done) {
        std::unique_lock lock(mutex);
        changed.wait(lock, done);
    }
};

using Threads = LogTest;

TEST_F(Threads, TheOwnerAppendsWhileTheWriterWritesAndEverythingArrives) {
    constexpr int turns = 400;
    std::vector<std::string> expected;
    {
        Progress progress;
        auto log = open();
        log->start([&] { progress.notify(); });
        for (int turn = 0; turn < turns; ++turn) {
            for (int i = 0; i <= turn % 20; ++i) {
                expected.push_back(std::to_string(turn) + "/" + std::to_string(i));
                put(*log, expected.back());
            }
            log->submit();
            if (turn % 50 == 0)
                progress.wait([&] { return log->durable() == log->end() || log->failed(); });
        }
        progress.wait([&] { return log->durable() >= log->end() || log->failed(); });
        EXPECT_FALSE(log->failed());
        EXPECT_EQ(log->pending_bytes(), 0U);
        EXPECT_LE(log->stats().syncs, static_cast<std::uint64_t>(turns) + 100);
        log->close();
    }
    EXPECT_EQ(bodies(*open()), expected);
}

TEST_F(Threads, CloseWritesWhatIsPendingAndTheLastCheckpoint) {
    {
        auto log = open();
        log->start([] {});
        put(*log, "appended, not even submitted");
        log->checkpoint({std::byte{7}}, log->end(), true);
        log->close();
        EXPECT_FALSE(log->checkpoint_pending());
        EXPECT_EQ(log->pending_bytes(), 0U);
    }
    auto log = open();
    EXPECT_TRUE(log->recovered().clean);
    EXPECT_EQ(log->recovered().checkpoint, std::vector<std::byte>{std::byte{7}});
    EXPECT_TRUE(bodies(*log).empty());
}

TEST_F(Threads, ReadersReadWhileTheOwnerAppendsAndSegmentsAreDropped) {
    Progress progress;
    auto log = open();
    log->start([&] { progress.notify(); });
    std::mutex mutex;
    std::vector<Position> durable;
    bool stop = false;
    std::uint64_t read = 0;
    std::thread reader([&] {
        for (std::size_t i = 0;; ++i) {
            Position position = 0;
            {
                const std::lock_guard lock(mutex);
                if (stop) return;
                if (durable.empty()) continue;
                position = durable[i % durable.size()];
            }
            auto block = log->read_block(position, 2000);
            if (block.ok()) {
                ++read;
                EXPECT_EQ(block.value().records.front().position, position);
            } else {
                EXPECT_EQ(block.error().code, Errc::not_found);
            }
        }
    });
    for (int turn = 0; turn < 200; ++turn) {
        std::vector<Position> places;
        for (int i = 0; i < 5; ++i) places.push_back(put(*log, std::string(300, 'r')).position);
        log->submit();
        progress.wait([&] { return log->durable() >= log->end() || log->failed(); });
        {
            const std::lock_guard lock(mutex);
            durable.insert(durable.end(), places.begin(), places.end());
        }
        if (turn % 40 == 39) {
            log->checkpoint({}, log->end(), false);
            progress.wait([&] { return !log->checkpoint_pending() || log->failed(); });
            for (const SegmentInfo& segment : log->segments()) log->drop_segment(segment.base);
        }
    }
    {
        const std::lock_guard lock(mutex);
        stop = true;
    }
    reader.join();
    EXPECT_GT(read, 0U);
    EXPECT_FALSE(log->failed());
    EXPECT_LT(log->segments().size(), 12U);
    log->close();
}

}  // namespace
}  // namespace ferry::log
