#include "story.hpp"

namespace ferry::history {
namespace {

TEST(Positions, OneMessageHasOnePerQueue) {
    Story story;
    story.ask(1).told(1, Type::info).ask(1).told(1, Type::ok, 7000).deliver(1).ack(1).drained();
    expect_only(story, {Violation::duplicate_append});
    expect_clean(Story().ask(1).told(1, Type::info).ask(1).told(1).deliver(1).ack(1).drained());
}

TEST(Positions, OnePlaceHasOneMessage) {
    Story story;
    story.ask(1).told(1, Type::ok, 4098).ask(2).told(2);
    story.deliver(2).ack(2);
    story.add(What::effect, Type::ok, 1, Story::one);
    expect_only(story.drained(), {Violation::position_conflict});
}

TEST(Positions, NoneBeforeACrashIsUsedAgainAfterIt) {
    const auto restarted = [](std::uint64_t second) {
        Story story;
        story.ask(1).told(1, Type::ok, 5000).crash(Story::broker);
        story.ask(2).told(2, Type::ok, second);
        for (const std::uint64_t id : {1U, 2U}) {
            story.deliver(id).ack(id);
            for (Event& event : story.history) {
                if (event.what == What::deliver && event.id == id) {
                    event.position = id == 1 ? 5000 : second;
                }
            }
        }
        story.drained();
        // The order in which one producer published is another row.
        for (Event& event : story.history) {
            if (event.what == What::publish && event.id == 2) event.process = 2;
        }
        return story;
    };
    expect_clean(restarted(6000));
    expect_only(restarted(4500), {Violation::position_conflict});
}

/// Two messages at positions 5000 and `second`, of producers and keys as told.
Story two_messages(std::uint64_t second, std::uint32_t producer_of_second, std::uint64_t key,
                   bool pipelined) {
    Story story;
    if (pipelined) {
        story.ask(1, 7).ask(2, key).told(1, Type::ok, 5000).told(2, Type::ok, second);
    } else {
        story.ask(1, 7).told(1, Type::ok, 5000).ask(2, key).told(2, Type::ok, second);
    }
    for (Event& event : story.history) {
        if (event.id == 2) event.process = producer_of_second;
    }
    for (const std::uint64_t id : {1U, 2U}) {
        story.deliver(id);
        story.history.back().position = id == 1 ? 5000 : second;
        story.ack(id);
    }
    story.drained();
    return story;
}

TEST(Order, OfOneProducerAndKeyIsKept) {
    expect_clean(two_messages(6000, Story::producer, 7, true));
    expect_only(two_messages(4500, Story::producer, 7, true), {Violation::producer_reordering});
    // Another key or another producer promises nothing.
    expect_clean(two_messages(4500, Story::producer, 8, true));
    expect_clean(two_messages(4500, 2, 7, true));
}

TEST(Order, OfAnUnconfirmedMessageIsNotJudged) {
    Story story;
    story.ask(1, 7).told(1, Type::info).ask(2, 7).told(2).ask(1, 7).told(1, Type::ok, 9000);
    story.deliver(2).ack(2).deliver(1);
    story.history.back().position = 9000;
    expect_clean(story.ack(1).drained());
}

TEST(Order, OfCommitsOfOneKeyIsKept) {
    const auto committed = [](std::uint64_t key) {
        Story story;
        for (const std::uint64_t id : {1U, 2U}) story.commit(id);
        for (Event& event : story.history) event.key = key;
        for (const std::uint64_t id : {2U, 1U}) {
            story.deliver(id);
            story.history.back().position = id == 1 ? 6000 : 5000;
            story.ack(id).effect(id);
        }
        story.drained();
        return story;
    };
    expect_only(committed(7), {Violation::producer_reordering});
    expect_clean(committed(0));
}

TEST(Order, IsThatOfTheProducerWhosePublishWasConfirmedAlsoIfAnotherAskedMeanwhile) {
    Story story;
    const auto by = [&](std::uint32_t who) { story.history.back().process = who; };
    story.ask(21);
    by(7);
    // The other one tries the same, in vain, and then what comes to lie before it.
    story.ask(21);
    by(8);
    story.ask(20);
    by(8);
    story.told(21, Type::fail);
    by(8);
    story.told(20);
    by(8);
    story.told(21);
    by(7);
    expect_clean(story.deliver(20).ack(20).deliver(21).ack(21).drained());
}

TEST(Order, IsThatOfTheProducerWhosePublishWasConfirmed) {
    Story story;
    // The one that is asked first comes to lie behind the other.
    for (const std::uint32_t who : {21U, 20U}) story.ask(who).history.back().process = who;
    for (const std::uint32_t who : {20U, 21U}) story.told(who).history.back().process = who;
    // A third producer that does not know of it tries both again.
    for (const std::uint64_t id : {20U, 21U}) story.ask(id);
    for (const std::uint64_t id : {20U, 21U}) story.told(id, Type::fail);
    expect_clean(story.deliver(20).ack(20).deliver(21).ack(21).drained());
}

TEST(Order, OfAConfirmAndALaterPublishIsRealTime) {
    expect_clean(two_messages(6000, 2, 7, false));
    expect_only(two_messages(4500, 2, 8, false), {Violation::realtime_reordering});
}

// What is settled for good lets the next one pass before that is durable. A crash that undoes it
// makes no violation of that; a refusal does, since it settled nothing.
TEST(Order, AnOrderedQueueGoesOnBehindWhatACrashUndoes) {
    const auto undone = [](What what, bool crashes) {
        Story story;
        story.rules.ordered_queues = {1};
        story.publish(1, 7).publish(2, 7).deliver(1);
        story.settle(what, Type::invoke, 1).history.back().group = 5;
        story.deliver(2);
        if (crashes) story.crash(Story::broker);
        story.settle(what, Type::fail, 1).history.back().group = 5;
        if (!crashes) story.lapse(1).lapse(2);
        return story.deliver(1, 9000, 2).ack(1, 9000).deliver(2, 9001, 2).ack(2, 9001).drained();
    };
    for (const What what : {What::ack, What::reject}) {
        expect_clean(undone(what, true));
        expect_only(undone(what, false), {Violation::delivery_reordering});
    }
}

TEST(Order, AnOrderedQueueWaitsForWhatLiesBefore) {
    Story story;
    story.rules.ordered_queues = {1};
    story.publish(1, 7).publish(2, 7).publish(3, 8);
    Story good = story;
    good.deliver(1).deliver(3).ack(1).deliver(2).ack(2).ack(3);
    expect_clean(good.drained());
    Story retried = story;
    retried.deliver(1).nack(1).deliver(1, 9000, 2).ack(1, 9000).deliver(2).ack(2).deliver(3).ack(3);
    expect_clean(retried.drained());
    Story bad = story;
    bad.deliver(1).deliver(3).deliver(2).ack(1).ack(2).ack(3);
    expect_only(bad.drained(), {Violation::delivery_reordering});
    bad.rules.ordered_queues = {};
    expect_clean(bad);
    Story swapped = story;
    swapped.deliver(2).ack(2).deliver(1).ack(1).deliver(3).ack(3);
    expect_only(swapped.drained(), {Violation::delivery_reordering});
}

TEST(Order, ADeadLetterLetsTheNextOfItsKeyGo) {
    Story story;
    story.rules.ordered_queues = {1};
    story.publish(1, 7).publish(2, 7).deliver(1).nack(1);
    story.add(What::dead_letter, Type::ok, 1, Story::broker);
    expect_clean(story.deliver(2).ack(2).drained());
}

}  // namespace
}  // namespace ferry::history
