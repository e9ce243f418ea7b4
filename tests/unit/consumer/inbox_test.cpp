#include "ferry/consumer/inbox.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ferry/consumer/fence.hpp"
#include "inbox_rig.hpp"
#include "marks.hpp"

namespace ferry::consumer {
namespace {

using test::InboxRig;
using test::make_incoming;
using test::outbox_id;
using Kind = Handled::Kind;

// C2, C3, G30: redelivered after the effect, before the ack.
TEST(Inbox, AppliesAMessageOnceHoweverOftenItComes) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (int i = 0; i < 3; ++i) {
        const Handled handled = inbox->apply(make_incoming({"x", outbox_id(1)}), InboxRig::effect);
        EXPECT_EQ(handled.kind, Kind::done);
        EXPECT_EQ(handled.duplicate, i > 0);
    }
    inbox.reset();
    inbox = rig.inbox();  // another process
    EXPECT_TRUE(inbox->apply(make_incoming({"x", outbox_id(1)}), InboxRig::effect).duplicate);
    EXPECT_EQ(rig.effects(), 1);
    EXPECT_TRUE(inbox->applied(make_incoming({"x", outbox_id(1)})).value());
    EXPECT_FALSE(inbox->applied(make_incoming({"x", outbox_id(2)})).value());
}

// C1, C5, G31: what fails leaves nothing, and is tried again.
TEST(Inbox, AFailedHandlerLeavesNeitherEffectNorMark) {
    InboxRig rig(true);
    auto inbox = rig.inbox();
    const auto message = make_incoming({"x", outbox_id(1)});
    const auto write_and = [](Handled (*then)()) {
        return [then](Effects& effects) {
            effects.run("INSERT INTO effect(id) VALUES('half')");
            effects.publish({.routing_key = "next", .payload = as_bytes("half")});
            return then();
        };
    };
    EXPECT_EQ(
        inbox->apply(message, write_and([]() -> Handled { throw std::runtime_error("no"); })).kind,
        Kind::retry);
    EXPECT_EQ(inbox->apply(message, write_and([] { return Handled::retry("no stock"); })).reason,
              "no stock");
    EXPECT_EQ(inbox->apply(message, write_and([] { return Handled::poison("never"); })).kind,
              Kind::poison);
    EXPECT_EQ(inbox->apply(message, write_and([] { return Handled::later("away"); })).kind,
              Kind::later);
    // A statement of the handler that fails counts, whatever the handler returns.
    const auto wrong = [](Effects& effects) {
        effects.run("INSERT INTO effect(id) VALUES('half')");
        effects.run("INSERT INTO nowhere VALUES(1)");
        return Handled::done();
    };
    EXPECT_THAT(inbox->apply(message, wrong).reason, testing::HasSubstr("nowhere"));
    EXPECT_EQ(rig.effects(), 0);
    EXPECT_EQ(rig.ranges(), 0);
    EXPECT_EQ(rig.count("SELECT count(*) FROM ferry_outbox"), 0);
    EXPECT_EQ(inbox->apply(message, InboxRig::effect).kind, Kind::done);
    EXPECT_EQ(rig.effects(), 1);
}

// C6, G32: a handler's own messages are in the same transaction.
TEST(Inbox, OutgoingMessagesLeaveOnceWithCausationAndCorrelation) {
    InboxRig rig(true);
    auto inbox = rig.inbox();
    const auto message = make_incoming({"x", outbox_id(5)});
    for (int i = 0; i < 2; ++i) {
        inbox->apply(message, [](Effects& effects) {
            effects.publish({.routing_key = "paid", .payload = as_bytes("42")});
            return Handled::done();
        });
    }
    EXPECT_EQ(rig.count("SELECT count(*) FROM ferry_outbox"), 1);
    EXPECT_EQ(
        rig.count("SELECT count(*) FROM ferry_outbox WHERE correlation_id = '" + outbox_id(5) +
                  "' AND json_extract(headers, '$.ferry-causation') = '" + outbox_id(5) + "'"),
        1);
}

TEST(Inbox, PublishingWithoutAnOutboxSaysWhatToRun) {
    InboxRig rig;
    auto inbox = rig.inbox();
    const Handled handled = inbox->apply(make_incoming({"x", outbox_id(5)}), [](Effects& effects) {
        effects.publish({.routing_key = "paid"});
        return Handled::done();
    });
    EXPECT_EQ(handled.kind, Kind::retry);
    EXPECT_THAT(handled.reason, testing::HasSubstr("ferry outbox init"));
}

// C8, G33: two consumers of one message in one database are two effects.
TEST(Inbox, EachConsumerOfADatabaseAppliesAMessageOnce) {
    InboxRig rig;
    auto billing = rig.inbox(InboxRig::named("billing"));
    auto mailing = rig.inbox(InboxRig::named("mailing"));
    for (int i = 0; i < 2; ++i) {
        for (auto* inbox : {billing.get(), mailing.get()}) {
            inbox->apply(make_incoming({"x", outbox_id(1)}), InboxRig::effect);
            inbox->apply(make_incoming({"x", "foreign-1"}), InboxRig::effect);
        }
    }
    EXPECT_EQ(rig.effects(), 4);
}

// C11: a locked database is a delay.
TEST(Inbox, ALockedDatabaseIsADelayAndNotAFailure) {
    InboxRig rig;
    auto inbox = rig.inbox();
    {
        auto other = sqlite::Transaction::begin(*rig.database);
        ASSERT_TRUE(other.ok());
        const Handled handled = inbox->apply(make_incoming({"x", outbox_id(1)}), InboxRig::effect);
        EXPECT_EQ(handled.kind, Kind::later);
        EXPECT_EQ(inbox->figures().busy, 1U);
        EXPECT_EQ(inbox->figures().failed, 0U);
    }
    EXPECT_EQ(inbox->apply(make_incoming({"x", outbox_id(1)}), InboxRig::effect).kind, Kind::done);
}

// C12: the longest transaction is measured, and told when it is too long.
TEST(Inbox, WarnsOfATransactionThatTakesTooLong) {
    InboxRig rig;
    std::string event;
    auto options = InboxRig::named("c");
    options.slow_transaction = Duration(1);
    options.on_event = [&](std::string_view text) { event = std::string(text); };
    auto inbox = rig.inbox(std::move(options));
    inbox->apply(make_incoming({"x", outbox_id(1)}), [](Effects&) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(3);
        while (std::chrono::steady_clock::now() < until) {
        }
        return Handled::done();
    });
    EXPECT_THAT(event, testing::HasSubstr("must not wait"));
    EXPECT_EQ(inbox->figures().slow_transactions, 1U);
    EXPECT_GE(inbox->figures().transaction_us_max, 3000U);
}

// C9, G30: parallel workers finish in any order; a crash in between leaves gaps.
TEST(Inbox, GapsBetweenAppliedSequencesAreKeptOverARestart) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (const std::uint64_t sequence : {5U, 1U, 3U, 2U, 9U}) {
        inbox->apply(make_incoming({"x", outbox_id(sequence)}, sequence), InboxRig::effect);
    }
    EXPECT_EQ(rig.ranges(), 3);  // 1-3, 5, 9
    inbox.reset();
    inbox = rig.inbox();
    for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) {
        inbox->apply(make_incoming({"x", outbox_id(sequence)}, sequence), InboxRig::effect);
    }
    EXPECT_EQ(rig.effects(), 10);
    EXPECT_EQ(rig.count("SELECT count(DISTINCT id) FROM effect"), 10);
}

TEST(Inbox, EpochsAndProducersDoNotMixTheirSequences) {
    InboxRig rig;
    auto inbox = rig.inbox();
    for (const auto& id : {outbox_id(1, 1), outbox_id(1, 2), outbox_id(1, 1, 'b')}) {
        EXPECT_FALSE(inbox->apply(make_incoming({"x", id}), InboxRig::effect).duplicate);
    }
    EXPECT_EQ(rig.effects(), 3);
}

TEST(Inbox, ABatchKeepsWhatSucceedsAndStopsTheKeyOfWhatFails) {
    InboxRig rig;
    auto inbox = rig.inbox();
    std::vector<Incoming> messages;
    messages.push_back(make_incoming({"1", outbox_id(1), "a"}));
    messages.push_back(make_incoming({"2", outbox_id(2), "a"}));
    messages.push_back(make_incoming({"3", outbox_id(3), "a"}));
    messages.push_back(make_incoming({"4", outbox_id(4), "b"}));
    messages.push_back(make_incoming({"5", outbox_id(1), "b"}));
    std::vector<Handled> handled(messages.size());
    inbox->apply_batch(messages, handled, [](Effects& effects) {
        InboxRig::effect(effects);
        return effects.message().payload() == "2" ? Handled::retry("no") : Handled::done();
    });
    EXPECT_EQ(handled[0].kind, Kind::done);
    EXPECT_EQ(handled[1].kind, Kind::retry);
    EXPECT_EQ(handled[2].kind, Kind::later);
    EXPECT_EQ(handled[3].kind, Kind::done);
    EXPECT_TRUE(handled[4].duplicate);
    EXPECT_EQ(rig.effects(), 2);
}

TEST(Inbox, AMessageWithoutAnIdIsRefusedUnlessItsPositionShallDo) {
    InboxRig rig;
    auto strict = rig.inbox(InboxRig::named("strict"));
    const Handled handled = strict->apply(make_incoming({"x"}, 7), InboxRig::effect);
    EXPECT_EQ(handled.kind, Kind::poison);
    EXPECT_THAT(handled.reason, testing::HasSubstr("has no id"));
    auto options = InboxRig::named("lenient");
    options.no_id = NoId::position;
    auto lenient = rig.inbox(std::move(options));
    EXPECT_FALSE(lenient->apply(make_incoming({"x"}, 7), InboxRig::effect).duplicate);
    EXPECT_TRUE(lenient->apply(make_incoming({"x"}, 7, 2), InboxRig::effect).duplicate);
    EXPECT_FALSE(lenient->apply(make_incoming({"x"}, 8), InboxRig::effect).duplicate);
}

TEST(Inbox, RefusesADatabaseThatIsNotItsOwnKindSayingWhatToDo) {
    InboxRig rig;
    const std::string plain = rig.directory + "/plain.db";
    {
        auto made = sqlite::Database::open(plain, sqlite::Database::Access::create);
        ASSERT_TRUE(made.ok());
        InboxRig::must(made.value().run("CREATE TABLE t(x)"));
    }
    EXPECT_THAT(Inbox::init(plain).error().text, testing::HasSubstr("PRAGMA journal_mode=WAL"));
    const auto none = Inbox::open(plain, InboxRig::named("c"));
    EXPECT_THAT(none.error().text, testing::HasSubstr("ferry inbox init"));
    InboxRig::must(rig.database->run("UPDATE ferry_inbox_state SET value = 99"));
    const auto newer = Inbox::open(rig.path, InboxRig::named("c"));
    EXPECT_THAT(newer.error().text, testing::HasSubstr("schema version 99"));
    EXPECT_EQ(Inbox::open(rig.path, InboxRig::named("")).error().kind, sqlite::Kind::refused);
    EXPECT_EQ(Inbox::open(rig.directory + "/no.db", InboxRig::named("c")).error().kind,
              sqlite::Kind::not_found);
}

// L1, I9, G35: the token is compared in the same transaction as the write it protects.
TEST(Fence, RefusesATokenThatIsOlderThanOneSeen) {
    InboxRig rig;
    auto inbox = rig.inbox();
    std::uint64_t sequence = 0;
    const auto under = [&](std::uint64_t token) {
        return inbox->apply(make_incoming({"x", outbox_id(++sequence)}), [&](Effects& effects) {
            InboxRig::effect(effects);
            effects.fence("stock/7", token);
            return Handled::done();
        });
    };
    EXPECT_EQ(under(10).kind, Kind::done);
    EXPECT_EQ(under(10).kind, Kind::done);
    EXPECT_EQ(under(12).kind, Kind::done);
    const Handled stale = under(11);
    EXPECT_EQ(stale.kind, Kind::poison);
    EXPECT_THAT(stale.reason, testing::HasSubstr("newer token than 11"));
    EXPECT_EQ(rig.effects(), 3);
}

TEST(Fence, ATokenThatWasRolledBackCountsForNothing) {
    InboxRig rig;
    const sqlite::Database& database = *rig.database;
    EXPECT_EQ(fence(database, "r", 5).error().kind, sqlite::Kind::refused);  // no transaction
    {
        auto transaction = sqlite::Transaction::begin(database);
        EXPECT_TRUE(fence(database, "r", 5).ok());
        EXPECT_EQ(fence(database, "r", 4).error().kind, sqlite::Kind::conflict);
        EXPECT_EQ(fence(database, "", 4).error().kind, sqlite::Kind::refused);
        EXPECT_EQ(fence(database, std::string(1001, 'r'), 4).error().kind, sqlite::Kind::refused);
    }
    auto transaction = sqlite::Transaction::begin(database);
    EXPECT_TRUE(fence(database, "r", 4).ok());
}

TEST(Origin, IdsOfOthersAreKeptAsTheyAre) {
    Origin origin;
    EXPECT_TRUE(origin_of(outbox_id(42, 7), origin));
    EXPECT_EQ(origin.epoch, 7U);
    EXPECT_EQ(origin.sequence, 42U);
    EXPECT_FALSE(origin_of("order-17", origin));
    InboxRig rig;
    auto inbox = rig.inbox();
    for (const char* id : {"order:1", "order:1:", "order:1:01", "17", ":1:1"}) {
        EXPECT_FALSE(inbox->apply(make_incoming({"x", id}), InboxRig::effect).duplicate);
        EXPECT_TRUE(inbox->apply(make_incoming({"x", id}), InboxRig::effect).duplicate);
    }
    EXPECT_EQ(rig.count("SELECT count(*) FROM ferry_inbox_id"), 5);
}

}  // namespace
}  // namespace ferry::consumer
