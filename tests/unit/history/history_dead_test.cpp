#include "story.hpp"

namespace ferry::history {
namespace {

constexpr std::uint32_t grave = 7;

/// Queue 1 sends its dead letters to `grave`.
Story with_grave() {
    Story story;
    story.rules.dead_letter_queues = {grave};
    story.rules.dead_letter_from = {1};
    return story;
}

/// Message 1 is taken out of the grave, where it lies at `position`.
Story& exhume(Story& story, std::uint64_t position) {
    story.queue = grave;
    story.deliver(1, position);
    story.history.back().position = position;
    story.ack(1, position);
    story.queue = 1;
    return story;
}

Story& reject(Story& story, std::uint64_t lease = 0) {
    story.settle(What::reject, Type::invoke, 1, lease);
    return story.settle(What::reject, Type::ok, 1, lease);
}

TEST(DeadLetters, ARejectedMessageTurnsUpInTheirQueue) {
    Story story = with_grave();
    reject(story.publish(1).deliver(1));
    Story lost = story;
    expect_only(lost.drained(), {Violation::lost_delivery});
    expect_clean(exhume(story, 9000).drained());
}

TEST(DeadLetters, AreNotAckedAsWell) {
    Story story = with_grave();
    expect_only(exhume(story.publish(1).deliver(1).ack(1), 9000).drained(),
                {Violation::two_fates, Violation::dead_letter_unasked});
}

TEST(DeadLetters, AreNotHandedOutInTheirOldQueueAnyMore) {
    Story story = with_grave();
    reject(story.publish(1).deliver(1));
    Story before = story;
    // Its token is older than the dead letter: it was on its way.
    before.deliver(1, 8000, 2);
    expect_clean(exhume(reject(before, 8000), 9000).drained());
    story.deliver(1, 9500, 2);
    expect_only(exhume(reject(story, 9500), 9000).drained(), {Violation::two_fates});
}

TEST(DeadLetters, HaveAReason) {
    Story story = with_grave();
    story.publish(1).deliver(1).nack(1);
    Story limited = story;
    expect_only(exhume(story, 9000).drained(), {Violation::dead_letter_unasked});
    limited.rules.deliveries_max[1] = 1;
    expect_clean(exhume(limited, 9000).drained());
}

TEST(DeadLetters, AreMadeWhenDeliveriesAreUsedUpAndNotLater) {
    Story story = with_grave();
    story.rules.deliveries_max[1] = 2;
    story.publish(1).deliver(1).nack(1).deliver(1, 8000, 2).nack(1, 8000);
    Story good = story;
    expect_clean(exhume(good, 9000).drained());
    story.deliver(1, 8500, 3).nack(1, 8500);
    expect_only(exhume(story, 9000).drained(), {Violation::over_attempts});
}

TEST(DeadLetters, OfALifeThatEndedAreNotMadeBeforeItsEnd) {
    const auto life = [](std::uint64_t expires_ns) {
        Story story = with_grave();
        story.ask(1).history.back().expires_ns = expires_ns;
        exhume(story.told(1), 9000).drained();
        return story;
    };
    expect_clean(life(3'000'000));
    Story early = life(50'000'000);
    expect_only(early, {Violation::early_expiry});
    early.rules.tolerance_ns = 50'000'000;
    expect_clean(early);
}

TEST(DeadLetters, AreWhereALifeEndsInAQueueThatKeepsThem) {
    Story story = with_grave();
    story.ask(1).history.back().expires_ns = 3'000'000;
    story.told(1).drained();
    expect_only(story, {Violation::lost_prefix});
    story.rules.dead_letter_from.clear();
    expect_clean(story);
}

TEST(Lives, ThatEndBetweenTwoTimesAreJudgedByTheFartherOne) {
    const auto life = [](std::uint64_t delivered_ms) {
        Story story;
        story.ask(1).history.back().expires_ns = 10'000'000;
        story.told(1).history.back().expires_ns = 20'000'000;
        story.now_ms = delivered_ms - 1;
        story.deliver(1).ack(1).drained();
        return story;
    };
    expect_clean(life(15));
    Story late = life(25);
    expect_only(late, {Violation::late_expiry});
    // Where clocks are set a restart may find any time.
    late.rules.wall_jumps = true;
    expect_only(late, {Violation::late_expiry});
    Story restarted;
    restarted.rules.wall_jumps = true;
    restarted.ask(1).history.back().expires_ns = 10'000'000;
    restarted.told(1).crash(Story::broker).wait_ms(50);
    Story gone = restarted;
    expect_clean(restarted.deliver(1).ack(1).drained());
    // Nor is it known that it must still be there.
    Event& depth = gone.add(What::depth, Type::ok, 0, Story::broker);
    depth.queue = 1;
    expect_clean(gone.drained());
}

}  // namespace
}  // namespace ferry::history
