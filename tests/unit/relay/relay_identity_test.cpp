// Leases, and databases that are restored, copied or emptied behind the relay's back.

#include <sqlite3.h>

#include "relay_fixture.hpp"
#include "store.hpp"

namespace ferry::outbox::relay {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAreArray;

class RelayIdentity : public RelayFixture {
protected:
    void copy_database(const std::string& from, const std::string& to) {
        auto source = sqlite::Database::open(from, sqlite::Database::Access::read_write);
        ASSERT_TRUE(source.ok());
        std::filesystem::remove(to);
        ASSERT_TRUE(source.value().run("VACUUM INTO '" + to + "'").ok());
        auto copy = sqlite::Database::open(to, sqlite::Database::Access::read_write);
        ASSERT_TRUE(copy.ok() && copy.value().run("PRAGMA journal_mode=WAL").ok());
    }
    void replace_database(const std::string& with) {
        app_.reset();
        for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(file() + suffix);
        std::filesystem::copy_file(with, file());
    }
    std::int64_t epoch() {
        return number("SELECT value FROM ferry_outbox_state WHERE name = 'epoch'");
    }
    static int times(const std::vector<std::string>& all, const std::string& one) {
        return static_cast<int>(std::count(all.begin(), all.end(), one));
    }
};

TEST_F(RelayIdentity, of_two_relays_one_works_and_the_other_takes_over) {  // R6
    relay();
    ASSERT_TRUE(eventually([&] { return relay().figures().leading; }));
    auto second = start(options_for(file()));
    commit(names(1, 50));
    ASSERT_TRUE(all_marked());
    EXPECT_FALSE(second->figures().leading);
    EXPECT_TRUE(relay_->stop(std::chrono::seconds(5)));
    commit(names(51, 100));
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(eventually([&] { return second->figures().leading; }));
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 100)));
}

TEST_F(RelayIdentity, a_relay_that_lost_its_lease_marks_nothing) {  // G53: R6, I9
    app();
    commit({"a", "b"});
    auto stale = Store::open(file());
    ASSERT_TRUE(stale.ok());
    auto lease = stale.value().lease();
    ASSERT_TRUE(stale.value().take_lease(lease.value(), "old", 1).ok());
    auto fresh = Store::open(file());
    lease = fresh.value().lease();
    ASSERT_TRUE(fresh.value().take_lease(lease.value(), "new", 1).ok());

    IdRanges finished;
    finished.add({1, 2});
    WriteWish wish;
    wish.finished = &finished;
    wish.confirmed_upto = 2;
    wish.rows_max = 100;
    wish.reserve = 77;
    const auto refused = stale.value().write(wish);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().kind, sqlite::Kind::conflict);
    EXPECT_EQ(stale.value().renew_lease(5).error().kind, sqlite::Kind::conflict);
    EXPECT_EQ(stale.value().release_lease().error().kind, sqlite::Kind::conflict);
    EXPECT_EQ(stale.value().begin_anew("", "x", 1).error().kind, sqlite::Kind::conflict);
    EXPECT_EQ(stale.value().expire(0, 10).ok(), true) << "there was nothing to delete";
    EXPECT_EQ(pending(), 2);
    EXPECT_EQ(epoch(), 1);
    EXPECT_TRUE(fresh.value().write(wish).ok());
    EXPECT_EQ(pending(), 0);
}

TEST_F(RelayIdentity, a_running_relay_notices_that_its_lease_was_taken) {  // R6
    relay();
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    auto other = Store::open(file());
    ASSERT_TRUE(other.ok());
    const auto lease = other.value().lease();
    ASSERT_TRUE(other.value().take_lease(lease.value(), "other", 1).ok());
    commit(names(11, 20));
    ASSERT_TRUE(eventually([&] { return relay().figures().leases_lost == 1; }));
    ASSERT_TRUE(all_marked());  // the other one's lease has run out: it is taken back
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 20)));
}

TEST_F(RelayIdentity, a_lease_of_the_far_future_does_not_stop_the_relay) {  // R7
    app();
    ASSERT_TRUE(app()
                    .database()
                    .run("INSERT OR REPLACE INTO ferry_outbox_state VALUES ('lease_owner', 'gone'),"
                         "('lease_fence', 7), ('lease_until_ms', 253402300799999)")
                    .ok());
    auto options = options_for(file());
    options.lease_ms = 300;
    relay_ = start(std::move(options));
    commit({"a"});
    ASSERT_TRUE(all_marked());
}

class JumpingClock final : public Clock {
public:
    [[nodiscard]] Now now() const override {
        Now now = system_clock().now();
        now.wall_ms += static_cast<std::uint64_t>(jump_ms.load());
        return now;
    }
    std::atomic<std::int64_t> jump_ms{0};
};

TEST_F(RelayIdentity, a_clock_that_jumps_stops_nothing) {  // R7
    JumpingClock clock;
    app();
    auto options = options_for(file());
    options.clock = &clock;
    options.lease_ms = 300;
    relay_ = start(std::move(options));
    int sent = 0;
    for (const std::int64_t jump : {0, 3'600'000, -3'600'000, 86'400'000, 0}) {
        clock.jump_ms.store(jump);
        commit(names(sent + 1, sent + 5));
        sent += 5;
        ASSERT_TRUE(all_marked()) << jump;
    }
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, sent)));
    relay_.reset();
}

TEST_F(RelayIdentity, a_restored_database_takes_a_new_epoch_and_loses_nothing) {  // G54: O11
    relay();
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    copy_database(file(), file("backup.db"));
    relay();
    commit(names(11, 20));
    ASSERT_TRUE(all_marked());
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();

    replace_database(file("backup.db"));
    commit({"new1", "new2"});  // the same ids as 11 and 12
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(epoch(), 2);
    EXPECT_EQ(relay().figures().new_epochs, 1u);
    EXPECT_THAT(log(), HasSubstr("NEW EPOCH 2"));
    auto wanted = names(1, 20);
    wanted.insert(wanted.end(), {"new1", "new2"});
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(wanted));
}

TEST_F(RelayIdentity, what_a_restored_database_had_sent_itself_is_not_sent_again) {  // O11, R3
    relay();
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    // The relay dies with 11 to 15 stored and not marked; then a backup is made.
    ASSERT_TRUE(app()
                    .database()
                    .run("CREATE TABLE gate(shut); INSERT INTO gate VALUES (1); "
                         "CREATE TRIGGER gate BEFORE DELETE ON ferry_outbox WHEN "
                         "(SELECT shut FROM gate) BEGIN SELECT RAISE(ABORT, 'no'); END")
                    .ok());
    commit(names(11, 15));
    ASSERT_TRUE(eventually([&] { return broker_.payloads().size() == 15; }));
    relay_.reset();
    ASSERT_TRUE(app().database().run("UPDATE gate SET shut = 0").ok());
    copy_database(file(), file("backup.db"));
    relay();
    commit(names(16, 20));
    ASSERT_TRUE(all_marked());
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    replace_database(file("backup.db"));
    EXPECT_EQ(pending(), 5);
    commit({"new"});
    relay();
    ASSERT_TRUE(all_marked());
    const auto all = broker_.payloads();
    for (const std::string& one : names(1, 20)) EXPECT_EQ(times(all, one), 1) << one;
    EXPECT_EQ(times(all, "new"), 1);
}

TEST_F(RelayIdentity, a_restored_file_under_a_running_relay_is_noticed) {  // O11
    relay();
    commit(names(1, 5));
    ASSERT_TRUE(all_marked());
    copy_database(file(), file("backup.db"));
    commit(names(6, 10));
    ASSERT_TRUE(all_marked());
    replace_database(file("backup.db"));
    commit({"new"});
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(log(), HasSubstr("replaced by another file"));
    EXPECT_EQ(times(broker_.payloads(), "new"), 1);
}

TEST_F(RelayIdentity, a_copied_database_and_its_original_both_get_everything_out) {  // O12
    relay();
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    copy_database(file(), file("copy.db"));
    Outbox copy = open_app(file("copy.db"));
    commit({"original1"});
    ASSERT_TRUE(all_marked());
    auto options = options_for(file("copy.db"));
    auto second = start(std::move(options));
    commit(copy, {"copy1"});
    commit({"original2"});
    commit(copy, {"copy2"});
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(eventually([&] { return number(copy, "SELECT count(*) FROM ferry_outbox") == 0; }));
    commit({"original3"});
    commit(copy, {"copy3"});
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(eventually([&] { return number(copy, "SELECT count(*) FROM ferry_outbox") == 0; }));
    const auto all = broker_.payloads();
    for (const char* one : {"original1", "original2", "original3", "copy1", "copy2", "copy3"}) {
        EXPECT_GE(times(all, one), 1) << one;
    }
    EXPECT_THAT(log(), HasSubstr("NEW EPOCH"));
    EXPECT_THAT(log(), HasSubstr("NEW PRODUCER"));
    second.reset();
}

TEST_F(RelayIdentity, a_copy_that_sends_the_same_number_first_is_noticed_at_once) {  // O12
    relay();
    commit(names(1, 3));
    ASSERT_TRUE(all_marked());
    const auto stored = broker_.stored();
    broker_.advance_mark(stored.back().producer, 4);  // the copy's row 4
    commit({"mine"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(times(broker_.payloads(), "mine"), 1);
    EXPECT_EQ(epoch(), 2);
}

TEST_F(RelayIdentity, a_fenced_database_becomes_another_producer) {  // O12
    relay();
    commit({"a"});
    ASSERT_TRUE(all_marked());
    const std::string before = broker_.stored().back().producer;
    broker_.set_epoch(before, 9);
    commit({"b"});
    ASSERT_TRUE(all_marked());
    EXPECT_NE(broker_.stored().back().producer, before);
    EXPECT_EQ(times(broker_.payloads(), "b"), 1);
    EXPECT_THAT(log(), HasSubstr("NEW PRODUCER"));
}

TEST_F(RelayIdentity, a_broker_that_forgot_gets_a_new_epoch) {
    relay();
    commit(names(1, 5));
    ASSERT_TRUE(all_marked());
    broker_.forget_everything();
    commit({"next"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(times(broker_.payloads(), "next"), 1);
    EXPECT_EQ(epoch(), 2);
    EXPECT_THAT(log(), HasSubstr("restored from an older state, or is another broker"));
}

TEST_F(RelayIdentity, skipping_the_newest_message_is_not_taken_for_a_broker_that_forgot) {
    broker_.refuse([](const auto& message) {
        return message.payload == "bad" ? wire::Code::message_too_large : wire::Code::ok;
    });
    relay();
    commit({"a", "bad"});
    ASSERT_TRUE(
        eventually([&] { return number("SELECT count(*) FROM ferry_outbox_parked") == 1; }));
    ASSERT_TRUE(app()
                    .database()
                    .run("BEGIN IMMEDIATE; DELETE FROM ferry_outbox WHERE id = 2; "
                         "DELETE FROM ferry_outbox_parked; COMMIT")
                    .ok());
    ASSERT_TRUE(eventually([&] { return relay().figures().waiting == 0; }));
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    relay();
    commit({"b"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(epoch(), 1);
    EXPECT_THAT(broker_.payloads(), ElementsAre("a", "b"));
}

TEST_F(RelayIdentity, a_table_that_was_emptied_and_numbered_anew_loses_nothing) {  // O18
    relay();
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    ASSERT_TRUE(
        app().database().run("DELETE FROM sqlite_sequence WHERE name = 'ferry_outbox'").ok());
    commit({"new1", "new2"});
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(times(broker_.payloads(), "new1"), 1);
    EXPECT_EQ(times(broker_.payloads(), "new2"), 1);
    EXPECT_EQ(epoch(), 2);
}

TEST_F(RelayIdentity, deleted_rows_leave_a_hole_that_stops_nothing) {  // O18
    app();
    commit(names(1, 100));
    ASSERT_TRUE(app().database().run("DELETE FROM ferry_outbox WHERE id BETWEEN 20 AND 80").ok());
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(broker_.payloads().size(), 39u);
    EXPECT_EQ(epoch(), 1);
}

TEST_F(RelayIdentity, a_hole_wider_than_the_broker_can_be_told_takes_a_new_epoch) {  // O18
    app();
    commit({"1"});
    ASSERT_TRUE(app()
                    .database()
                    .run("UPDATE sqlite_sequence SET seq = 200000 WHERE name = 'ferry_outbox'")
                    .ok());
    commit({"2"});
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("1", "2"));
    EXPECT_EQ(epoch(), 2);
}

}  // namespace
}  // namespace ferry::outbox::relay
