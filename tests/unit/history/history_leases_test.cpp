#include "story.hpp"

namespace ferry::history {
namespace {

TEST(Leases, ARedeliveryAfterANackALapseOrACrashIsLegal) {
    expect_clean(Story().publish(1).deliver(1).nack(1).deliver(1, 9000, 2).ack(1, 9000).drained());
    expect_clean(Story()
                     .publish(1)
                     .deliver(1)
                     .crash(Story::one)
                     .deliver(1, 9000, 2, Story::two)
                     .ack(1, 9000, Story::two)
                     .drained());
    expect_clean(Story()
                     .publish(1)
                     .deliver(1)
                     .crash(Story::broker)
                     .deliver(1, 9000, 2, Story::two)
                     .ack(1, 9000, Story::two)
                     .drained());
}

TEST(Leases, ADeliveryAfterAConfirmedAckIsAViolation) {
    expect_only(Story().publish(1).deliver(1).ack(1).deliver(1, 9000, 2).ack(1, 9000).drained(),
                {Violation::acked_redelivery});
    // Also when others came between.
    expect_only(Story()
                    .publish(1)
                    .deliver(1)
                    .ack(1)
                    .deliver(1, 9000, 2)
                    .nack(1, 9000)
                    .deliver(1, 9500, 3)
                    .ack(1, 9500)
                    .drained(),
                {Violation::acked_redelivery});
}

TEST(Leases, AnAckWithoutAnAnswerMayBeFollowedByARedelivery) {
    Story story;
    story.publish(1).deliver(1).settle(What::ack, Type::invoke, 1);
    story.settle(What::ack, Type::info, 1).crash(Story::broker);
    expect_clean(story.deliver(1, 9000, 2).ack(1, 9000).drained());
}

TEST(Leases, TwoAtATimeAreAViolation) {
    Story story;
    story.publish(1).deliver(1).wait_ms(50).deliver(1, 9000, 2, Story::two);
    story.wait_ms(50).ack(1, 9000, Story::two).drained();
    expect_only(story, {Violation::double_lease});
    // Unless the first was over by its own time.
    story.rules.lease_ns = 20'000'000;
    expect_clean(story);
}

TEST(Leases, WhatEndsOneIsKnownWithTolerance) {
    Story story;
    story.publish(1).deliver(1).deliver(1, 9000, 2, Story::two).lapse(1);
    story.ack(1, 9000, Story::two).drained();
    expect_only(story, {Violation::double_lease});
    story.rules.tolerance_ns = 5'000'000;
    expect_clean(story);
}

TEST(Leases, AnAckOfALeaseThatIsOverMustBeRefused) {
    Story story;
    story.publish(1).deliver(1).lapse(1).deliver(1, 9000, 2, Story::two);
    Story refused = story;
    refused.settle(What::ack, Type::invoke, 1).settle(What::ack, Type::fail, 1);
    expect_clean(refused.ack(1, 9000, Story::two).drained());
    expect_only(story.ack(1).ack(1, 9000, Story::two).drained(), {Violation::stale_ack});
}

TEST(Leases, EachOfOneMessageHasATokenOfItsOwn) {
    expect_only(Story().publish(1).deliver(1).nack(1).deliver(1, 4097, 2).ack(1).drained(),
                {Violation::token_conflict});
}

TEST(Leases, OneConsumerHasNoMoreThanItsWindow) {
    Story story;
    story.rules.windows[Story::one] = 2;
    for (std::uint64_t id = 1; id <= 4; ++id) story.publish(id);
    Story within = story;
    within.deliver(1).deliver(2).ack(1).deliver(3).ack(2).ack(3).deliver(4).ack(4);
    expect_clean(within.drained());
    story.deliver(1).deliver(2).deliver(3).ack(1).ack(2).ack(3).deliver(4).ack(4);
    expect_only(story.drained(), {Violation::over_delivery});
}

TEST(Leases, ACrashOfTheConsumerMakesRoomInItsWindow) {
    Story story;
    story.rules.windows[Story::one] = 1;
    story.publish(1).publish(2).deliver(1).crash(Story::one).deliver(2).ack(2);
    expect_clean(story.deliver(1, 9000, 2).ack(1, 9000).drained());
}

TEST(Leases, ALaterLeaseOfAMessageMakesRoomInTheWindowOfTheEarlierOne) {
    // Its holder stood still: nobody saw the first lease end, and its time is known only roughly.
    Story story;
    story.rules.windows[Story::one] = 1;
    story.rules.lease_ns = 2'000'000'000;
    story.rules.tolerance_ns = 1'900'000'000;
    story.publish(1).publish(2).deliver(1);
    Story again = story;
    expect_clean(again.deliver(1, 9000, 2).ack(1, 9000).deliver(2).ack(2).drained());
    Story elsewhere = story;
    elsewhere.deliver(1, 9000, 2, Story::two).deliver(2).ack(1, 9000, Story::two).ack(2);
    expect_clean(elsewhere.drained());
    // Another message's lease ends nothing, and neither does one that comes too late.
    Story other = story;
    expect_only(other.deliver(2).ack(1).ack(2).drained(), {Violation::over_delivery});
    story.deliver(2).deliver(1, 9000, 2, Story::two).ack(1, 9000, Story::two).ack(2);
    expect_only(story.drained(), {Violation::over_delivery});
}

TEST(Attempts, GrowWithEachDelivery) {
    const auto twice = [](std::uint32_t attempt, bool flag) {
        Story story;
        story.publish(1).deliver(1).nack(1).deliver(1, 9000, attempt);
        story.history.back().redelivered = flag;
        story.ack(1, 9000).drained();
        return story;
    };
    expect_clean(twice(2, true));
    expect_clean(twice(4, true));  // two that nobody saw
    expect_only(twice(1, true), {Violation::attempt_error});
    expect_only(twice(2, false), {Violation::attempt_error});
    Story unchecked = twice(1, false);
    unchecked.rules.attempts = Attempts::unchecked;
    expect_clean(unchecked);
}

TEST(Attempts, AreExactlyOneMoreWhereTheBrokerWasWatched) {
    const auto second = [](std::uint32_t attempt, bool crashed) {
        Story story;
        story.rules.attempts = Attempts::exact;
        story.publish(1).deliver(1).nack(1);
        if (crashed) story.crash(Story::broker);
        story.deliver(1, 9000, attempt).ack(1, 9000).drained();
        return story;
    };
    expect_clean(second(2, false));
    expect_clean(second(2, true));
    expect_clean(second(3, true));  // a crash may count one that was not
    expect_only(second(3, false), {Violation::attempt_error});
    expect_only(second(4, true), {Violation::attempt_error});
}

TEST(Attempts, AFirstDeliveryIsFlaggedOnlyAfterACrash) {
    Story story;
    story.rules.attempts = Attempts::exact;
    story.publish(1);
    Story crashed = story;
    expect_clean(crashed.crash(Story::broker).deliver(1, 0, 2).ack(1).drained());
    expect_only(story.deliver(1, 0, 2).ack(1).drained(), {Violation::attempt_error});
}

}  // namespace
}  // namespace ferry::history
