#include "keeper.hpp"

#include <gtest/gtest.h>

#include "session_rig.hpp"

// When the log's files are dropped and rewritten.
namespace ferry::server {
namespace {

class KeeperTest : public ::testing::Test {
protected:
    KeeperTest() : keeper_(rig_, [](const std::function<void(engine::Position)>&) {}) {}

    /// Publishes so many messages of 10 kB, a few to a frame, and takes them all without an ack.
    void fill(std::uint64_t messages) {
        wire::Buffer bytes;
        put_hello(bytes);
        put_declare(bytes, 2, "q");
        put_producer(bytes, 3, "p");
        put_subscribe(bytes, 4, "q", 100'000);
        peer_.feed(bytes);
        rig_.turn();
        for (std::uint64_t first = 1; first <= messages; first += per_frame) {
            bytes.clear();
            put_publish(bytes, first, 1, "q",
                        std::vector<std::string>(per_frame, std::string(10'000, 'x')));
            peer_.feed(bytes);
            rig_.turn();
            peer_.link.buffer.clear();
        }
    }
    void ack(std::uint64_t first, std::uint64_t last) {
        wire::Buffer bytes;
        put_ack(bytes, 0, first, last);
        peer_.feed(bytes);
    }
    /// Time for checkpoints, so that what is acked by now is no longer needed for a replay.
    void let_checkpoints_pass() {
        for (int i = 0; i < 6; ++i) {
            rig_.sim_clock().advance_ms(6'000);
            rig_.turn();
            keeper_.on_turn();
            keeper_.on_second();
            rig_.turn();
        }
        rig_.sim_clock().advance_ms(1'000);
        rig_.turn();
        keeper_.on_second();
    }

    static constexpr std::uint64_t per_frame = 5;
    SessionRig rig_;
    SessionRig::Peer& peer_{rig_.connect()};
    Keeper keeper_;
};

TEST_F(KeeperTest, CompactsASegmentOnlyWhenTheAcksItReliesOnAreDurable) {
    fill(400);
    ASSERT_GE(rig_.log.segments().size(), 3U);
    ack(11, 400);
    rig_.turn();
    let_checkpoints_pass();
    ASSERT_EQ(rig_.log.stats().compactions, 0U);
    ASSERT_GE(rig_.log.segments().size(), 2U) << "messages 1 to 10 keep the first segment";

    // A crash now would bring these back: a compacted segment has to have them still.
    ack(2, 10);
    rig_.turn_without_disk();
    for (int ticks = 0; ticks < 5; ++ticks) {
        keeper_.on_tick();
        EXPECT_FALSE(rig_.log.compaction_pending()) << "tick " << ticks;
    }
    ASSERT_LT(rig_.log.durable(), rig_.log.end());
    rig_.turn();
    keeper_.on_tick();
    EXPECT_TRUE(rig_.log.compaction_pending());
    rig_.turn();
    EXPECT_EQ(rig_.log.stats().compactions, 1U);
}

}  // namespace
}  // namespace ferry::server
