// O9: what happens when the disk fails under an application that uses an outbox.
#include <functional>

#include <gmock/gmock.h>

#include "outbox_fixture.hpp"
#include "test_vfs.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Database;
using sqlite::Kind;
using testing::HasSubstr;

class DiskFailureTest : public OutboxTest {
protected:
    DiskFailureTest() {
        const auto plain = connect();
        open(plain);
    }

    /// One order and its message. Returns whether the application was told that both are stored.
    static bool place_order(const Database& database, Outbox& outbox, int number) {
        const std::string row = std::to_string(number);
        const bool stored =
            database.run("BEGIN IMMEDIATE").ok() &&
            database.run("INSERT INTO orders VALUES (" + row + ", 'order " + row + "')").ok() &&
            outbox.enqueue(hello(row)).ok() && database.run("COMMIT").ok();
        if (!stored && database.in_transaction()) run(database, "ROLLBACK");
        return stored;
    }

    /// Orders without message plus messages without order.
    static std::int64_t mismatches(const Database& database) {
        return number(database,
                      "SELECT (SELECT count(*) FROM orders WHERE id NOT IN (SELECT CAST(CAST("
                      "payload AS TEXT) AS INTEGER) FROM ferry_outbox)) + (SELECT count(*) FROM "
                      "ferry_outbox WHERE CAST(CAST(payload AS TEXT) AS INTEGER) NOT IN (SELECT id "
                      "FROM orders))");
    }

    /// Lets the n-th call fail, for every n until none fails any more.
    void sweep(FileCall call, const std::string& suffix, int code, bool all) {
        TestVfs vfs;
        for (std::uint64_t at = 1; at < 200; ++at) {
            SCOPED_TRACE(suffix + " call " + std::to_string(at));
            auto connection = vfs.open(path_);
            const auto database = Database::borrow(connection.get());
            // A checkpoint at nearly every commit, in our hook.
            ASSERT_TRUE(database.run("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1").ok());
            Outbox outbox = open(database);
            vfs.fail(call, suffix, at, code, all);
            std::vector<int> promised;
            for (int i = 0; i < 3; ++i, ++next_order_) {
                if (place_order(database, outbox, next_order_)) promised.push_back(next_order_);
            }
            const std::uint64_t struck = vfs.heal();
            EXPECT_EQ(mismatches(database), 0);
            for (const int order : promised) {
                EXPECT_EQ(number(database,
                                 "SELECT count(*) FROM orders WHERE id = " + std::to_string(order)),
                          1);
            }
            EXPECT_TRUE(place_order(database, outbox, next_order_++)) << "it goes on by itself";
            const auto other = connect();
            EXPECT_EQ(mismatches(other), 0);
            EXPECT_EQ(number(other, "SELECT max(id) FROM ferry_outbox"), pending(other));
            if (struck == 0) return;
        }
        FAIL() << "it never stopped failing";
    }

    int next_order_ = 1;
};

TEST_F(DiskFailureTest, O9_AFullDiskAtInsertOrCommitStoresBothOrNone) {
    sweep(FileCall::write, "-wal", SQLITE_FULL, false);
    sweep(FileCall::write, "-wal", SQLITE_FULL, true);
}

TEST_F(DiskFailureTest, O9_AnIoErrorAtInsertOrCommitStoresBothOrNone) {
    sweep(FileCall::write, "-wal", SQLITE_IOERR_WRITE, false);
    sweep(FileCall::sync, "-wal", SQLITE_IOERR_FSYNC, false);
    sweep(FileCall::read, "app.db", SQLITE_IOERR_READ, false);
}

TEST_F(DiskFailureTest, O9_AFailingCheckpointFailsNoCommit) {
    sweep(FileCall::write, "app.db", SQLITE_FULL, true);
    sweep(FileCall::sync, "app.db", SQLITE_IOERR_FSYNC, true);

    TestVfs vfs;
    auto connection = vfs.open(path_);
    const auto database = Database::borrow(connection.get());
    run(database, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1");
    Outbox outbox = open(database);
    vfs.fail(FileCall::write, "app.db", 1, SQLITE_FULL, true);
    EXPECT_TRUE(place_order(database, outbox, 100'000));
    EXPECT_TRUE(place_order(database, outbox, 100'001));
    EXPECT_GT(vfs.heal(), 0U);
}

TEST_F(DiskFailureTest, O9_ALockThatIsNotGivenIsBusyAndNothingElse) {
    TestVfs vfs;
    auto connection = vfs.open(path_);
    const auto database = Database::borrow(connection.get());
    run(database, "PRAGMA synchronous=FULL");
    Outbox outbox = open(database);
    vfs.fail(FileCall::lock, "app.db", 1, SQLITE_BUSY, true);
    run(database, "BEGIN");
    EXPECT_THAT(said(outbox.enqueue(hello()), Kind::busy), HasSubstr("not stored"));
    EXPECT_GT(vfs.heal(), 0U);
    EXPECT_TRUE(outbox.enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(pending(database), 1);
}

TEST_F(DiskFailureTest, O9_TheErrorSaysWhetherTheTransactionIsStillThere) {
    TestVfs vfs;
    auto connection = vfs.open(path_);
    const auto database = Database::borrow(connection.get());
    run(database, "PRAGMA synchronous=FULL; PRAGMA cache_size=1; PRAGMA cache_spill=1");
    Outbox outbox = open(database);
    const std::string large(60'000, 'x');
    run(database, "BEGIN IMMEDIATE");
    vfs.fail(FileCall::write, "-wal", 1, SQLITE_FULL, true);
    std::string text;
    for (int i = 0; i < 50 && text.empty(); ++i) {
        const auto stored = outbox.enqueue(hello(large));
        if (stored.ok()) continue;
        EXPECT_EQ(stored.error().kind, Kind::full);
        text = stored.error().text;
    }
    vfs.heal();
    EXPECT_THAT(text, HasSubstr("full"));
    EXPECT_EQ(text.find("rolled back the whole") != std::string::npos, !database.in_transaction());
    if (database.in_transaction()) run(database, "ROLLBACK");
    EXPECT_EQ(pending(database), 0);
}

}  // namespace
}  // namespace ferry::outbox
