#include "story.hpp"

namespace ferry::history {
namespace {

TEST(Losses, ACalmRunIsClean) {
    Story story;
    for (std::uint64_t id = 1; id <= 20; ++id) story.life(id);
    expect_clean(story.drained());
}

TEST(Losses, AConfirmedMessageThatNobodySawIsLostByItsPlaceAmongTheOthers) {
    struct Row {
        std::uint64_t lost;
        Violation what;
    };
    for (const auto& [lost, what] : {Row{1, Violation::lost_prefix}, Row{3, Violation::lost_middle},
                                     Row{5, Violation::lost_suffix}}) {
        Story story;
        for (std::uint64_t id = 1; id <= 5; ++id) {
            story.publish(id);
            if (id != lost) story.deliver(id).ack(id);
        }
        story.drained();
        expect_only(story, {what});
        const Report report = check(story.history, story.rules);
        EXPECT_EQ(report.findings.at(0).ids, (std::vector<std::uint64_t>{lost}));
        EXPECT_EQ(report.findings.at(0).events.size(), 2U) << "its publish and its confirm";
    }
}

TEST(Losses, WhatWasNeverConfirmedMayBeAbsentOrThere) {
    expect_clean(Story().life(1).ask(2).told(2, Type::info).ask(3).drained());
    expect_clean(Story().ask(1).told(1, Type::info).deliver(1).ack(1).drained());
}

TEST(Losses, ExpiryDeadLettersAndPurgesAreEnds) {
    Story dead;
    dead.publish(1).add(What::dead_letter, Type::ok, 1, Story::broker);
    expect_clean(dead.drained());
    Story expired;
    expired.publish(1).add(What::expire, Type::ok, 1, Story::broker);
    expect_clean(expired.drained());
    Story purged;
    purged.publish(1).add(What::purge, Type::invoke, 0, 3);
    purged.add(What::purge, Type::ok, 0, 3);
    expect_clean(purged.drained());
    Story purged_before;
    purged_before.add(What::purge, Type::invoke, 0, 3);
    purged_before.add(What::purge, Type::ok, 0, 3);
    expect_only(purged_before.publish(1).drained(), {Violation::lost_prefix});
}

TEST(Losses, ADeadLetterIsAnEndOnlyWhereItTurnsUp) {
    Story story;
    story.rules.dead_letter_queues = {2};
    story.publish(1).deliver(1).nack(1);
    story.queue = 2;
    story.deliver(1, 9000).ack(1, 9000);
    expect_clean(story.drained());
    story.rules.dead_letter_queues = {};
    // Then it is lost here and a stranger there.
    expect_only(story, {Violation::lost_delivery, Violation::phantom_queue});
}

TEST(Losses, WhatLivesOnIsJudgedByTheTimeOfTheDrain) {
    for (const bool over : {true, false}) {
        Story story;
        story.publish(1);
        story.history.front().expires_ns = over ? 3'000'000 : 900'000'000;
        if (over) {
            expect_clean(story.wait_ms(10).drained());
        } else {
            expect_only(story.wait_ms(10).drained(), {Violation::lost_prefix});
        }
    }
}

TEST(Losses, ADeliveryWhoseLeaseEndedMustComeAgain) {
    expect_clean(Story().publish(1).deliver(1).lapse(1).deliver(1, 9000, 2).ack(1, 9000).drained());
    expect_only(Story().publish(1).deliver(1).lapse(1).drained(), {Violation::lost_delivery});
}

TEST(Losses, AnAckWithoutAnAnswerIsNotHeldAgainstAnybody) {
    expect_clean(Story().publish(1).deliver(1).settle(What::ack, Type::invoke, 1).drained());
    Story refused;
    refused.publish(1).deliver(1).lapse(1).settle(What::ack, Type::invoke, 1);
    refused.settle(What::ack, Type::fail, 1);
    expect_only(refused.drained(), {Violation::lost_delivery});
}

TEST(Losses, AQueueWithoutAcksEndsWithTheDelivery) {
    Story story;
    story.publish(1).deliver(1).drained();
    expect_only(story, {Violation::lost_delivery});
    story.rules.no_ack_queues = {1};
    expect_clean(story);
}

TEST(Losses, WhatAnExchangeSentSomewhereMayArriveAnywhere) {
    Story story;
    story.queue = 0;
    story.publish(1);
    story.queue = 4;
    story.deliver(1).ack(1);
    expect_clean(story.drained());
}

TEST(Losses, AHistoryThatIsNotDrainedIsNotJudgedForLossesButSaysSo) {
    Story story;
    story.publish(1);
    expect_only(story, {Violation::not_drained});
    story.rules.drain_expected = false;
    expect_clean(story);
}

TEST(Losses, ThePlotOfALossHasARowPerProducerAndSecond) {
    Story story;
    story.life(1).publish(2).wait_ms(1000).life(3).drained();
    EXPECT_EQ(losses_csv(story.history, story.rules),
              "producer,second,confirmed,lost\n1,0,2,1\n1,1,1,0\n");
}

TEST(Effects, EachCommittedMessageHasOne) {
    expect_clean(Story().commit(1).effect(1).drained());
    expect_only(Story().commit(1).drained(), {Violation::lost_effect});
    expect_only(Story().commit(1).effect(1).effect(1).drained(), {Violation::duplicate_effect});
}

TEST(Effects, ACommitThatNobodyKnowsTheEndOfMayGoEitherWay) {
    Story story;
    story.add(What::commit, Type::invoke, 1, Story::producer);
    expect_clean(story.crash(Story::producer).drained());
    Story other;
    other.add(What::commit, Type::invoke, 1, Story::producer);
    expect_clean(other.crash(Story::producer).effect(1).drained());
}

TEST(Effects, WhoPromisesOnlyAtLeastOnceMayHaveMore) {
    Story story;
    story.commit(1).effect(1).effect(1).drained();
    story.rules.effects_once = false;
    expect_clean(story);
    Story none;
    none.rules.effects_expected = false;
    expect_clean(none.commit(1).drained());
}

TEST(Effects, OneEffectInEachOfTwoQueuesIsNoDouble) {
    Story story;
    story.queue = 0;
    story.commit(1);
    for (const std::uint32_t queue : {1U, 2U}) {
        story.queue = queue;
        story.effect(1);
    }
    expect_clean(story.drained());
}

TEST(Expiry, IsNeitherEarlyNorLate) {
    const auto with_end = [](std::uint64_t end_ms) {
        Story story;
        story.publish(1);
        story.history.front().expires_ns = end_ms * 1'000'000;
        return story;
    };
    Story in_time = with_end(100);
    expect_clean(in_time.deliver(1).ack(1).drained());
    Story late = with_end(100);
    late.wait_ms(200).deliver(1).ack(1).drained();
    expect_only(late, {Violation::late_expiry});
    late.rules.tolerance_ns = 500'000'000;
    expect_clean(late);
    Story dropped = with_end(100);
    dropped.wait_ms(200).add(What::expire, Type::ok, 1, Story::broker);
    expect_clean(dropped.drained());
    Story early = with_end(100);
    early.add(What::expire, Type::ok, 1, Story::broker);
    expect_only(early.drained(), {Violation::early_expiry});
}

}  // namespace
}  // namespace ferry::history
