#include "ferry/outbox/decision.hpp"

#include <gmock/gmock.h>

#include "outbox_fixture.hpp"

namespace ferry::outbox {
namespace {

using testing::HasSubstr;

class DecisionTest : public OutboxTest {
protected:
    DecisionTest() : app(connect()), other(connect()) { EXPECT_TRUE(init_decisions(app).ok()); }
    sqlite::Database app;
    sqlite::Database other;
};

// G88
TEST_F(DecisionTest, WhatCommittedIsAnsweredYesAndWhatDidNotIsAnsweredNoForGood) {
    run(app, "BEGIN IMMEDIATE");
    ASSERT_TRUE(decide(app, "a").ok());
    run(app, "COMMIT");
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::committed);
    EXPECT_EQ(settle_decision(other, "b").value(), Decided::rolled_back);
    EXPECT_EQ(settle_decision(other, "b").value(), Decided::rolled_back);
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::committed);
}

// G88: the row is there first, so the late commit is the one that fails.
TEST_F(DecisionTest, M3_AfterTheAnswerTheTransactionCannotCommitAnyMore) {
    run(app, "BEGIN");  // it has begun, and has not written
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::rolled_back);
    const sqlite::Status late = decide(app, "a");
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().kind, sqlite::Kind::conflict);
    EXPECT_THAT(late.error().text, HasSubstr("roll this transaction back"));
    run(app, "ROLLBACK");
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::rolled_back);
}

// G88: a plain INSERT of any language is held to the same.
TEST_F(DecisionTest, M3_APlainInsertMeetsTheSameKey) {
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::rolled_back);
    EXPECT_FALSE(app.run("INSERT INTO ferry_decision(id) VALUES('a')").ok());
    run(app, "INSERT INTO ferry_decision(id) VALUES('b')");
    EXPECT_EQ(settle_decision(other, "b").value(), Decided::committed);
    EXPECT_FALSE(app.run("INSERT INTO ferry_decision(id, outcome) VALUES('c', 'maybe')").ok());
}

// G88
TEST_F(DecisionTest, M3_WhileTheTransactionIsOpenThereIsNoAnswer) {
    run(app, "BEGIN IMMEDIATE");
    ASSERT_TRUE(decide(app, "a").ok());
    const auto early = settle_decision(other, "a");
    ASSERT_FALSE(early.ok());
    EXPECT_EQ(early.error().kind, sqlite::Kind::busy);
    run(app, "ROLLBACK");
    EXPECT_EQ(settle_decision(other, "a").value(), Decided::rolled_back);
}

// G88
TEST_F(DecisionTest, ARolledBackTransactionLeavesNoDecision) {
    run(app, "BEGIN IMMEDIATE");
    ASSERT_TRUE(decide(app, "a").ok());
    run(app, "ROLLBACK");
    EXPECT_EQ(number(app, "SELECT count(*) FROM ferry_decision"), 0);
}

TEST_F(DecisionTest, IsRefusedOutsideATransactionAndWhereCommitsMayBeLost) {
    const sqlite::Status outside = decide(app, "a");
    ASSERT_FALSE(outside.ok());
    EXPECT_EQ(outside.error().kind, sqlite::Kind::refused);
    run(app, "PRAGMA synchronous=NORMAL");
    run(app, "BEGIN IMMEDIATE");
    const sqlite::Status weak = decide(app, "a");
    ASSERT_FALSE(weak.ok());
    EXPECT_THAT(weak.error().text, HasSubstr("synchronous=FULL"));
    run(app, "ROLLBACK");
    EXPECT_FALSE(settle_decision(other, "").ok());
    EXPECT_FALSE(settle_decision(other, std::string(201, 'x')).ok());
}

TEST_F(DecisionTest, TheTableIsMadeOnceAndMissedWhereItIsNot) {
    EXPECT_TRUE(init_decisions(app).ok());
    EXPECT_TRUE(check_decisions(other).ok());
    run(app, "DROP TABLE ferry_decision");
    const sqlite::Status missing = check_decisions(other);
    ASSERT_FALSE(missing.ok());
    EXPECT_THAT(missing.error().text, HasSubstr("ferry prepared init"));
    run(app, "CREATE TABLE ferry_decision(id, decided_ms)");
    EXPECT_FALSE(check_decisions(other).ok());
    EXPECT_FALSE(init_decisions(app).ok());
}

TEST_F(DecisionTest, OldRowsAreFoundInOrderAndForgotten) {
    for (int i = 0; i < 5; ++i) {
        run(app, "INSERT INTO ferry_decision(id, decided_ms) VALUES('r" + std::to_string(i) +
                     "', " + std::to_string(10 + i / 2) + ")");
    }
    auto first = decisions_before(app, 12, {}, 3);
    ASSERT_TRUE(first.ok());
    ASSERT_EQ(first.value().size(), 3U);
    EXPECT_EQ(first.value()[2].id, "r2");
    auto rest = decisions_before(app, 12, first.value().back(), 3);
    ASSERT_EQ(rest.value().size(), 1U);
    EXPECT_EQ(rest.value()[0].id, "r3");
    const std::vector<std::string> old{"r0", "r3"};
    ASSERT_TRUE(forget_decisions(app, old).ok());
    EXPECT_EQ(number(app, "SELECT count(*) FROM ferry_decision"), 3);
}

}  // namespace
}  // namespace ferry::outbox
