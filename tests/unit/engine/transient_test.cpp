// Queues that do not outlive the broker: their messages do not wait for the disk.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TransientQueue : public ::testing::Test {
protected:
    TransientQueue() {
        rig.delivers_before_durable = true;
        rig.engine().open_session(1);
        rig.engine().open_session(2);
        QueueOptions options;
        options.durable = false;
        rig.declare(1, "fast", options);
        rig.declare(1, "kept");
        handle = rig.producer(1, "p");
        rig.settle();
        rig.effects().clear();
    }
    ~TransientQueue() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void publish(Sequence sequence, std::string_view queue, std::uint64_t flags) {
        EXPECT_TRUE(rig.publish(1, handle, sequence, {message("", queue, "m")}, flags));
    }

    Rig rig;
    std::uint64_t handle = 0;
};

// G106
TEST_F(TransientQueue, DeliversWhatIsNotOnTheDiskYet) {
    rig.subscribe(2, 1, "fast");
    rig.subscribe(2, 2, "kept");
    rig.settle();
    rig.effects().clear();
    publish(1, "fast", 0);
    publish(2, "kept", 0);
    rig.engine().dispatch(rig.now());
    const auto seen = rig.deliveries();
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].subscription, 1U);
    EXPECT_THAT(rig.take<Confirm>(), IsEmpty()) << "a confirm is a promise of the disk";
    rig.settle();
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
    EXPECT_THAT(rig.take<Confirm>(), SizeIs(1));
}

TEST_F(TransientQueue, GivesBackWhatWasNotAckedAtOnceToo) {
    rig.subscribe(2, 1, "fast");
    publish(1, "fast", 0);
    rig.engine().dispatch(rig.now());
    ASSERT_THAT(rig.deliveries(), SizeIs(1));
    rig.subscribe(1, 7, "fast");
    rig.engine().close_session(2, rig.now());
    rig.settle();
    const auto again = rig.deliveries();
    ASSERT_THAT(again, SizeIs(1));
    EXPECT_EQ(again[0].attempt, 2U);
}

TEST_F(TransientQueue, IsGoneAfterACrashWithWhatWasDeliveredFromIt) {
    rig.subscribe(2, 1, "fast");
    publish(1, "fast", 0);
    rig.engine().dispatch(rig.now());
    ASSERT_THAT(rig.deliveries(), SizeIs(1));
    rig.ack(2, 0, 1, {{1, 1}});
    rig.engine().dispatch(rig.now());
    rig.crash();
    EXPECT_FALSE(rig.engine().queue("fast", rig.now()).has_value());
    EXPECT_EQ(rig.references(), 0U);
}

TEST_F(TransientQueue, APublisherInNoHurryDoesNotMakeTheLogBeWritten) {
    rig.subscribe(2, 1, "fast");
    rig.settle();
    const Position before = rig.engine().awaited();
    publish(1, "fast", wire::publish_unhurried);
    rig.engine().dispatch(rig.now());
    EXPECT_EQ(rig.engine().awaited(), before);
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
    rig.settle();
    EXPECT_THAT(rig.take<Confirm>(), SizeIs(1)) << "it comes with the next write";
    publish(2, "fast", 0);
    EXPECT_GT(rig.engine().awaited(), before);
    // A durable queue with a consumer waits for the disk whatever the publisher thinks.
    rig.settle();
    rig.subscribe(2, 2, "kept");
    rig.settle();
    const Position again = rig.engine().awaited();
    publish(3, "kept", wire::publish_unhurried);
    EXPECT_GT(rig.engine().awaited(), again);
}

TEST_F(TransientQueue, ARequestThatNobodyWouldGetIsRefusedAtOnceIfAsked) {
    publish(1, "fast", wire::publish_to_consumer);
    publish(2, "none", wire::publish_to_consumer);
    rig.settle();
    auto refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(2));
    EXPECT_EQ(refused[0].code, Code::no_consumer);
    EXPECT_EQ(refused[1].code, Code::no_consumer);
    EXPECT_EQ(rig.view("fast").ready, 0U);
    publish(3, "none", wire::publish_to_consumer | wire::publish_mandatory);
    rig.settle();
    refused = rig.take<Refuse>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_EQ(refused[0].code, Code::no_route);
    rig.subscribe(2, 1, "fast");
    publish(4, "fast", wire::publish_to_consumer);
    rig.settle();
    EXPECT_THAT(rig.take<Refuse>(), IsEmpty());
    EXPECT_THAT(rig.deliveries(), SizeIs(1));
}

}  // namespace
}  // namespace ferry::engine::testing
