#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include <gmock/gmock.h>

#include "outbox_fixture.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Kind;
using testing::HasSubstr;

// G40
TEST_F(OutboxTest, AMessageCommitsWithTheRowsBesideIt) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "BEGIN IMMEDIATE");
    run(database, "INSERT INTO orders VALUES (7, 'book')");
    const auto id = outbox.enqueue(hello());
    ASSERT_TRUE(id.ok()) << id.error().text;
    EXPECT_EQ(id.value(), 1);
    run(database, "COMMIT");
    const auto other = connect();
    EXPECT_EQ(pending(other), 1);
    EXPECT_EQ(text(other,
                   "SELECT routing_key || '/' || CAST(payload AS TEXT) || '/' || "
                   "typeof(payload) FROM ferry_outbox"),
              "orders/hello/blob");
}

// O1
TEST_F(OutboxTest, O1_NothingIsVisibleBeforeTheCommit) {
    const auto database = connect();
    Outbox outbox = open(database);
    const auto other = connect();
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    EXPECT_EQ(pending(other), 0);
    run(database, "COMMIT");
    EXPECT_EQ(pending(other), 1);
}

TEST_F(OutboxTest, O1_AProcessThatDiesBeforeTheCommitLeavesNothing) {
    { open(connect()); }
    const pid_t child = ::fork();
    if (child == 0) {
        const auto database = connect();
        auto outbox = Outbox::open(database.handle());
        const bool fine = outbox.ok() && database.run("BEGIN IMMEDIATE").ok() &&
                          outbox.value().enqueue(hello()).ok();
        if (fine) ::kill(::getpid(), SIGKILL);
        ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(pending(connect()), 0);
}

TEST_F(OutboxTest, EnqueueIsRefusedOutsideATransaction) {
    const auto database = connect();
    Outbox outbox = open(database);
    EXPECT_THAT(said(outbox.enqueue(hello()), Kind::refused), HasSubstr("BEGIN IMMEDIATE"));
    EXPECT_EQ(pending(database), 0);
}

// O4
// G40
TEST_F(OutboxTest, O4_ARolledBackIdIsGivenToTheNextMessage) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(outbox.enqueue(hello()).value(), 1);
    run(database, "ROLLBACK");
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(outbox.enqueue(hello("second")).value(), 1);
    run(database, "COMMIT");
    EXPECT_EQ(text(database, "SELECT group_concat(id || CAST(payload AS TEXT)) FROM ferry_outbox"),
              "1second");
}

TEST_F(OutboxTest, AnIdIsNeverUsedAgainAfterItsRowWasSentAndDeleted) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(outbox.enqueue(hello()).value(), 1);
    run(database, "COMMIT; DELETE FROM ferry_outbox; BEGIN IMMEDIATE");
    EXPECT_EQ(outbox.enqueue(hello()).value(), 2);
    run(database, "COMMIT");
}

// O5
TEST_F(OutboxTest, O5_RollingBackToASavepointTakesOnlyItsMessages) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello("a")).ok());
    run(database, "SAVEPOINT one");
    EXPECT_EQ(outbox.enqueue(hello("b")).value(), 2);
    run(database, "ROLLBACK TO one");
    EXPECT_EQ(outbox.enqueue(hello("c")).value(), 2);
    run(database, "RELEASE one; COMMIT");
    EXPECT_EQ(text(database, "SELECT group_concat(id || CAST(payload AS TEXT)) FROM ferry_outbox"),
              "1a,2c");
}

TEST_F(OutboxTest, ASavepointWithoutBeginIsATransactionToo) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "SAVEPOINT one");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    run(database, "RELEASE one");
    EXPECT_EQ(pending(database), 1);
}

// O6: the id is taken under the write lock, so ids are in the order of commits and have no holes.
// G40
TEST_F(OutboxTest, O6_IdsOfManyWritersAreInOrderOfCommitAndWithoutHoles) {
    { open(connect(10'000)); }
    constexpr int writers = 4;
    constexpr int each = 50;
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w) {
        threads.emplace_back([this, w] {
            const auto database = connect(20'000);
            Outbox outbox = open(database);
            for (int i = 0; i < each; ++i) {
                const std::string payload = std::to_string(w) + ":" + std::to_string(i);
                run(database, "BEGIN IMMEDIATE");
                ASSERT_TRUE(outbox.enqueue(hello(payload)).ok());
                run(database, i % 7 == 3 ? "ROLLBACK" : "COMMIT");
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    const auto database = connect();
    const std::int64_t rows = pending(database);
    EXPECT_EQ(rows, writers * (each - 7));
    EXPECT_EQ(number(database, "SELECT max(id) FROM ferry_outbox"), rows);
    for (int w = 0; w < writers; ++w) {
        const std::string mine =
            "SELECT count(*) FROM (SELECT CAST(substr(CAST(payload AS TEXT), "
            "3) AS INTEGER) AS n, lag(CAST(substr(CAST(payload AS TEXT), 3) "
            "AS INTEGER)) OVER (ORDER BY id) AS before FROM ferry_outbox "
            "WHERE CAST(payload AS TEXT) LIKE '" +
            std::to_string(w) + ":%') WHERE n <= before";
        EXPECT_EQ(number(database, mine), 0) << "writer " << w;
    }
}

// O7
TEST_F(OutboxTest, O7_ALockedDatabaseIsBusyAndLeavesTheTransactionAsItWas) {
    const auto database = connect(1);
    Outbox outbox = open(database);
    const auto other = connect();
    run(other, "BEGIN IMMEDIATE");
    run(database, "BEGIN");
    EXPECT_THAT(said(outbox.enqueue(hello()), Kind::busy), HasSubstr("not stored"));
    EXPECT_TRUE(database.in_transaction());
    run(other, "ROLLBACK");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(pending(database), 1);
}

// O8
// G41
TEST_F(OutboxTest, O8_AReaderThatCannotBecomeAWriterIsToldThatNothingWasStoredAndWhatToDo) {
    const auto database = connect(5'000);
    Outbox outbox = open(database);
    const auto other = connect();
    run(database, "BEGIN; SELECT count(*) FROM orders");
    run(other, "INSERT INTO orders VALUES (1, 'x')");
    const auto before = std::chrono::steady_clock::now();
    const std::string text = said(outbox.enqueue(hello()), Kind::snapshot);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4));
    EXPECT_THAT(text, HasSubstr("not stored"));
    EXPECT_THAT(text, HasSubstr("BEGIN IMMEDIATE"));
    run(database, "ROLLBACK");
    EXPECT_EQ(pending(database), 0);
}

TEST_F(OutboxTest, TheApplicationsLastRowIdStays) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "BEGIN IMMEDIATE; INSERT INTO orders VALUES (77, 'x')");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    EXPECT_EQ(database.last_row_id(), 77);
    run(database, "COMMIT");
}

TEST_F(OutboxTest, EveryPartOfAMessageIsStored) {
    const auto database = connect();
    Outbox outbox = open(database);
    const Header headers[] = {{"tenant", std::string("a\"b\n")},
                              {"n", std::int64_t{-5}},
                              {"x", 5.0},
                              {"yes", true},
                              {"none", std::monostate{}}};
    Message message = hello();
    message.exchange = "events";
    message.ordering_key = "customer-1";
    message.content_type = "application/json";
    message.headers = headers;
    message.correlation_id = "c";
    message.reply_to = "answers";
    message.delay_ms = 60'000;
    message.ttl_ms = 120'000;
    message.priority = 9;
    run(database, "BEGIN IMMEDIATE");
    const auto id = outbox.enqueue(message);
    ASSERT_TRUE(id.ok()) << id.error().text;
    run(database, "COMMIT");
    EXPECT_EQ(text(database,
                   "SELECT exchange || ordering_key || content_type || correlation_id || reply_to "
                   "|| priority || (deliver_at_ms - created_ms) || (expires_at_ms - created_ms) "
                   "FROM ferry_outbox"),
              "eventscustomer-1application/jsoncanswers960000120000");
    const auto back = headers_from_json(text(database, "SELECT headers FROM ferry_outbox"));
    ASSERT_TRUE(back.ok()) << back.error().text;
    wire::Headers sorted(std::begin(headers), std::end(headers));
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    EXPECT_EQ(back.value(), sorted);
}

// O10 and bad input in general: one sentence, and the transaction goes on.
// G41
TEST_F(OutboxTest, O10_WhatIsOverALimitIsRefusedNamingIt) {
    const auto database = connect();
    Outbox outbox = open(database);
    const std::string big(limits::payload_bytes_default + 1, 'x');
    const std::string longer(256, 'k');
    const std::vector<Header> many(65, Header{"h", true});
    const Header bytes[] = {{"raw", std::vector<std::byte>(3)}};
    const Header no_text[] = {{"odd", std::string("\xff")}};
    const Header no_name[] = {{"\xff", true}};
    const Header endless[] = {{"nan", 0.0 / 0.0 * 0.0}};
    const Header nameless[] = {{"", true}};
    const Header long_name[] = {{longer, true}};
    const Header heavy[] = {{"a", std::string(9'000, 'x')}, {"b", std::string(9'000, 'y')}};
    const std::pair<Message, const char*> cases[] = {
        {Message{.routing_key = "q", .payload = as_bytes(big)}, "1024001 bytes"},
        {Message{.exchange = "no spaces", .routing_key = "q"}, "exchange's name"},
        {Message{.exchange = longer, .routing_key = "q"}, "exchange's name"},
        {Message{.routing_key = longer}, "routing key has 256 bytes"},
        {Message{}, "neither an exchange nor a queue"},
        {Message{.routing_key = "q", .ordering_key = longer}, "ordering key has 256"},
        {Message{.routing_key = "q", .content_type = longer}, "content type has 256"},
        {Message{.routing_key = "q", .correlation_id = longer}, "correlation id has 256"},
        {Message{.routing_key = "q", .reply_to = longer}, "reply-to has 256"},
        {Message{.routing_key = "q", .headers = many}, "more than 64 headers"},
        {Message{.routing_key = "q", .headers = bytes}, "header raw holds bytes"},
        {Message{.routing_key = "q", .headers = endless}, "header nan"},
        {Message{.routing_key = "q", .headers = no_text}, "header odd"},
        {Message{.routing_key = "q", .headers = no_name}, "name is not UTF-8"},
        {Message{.routing_key = "q", .headers = nameless}, "empty name"},
        {Message{.routing_key = "q", .headers = long_name}, "has more than 255 bytes"},
        {Message{.routing_key = "q", .headers = heavy}, "headers take more than 16384 bytes"},
        {Message{.routing_key = "q", .delay_ms = 1, .deliver_at_ms = 1}, "both given"},
        {Message{.routing_key = "q", .ttl_ms = 1, .expires_at_ms = 1}, "both given"},
        {Message{.routing_key = "q", .delay_ms = UINT64_MAX}, "delay_ms is"},
        {Message{.routing_key = "q", .deliver_at_ms = UINT64_MAX}, "deliver_at_ms is"},
        {Message{.routing_key = "q", .delay_ms = 10, .ttl_ms = 10}, "expire before"},
        {Message{.routing_key = "q", .priority = 10}, "priority is 10"},
    };
    run(database, "BEGIN IMMEDIATE; INSERT INTO orders VALUES (1, 'x')");
    for (const auto& [message, words] : cases) {
        EXPECT_THAT(said(outbox.enqueue(message), Kind::refused), HasSubstr(words));
    }
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(pending(database), 1);
    EXPECT_EQ(number(database, "SELECT count(*) FROM orders"), 1);
}

TEST_F(OutboxTest, TheLargestPayloadCanBeSetAndHoldsForEverybody) {
    const auto database = connect();
    Options options;
    options.init_options.payload_bytes_max = 10;
    Outbox outbox = open(database, options);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_TRUE(outbox.enqueue(hello("1234567890")).ok());
    EXPECT_THAT(said(outbox.enqueue(hello("12345678901")), Kind::refused), HasSubstr("at most 10"));
    const auto plain =
        database.run("INSERT INTO ferry_outbox(routing_key, payload) VALUES ('q', '12345678901')");
    EXPECT_THAT(said(plain, Kind::constraint), HasSubstr("at most 10 bytes"));
    run(database, "COMMIT");
}

// O16
TEST_F(OutboxTest, O16_AChildProcessMustOpenAConnectionOfItsOwn) {
    const auto database = connect();
    Outbox outbox = open(database);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto id = outbox.enqueue(hello());
        ::_exit(!id.ok() && id.error().text.find("fork") != std::string::npos ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(OutboxTest, O16_TheOutboxIsTheMainFilesAlsoWhenOthersAreAttached) {
    const auto database = connect();
    Outbox outbox = open(database);
    run(database, "ATTACH '" + directory_ + "/other.db' AS other");
    run(database, "CREATE TABLE other.ferry_outbox(x); CREATE TEMP TABLE ferry_outbox(y)");
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(number(database, "SELECT count(*) FROM main.ferry_outbox"), 1);
}

}  // namespace
}  // namespace ferry::outbox
