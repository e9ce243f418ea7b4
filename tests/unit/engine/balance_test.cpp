// Which consumer gets the next message.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::IsEmpty;

class Balance : public ::testing::Test {
protected:
    Balance() {
        for (SessionId id = 1; id <= 4; ++id) rig.engine().open_session(id);
        rig.declare(1, "q");
        handle = rig.producer(1, "p");
        for (SessionId id = 2; id <= 4; ++id) rig.subscribe(id, 1, "q", 100);
        rig.settle();
        rig.effects().clear();
    }
    ~Balance() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    // One message; who got it, under which tag.
    Seen send_one() {
        rig.send(1, handle, ++sequence, "q", {"m"});
        rig.settle();
        const std::vector<Seen> seen = rig.deliveries();
        EXPECT_EQ(seen.size(), 1U);
        return seen.empty() ? Seen{} : seen.front();
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence sequence = 0;
};

TEST_F(Balance, TakesEverybodyInTurnWhileAllAreIdle) {
    std::map<SessionId, int> got;
    for (int i = 0; i < 30; ++i) {
        const Seen seen = send_one();
        ++got[seen.session];
        rig.ack(seen.session, 0, 1, {{seen.tag, seen.tag}});
        rig.settle();
    }
    EXPECT_EQ(got[2], 10);
    EXPECT_EQ(got[3], 10);
    EXPECT_EQ(got[4], 10);
}

TEST_F(Balance, GoesPastAConsumerThatHangs) {
    std::map<SessionId, int> got;
    for (int i = 0; i < 30; ++i) {
        const Seen seen = send_one();
        ++got[seen.session];
        if (seen.session == 2) continue;  // it hangs with what it has
        rig.ack(seen.session, 0, 1, {{seen.tag, seen.tag}});
        rig.settle();
    }
    EXPECT_EQ(got[2], 1) << "one message is stuck with it, and no more";
    EXPECT_GE(got[3], 14);
    EXPECT_GE(got[4], 14);
}

TEST_F(Balance, SharesOutEvenlyWhatNobodyAcks) {
    std::map<SessionId, int> got;
    for (int i = 0; i < 30; ++i) ++got[send_one().session];
    EXPECT_EQ(got[2], 10);
    EXPECT_EQ(got[3], 10);
    EXPECT_EQ(got[4], 10);
}

}  // namespace
}  // namespace ferry::engine::testing
