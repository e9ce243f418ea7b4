#include "saga_rig.hpp"
#include "shifted_clock.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

/// S15: the wall clock jumps where no orchestrator is there to go on by the monotonic one.
class SagaClock : public SagaRig {
protected:
    ~SagaClock() override { orchestrator.reset(); }

    /// An orchestrator whose wall clock is `shift` ahead of the one that comes behind it.
    void start_ahead(std::chrono::milliseconds shift) {
        ahead.pass(shift);
        OrchestratorOptions options;
        options.clock = &ahead;
        start_orchestrator(options);
    }
    /// As kill -9 leaves it: a member whose lease has not ended by the clock that it had.
    void die_with_a_lease() {
        orchestrator.reset();
        must(
            saga_db->run("INSERT INTO ferry_saga_member SELECT 'a-dead-one', 1000, value + 1000 "
                         "FROM ferry_saga_state WHERE name = 'time_ms'"));
    }
    static Definition impatient() {
        Definition d = three();
        for (Step& step : d.steps) step.timeout_ms = 300;
        d.steps[0].retry.attempts = 2;
        return d;
    }
    [[nodiscard]] std::int64_t members_later_than(const Clock& clock, std::chrono::minutes by) {
        const std::uint64_t than =
            clock.now().wall_ms + static_cast<std::uint64_t>(std::chrono::milliseconds(by).count());
        return number(*saga_db, "SELECT count(*) FROM ferry_saga_member WHERE until_ms > " +
                                    std::to_string(than));
    }

    test::ShiftedClock ahead;
};

TEST_F(SagaClock, SetBackWhileNobodyWatchesItStopsNoTimer) {
    hold = {"a"};
    start_ahead(24h * 365);
    must(orchestrator->add(impatient()));
    for (int i = 0; i < 8; ++i) start("s" + std::to_string(i));
    die_with_a_lease();
    start_orchestrator();
    for (int i = 0; i < 8; ++i) {
        const std::string id = "s" + std::to_string(i);
        ASSERT_TRUE(comes_to(id, SagaState::compensated)) << id << ": nobody answered";
        EXPECT_GE(admin().show(id).value().steps[0].attempts, 2U);
    }
}

TEST_F(SagaClock, SetBackLetsSagasThatAreStartedByHandLive) {
    start_ahead(24h * 365);
    must(orchestrator->add(three()));
    auto created = admin().start("three", "s1", "{}", "");
    ASSERT_TRUE(created.ok()) << created.error().text;
    EXPECT_GT(admin().show("s1").value().row.deadline_ms, ahead.now().wall_ms);
    EXPECT_TRUE(comes_to("s1", SagaState::completed)) << "its hour has not passed";
}

// The one behind may be put out once, when the other joins; then both have one time.
TEST_F(SagaClock, SetForwardBetweenTwoOrchestratorsLeavesBothMembers) {
    OrchestratorOptions options;
    options.name = "one";
    options.lease = 300ms;
    start_orchestrator(options);
    test::ShiftedClock later;
    later.pass(1h);
    OrchestratorOptions second;
    second.database = path("saga.db");
    second.name = "two";
    second.lease = 10s;
    second.clock = &later;
    auto other = Orchestrator::open(second);
    ASSERT_TRUE(other.ok()) << other.error().text;
    EXPECT_TRUE(until([&] { return members_later_than(system_clock(), 30min) == 2; }))
        << "both count from the latest time that one of them has noted";
    EXPECT_EQ(other.value()->figures().lease_losses, 0U);
}

}  // namespace
}  // namespace ferry::saga
