// Sagas while statements of the orchestrator or of a participant fail, whichever: each step has its
// effect once, and is undone once.

#include <tuple>

#include "failing_statements.hpp"
#include "saga_rig.hpp"

namespace ferry::saga {
namespace {

using test::FailingStatements;
using When = FailingStatements::When;

enum class Whose : bool { orchestrators, participants };

constexpr std::uint32_t statements_max = 400;
constexpr int attempts_max = 20;

class SagaFailingStatements
    : public SagaRig,
      public ::testing::WithParamInterface<std::tuple<Whose, When, std::uint32_t>> {
protected:
    ~SagaFailingStatements() override {
        orchestrator.reset();
        participant.reset();
    }
    void open_both() {
        const bool orchestrators = std::get<Whose>(GetParam()) == Whose::orchestrators;
        if (orchestrators) statements_.watch_new();
        start_orchestrator();
        statements_.watch_no_more();
        if (!orchestrators) {
            participant.reset();
            statements_.watch_new();
            start_participant();
            statements_.watch_no_more();
        }
        ASSERT_TRUE(orchestrator->add(three()).ok());
    }
    /// As whoever starts sagas must: the same id again until it is taken.
    bool started(const std::string& id) {
        for (int i = 0; i < attempts_max; ++i) {
            if (orchestrator->start("three", id, "{}").ok()) return true;
        }
        return false;
    }
    bool ended_well(const std::string& id) {
        return comes_to(id, fail.empty() ? SagaState::completed : SagaState::compensated);
    }

    FailingStatements statements_;
};

TEST_P(SagaFailingStatements, one_that_fails_doubles_and_loses_no_step) {
    open_both();
    std::uint32_t reached = 0;
    for (std::uint32_t nth = 1; nth <= statements_max && !HasFailure(); ++nth) {
        SCOPED_TRACE("statement " + std::to_string(nth));
        fail = nth % 2 == 0 ? "c" : "";
        const std::string id = "saga-" + std::to_string(nth);
        statements_.fail(std::get<When>(GetParam()), nth, std::get<2>(GetParam()));
        ASSERT_TRUE(started(id));
        EXPECT_TRUE(ended_well(id));
        EXPECT_EQ(effects(id), fail.empty() ? 3 : 0);
        if (!statements_.failed()) break;
        statements_.pass();
        ++reached;
    }
    EXPECT_GT(reached, 0U);
    RecordProperty("statements", std::to_string(reached));
}

INSTANTIATE_TEST_SUITE_P(
    , SagaFailingStatements,
    ::testing::Combine(::testing::Values(Whose::orchestrators, Whose::participants),
                       ::testing::Values(When::prepared, When::run), ::testing::Values(1U, 3U)),
    [](const auto& tested) {
        const bool orchestrators = std::get<Whose>(tested.param) == Whose::orchestrators;
        return std::string(orchestrators ? "Orchestrator" : "Participant") + "_" +
               name_of(std::get<When>(tested.param)) + "_" +
               std::to_string(std::get<2>(tested.param));
    });

}  // namespace
}  // namespace ferry::saga
