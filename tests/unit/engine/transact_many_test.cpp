// Many transactions in one command: one record where nothing is refused, and in any case each of
// them as a whole or not at all.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "records.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ManyTransactions : public ::testing::Test {
protected:
    ManyTransactions() {
        rig.engine().open_session(1);
        QueueOptions letters;
        letters.policy.dead_letter_key = "dead";
        rig.declare(1, "in", letters);
        rig.declare(1, "out");
        rig.declare(1, "audit");
        rig.declare(1, "dead");
        handle = rig.producer(1, "tx");
        plain = rig.producer(1, "p");
        rig.subscribe(1, 5, "in");
        rig.send(1, plain, 1, "in", {"a", "b", "c", "d"});
        rig.settle();
        rig.effects().clear();
    }
    ~ManyTransactions() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    struct One {
        std::vector<std::vector<std::byte>> messages;
        std::vector<Range<Tag>> tags;
        bool reject = false;
        std::uint64_t subscription = 5;
    };
    bool transact(Sequence first, const std::vector<One>& all,
                  std::uint64_t flags = wire::publish_mandatory) {
        std::vector<std::byte> messages;
        std::vector<TransactionPart> parts(all.size());
        std::vector<TransactionItem> items(all.size());
        TransactionsCommand command;
        for (std::size_t i = 0; i < all.size(); ++i) {
            for (const auto& m : all[i].messages)
                messages.insert(messages.end(), m.begin(), m.end());
            parts[i] = {all[i].subscription, all[i].reject, all[i].tags};
            items[i].count = static_cast<std::uint32_t>(all[i].messages.size());
            if (!all[i].tags.empty()) items[i].parts = std::span(&parts[i], 1);
            command.count += items[i].count;
        }
        command.session = 1;
        command.producer = handle;
        command.first = first;
        command.flags = flags;
        command.items = items;
        command.messages = messages;
        return rig.engine().transact_many(command, rig.now());
    }
    std::vector<std::string> told() {
        std::vector<std::string> all;
        const auto text = [](Range<Sequence> s) {
            return std::to_string(s.first) + "-" + std::to_string(s.last);
        };
        for (const Confirm& c : rig.take<Confirm>())
            all.push_back((c.duplicate ? "again " : "done ") + text(c.sequences));
        for (const Refuse& r : rig.take<Refuse>()) {
            all.push_back("refused " + text(r.sequences) + " " +
                          std::to_string(static_cast<int>(r.code)));
            last_text = r.text;
        }
        return all;
    }

    Rig rig;
    std::uint64_t handle = 0;
    std::uint64_t plain = 0;
    std::string last_text;
};

// G65
TEST_F(ManyTransactions, AreOneRecordAndOneConfirmWhenNothingIsRefused) {
    const std::size_t before = rig.journal().records().size();
    ASSERT_TRUE(transact(1, {{{message("", "out", "x"), message("", "audit", "y")}, {{1, 1}}},
                             {{message("", "out", "z")}, {{2, 3}}},
                             {{}, {{4, 4}}, true}}));
    EXPECT_EQ(rig.journal().records().size(), before + 1);
    EXPECT_THAT(told(), IsEmpty()) << "nothing is durable yet";
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 1-3"));
    EXPECT_EQ(rig.view("in").acked, 3U);
    EXPECT_EQ(rig.view("in").unacked, 0U);
    EXPECT_EQ(rig.view("out").ready, 2U);
    EXPECT_EQ(rig.view("audit").ready, 1U);
    EXPECT_EQ(rig.engine().totals().transactions, 3U);
    EXPECT_EQ(rig.engine().totals().confirmed, 4U + 3U) << "messages, not sequences";
}

// G65
TEST_F(ManyTransactions, AreThereOrNotThereTogetherAfterAPowerCut) {
    ASSERT_TRUE(transact(
        1, {{{message("", "out", "x")}, {{1, 1}}}, {{message("", "out", "y")}, {{2, 2}}}}));
    rig.settle();
    ASSERT_TRUE(transact(3, {{{message("", "out", "z")}, {{3, 3}}}}));
    rig.crash();
    EXPECT_EQ(rig.view("in").ready, 2U);
    EXPECT_EQ(rig.view("out").ready, 2U);
}

// G65
TEST_F(ManyTransactions, OfWhichOneIsRefusedAreEachAWholeAndTheOthersGoOn) {
    ASSERT_TRUE(transact(1, {{{message("", "out", "x")}, {{1, 1}}},
                             {{message("", "audit", "y"), message("", "nobody", "y")}, {{2, 2}}},
                             {{message("", "out", "z")}, {{3, 3}}}}));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 1-1", "done 3-3", "refused 2-2 205"));
    EXPECT_THAT(last_text, HasSubstr("message 2 of the transaction"));
    EXPECT_EQ(rig.view("audit").ready, 0U);
    EXPECT_EQ(rig.view("out").ready, 2U);
    EXPECT_EQ(rig.view("in").unacked, 2U) << "b and d are held as before";
    ASSERT_TRUE(transact(4, {{{}, {{2, 2}}}, {{}, {{4, 4}}}}));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 4-5"));
}

// G65
TEST_F(ManyTransactions, ADeliveryIsSettledByTheFirstThatNamesIt) {
    ASSERT_TRUE(transact(1, {{{message("", "out", "x")}, {{1, 2}}},
                             {{message("", "out", "y")}, {{2, 3}}},
                             {{message("", "out", "z")}, {{3, 4}}}}));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 1-1", "done 3-3", "refused 2-2 302"));
    EXPECT_THAT(last_text, HasSubstr("tag 2 of subscription 5"));
    EXPECT_EQ(rig.view("out").ready, 2U);
    EXPECT_EQ(rig.view("in").acked, 4U);
}

TEST_F(ManyTransactions, LieInTheRecordQueueByQueueAndInEachInTheirOrder) {
    std::vector<One> all;
    for (const char* name : {"1", "2", "3"})
        all.push_back({{message("", "out", name), message("", "audit", name)}, {}});
    ASSERT_TRUE(transact(1, all));
    PublishRecord record;
    ASSERT_TRUE(decode_publish(rig.journal().records().back().body, record));
    EXPECT_THAT(record.runs, SizeIs(2)) << "and not one for each message";
    rig.subscribe(1, 6, "audit");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("1", "2", "3"));
    rig.effects().clear();
    rig.subscribe(1, 7, "out");
    rig.settle();
    EXPECT_THAT(rig.payloads(), ElementsAre("1", "2", "3"));
}

// G66
TEST_F(ManyTransactions, SentAgainAreTakenOnceAndOpenOnesNever) {
    ASSERT_TRUE(
        transact(1, {{{message("", "out", "x")}, {{1, 1}}}, {{message("", "nobody", "y")}, {}}}));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 1-1", "refused 2-2 205"));
    ASSERT_TRUE(transact(1, {{{message("", "out", "x")}, {{1, 1}}},
                             {{message("", "out", "y")}, {}},
                             {{message("", "out", "z")}, {}}}));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("again 1-1", "done 3-3", "refused 2-2 330"));
    EXPECT_EQ(rig.view("out").ready, 2U);
}

TEST_F(ManyTransactions, WhatIsWrongWithTheCommandChangesNothing) {
    ASSERT_TRUE(transact(3, {{{message("", "out", "x")}, {}}, {{message("", "out", "x")}, {}}}));
    EXPECT_THAT(told(), ElementsAre("refused 3-4 300"));
    EXPECT_FALSE(transact(1, {})) << "none at all";
    EXPECT_FALSE(transact(1, {{{message("", "out", "x")}, {{1, 1}}},
                              {{std::vector<std::byte>(8, std::byte{0xff})}, {}}}))
        << "malformed";
    ++handle;
    ++handle;
    ASSERT_TRUE(transact(1, {{{message("", "out", "x")}, {}}}));
    EXPECT_THAT(told(), ElementsAre("refused 1-1 303"));
    EXPECT_EQ(rig.view("out").ready, 0U);
    EXPECT_EQ(rig.view("in").unacked, 4U);
}

// The first ones fill the queue; the refusal of the next must not count them twice.
TEST_F(ManyTransactions, AFullQueueRefusesThoseThatDoNotFitAnyMore) {
    QueueOptions two;
    two.policy.max_messages = 2;
    two.policy.overflow = Overflow::reject_publish;
    rig.declare(1, "small", two);
    rig.effects().clear();
    std::vector<One> all;
    for (int i = 0; i < 4; ++i) all.push_back({{message("", "small", "x")}, {}});
    ASSERT_TRUE(transact(1, all));
    rig.settle();
    EXPECT_THAT(told(), ElementsAre("done 1-2", "refused 3-3 430", "refused 4-4 430"));
    EXPECT_EQ(rig.view("small").ready, 2U);
}

}  // namespace
}  // namespace ferry::engine::testing
