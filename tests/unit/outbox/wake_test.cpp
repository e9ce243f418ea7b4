#include <filesystem>

#include "ferry/outbox/wake.hpp"
#include "outbox_fixture.hpp"
#include "wake_listener.hpp"

namespace ferry::outbox {
namespace {

class WakeTest : public OutboxTest {
protected:
    void commit_one(const sqlite::Database& database, Outbox& outbox) {
        run(database, "BEGIN IMMEDIATE");
        ASSERT_TRUE(outbox.enqueue(hello()).ok());
        run(database, "COMMIT");
    }
};

TEST_F(WakeTest, ACommitWakesAndARollbackDoesNot) {
    const auto database = connect();
    Outbox outbox = open(database);
    EXPECT_TRUE(outbox.hooked());
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    EXPECT_EQ(relay.taken(), 0);
    run(database, "ROLLBACK");
    EXPECT_EQ(relay.taken(), 0);
    commit_one(database, outbox);
    EXPECT_EQ(relay.taken(), 1);
}

// O3: at the time of the signal the row can be read by everybody.
// G44
TEST_F(WakeTest, O3_TheSignalComesAfterTheCommitIsVisible) {
    const auto database = connect();
    Outbox outbox = open(database);
    const auto other = connect();
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(outbox.enqueue(hello()).ok());
    EXPECT_EQ(relay.taken(), 0);
    run(database, "COMMIT");
    ASSERT_EQ(relay.taken(), 1);
    EXPECT_EQ(pending(other), 1);
}

TEST_F(WakeTest, O2_WithoutARelayACommitGoesOn) {
    const auto database = connect();
    Outbox outbox = open(database);
    commit_one(database, outbox);
    EXPECT_EQ(pending(database), 1);
}

TEST_F(WakeTest, ARelayThatDoesNotReadStopsNobody) {
    const auto database = connect();
    Outbox outbox = open(database);
    WakeListener relay(database.path());
    for (int i = 0; i < 600; ++i) outbox.wake();
    commit_one(database, outbox);
    EXPECT_GT(relay.taken(), 0);
}

TEST_F(WakeTest, AVeryLongPathWorksToo) {
    directory_ += "/" + std::string(200, 'd');
    ASSERT_TRUE(std::filesystem::create_directory(directory_));
    path_ = directory_ + "/app.db";
    const auto database = connect();
    Outbox outbox = open(database);
    WakeListener relay(database.path());
    commit_one(database, outbox);
    EXPECT_EQ(relay.taken(), 1);
    EXPECT_TRUE(std::filesystem::exists(path_ + std::string(wake_suffix)));
}

TEST_F(WakeTest, ThereIsNoAddressForWhatHasNoPlace) {
    EXPECT_FALSE(WakeAddress::of("").has_value());
    EXPECT_FALSE(WakeAddress::of("relative.db").has_value());
    EXPECT_FALSE(WakeAddress::of("/tmp/" + std::string(100, 'n')).has_value());
    EXPECT_FALSE(WakeAddress::of("/no/such/" + std::string(120, 'd') + "/x.db").has_value());
    send_wake("");
    send_wake("/no/such/place.db");
}

// O15
// G44
TEST_F(WakeTest, O15_AHookTakenAwayCostsTheSignalAndNothingElse) {
    const auto database = connect();
    Outbox outbox = open(database);
    WakeListener relay(database.path());
    run(database, "PRAGMA wal_autocheckpoint=500");
    commit_one(database, outbox);
    EXPECT_EQ(relay.taken(), 0);
    EXPECT_EQ(pending(connect()), 1);
    outbox.wake();
    EXPECT_EQ(relay.taken(), 1);
}

int count_calls(void* counter, sqlite3*, const char*, int) {
    ++*static_cast<int*>(counter);
    return SQLITE_OK;
}

TEST_F(WakeTest, O15_AHookOfTheApplicationIsLeftAlone) {
    const auto database = connect();
    int calls = 0;
    sqlite3_wal_hook(database.handle(), count_calls, &calls);
    Outbox outbox = open(database);
    EXPECT_FALSE(outbox.hooked());
    const int before = calls;
    commit_one(database, outbox);
    EXPECT_EQ(calls, before + 1);
}

TEST_F(WakeTest, O15_TwoOutboxesOnOneConnectionWakeOnce) {
    const auto database = connect();
    Outbox one = open(database);
    Outbox two = open(database);
    WakeListener relay(database.path());
    run(database, "BEGIN IMMEDIATE");
    ASSERT_TRUE(one.enqueue(hello()).ok());
    ASSERT_TRUE(two.enqueue(hello()).ok());
    run(database, "COMMIT");
    EXPECT_EQ(relay.taken(), 1);
}

// O13: our hook replaces SQLite's auto-checkpoint, so it has to do its work.
TEST_F(WakeTest, O13_TheLogStaysBoundedAlthoughOurHookTookThePlaceOfTheAutoCheckpoint) {
    const auto database = connect();
    run(database, "PRAGMA wal_autocheckpoint=50");
    Outbox outbox = open(database);
    ASSERT_TRUE(outbox.hooked());
    const std::string page(4000, 'p');
    for (int i = 0; i < 300; ++i) {
        run(database, "BEGIN IMMEDIATE");
        ASSERT_TRUE(outbox.enqueue(hello(page)).ok());
        run(database, "COMMIT");
    }
    EXPECT_LT(std::filesystem::file_size(path_ + "-wal"), 100U * 4200U);
}

}  // namespace
}  // namespace ferry::outbox
