#include "story.hpp"

namespace ferry::history {
namespace {

class Saga : public Story {
public:
    Saga& begin(std::uint64_t steps = 0) {
        add(What::saga_begin, Type::ok, 1, producer).seq = steps;
        return *this;
    }
    Saga& step(std::uint64_t number, std::uint64_t group = 0) {
        return effect_of(What::saga_step, number, group);
    }
    Saga& undo(std::uint64_t number, std::uint64_t group = 0) {
        return effect_of(What::saga_undo, number, group);
    }
    Saga& end(std::uint32_t state) {
        add(What::saga_end, Type::ok, 1, producer).attempt = state;
        return *this;
    }

private:
    Saga& effect_of(What what, std::uint64_t number, std::uint64_t group) {
        Event& event = add(what, Type::ok, 1, one);
        event.seq = number;
        event.key = group;
        return *this;
    }
};

TEST(Sagas, AreWholeOrUndoneInReverse) {
    expect_clean(Saga().begin(2).step(1).step(2).end(1).drained());
    expect_clean(Saga().begin(3).step(1).step(2).undo(2).undo(1).end(2).drained());
    expect_clean(Saga().begin(2).end(2).drained());
}

TEST(Sagas, HaveOneFinalState) {
    expect_only(Saga().begin().step(1).drained(), {Violation::saga_states});
    expect_only(Saga().begin().step(1).end(1).end(1).drained(), {Violation::saga_states});
    Saga open;
    open.rules.drain_expected = false;
    expect_clean(open.begin().step(1));
}

TEST(Sagas, HaveEachEffectOnce) {
    expect_only(Saga().begin().step(1).step(1).end(1).drained(), {Violation::saga_effects});
    expect_only(Saga().begin(2).step(1).end(1).drained(), {Violation::saga_effects});
    expect_only(Saga().begin().step(1).step(2).undo(2).end(2).drained(), {Violation::saga_effects});
    expect_only(Saga().begin().step(1).undo(1).end(1).drained(), {Violation::saga_effects});
    expect_only(Saga().begin().undo(1).end(2).drained(), {Violation::saga_effects});
}

TEST(Sagas, KeepTheirOrder) {
    expect_only(Saga().begin().step(2).step(1).end(1).drained(), {Violation::saga_order});
    expect_only(Saga().begin().step(1).step(2).undo(1).undo(2).end(2).drained(),
                {Violation::saga_order});
    expect_only(Saga().begin().step(1).undo(1).step(2).undo(2).end(2).drained(),
                {Violation::saga_order});
    expect_only(Saga().begin().step(1).end(1).step(2).drained(), {Violation::saga_order});
}

TEST(Sagas, StepsOfOneGroupHaveNoOrder) {
    expect_clean(Saga()
                     .begin()
                     .step(2, 5)
                     .step(1, 5)
                     .step(3)
                     .undo(3)
                     .undo(1, 5)
                     .undo(2, 5)
                     .end(2)
                     .drained());
}

TEST(Sagas, ACommandOfAGroupMayComeWhenTheOthersOfItAreUndone) {
    expect_clean(Saga().begin().step(2, 5).undo(2, 5).step(1, 5).undo(1, 5).end(2).drained());
    // Not when something behind the group was undone before.
    expect_only(
        Saga().begin().step(2, 5).step(3).undo(3).undo(2, 5).step(1, 5).undo(1, 5).end(2).drained(),
        {Violation::saga_order});
}

}  // namespace
}  // namespace ferry::history
