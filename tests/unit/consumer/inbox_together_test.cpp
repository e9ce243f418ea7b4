#include <gtest/gtest.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "inbox_rig.hpp"

// Batches whose effects may be repeated have no savepoints; what one failure does must not differ.

namespace ferry::consumer {
namespace {

using test::InboxRig;
using test::make_incoming;
using test::outbox_id;
using Kind = Handled::Kind;

InboxOptions repeatable() {
    InboxOptions options = InboxRig::named("c");
    options.repeatable = true;
    return options;
}

std::vector<Incoming> five() {
    std::vector<Incoming> messages;
    messages.push_back(make_incoming({"1", outbox_id(1), "a"}));
    messages.push_back(make_incoming({"2", outbox_id(2), "a"}));
    messages.push_back(make_incoming({"3", outbox_id(3), "a"}));
    messages.push_back(make_incoming({"4", outbox_id(4), "b"}));
    messages.push_back(make_incoming({"5", outbox_id(1), "b"}));
    return messages;
}

TEST(InboxTogether, ABatchWithoutFailuresRunsOnce) {
    InboxRig rig;
    auto inbox = rig.inbox(repeatable());
    const auto messages = five();
    std::vector<Handled> handled(messages.size());
    int calls = 0;
    inbox->apply_batch(messages, handled, [&](Effects& effects) {
        ++calls;
        return InboxRig::effect(effects);
    });
    for (const Handled& one : handled) EXPECT_EQ(one.kind, Kind::done);
    EXPECT_TRUE(handled[4].duplicate);
    EXPECT_EQ(calls, 4);
    EXPECT_EQ(rig.effects(), 4);
    EXPECT_EQ(rig.ranges(), 1);
    EXPECT_EQ(inbox->figures().transactions, 1U);
}

TEST(InboxTogether, OneThatFailsBehindItsWriteIsUndoneAloneAndStopsItsKey) {
    InboxRig rig;
    auto inbox = rig.inbox(repeatable());
    const auto messages = five();
    std::vector<Handled> handled(messages.size());
    std::string calls;
    inbox->apply_batch(messages, handled, [&](Effects& effects) {
        calls += effects.message().payload();
        InboxRig::effect(effects);
        return effects.message().payload() == "2" ? Handled::retry("no") : Handled::done();
    });
    EXPECT_EQ(handled[0].kind, Kind::done);
    EXPECT_EQ(handled[1].kind, Kind::retry);
    EXPECT_EQ(handled[2].kind, Kind::later);
    EXPECT_EQ(handled[3].kind, Kind::done);
    EXPECT_TRUE(handled[4].duplicate);
    EXPECT_EQ(rig.effects(), 2);
    EXPECT_EQ(calls, "12124") << "all of them again, for each its own savepoint";
    EXPECT_EQ(inbox->figures().applied, 2U);
    // What was undone is not marked, what was done is.
    inbox->apply_batch(messages, handled, InboxRig::effect);
    EXPECT_TRUE(handled[0].duplicate && handled[3].duplicate);
    EXPECT_FALSE(handled[1].duplicate || handled[2].duplicate);
    EXPECT_EQ(rig.effects(), 4);
}

TEST(InboxTogether, OneThatFailsBeforeItsWriteCostsTheOthersNothing) {
    InboxRig rig;
    auto inbox = rig.inbox(repeatable());
    const auto messages = five();
    std::vector<Handled> handled(messages.size());
    std::string calls;
    inbox->apply_batch(messages, handled, [&](Effects& effects) {
        calls += effects.message().payload();
        if (effects.message().payload() == "2") return Handled::poison("bad");
        return InboxRig::effect(effects);
    });
    EXPECT_EQ(calls, "124");
    EXPECT_EQ(handled[1].kind, Kind::poison);
    EXPECT_EQ(handled[2].kind, Kind::later);
    EXPECT_EQ(handled[3].kind, Kind::done);
    EXPECT_EQ(rig.effects(), 2);
}

TEST(InboxTogether, WhatThrowsBehindItsWriteIsUndoneAlone) {
    InboxRig rig;
    auto inbox = rig.inbox(repeatable());
    const auto messages = five();
    std::vector<Handled> handled(messages.size());
    inbox->apply_batch(messages, handled, [](Effects& effects) -> Handled {
        InboxRig::effect(effects);
        if (effects.message().payload() == "4") throw std::runtime_error("no");
        return Handled::done();
    });
    EXPECT_EQ(handled[3].kind, Kind::retry);
    EXPECT_EQ(rig.effects(), 3);
}

InboxOptions perhaps_repeatable(bool is) {
    InboxOptions options = repeatable();
    options.repeatable = is;
    return options;
}

// As SQLite itself does after some failures of the disk: what comes behind it must not be
// committed, each statement for itself.
Effect ends_the_transaction_at(std::string payload) {
    return [payload = std::move(payload)](Effects& effects) {
        InboxRig::effect(effects);
        if (effects.message().payload() != payload) return Handled::done();
        effects.database().run("ROLLBACK").ignore("as after a failure");
        return Handled::later("the disk is full");
    };
}

TEST(InboxTogether, NothingIsKeptOfATransactionThatEndsHalfWay) {
    for (const bool together : {true, false}) {
        InboxRig rig;
        auto inbox = rig.inbox(perhaps_repeatable(together));
        const auto messages = five();
        std::vector<Handled> handled(messages.size());
        inbox->apply_batch(messages, handled, ends_the_transaction_at("2"));
        for (const Handled& one : handled) EXPECT_NE(one.kind, Kind::done);
        EXPECT_EQ(rig.effects(), 0);
        inbox->apply_batch(messages, handled, InboxRig::effect);
        EXPECT_FALSE(handled[0].duplicate);
        EXPECT_EQ(rig.effects(), 4);
    }
}

TEST(InboxTogether, NoMarkIsKeptWhenTheLastOneEndsTheTransaction) {
    for (const bool together : {true, false}) {
        InboxRig rig;
        auto inbox = rig.inbox(perhaps_repeatable(together));
        const auto messages = five();
        std::vector<Handled> handled(2);
        // A range that the next mark makes longer, in memory only until the commit.
        ASSERT_EQ(inbox->apply(messages[0], InboxRig::effect).kind, Kind::done);
        inbox->apply_batch(std::span(messages).subspan(1, 2), handled,
                           ends_the_transaction_at("3"));
        EXPECT_NE(handled[0].kind, Kind::done);
        EXPECT_EQ(rig.effects(), 1);
        const Handled again = inbox->apply(messages[1], InboxRig::effect);
        EXPECT_TRUE(again.kind == Kind::done && !again.duplicate) << "a mark without its effect";
        EXPECT_EQ(rig.effects(), 2);
    }
}

}  // namespace
}  // namespace ferry::consumer
