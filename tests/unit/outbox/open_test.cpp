#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>

#include "migrations.hpp"
#include "outbox_fixture.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Database;
using sqlite::Kind;
using testing::HasSubstr;
using testing::MatchesRegex;

TEST_F(OutboxTest, OpenRefusesADatabaseThatIsNotInWalMode) {
    const auto opened = Database::open(path_, Database::Access::create);
    Options options;
    options.init = true;
    EXPECT_THAT(said(Outbox::open(opened.value().handle(), options), Kind::refused),
                HasSubstr("PRAGMA journal_mode=WAL"));
    EXPECT_THAT(said(init(opened.value()), Kind::refused), HasSubstr("PRAGMA journal_mode=WAL"));
}

TEST_F(OutboxTest, OpenRefusesADatabaseInMemory) {
    const auto opened = Database::open(":memory:", Database::Access::create);
    EXPECT_THAT(said(Outbox::open(opened.value().handle()), Kind::refused), HasSubstr("in memory"));
    EXPECT_THAT(said(init(opened.value()), Kind::refused), HasSubstr("in memory"));
}

TEST_F(OutboxTest, O14_OpenRefusesAConnectionThatMayLoseCommits) {
    const auto database = connect();
    open(database);
    for (const char* mode : {"OFF", "NORMAL"}) {
        run(database, std::string("PRAGMA synchronous=") + mode);
        EXPECT_THAT(said(Outbox::open(database.handle()), Kind::refused),
                    HasSubstr("PRAGMA synchronous=FULL"));
    }
    for (const char* mode : {"FULL", "EXTRA"}) {
        run(database, std::string("PRAGMA synchronous=") + mode);
        EXPECT_TRUE(Outbox::open(database.handle()).ok()) << mode;
    }
}

TEST_F(OutboxTest, OpenRefusesAConnectionThatDoesNotWait) {
    const auto database = connect();
    open(database);
    run(database, "PRAGMA busy_timeout=0");
    EXPECT_THAT(said(Outbox::open(database.handle()), Kind::refused),
                HasSubstr("PRAGMA busy_timeout"));
    Options options;
    options.own_busy_handler = true;
    EXPECT_TRUE(Outbox::open(database.handle(), options).ok());
}

TEST_F(OutboxTest, OpenRefusesAReadOnlyDatabase) {
    { open(connect()); }
    const auto reader = Database::open(path_, Database::Access::read_only);
    ASSERT_TRUE(reader.ok());
    EXPECT_THAT(said(Outbox::open(reader.value().handle()), Kind::read_only),
                HasSubstr("SQLITE_OPEN_READWRITE"));
}

TEST_F(OutboxTest, OpenRefusesADatabaseWithoutOutbox) {
    const auto database = connect();
    EXPECT_THAT(said(Outbox::open(database.handle()), Kind::schema), HasSubstr("no outbox"));
    EXPECT_EQ(schema_version(database).value(), 0);
}

TEST_F(OutboxTest, OpenRefusesWhatIsNoDatabaseOrNotThere) {
    EXPECT_THAT(said(Outbox::open(directory_ + "/missing.db"), Kind::not_found),
                HasSubstr("missing.db"));
    std::ofstream(path_) << std::string(4096, 'x');
    EXPECT_THAT(said(Outbox::open(path_), Kind::corrupt), HasSubstr("not a database"));
    EXPECT_FALSE(Outbox::open(nullptr).ok());
}

TEST_F(OutboxTest, InitMayBeCalledAtEveryStart) {
    const auto database = connect();
    EXPECT_EQ(init(database).value(), InitResult::created);
    const std::string producer = identity(database).value().producer;
    EXPECT_THAT(producer, MatchesRegex("[0-9a-f]{32}"));
    EXPECT_EQ(init(database).value(), InitResult::unchanged);
    EXPECT_EQ(identity(database).value().producer, producer);
    EXPECT_EQ(identity(database).value().epoch, 1U);
    EXPECT_EQ(schema_version(database).value(), limits::schema_version);
}

TEST_F(OutboxTest, TwoOutboxesAreTwoProducers) {
    const auto one = connect();
    path_ = directory_ + "/second.db";
    const auto two = connect();
    ASSERT_TRUE(init(one).ok() && init(two).ok());
    EXPECT_NE(identity(one).value().producer, identity(two).value().producer);
}

TEST_F(OutboxTest, InitIsPartOfTheTransactionThatIsOpen) {
    const auto database = connect();
    run(database, "BEGIN IMMEDIATE");
    ASSERT_EQ(init(database).value(), InitResult::created);
    run(database, "ROLLBACK");
    EXPECT_EQ(schema_version(database).value(), 0);
}

TEST_F(OutboxTest, OpenByPathMakesTheFileWhenAsked) {
    Options options;
    options.init = true;
    auto outbox = Outbox::open(path_, options);
    ASSERT_TRUE(outbox.ok()) << outbox.error().text;
    const Database& database = outbox.value().database();
    EXPECT_EQ(text(database, "PRAGMA journal_mode"), "wal");
    run(database, "BEGIN IMMEDIATE");
    EXPECT_TRUE(outbox.value().enqueue(hello()).ok());
    run(database, "COMMIT");
    ASSERT_TRUE(Outbox::open(path_).ok());
}

// O17
// G45
TEST_F(OutboxTest, O17_ANewerSchemaIsRefusedAndNotTouched) {
    const auto database = connect();
    open(database);
    run(database, "UPDATE ferry_outbox_state SET value = 2 WHERE name = 'schema_version'");
    EXPECT_THAT(said(Outbox::open(database.handle()), Kind::schema), HasSubstr("newer"));
    EXPECT_THAT(said(init(database), Kind::schema), HasSubstr("update the program"));
    EXPECT_EQ(schema_version(database).value(), 2);
}

// G45
TEST_F(OutboxTest, O17_AnOlderWriterGoesOnWhileTheSchemaIsBroughtUpToDate) {
    const auto writer = connect();
    Outbox outbox = open(writer);
    run(writer, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    run(writer, "COMMIT");

    const auto upgrader = connect();
    const Migration steps[] = {{1, "ALTER TABLE ferry_outbox ADD COLUMN colour TEXT"},
                               {2, "CREATE TABLE ferry_outbox_more(x)"}};
    auto transaction = sqlite::Transaction::begin(upgrader);
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(migrate(upgrader, 1, 3, steps).ok());
    ASSERT_TRUE(transaction.value().commit().ok());
    EXPECT_EQ(schema_version(writer).value(), 3);

    run(writer, "BEGIN IMMEDIATE");
    EXPECT_TRUE(outbox.enqueue(hello()).ok());
    run(writer, "COMMIT");
    EXPECT_EQ(pending(upgrader), 2);
}

TEST_F(OutboxTest, O17_AMigrationThatFailsChangesNothing) {
    const auto database = connect();
    open(database);
    const Migration steps[] = {{1, "CREATE TABLE ferry_outbox_more(x)"}, {2, "no SQL"}};
    {
        const auto step = sqlite::Savepoint::begin(database);
        EXPECT_FALSE(migrate(database, 1, 3, steps).ok());
    }
    EXPECT_EQ(schema_version(database).value(), 1);
    EXPECT_EQ(
        number(database, "SELECT count(*) FROM sqlite_master WHERE name = 'ferry_outbox_more'"), 0);
    const auto step = sqlite::Savepoint::begin(database);
    EXPECT_THAT(said(migrate(database, 1, 9, {}), Kind::schema), HasSubstr("no way"));
}

TEST_F(OutboxTest, TablesOfOurNamesThatAreNotOursAreLeftAlone) {
    const auto database = connect();
    run(database, "CREATE TABLE ferry_outbox(x)");
    EXPECT_THAT(said(init(database), Kind::schema), HasSubstr("ferry_outbox_state"));
    EXPECT_THAT(said(Outbox::open(database.handle()), Kind::schema), HasSubstr("verify"));
    run(database, "CREATE TABLE ferry_outbox_state(a, b)");
    EXPECT_THAT(said(init(database), Kind::schema), HasSubstr("of which version"));
}

TEST_F(OutboxTest, TheLargestPayloadMustBeSane) {
    const auto database = connect();
    for (const std::uint32_t most : {0U, limits::payload_bytes_cap + 1}) {
        EXPECT_THAT(said(init(database, {most}), Kind::refused), HasSubstr("largest payload"));
    }
}

// The plain INSERT of docs/outbox-schema.md, for languages without the extension.
// G43
TEST_F(OutboxTest, APlainInsertIsHeldToTheSameLimits) {
    const auto database = connect();
    open(database);
    run(database, "INSERT INTO ferry_outbox(routing_key, payload) VALUES ('orders', 'text')");
    run(database,
        "INSERT INTO ferry_outbox(routing_key, payload, headers, priority, created_ms) "
        "VALUES ('orders', x'00ff', '{\"a\":1}', 3, 1700000000000)");
    EXPECT_EQ(number(database,
                     "SELECT count(*) FROM ferry_outbox WHERE created_ms BETWEEN "
                     "1600000000000 AND 9000000000000"),
              2);
    const std::pair<const char*, const char*> cases[] = {
        {"routing_key) VALUES ('q')", "ferry_outbox.payload"},
        {"routing_key, payload) VALUES (NULL, 'x')", "ferry_outbox.routing_key"},
        {"routing_key, payload, exchange) VALUES ('q', 'x', NULL)", "ferry_outbox.exchange"},
        {"routing_key, payload) VALUES ('q', zeroblob(1024001))", "at most 1024000 bytes"},
        {"routing_key, payload) VALUES ('q', 17)", "payload must be a blob or a text"},
        {"routing_key, payload) VALUES ('', 'x')", "name a queue"},
        {"routing_key, payload) VALUES (hex(zeroblob(128)), 'x')", "at most 255 bytes"},
        {"routing_key, payload, exchange) VALUES ('q', 'x', 'a b')", "exchange must be"},
        {"routing_key, payload, ordering_key) VALUES ('q', 'x', '')", "ordering_key must be"},
        {"routing_key, payload, content_type) VALUES ('q', 'x', x'00')", "content_type must be"},
        {"routing_key, payload, headers) VALUES ('q', 'x', '{')", "headers must be a JSON"},
        {"routing_key, payload, headers) VALUES ('q', 'x', '[1]')", "headers must be a JSON"},
        {"routing_key, payload, priority) VALUES ('q', 'x', 10)", "priority must be"},
        {"routing_key, payload, priority) VALUES ('q', 'x', 'high')", "priority must be"},
        {"routing_key, payload, deliver_at_ms) VALUES ('q', 'x', 1.5)", "deliver_at_ms must be"},
        {"routing_key, payload, expires_at_ms) VALUES ('q', 'x', -1)", "expires_at_ms must be"},
        {"routing_key, payload, created_ms) VALUES ('q', 'x', 'now')", "created_ms must be"},
        {"routing_key, payload, version) VALUES ('q', 'x', 1)", "version must be"},
        {"routing_key, payload, stream) VALUES ('q', 'x', 's')", "another version"},
        {"routing_key, payload, stream, version) VALUES ('q', 'x', 's', 2)", "another version"},
    };
    for (const auto& [columns, words] : cases) {
        const auto done = database.run(std::string("INSERT INTO ferry_outbox(") + columns);
        EXPECT_THAT(said(done, Kind::constraint), HasSubstr(words)) << columns;
    }
    EXPECT_EQ(pending(database), 2);
    EXPECT_EQ(number(database, "SELECT seq FROM sqlite_sequence WHERE name = 'ferry_outbox'"), 2);
}

TEST_F(OutboxTest, OpenRefusesALargestPayloadThatSomebodyWroteInWrong) {
    const auto database = connect();
    open(database);
    for (const char* const value : {"0", "99999999999", "'many'"}) {
        run(database, std::string("UPDATE ferry_outbox_state SET value = ") + value +
                          " WHERE name = 'payload_bytes_max'");
        EXPECT_THAT(said(Outbox::open(database.handle(), {}), Kind::schema),
                    HasSubstr("payload_bytes_max"));
    }
}

}  // namespace
}  // namespace ferry::outbox
