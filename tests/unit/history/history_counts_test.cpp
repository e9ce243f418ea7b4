#include "story.hpp"

namespace ferry::history {
namespace {

Story counted(std::uint64_t ready, std::uint64_t leased) {
    Story story;
    story.life(1).publish(2).publish(3).deliver(2).ask(4).told(4, Type::fail);
    Event& event = story.add(What::depth, Type::ok, 0, Story::broker);
    event.position = ready;
    event.lease = leased;
    story.ack(2).deliver(3).ack(3).drained();
    return story;
}

TEST(Conservation, WhatTheBrokerCountsIsWhatThereIs) {
    expect_clean(counted(1, 1));
    expect_only(counted(2, 1), {Violation::conservation});
    expect_only(counted(1, 0), {Violation::conservation});
}

TEST(Conservation, WhatHasNoAnswerMayCountOrNot) {
    for (std::uint64_t ready = 0; ready < 3; ++ready) {
        Story story;
        story.publish(1).ask(2).deliver(1).settle(What::ack, Type::invoke, 1);
        story.add(What::depth, Type::ok, 0, Story::broker).position = ready;
        expect_clean(story.drained());
    }
    Story three;
    three.publish(1).ask(2).deliver(1).settle(What::ack, Type::invoke, 1);
    three.add(What::depth, Type::ok, 0, Story::broker).position = 3;
    expect_only(three.drained(), {Violation::conservation});
}

Story polled(bool taken_in_between) {
    Story story;
    story.rules.broker_order = true;
    story.publish(1);
    story.add(What::poll, Type::invoke, 0, Story::two);
    if (taken_in_between) story.deliver(1);
    story.add(What::poll, Type::ok, 0, Story::two);
    if (!taken_in_between) story.deliver(1);
    story.ack(1).drained();
    return story;
}

TEST(Emptiness, AQueueWithAReadyMessageIsNotEmpty) {
    expect_only(polled(false), {Violation::false_empty});
    expect_clean(polled(true));
    Story as_heard = polled(false);
    as_heard.rules.broker_order = false;
    expect_clean(as_heard);
}

TEST(Emptiness, WhatWasConfirmedDuringThePollOrIsLeasedDoesNotCount) {
    Story story;
    story.rules.broker_order = true;
    story.add(What::poll, Type::invoke, 0, Story::two);
    story.publish(1);
    story.add(What::poll, Type::ok, 0, Story::two);
    story.deliver(1);
    story.add(What::poll, Type::invoke, 0, Story::two);
    story.add(What::poll, Type::ok, 0, Story::two);
    expect_clean(story.ack(1).drained());
}

TEST(Emptiness, WhatWasGivenBackRestsForItsDelay) {
    const auto polled_after = [](std::uint64_t ms) {
        Story story;
        story.rules.broker_order = true;
        story.rules.retry_delay_ns = 100'000'000;
        story.publish(1).deliver(1).nack(1).wait_ms(ms).crash(77);
        story.add(What::poll, Type::invoke, 0, Story::two);
        story.add(What::poll, Type::ok, 0, Story::two);
        story.deliver(1, 9000, 2).ack(1, 9000).drained();
        return story;
    };
    expect_clean(polled_after(10));
    expect_only(polled_after(200), {Violation::false_empty});
}

TEST(Liveness, ReadyMessagesAreGivenOutOnceFaultsAreOver) {
    const auto silent_for = [](std::uint64_t ms) {
        Story story;
        story.rules.healed_ns = 10'000'000;
        story.rules.stuck_ns = 1'000'000'000;
        story.publish(1).wait_ms(20).publish(2).deliver(2).ack(2).wait_ms(ms);
        story.deliver(1).ack(1).drained();
        return story;
    };
    expect_clean(silent_for(500));
    Story stuck = silent_for(5000);
    stuck.rules.positions_checked = false;
    expect_only(stuck, {Violation::stuck});
    stuck.rules.healed_ns = 5'000'000'000;
    expect_clean(stuck);
}

TEST(Liveness, ABusyQueueWithManyReadyMessagesIsNotStuck) {
    Story story;
    story.rules.stuck_ns = 100'000'000;
    for (std::uint64_t id = 1; id <= 20; ++id) story.publish(id);
    for (std::uint64_t id = 1; id <= 20; ++id) story.wait_ms(30).deliver(id).ack(id);
    expect_clean(story.drained());
}

}  // namespace
}  // namespace ferry::history
