// show_queue and the floor: what a consumer may forget.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class QueueFloor : public ::testing::Test {
protected:
    QueueFloor() {
        rig.engine().open_session(1);
        rig.declare(1, "q");
        handle = rig.producer(1, "p");
        rig.effects().clear();
    }
    ~QueueFloor() override { EXPECT_THAT(rig.problems(), IsEmpty()); }
    Position floor() {
        rig.engine().show_queue(1, 99, "q", rig.now());
        rig.sync();
        const auto view = rig.take_answer<QueueView>(1, 99);
        EXPECT_TRUE(view);
        return view ? view->floor : 0;
    }
    Rig rig;
    std::uint64_t handle = 0;
};

TEST_F(QueueFloor, IsTheOldestUnsettledMessageWhetherItWaitsOrIsWithAConsumer) {
    rig.send(1, handle, 1, "q", {"a", "b", "c"});
    rig.sync();
    rig.subscribe(1, 5, "q", 1);
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(floor(), seen[0].position);
    rig.ack(1, 0, 5, {{1, 1}});
    EXPECT_EQ(floor(), seen[0].position + 1);
}

TEST_F(QueueFloor, OfAnEmptyQueueLiesAboveEverythingItHeldAndNotAboveWhatComes) {
    rig.send(1, handle, 1, "q", {"a", "b"});
    rig.sync();
    rig.subscribe(1, 5, "q");
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(2));
    rig.ack(1, 0, 5, {{1, 2}});
    const Position empty = floor();
    EXPECT_GT(empty, seen[1].position);
    rig.send(1, handle, 3, "q", {"c"});
    rig.settle();
    const auto next = rig.deliveries();
    ASSERT_THAT(next, SizeIs(1));
    EXPECT_GE(next[0].position, empty);
}

// G3
TEST_F(QueueFloor, IsToldOnlyWhenTheAcksItStandsOnAreDurable) {
    rig.send(1, handle, 1, "q", {"a"});
    rig.sync();
    rig.subscribe(1, 5, "q");
    rig.settle();
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    rig.effects().clear();
    rig.ack(1, 0, 5, {{1, 1}});
    rig.engine().show_queue(1, 99, "q", rig.now());
    EXPECT_FALSE(rig.take_answer<QueueView>(1, 99));
    rig.crash();
    EXPECT_EQ(rig.view("q").ready, 1U);
}

}  // namespace
}  // namespace ferry::engine::testing
