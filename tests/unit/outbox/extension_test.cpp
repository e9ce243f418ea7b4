#include <filesystem>

#include <gmock/gmock.h>

#include "outbox_fixture.hpp"
#include "wake_listener.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Database;
using sqlite::Kind;
using testing::HasSubstr;

class ExtensionTest : public OutboxTest {
protected:
    static void load(const Database& database, const char* file = FERRY_OUTBOX_EXTENSION) {
        sqlite3_db_config(database.handle(), SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, nullptr);
        char* problem = nullptr;
        EXPECT_EQ(sqlite3_load_extension(database.handle(), file, nullptr, &problem), SQLITE_OK)
            << (problem == nullptr ? "" : problem);
        sqlite3_free(problem);
    }
    /// A connection with the extension and an outbox.
    [[nodiscard]] Database connect_loaded() const {
        Database out = connect();
        load(out);
        EXPECT_TRUE(out.run("SELECT ferry_outbox_init()").ok());
        return out;
    }
    /// What `SELECT expression` in a transaction complains of.
    static std::string complaint(const Database& database, const std::string& expression) {
        run(database, "BEGIN IMMEDIATE");
        const auto done = database.text("SELECT " + expression);
        EXPECT_TRUE(database.in_transaction());
        EXPECT_EQ(pending(database), 0);
        run(database, "ROLLBACK");
        return said(done, Kind::constraint);
    }
};

TEST_F(ExtensionTest, PublishStoresInTheTransactionOfTheCaller) {
    const auto database = connect_loaded();
    run(database, "BEGIN IMMEDIATE; INSERT INTO orders VALUES (77, 'x')");
    EXPECT_EQ(number(database, "SELECT ferry_publish('', 'orders', 'hello')"), 1);
    EXPECT_EQ(database.last_row_id(), 77);
    run(database, "ROLLBACK");
    EXPECT_EQ(pending(database), 0);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(number(database, "SELECT ferry_publish('events', 'order.placed', x'00ff')"), 1);
    run(database, "COMMIT");
    EXPECT_EQ(text(connect(),
                   "SELECT exchange || routing_key || hex(payload) || typeof(payload) "
                   "FROM ferry_outbox"),
              "eventsorder.placed00FFblob");
}

TEST_F(ExtensionTest, PublishTakesEveryOption) {
    const auto database = connect_loaded();
    run(database, "BEGIN IMMEDIATE");
    run(database,
        "SELECT ferry_publish('', 'orders', 'x', '{\"ordering_key\": \"k\", \"content_type\": "
        "\"text/plain\", \"headers\": {\"a\": 1, \"b\": 2.0, \"c\": null}, \"delay_ms\": 1000, "
        "\"ttl_ms\": 5000, \"priority\": 7, \"correlation_id\": \"c\", \"reply_to\": \"r\"}')");
    run(database,
        "SELECT ferry_publish('', 'orders', 'y', '{\"deliver_at_ms\": 2000000000000, "
        "\"expires_at_ms\": 2000000000001, \"reply_to\": null}')");
    run(database, "SELECT ferry_publish('', 'orders', 'z', NULL)");
    run(database, "COMMIT");
    EXPECT_EQ(text(database,
                   "SELECT ordering_key || content_type || headers || (deliver_at_ms - "
                   "created_ms) || (expires_at_ms - created_ms) || priority || "
                   "correlation_id || reply_to FROM ferry_outbox WHERE id = 1"),
              "ktext/plain{\"a\":1,\"b\":2.0,\"c\":null}100050007cr");
    EXPECT_EQ(text(database,
                   "SELECT deliver_at_ms || expires_at_ms || coalesce(reply_to, '-') "
                   "FROM ferry_outbox WHERE id = 2"),
              "20000000000002000000000001-");
}

TEST_F(ExtensionTest, WhatIsWrongIsNamed) {
    const auto database = connect_loaded();
    const std::pair<const char*, const char*> cases[] = {
        {"ferry_publish('', 'q', 'x', '{\"prio\": 5}')", "there is no option \"prio\""},
        {"ferry_publish('', 'q', 'x', '{\"prio\": null}')", "there is no option \"prio\""},
        {"ferry_publish('', 'q', 'x', '{\"exchange\": \"e\"}')", "there is no option \"exchange\""},
        {"ferry_publish('', 'q', 'x', '{\"priority\": \"5\"}')", "priority must be a whole number"},
        {"ferry_publish('', 'q', 'x', '{\"priority\": 10}')", "priority is 10"},
        {"ferry_publish('', 'q', 'x', '{\"delay_ms\": -1}')", "delay_ms must be a whole number"},
        {"ferry_publish('', 'q', 'x', '{\"reply_to\": 5}')", "reply_to must be a text"},
        {"ferry_publish('', 'q', 'x', '{\"headers\": []}')", "headers must be a JSON object"},
        {"ferry_publish('', 'q', 'x', '{\"headers\": {\"a\": {}}}')", "header a is an array or"},
        {"ferry_publish('', 'q', 'x', '{')", "not a JSON object"},
        {"ferry_publish('', 'q', 'x', '5')", "not a JSON object"},
        {"ferry_publish('', 'q', 'x', 5)", "options must be a text"},
        {"ferry_publish(NULL, 'q', 'x')", "exchange is NULL"},
        {"ferry_publish('', NULL, 'x')", "routing_key is NULL"},
        {"ferry_publish('', 5, 'x')", "routing_key must be a text"},
        {"ferry_publish('', 'q', NULL)", "payload must be a blob or a text"},
        {"ferry_publish('', 'q', zeroblob(1024001))", "1024001 bytes"},
        {"ferry_publish('', '', 'x')", "neither an exchange nor a queue"},
        {"ferry_publish('a b', 'q', 'x')", "exchange's name"},
        {"ferry_append('', 0, 't', 'x')", "stream's name must have 1 to 255"},
        {"ferry_append(CAST(x'ff' AS TEXT), 0, 't', 'x')", "stream's name is not UTF-8"},
        {"ferry_append('s', -1, 't', 'x')", "expected_version must be"},
        {"ferry_append('s', 'new', 't', 'x')", "expected_version must be"},
        {"ferry_append('s', 0, '', 'x')", "event's type must have"},
        {"ferry_append('s', 3, 't', 'x')", "is at version 0, not 3"},
        {"ferry_outbox_init('{\"size\": 1}')", "there is no option \"size\""},
        {"ferry_outbox_init('[]')", "not a JSON object"},
        {"ferry_outbox_init('{\"payload_bytes_max\": -1}')", "must be a whole number"},
        {"ferry_outbox_init('{\"payload_bytes_max\": 0}')", "must be 1 to"},
        {"ferry_outbox_init(5)", "options must be a text"},
    };
    for (const auto& [call, words] : cases) {
        EXPECT_THAT(complaint(database, call), HasSubstr(words)) << call;
    }
}

TEST_F(ExtensionTest, HeadersOverTheirLimitsAreNamed) {
    const auto database = connect_loaded();
    std::string many;
    for (int i = 0; i < 65; ++i) many += (i == 0 ? "\"h" : ",\"h") + std::to_string(i) + "\":1";
    const std::string text(9'000, 'x');
    const std::pair<std::string, const char*> cases[] = {
        {many, "more than 64 headers"},
        {"\"a\":\"" + text + "\",\"b\":\"" + text + "\"", "more than 16384 bytes"},
        {"\"a\":\"" + text + text + text + text + "\"", "more than 32768 bytes as JSON"},
        {"\"" + std::string(256, 'n') + "\":1", "more than 255 bytes"},
        {"\"a\":18446744073709551615", "beyond 64 bits"},
    };
    for (const auto& [headers, words] : cases) {
        EXPECT_THAT(
            complaint(database, "ferry_publish('', 'q', 'x', '{\"headers\":{" + headers + "}}')"),
            HasSubstr(words))
            << headers.substr(0, 60);
    }
}

TEST_F(ExtensionTest, InitTakesTheLargestPayloadAndTellsItsVersion) {
    const auto database = connect();
    load(database);
    EXPECT_EQ(text(database, "SELECT ferry_outbox_init('{\"payload_bytes_max\": 4}')"), "created");
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(number(database, "SELECT ferry_publish('', 'q', '1234')"), 1);
    EXPECT_THAT(said(database.text("SELECT ferry_publish('', 'q', '12345')"), Kind::constraint),
                HasSubstr("at most 4"));
    run(database, "COMMIT");
    EXPECT_THAT(text(database, "SELECT ferry_outbox_version()"),
                testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+.*"));
}

TEST_F(ExtensionTest, WhatSomebodyChangedUnderneathIsRefused) {
    const std::pair<const char*, const char*> cases[] = {
        {"PRAGMA journal_mode=DELETE", "journal mode delete; run PRAGMA journal_mode=WAL"},
        {"UPDATE ferry_outbox_state SET value = 0 WHERE name = 'payload_bytes_max'",
         "payload_bytes_max is out of range"},
        {"DROP TABLE ferry_outbox_state", "ferry_outbox_state does not say"},
    };
    int files = 0;
    for (const auto& [changed, words] : cases) {
        path_ = directory_ + "/" + std::to_string(++files) + ".db";
        static_cast<void>(connect_loaded());  // whoever made it has gone
        const auto database = connect();
        ASSERT_TRUE(database.run(changed).ok());
        load(database);
        run(database, "BEGIN IMMEDIATE");
        const auto refused = database.text("SELECT ferry_publish('', 'q', 'x')");
        ASSERT_FALSE(refused.ok()) << changed;
        EXPECT_THAT(refused.error().text, HasSubstr(words));
        run(database, "ROLLBACK");
    }
}

TEST_F(ExtensionTest, ATriggerOnTheOutboxMayPublishToo) {
    const auto database = connect_loaded();
    run(database,
        "CREATE TRIGGER copy AFTER INSERT ON ferry_outbox WHEN NEW.routing_key = 'one' BEGIN "
        "SELECT ferry_publish('', 'copies', NEW.payload); END");
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(number(database, "SELECT ferry_publish('', 'one', 'x')"), 1);
    EXPECT_EQ(number(database, "SELECT ferry_publish('', 'one', 'y')"), 3);
    run(database, "COMMIT");
    EXPECT_EQ(text(database, "SELECT group_concat(routing_key || payload) FROM ferry_outbox"),
              "onex,copiesx,oney,copiesy");
}

TEST_F(ExtensionTest, PublishIsRefusedOutsideATransactionAndWithoutAnOutbox) {
    const auto database = connect();
    load(database);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_FALSE(database.text("SELECT ferry_publish('', 'q', 'x')").ok());
    run(database, "ROLLBACK");
    EXPECT_EQ(text(database, "SELECT ferry_outbox_init()"), "created");
    EXPECT_EQ(text(database, "SELECT ferry_outbox_init()"), "unchanged");
    EXPECT_THAT(said(database.text("SELECT ferry_publish('', 'q', 'x')"), Kind::constraint),
                HasSubstr("BEGIN IMMEDIATE"));
    EXPECT_EQ(pending(database), 0);
}

TEST_F(ExtensionTest, O14_PublishIsRefusedOnAConnectionThatMayLoseCommits) {
    const auto database = connect_loaded();
    run(database, "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE");
    EXPECT_THAT(said(database.text("SELECT ferry_publish('', 'q', 'x')"), Kind::constraint),
                HasSubstr("synchronous=FULL"));
    run(database, "ROLLBACK");
}

TEST_F(ExtensionTest, ATriggerMayPublish) {
    const auto database = connect_loaded();
    run(database,
        "CREATE TRIGGER tell AFTER INSERT ON orders BEGIN "
        "SELECT ferry_publish('', 'orders', NEW.text); END");
    run(database, "INSERT INTO orders VALUES (1, 'one')");
    EXPECT_EQ(pending(database), 1);
    // The statement fails after the trigger has run: its message goes with it.
    EXPECT_FALSE(database.run("INSERT INTO orders VALUES (2, 'two'), (1, 'again')").ok());
    EXPECT_EQ(pending(database), 1);
    run(database, "BEGIN IMMEDIATE");
    EXPECT_FALSE(database.run("INSERT INTO orders VALUES (3, 'three'), (1, 'again')").ok());
    run(database, "COMMIT");
    EXPECT_EQ(pending(database), 1);
}

TEST_F(ExtensionTest, AppendCountsTheVersionsOfAStream) {
    const auto database = connect_loaded();
    run(database, "BEGIN IMMEDIATE");
    EXPECT_EQ(number(database, "SELECT ferry_append('order-1', 0, 'placed', '{}')"), 1);
    EXPECT_EQ(number(database,
                     "SELECT ferry_append('order-1', 1, 'paid', '{}', "
                     "'{\"exchange\": \"sales\", \"headers\": {\"by\": \"ada\"}}')"),
              2);
    EXPECT_THAT(
        said(database.text("SELECT ferry_append('order-1', 1, 'paid', '{}')"), Kind::constraint),
        HasSubstr("is at version 2, not 1"));
    EXPECT_EQ(number(database, "SELECT ferry_append('order-1', NULL, 'sent', '{}')"), 3);
    run(database, "COMMIT");
    EXPECT_EQ(
        text(database,
             "SELECT group_concat(exchange || '/' || routing_key || '/' || "
             "ordering_key || '/' || headers, ' ') FROM ferry_outbox WHERE id < 3"),
        "events/placed/order-1/{\"ferry-stream\":\"order-1\",\"ferry-version\":1} "
        "sales/paid/order-1/{\"ferry-stream\":\"order-1\",\"ferry-version\":2,\"by\":\"ada\"}");
}

TEST_F(ExtensionTest, AKeptStatementDoesNotKeepTheConnectionFromClosing) {
    sqlite3* handle = nullptr;
    { const auto made = connect_loaded(); }
    ASSERT_EQ(sqlite3_open(path_.c_str(), &handle), SQLITE_OK);
    {
        const auto database = Database::borrow(handle);
        load(database);
        run(database,
            "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x'); "
            "SELECT ferry_append('s', 0, 't', 'x'); COMMIT");
        EXPECT_NE(sqlite3_next_stmt(handle, nullptr), nullptr);
    }
    EXPECT_EQ(sqlite3_close(handle), SQLITE_OK);
}

TEST_F(ExtensionTest, O15_ACommitWakesTheRelay) {
    const auto database = connect_loaded();
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x'); COMMIT");
    EXPECT_EQ(relay.taken(), 1);
}

TEST_F(ExtensionTest, O15_LoadingItTwiceChangesNothing) {
    const auto database = connect_loaded();
    const std::string copy = directory_ + "/ferry_outbox.so";
    std::filesystem::copy_file(FERRY_OUTBOX_EXTENSION, copy);
    run(database, "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x'); COMMIT");
    load(database);
    load(database, copy.c_str());
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x'); COMMIT");
    EXPECT_EQ(relay.taken(), 1);
    EXPECT_EQ(pending(database), 2);
}

TEST_F(ExtensionTest, O15_WithoutTheHookOrTheExtensionMessagesAreStoredAllTheSame) {
    const auto database = connect_loaded();
    WakeListener relay(database.path());
    run(database, "PRAGMA wal_autocheckpoint=1000");
    run(database, "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x'); COMMIT");
    EXPECT_EQ(relay.taken(), 0);
    const auto plain = connect();
    run(plain,
        "BEGIN IMMEDIATE; INSERT INTO ferry_outbox(routing_key, payload) "
        "VALUES ('orders', 'y'); COMMIT");
    EXPECT_EQ(pending(plain), 2);
}

TEST_F(ExtensionTest, TheLibraryAndTheExtensionMayShareAConnection) {
    const auto database = connect_loaded();
    auto outbox = Outbox::open(database.handle());
    ASSERT_TRUE(outbox.ok());
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE; SELECT ferry_publish('', 'orders', 'x')");
    ASSERT_TRUE(outbox.value().enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(relay.taken(), 1);
    EXPECT_EQ(pending(database), 2);
}

}  // namespace
}  // namespace ferry::outbox
