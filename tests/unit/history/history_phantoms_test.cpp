#include "story.hpp"

namespace ferry::history {
namespace {

TEST(Phantoms, WhatNobodyPublishedMayNotCome) {
    expect_only(Story().deliver(1).ack(1).drained(), {Violation::phantom_unknown});
    expect_only(Story().effect(1).drained(), {Violation::phantom_unknown});
    expect_only(Story().deliver(1).publish(1).ack(1).drained(), {Violation::phantom_unknown});
}

TEST(Phantoms, OtherBytesThanPublishedMayNotCome) {
    Story story;
    story.life(1).drained();
    for (Event& event : story.history) {
        if (event.what == What::deliver) event.payload = 99;
    }
    expect_only(story, {Violation::phantom_changed});
}

TEST(Phantoms, AnotherQueueThanThePublishedOneMayNotHaveIt) {
    Story story;
    story.life(1);
    story.queue = 2;
    story.deliver(1).ack(1).drained();
    expect_only(story, {Violation::phantom_queue});
}

TEST(Phantoms, WhatWasRefusedForGoodMayNotCome) {
    Story story;
    story.ask(1).told(1, Type::fail);
    Story again = story;
    expect_clean(again.publish(1).deliver(1).ack(1).drained());
    Story unclear = story;
    expect_clean(unclear.ask(1).told(1, Type::info).deliver(1).ack(1).drained());
    expect_only(story.deliver(1).ack(1).drained(), {Violation::phantom_failed});
}

TEST(Phantoms, WhatWasRolledBackMayNotCome) {
    expect_only(Story().commit(1, Type::fail).effect(1).drained(),
                {Violation::phantom_rolled_back});
    expect_only(Story().commit(1, Type::fail).publish(1).deliver(1).ack(1).drained(),
                {Violation::phantom_rolled_back});
    expect_clean(Story().commit(1, Type::fail).drained());
}

TEST(Phantoms, NothingIsToldOfBeforeItIsSynced) {
    const auto synced = [](std::uint64_t mark, bool in_time) {
        Story story;
        story.ask(1);
        const auto sync = [&] {
            story.add(What::durable, Type::ok, 0, Story::broker).position = mark;
        };
        if (in_time) sync();
        story.told(1).deliver(1).ack(1);
        if (!in_time) sync();
        story.drained();
        return story;
    };
    expect_clean(synced(5000, true));
    expect_only(synced(4097, true), {Violation::phantom_undurable});  // its own place is not below
    expect_only(synced(5000, false), {Violation::phantom_undurable});
}

}  // namespace
}  // namespace ferry::history
