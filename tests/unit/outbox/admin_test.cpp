#include <gmock/gmock.h>

#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/events.hpp"
#include "outbox_fixture.hpp"
#include "wake_listener.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Kind;
using testing::HasSubstr;
using testing::IsEmpty;

class AdminTest : public OutboxTest {
protected:
    AdminTest() : database_(connect()), outbox_(open(database_)) {}

    void fill(int messages, std::string_view key = {}) {
        run(database_, "BEGIN IMMEDIATE");
        for (int i = 0; i < messages; ++i) {
            Message message = hello();
            message.ordering_key = key;
            ASSERT_TRUE(outbox_.enqueue(message).ok());
        }
        run(database_, "COMMIT");
    }
    void park(std::int64_t id, const char* next = "NULL") {
        run(database_, "INSERT INTO ferry_outbox_parked VALUES (" + std::to_string(id) +
                           ", NULL, 206, 'no such queue', 10, 1, 2, " + next + ")");
    }
    std::vector<std::int64_t> ids(Filter::Which which) {
        Filter filter;
        filter.which = which;
        std::vector<std::int64_t> out;
        const auto entries = list(database_, filter);
        EXPECT_TRUE(entries.ok());
        for (const Entry& entry : entries.value()) out.push_back(entry.id);
        return out;
    }
    /// All findings but notes, in one line.
    std::string found(bool repair = false) {
        std::string out;
        const auto findings = verify(database_, repair);
        EXPECT_TRUE(findings.ok()) << findings.error().text;
        for (const Finding& finding : findings.value()) {
            if (finding.severity != Finding::Severity::note) {
                out += std::string(name_of(finding.severity)) + ": " + finding.text + "\n";
            }
        }
        return out;
    }

    sqlite::Database database_;
    Outbox outbox_;
};

TEST_F(AdminTest, FiguresTellWhatWaits) {
    fill(5);
    park(2);
    park(3, "99");
    run(database_, "UPDATE ferry_outbox SET created_ms = 1000 WHERE id = 1");
    const Figures now = figures(database_).value();
    EXPECT_EQ(now.pending, 5U);
    EXPECT_TRUE(now.pending_exact);
    EXPECT_EQ(now.parked, 1U);
    EXPECT_EQ(now.retrying, 1U);
    EXPECT_EQ(now.oldest_ms, 1000U);
    EXPECT_EQ(now.last_id, 5U);
    EXPECT_EQ(now.policy, "block");
    EXPECT_EQ(now.epoch, 1U);
}

TEST_F(AdminTest, ManyRowsAreCountedOnlyOnRequest) {
    fill(2);
    run(database_, "UPDATE ferry_outbox SET id = 5000000 WHERE id = 2");
    EXPECT_FALSE(figures(database_).value().pending_exact);
    EXPECT_EQ(figures(database_).value().pending, 5'000'000U);
    EXPECT_EQ(figures(database_, true).value().pending, 2U);
}

TEST_F(AdminTest, ListsGiveWhatWasAskedFor) {
    fill(3, "k");
    fill(2);
    park(2);
    park(4, "99");
    using Which = Filter::Which;
    EXPECT_THAT(ids(Which::pending), testing::ElementsAre(1, 2, 3, 4, 5));
    EXPECT_THAT(ids(Which::refused), testing::ElementsAre(2, 4));
    EXPECT_THAT(ids(Which::parked), testing::ElementsAre(2));
    EXPECT_THAT(ids(Which::sent), IsEmpty());
    Filter filter;
    filter.ordering_key = "k";
    filter.after_id = 1;
    filter.count = 1;
    const auto some = list(database_, filter).value();
    ASSERT_EQ(some.size(), 1U);
    EXPECT_EQ(some[0].id, 2);
    EXPECT_EQ(some[0].standing, Standing::parked);
    EXPECT_EQ(some[0].reason, "no such queue");
    EXPECT_EQ(some[0].payload_bytes, 5U);
    filter.count = 0;
    EXPECT_FALSE(list(database_, filter).ok());
}

TEST_F(AdminTest, ShowGivesAllOfAMessage) {
    const Header headers[] = {{"a", true}};
    run(database_, "BEGIN IMMEDIATE");
    Message message = hello();
    message.headers = headers;
    message.priority = 4;
    ASSERT_TRUE(outbox_.enqueue(message).ok());
    run(database_, "COMMIT");
    const Details details = show(database_, 1).value();
    EXPECT_EQ(details.payload, "hello");
    EXPECT_EQ(details.headers_json, "{\"a\":true}");
    EXPECT_EQ(details.priority, 4U);
    EXPECT_THAT(said(show(database_, 2), Kind::not_found), HasSubstr("no message 2"));
}

TEST_F(AdminTest, RetryMakesThemDueAndWakesTheRelay) {
    fill(3);
    park(1);
    park(2);
    park(3, "99");
    WakeListener relay(database_.path());
    const std::int64_t chosen[] = {1};
    EXPECT_EQ(retry(database_, chosen).value(), 1U);
    EXPECT_GT(relay.taken(), 0);
    EXPECT_THAT(ids(Filter::Which::parked), testing::ElementsAre(2));
    EXPECT_EQ(retry(database_, {}).value(), 1U);
    EXPECT_THAT(ids(Filter::Which::parked), IsEmpty());
    const std::int64_t unknown[] = {1, 77};
    EXPECT_THAT(said(retry(database_, unknown), Kind::not_found), HasSubstr("message 77"));
}

TEST_F(AdminTest, SkipGivesUpRefusedMessagesAndKeepsEvents) {
    fill(2);
    EventLog log = EventLog::open(outbox_).value();
    run(database_, "BEGIN IMMEDIATE");
    ASSERT_TRUE(log.append("s", 0, NewEvent{.type = "t", .payload = as_bytes("x")}).ok());
    run(database_, "COMMIT");
    park(1);
    park(3);
    EXPECT_EQ(skip(database_, {}, 5).value(), 2U);
    EXPECT_THAT(ids(Filter::Which::pending), testing::ElementsAre(2));
    EXPECT_EQ(show(database_, 3).value().entry.standing, Standing::skipped);
    EXPECT_EQ(log.version("s").value(), 1U);
    EXPECT_EQ(figures(database_).value().skipped_total, 2U);
}

TEST_F(AdminTest, AMessageThatMayBeOnItsWayIsNotSkipped) {
    fill(2);
    run(database_, "INSERT INTO ferry_outbox_state VALUES ('lease_until_ms', 1000)");
    const std::int64_t both[] = {1, 2};
    EXPECT_THAT(said(skip(database_, both, 999), Kind::conflict), HasSubstr("stop the relay"));
    EXPECT_EQ(pending(database_), 2);
    EXPECT_EQ(skip(database_, both, 1000).value(), 2U);
    EXPECT_THAT(said(skip(database_, both, 1000), Kind::not_found), HasSubstr("no message 1"));
}

// R13 for what an operator does: unsent and parked messages and events stay.
TEST_F(AdminTest, PurgeDeletesOnlyWhatWasSentAndIsOldAndNoEvent) {
    fill(4);
    park(4);
    run(database_,
        "INSERT INTO ferry_outbox_sent SELECT *, id * 100, 0 FROM ferry_outbox WHERE id < 4");
    run(database_,
        "DELETE FROM ferry_outbox WHERE id < 4; UPDATE ferry_outbox_sent SET stream = "
        "'s', version = 1 WHERE id = 1");
    EXPECT_EQ(purge_sent(database_, 300).value(), 1U);
    EXPECT_THAT(ids(Filter::Which::sent), testing::ElementsAre(1, 3));
    EXPECT_EQ(purge_sent(database_, UINT32_MAX).value(), 1U);
    EXPECT_THAT(ids(Filter::Which::sent), testing::ElementsAre(1));
    EXPECT_EQ(pending(database_), 1);
}

TEST_F(AdminTest, PurgeWorksInStepsAndCanBeStopped) {
    run(database_,
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < "
        "2500) INSERT INTO ferry_outbox_sent(id, exchange, routing_key, payload, "
        "created_ms, sent_ms) SELECT i, '', 'q', 'x', 1, 1 FROM n");
    std::vector<std::uint64_t> told;
    const auto stop_at_first = [&](std::uint64_t done) {
        told.push_back(done);
        return false;
    };
    EXPECT_EQ(purge_sent(database_, 10, stop_at_first).value(), 1000U);
    EXPECT_EQ(purge_sent(database_, 10).value(), 1500U);
}

TEST_F(AdminTest, ASoundOutboxHasNoFindings) {
    EXPECT_EQ(found(), "");
    fill(10);
    park(2);
    EXPECT_EQ(found(), "");
}

// O18
TEST_F(AdminTest, O18_DeletingAllRowsLosesTheMessagesAndNothingElse) {
    fill(10);
    run(database_, "DELETE FROM ferry_outbox");
    EXPECT_EQ(found(), "");
    run(database_, "BEGIN IMMEDIATE");
    EXPECT_EQ(outbox_.enqueue(hello()).value(), 11);
    run(database_, "COMMIT");
}

// G46
TEST_F(AdminTest, O18_ASequenceThatWasPutBackIsFoundAndRepaired) {
    fill(10);
    run(database_,
        "DELETE FROM ferry_outbox; UPDATE ferry_outbox_state SET value = 10 WHERE name "
        "= 'last_sent'; DELETE FROM sqlite_sequence");
    EXPECT_THAT(found(), HasSubstr("damage: the sequence of ids was put back to 0, but ids up to "
                                   "10 were used"));
    EXPECT_EQ(found(true), "");
    EXPECT_EQ(found(), "");
    run(database_, "BEGIN IMMEDIATE");
    EXPECT_EQ(outbox_.enqueue(hello()).value(), 11);
    run(database_, "COMMIT");
}

TEST_F(AdminTest, O18_RowsUnderUsedIdsAreFound) {
    fill(3);
    run(database_,
        "UPDATE ferry_outbox_state SET value = 10 WHERE name = 'last_sent'; "
        "UPDATE sqlite_sequence SET seq = 10 WHERE name = 'ferry_outbox'");
    EXPECT_THAT(found(), HasSubstr("warning: 3 messages wait with ids at or below"));
}

TEST_F(AdminTest, O18_ATableThatWasRebuiltWithoutAutoincrementIsFound) {
    fill(3);
    run(database_,
        "CREATE TABLE copy AS SELECT * FROM ferry_outbox; DROP TABLE ferry_outbox; "
        "ALTER TABLE copy RENAME TO ferry_outbox");
    EXPECT_THAT(found(), HasSubstr("without AUTOINCREMENT"));
    EXPECT_THAT(found(), HasSubstr("ferry_outbox_event is missing"));
}

// G46
TEST_F(AdminTest, VerifyFindsWhatSomebodyBroke) {
    fill(3);
    run(database_,
        "PRAGMA ignore_check_constraints=1; UPDATE ferry_outbox SET priority = 99 WHERE "
        "id = 1; PRAGMA ignore_check_constraints=0");
    EXPECT_THAT(found(), HasSubstr("CHECK constraint failed in ferry_outbox"));
    run(database_, "UPDATE ferry_outbox SET priority = NULL");
    run(database_, "UPDATE ferry_outbox_state SET value = 'nobody' WHERE name = 'producer'");
    EXPECT_THAT(found(), HasSubstr("no valid producer"));
    run(database_, "UPDATE ferry_outbox_state SET value = 'x' WHERE name = 'policy'");
    EXPECT_THAT(found(), HasSubstr("policy is neither"));
    run(database_, "UPDATE ferry_outbox_state SET value = 'many' WHERE name = 'sent_total'");
    EXPECT_THAT(found(), HasSubstr("sent_total is not a whole number"));
    EXPECT_THAT(said(figures(database_), Kind::schema), HasSubstr("sent_total"));
    run(database_, "ALTER TABLE ferry_outbox_parked ADD COLUMN mine");
    EXPECT_THAT(found(), HasSubstr("warning: ferry_outbox_parked is not as"));
}

TEST_F(AdminTest, VerifyFindsNumbersThatCannotBe) {
    const std::pair<const char*, const char*> cases[] = {
        {"UPDATE ferry_outbox_state SET value = 0 WHERE name = 'payload_bytes_max'",
         "payload_bytes_max is out of range"},
        {"UPDATE ferry_outbox_state SET value = -5 WHERE name = 'last_sent'",
         "last_sent is negative"},
        {"UPDATE ferry_outbox_state SET value = 5 WHERE name = 'schema_version'",
         "newer than this program's"},
        {"DROP TRIGGER ferry_outbox_event", "ferry_outbox_event is missing"},
        {"PRAGMA journal_mode=DELETE", "journal mode delete, not wal"},
    };
    int files = 0;
    for (const auto& [broken, words] : cases) {
        path_ = directory_ + "/" + std::to_string(++files) + ".db";
        database_ = connect();
        open(database_);
        ASSERT_TRUE(database_.run(broken).ok()) << broken;
        EXPECT_THAT(found(), HasSubstr(words)) << broken;
    }
}

TEST_F(AdminTest, VerifyFindsHolesInAStream) {
    EventLog log = EventLog::open(outbox_).value();
    run(database_, "BEGIN IMMEDIATE");
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(
            log.append("s", std::nullopt, NewEvent{.type = "t", .payload = as_bytes("x")}).ok());
    }
    run(database_, "COMMIT");
    EXPECT_EQ(found(), "");
    run(database_, "DELETE FROM ferry_outbox WHERE id = 2");
    EXPECT_THAT(found(), HasSubstr("1 event streams have missing"));
}

TEST_F(AdminTest, WithoutAnOutboxEverythingSaysSo) {
    path_ = directory_ + "/empty.db";
    const auto empty = connect();
    EXPECT_THAT(said(figures(empty), Kind::schema), HasSubstr("no outbox"));
    EXPECT_THAT(said(list(empty, {}), Kind::schema), HasSubstr("no outbox"));
    EXPECT_THAT(said(retry(empty, {}), Kind::schema), HasSubstr("no outbox"));
    EXPECT_THAT(said(skip(empty, {}, 0), Kind::schema), HasSubstr("no outbox"));
    EXPECT_THAT(said(purge_sent(empty, 0), Kind::schema), HasSubstr("no outbox"));
    EXPECT_THAT(verify(empty).value().at(0).text, HasSubstr("no outbox"));
}

}  // namespace
}  // namespace ferry::outbox
