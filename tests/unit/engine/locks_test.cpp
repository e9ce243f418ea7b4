// Named locks: L2, L3, L4, L5 and L6 of the engine's part, and what a restart keeps.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LockTest : public ::testing::Test {
protected:
    LockTest() { open(1, 4); }
    ~LockTest() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    void open(SessionId first, SessionId last) {
        for (SessionId id = first; id <= last; ++id) rig.engine().open_session(id);
    }
    struct Got {
        Position token = 0;
        std::uint64_t ahead = 0;
        Code code = Code::ok;
        std::string text;
    };
    void ask(SessionId session, std::string_view holder, bool wait, std::string_view name = "job",
             std::uint64_t permits = 1) {
        LockCommand command;
        command.session = session;
        command.request = 7;
        command.name = name;
        command.holder = holder;
        command.ttl_ms = 5'000;
        command.delay_ms = delay_ms;
        command.permits = permits;
        command.wait = wait;
        rig.engine().lock(command, rig.now());
    }
    Got answer(SessionId session) {
        rig.settle();
        Got out;
        if (const auto got = rig.take_answer<LockAnswer>(session, 7)) {
            out.token = got->token;
            out.ahead = got->ahead;
        } else if (const auto failed = rig.take_answer<Failure>(session, 7)) {
            out.code = failed->code;
            out.text = failed->text;
        }
        return out;
    }
    Got lock(SessionId session, std::string_view holder, bool wait = true,
             std::string_view name = "job", std::uint64_t permits = 1) {
        ask(session, holder, wait, name, permits);
        return answer(session);
    }
    Code unlock(SessionId session, std::string_view holder, Position token) {
        rig.engine().unlock(session, 8, "job", holder, token, rig.now());
        rig.settle();
        return rig.failure(session, 8);
    }
    Code renew(SessionId session, std::string_view holder, Position token) {
        rig.engine().renew_lock(session, 9, "job", holder, token, rig.now());
        rig.settle();
        return rig.failure(session, 9);
    }
    // Time passes, as the driver lets it pass: in ticks.
    void pass_ms(std::uint64_t ms) {
        for (std::uint64_t step = 0; step < ms; step += 250) {
            rig.advance_ms(std::min<std::uint64_t>(250, ms - step));
            rig.engine().tick(rig.now());
            rig.settle();
        }
    }
    std::vector<LockTold> told() { return rig.take<LockTold>(); }
    LockView view(std::string_view name = "job") {
        return rig.engine().lock(name, rig.now()).value_or(LockView{});
    }
    std::vector<std::string> line() {
        std::vector<std::string> names;
        for (const LockPartyView& party : view().waiters) names.push_back(party.holder);
        return names;
    }

    Rig rig;
    std::uint64_t delay_ms = 0;
};

TEST_F(LockTest, IsGrantedToOneAtATimeInTheOrderOfAsking) {
    const Got first = lock(1, "a");
    EXPECT_NE(first.token, 0U);
    EXPECT_EQ(lock(2, "b").ahead, 0U);
    EXPECT_EQ(lock(3, "c").ahead, 1U);
    EXPECT_THAT(told(), IsEmpty());

    EXPECT_EQ(unlock(1, "a", first.token), Code::ok);
    const auto second = told();
    ASSERT_THAT(second, SizeIs(1)) << "only the next one hears of it";
    EXPECT_EQ(second[0].session, 2U);
    EXPECT_EQ(second[0].request, 7U);
    EXPECT_TRUE(second[0].granted);
    EXPECT_GT(second[0].token, first.token);
    EXPECT_THAT(line(), ElementsAre("c"));
}

TEST_F(LockTest, IsToldOnlyWhenTheGrantIsDurable) {
    ask(1, "a", false);
    EXPECT_THAT(rig.effects(), IsEmpty());
    rig.sync();
    EXPECT_TRUE(rig.take_answer<LockAnswer>(1, 7).has_value());
    ask(2, "b", true);
    rig.sync();
    rig.effects().clear();
    rig.engine().unlock(1, 8, "job", "a", view().holders[0].token, rig.now());
    EXPECT_THAT(told(), IsEmpty());
    rig.sync();
    EXPECT_THAT(told(), SizeIs(1));
}

TEST_F(LockTest, IsRefusedAtOnceToWhoDoesNotWantToWait) {
    lock(1, "a");
    const Got refused = lock(2, "b", false);
    EXPECT_EQ(refused.code, Code::lock_held);
    EXPECT_THAT(refused.text, HasSubstr("held by 1"));
    EXPECT_EQ(view().waiting, 0U);
}

TEST_F(LockTest, ASemaphoreHasAsManyHoldersAsPermits) {
    EXPECT_NE(lock(1, "a", false, "job", 2).token, 0U);
    EXPECT_NE(lock(2, "b", false, "job", 2).token, 0U);
    EXPECT_EQ(lock(3, "c", false, "job", 2).code, Code::lock_held);
    EXPECT_EQ(lock(3, "c", false, "job", 3).code, Code::declared_differently);
}

TEST_F(LockTest, L2_TokensNeverRepeatOrGoBackOverCrashesAndRestarts) {
    Position last = 0;
    for (int round = 0; round < 12; ++round) {
        const SessionId session = 10 + static_cast<SessionId>(round);
        rig.engine().open_session(session);
        const Got got = lock(session, "h" + std::to_string(round));
        ASSERT_GT(got.token, last);
        last = got.token;
        // A grant that a power cut takes back has been told to nobody.
        EXPECT_EQ(unlock(session, "h" + std::to_string(round), got.token), Code::ok);
        ask(session, "never", true);
        if (round % 3 == 0) {
            rig.crash();
        } else if (round % 3 == 1) {
            rig.sync();
            rig.take_checkpoint();
            rig.crash();
        } else {
            rig.sync();
            rig.restart_cleanly();
        }
        if (view().holding == 0) continue;
        EXPECT_GT(view().holders[0].token, last);
        last = view().holders[0].token;
        pass_ms(6'000);
        EXPECT_EQ(view().holding, 0U);
    }
}

TEST_F(LockTest, ARestartKeepsHoldersTokensAndTheLineExactly) {
    const Got held = lock(1, "a");
    lock(2, "b");
    lock(3, "c");
    lock(4, "d");
    for (const bool clean : {false, true, false}) {
        if (clean) {
            rig.restart_cleanly();
        } else {
            rig.crash();
        }
        ASSERT_EQ(view().holding, 1U);
        EXPECT_EQ(view().holders[0].token, held.token);
        EXPECT_EQ(view().holders[0].holder, "a");
        EXPECT_THAT(line(), ElementsAre("b", "c", "d"));
    }
    // They come back in another order, and nothing changes by that.
    open(21, 24);
    EXPECT_EQ(lock(24, "d").ahead, 2U);
    EXPECT_EQ(lock(23, "c").ahead, 1U);
    EXPECT_EQ(lock(21, "a").token, held.token);
    EXPECT_EQ(unlock(21, "a", held.token), Code::ok);
    EXPECT_THAT(told(), IsEmpty()) << "b is first and has its time to come back";
    EXPECT_EQ(lock(22, "b").ahead, 0U);
    const auto grants = told();
    ASSERT_THAT(grants, SizeIs(1));
    EXPECT_EQ(grants[0].session, 22U);
}

TEST_F(LockTest, AfterARestartAHolderHasItsWholeTimeAgain) {
    const Got held = lock(1, "a");
    pass_ms(4'500);
    rig.crash();
    open(11, 11);
    pass_ms(4'500);
    EXPECT_EQ(view().holding, 1U);
    EXPECT_EQ(renew(11, "a", held.token), Code::ok);
    pass_ms(5'250);
    EXPECT_EQ(view().holding, 0U);
}

TEST_F(LockTest, WhoIsFirstAndDoesNotComeBackLosesItsPlaceToTheNext) {
    const Got held = lock(1, "a");
    lock(2, "b");
    lock(3, "c");
    rig.engine().close_session(2, rig.now());
    EXPECT_EQ(unlock(1, "a", held.token), Code::ok);
    EXPECT_THAT(told(), IsEmpty());
    pass_ms(5'250);
    const auto grants = told();
    ASSERT_THAT(grants, SizeIs(1));
    EXPECT_EQ(grants[0].session, 3U);
    EXPECT_EQ(rig.engine().totals().lock_places_lost, 1U);
}

TEST_F(LockTest, L3_JumpsOfTheWallClockNeitherEndNorLengthenIt) {
    lock(1, "a");
    rig.jump_wall_ms(10LL * 365 * 24 * 3600 * 1000);
    pass_ms(4'500);
    EXPECT_EQ(view().holding, 1U);
    rig.jump_wall_ms(-20LL * 365 * 24 * 3600 * 1000);
    pass_ms(750);
    EXPECT_EQ(view().holding, 0U);
}

TEST_F(LockTest, L4_OnlyTheOwnerReleasesOnceAndInTime) {
    const Got held = lock(1, "a");
    lock(2, "b");
    EXPECT_EQ(unlock(2, "a", held.token), Code::lock_not_held) << "another connection";
    EXPECT_EQ(unlock(1, "x", held.token), Code::lock_not_held) << "another holder";
    EXPECT_EQ(unlock(1, "a", held.token + 1), Code::lock_not_held) << "another token";
    EXPECT_EQ(view().holders[0].token, held.token);
    EXPECT_EQ(unlock(1, "a", held.token), Code::ok);
    EXPECT_EQ(unlock(1, "a", held.token), Code::lock_not_held) << "twice";
    const Position second = view().holders[0].token;
    pass_ms(5'250);
    EXPECT_EQ(unlock(2, "b", second), Code::lock_not_held) << "after it ran out";
    // The same holder again, with the token that it had before.
    const Got again = lock(1, "a");
    EXPECT_GT(again.token, second);
    EXPECT_EQ(unlock(1, "a", held.token), Code::lock_not_held);
    EXPECT_EQ(renew(1, "a", held.token), Code::lock_not_held);
    EXPECT_EQ(view().holders[0].token, again.token);
}

TEST_F(LockTest, L5_AThousandWaitersHearOncePerHandOver) {
    constexpr int waiters = 1000;
    Position token = lock(1, "first").token;
    std::string holder = "first";
    SessionId session = 1;
    for (int i = 0; i < waiters; ++i) {
        const SessionId id = 100 + static_cast<SessionId>(i);
        rig.engine().open_session(id);
        ask(id, "w" + std::to_string(i), true);
    }
    rig.settle();
    rig.effects().clear();
    std::size_t said = 0;
    for (int i = 0; i < waiters; ++i) {
        rig.engine().unlock(session, 8, "job", holder, token, rig.now());
        rig.sync();
        said += rig.effects().size();
        const auto grants = told();
        ASSERT_THAT(grants, SizeIs(1));
        session = grants[0].session;
        EXPECT_EQ(session, 100U + static_cast<SessionId>(i)) << "in order";
        token = grants[0].token;
        holder = "w" + std::to_string(i);
        rig.effects().clear();
    }
    EXPECT_EQ(said, 2U * waiters) << "an answer to who lets go, and one word to the next";
}

TEST_F(LockTest, L6_TheDelayIsHonouredAfterALossAndNotAfterARelease) {
    delay_ms = 2'000;
    Got held = lock(1, "a");
    EXPECT_EQ(unlock(1, "a", held.token), Code::ok);
    held = lock(1, "a");
    EXPECT_NE(held.token, 0U) << "let go in good order: free at once";
    lock(2, "b");
    rig.engine().close_session(1, rig.now());
    pass_ms(5'000);
    EXPECT_EQ(view().holding, 0U);
    EXPECT_EQ(view().delayed, 1U);
    EXPECT_EQ(lock(3, "c", false).code, Code::lock_held);
    pass_ms(1'750);
    EXPECT_THAT(told(), IsEmpty());
    pass_ms(500);
    const auto grants = told();
    ASSERT_THAT(grants, SizeIs(1));
    EXPECT_EQ(grants[0].session, 2U);
}

TEST_F(LockTest, L6_ARestartDoesNotShortenTheDelay) {
    delay_ms = 3'000;
    lock(1, "a");
    rig.engine().close_session(1, rig.now());
    pass_ms(5'250);
    ASSERT_EQ(view().delayed, 1U);
    rig.crash();
    open(11, 11);
    EXPECT_EQ(lock(11, "b", false).code, Code::lock_held);
    pass_ms(2'750);
    EXPECT_EQ(lock(11, "b", false).code, Code::lock_held);
    pass_ms(500);
    EXPECT_NE(lock(11, "b", false).token, 0U);
}

TEST_F(LockTest, AForcedReleaseTellsTheHolder) {
    const Got held = lock(1, "a");
    rig.engine().force_unlock(2, 8, "job", held.token + 1, rig.now());
    EXPECT_EQ(rig.failure(2, 8), Code::lock_not_held);
    rig.engine().force_unlock(2, 8, "job", 0, rig.now());
    rig.settle();
    EXPECT_TRUE(rig.take_answer<CountAnswer>(2, 8).has_value());
    const auto lost = told();
    ASSERT_THAT(lost, SizeIs(1));
    EXPECT_FALSE(lost[0].granted);
    EXPECT_EQ(lost[0].session, 1U);
    EXPECT_EQ(lost[0].token, held.token);
    EXPECT_FALSE(rig.engine().lock("job", rig.now()).has_value()) << "nothing is left of it";
}

TEST_F(LockTest, WhoLeavesTheLineIsNotGrantedAnything) {
    const Got held = lock(1, "a");
    lock(2, "b");
    EXPECT_EQ(unlock(2, "b", 0), Code::ok);
    EXPECT_EQ(unlock(1, "a", held.token), Code::ok);
    EXPECT_THAT(told(), IsEmpty());
    EXPECT_EQ(rig.engine().totals().locks, 0U);
}

TEST_F(LockTest, IsNotGivenToNewHoldersWhileTheDiskIsFullButLetGo) {
    const Got held = lock(1, "a");
    rig.engine().set_disk_full(true);
    EXPECT_EQ(lock(2, "b", true, "other").code, Code::disk_full);
    EXPECT_EQ(unlock(1, "a", held.token), Code::ok);
    rig.engine().set_disk_full(false);
    EXPECT_NE(lock(2, "b", true, "other").token, 0U);
}

TEST_F(LockTest, AsksForNothingThatItCannotKeep) {
    EXPECT_EQ(lock(1, "", true).code, Code::bad_option);
    EXPECT_EQ(lock(1, std::string(256, 'h')).code, Code::bad_option);
    EXPECT_EQ(lock(1, "a", true, "a b").code, Code::bad_option);
    EXPECT_EQ(lock(1, "a", true, "job", 0).code, Code::bad_option);
    EXPECT_EQ(lock(1, "a", true, "job", limits::lock_permits_max + 1).code, Code::bad_option);
    EXPECT_EQ(rig.engine().totals().locks, 0U);
}

TEST_F(LockTest, NoMoreWaitForALockThanTheLimit) {
    lock(1, "a");
    for (std::uint32_t i = 0; i < limits::lock_waiters_max; ++i) ask(2, std::to_string(i), true);
    rig.settle();
    rig.effects().clear();
    EXPECT_EQ(lock(3, "one more").code, Code::limit_reached);
    EXPECT_EQ(view().waiting, limits::lock_waiters_max);
    EXPECT_THAT(view().waiters, SizeIs(limits::lock_parties_shown_max));
}

}  // namespace
}  // namespace ferry::engine::testing
