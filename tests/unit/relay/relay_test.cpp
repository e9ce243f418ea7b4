#include "relay_fixture.hpp"

#include <sqlite3.h>

#include "ferry/wire/origin.hpp"
#include "store.hpp"

namespace ferry::outbox::relay {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using wire::Code;

class RelayRuns : public RelayFixture {};

TEST_F(RelayRuns, sends_what_was_committed_in_order_and_takes_it_out_of_the_table) {
    relay();
    commit({"a", "b"});
    commit({"c"}, "k");
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("a", "b", "c"));
    EXPECT_EQ(number("SELECT value FROM ferry_outbox_state WHERE name = 'last_sent'"), 3);
    EXPECT_EQ(number("SELECT value FROM ferry_outbox_state WHERE name = 'sent_total'"), 3);
    ASSERT_TRUE(eventually([&] { return relay().figures().marked == 3; }));
    EXPECT_EQ(relay().figures().sent, 3u);
}

// A bound below what is quick ended the program by an assertion of the library.
TEST_F(RelayRuns, marks_one_row_at_a_time_when_no_more_are_allowed) {
    app();
    Options options = options_for(file());
    options.mark_rows_max = 1;
    relay_ = start(std::move(options));
    commit({"a", "b", "c"});
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("a", "b", "c"));
}

TEST_F(RelayRuns, gives_each_message_its_origin_and_the_floor) {
    relay();
    commit({"a"}, "k");
    ASSERT_TRUE(all_marked());
    commit({"b"});
    ASSERT_TRUE(all_marked());
    const auto stored = broker_.stored();
    ASSERT_EQ(stored.size(), 2u);
    const auto origin = wire::parse_origin(stored[1].properties.id);
    ASSERT_TRUE(origin.ok()) << stored[1].properties.id;
    EXPECT_EQ(origin.value().producer, stored[1].producer);
    EXPECT_EQ(origin.value().epoch, 1u);
    EXPECT_EQ(origin.value().sequence, 2u);
    EXPECT_EQ(stored[0].properties.ordering_key, "k");
    EXPECT_GT(stored[0].properties.published_at_ms, 0u);
    ASSERT_EQ(stored[1].properties.headers.size(), 1u);
    EXPECT_EQ(stored[1].properties.headers[0].first, wire::floor_header);
    EXPECT_EQ(stored[1].properties.headers[0].second, wire::HeaderValue(std::int64_t{2}));
}

TEST_F(RelayRuns, sends_nothing_of_a_transaction_that_was_rolled_back) {  // I2, O4
    relay();
    ASSERT_TRUE(app().database().run("BEGIN IMMEDIATE").ok());
    Message message;
    message.routing_key = "q";
    message.payload = as_bytes("ghost");
    ASSERT_TRUE(app().enqueue(message).ok());
    ASSERT_TRUE(app().database().run("ROLLBACK").ok());
    commit({"real"});
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("real"));
}

TEST_F(RelayRuns, is_woken_by_the_commit_itself) {  // R10: not by the fallback check
    app();
    auto options = options_for(file());
    options.fallback_ms = 600'000;
    options.lease_ms = 600'000;
    relay_ = start(std::move(options));
    ASSERT_TRUE(eventually([&] { return relay_->figures().connected; }));
    commit({"a"});
    ASSERT_TRUE(all_marked());
    EXPECT_GE(relay_->figures().wakes, 1u);
}

TEST_F(RelayRuns, finds_what_nobody_announced) {  // R10, O2, O15
    relay();
    Outbox quiet = open_app(file(), false);
    commit(quiet, {"a"});
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("a"));
}

TEST_F(RelayRuns, looks_again_when_the_announcement_came_before_the_commit) {  // O3
    app();
    auto options = options_for(file());
    options.fallback_ms = 600'000;
    options.lease_ms = 600'000;
    relay_ = start(std::move(options));
    ASSERT_TRUE(eventually([&] { return relay_->figures().connected; }));
    Outbox quiet = open_app(file(), false);
    bool found = false;  // by itself: on a busy machine the commit may come too late for the looks
    for (int i = 0; i < 50 && !found; ++i) {
        ASSERT_TRUE(quiet.database().run("BEGIN IMMEDIATE").ok());
        Message message;
        message.routing_key = "q";
        message.payload = as_bytes("early");
        ASSERT_TRUE(quiet.enqueue(message).ok());
        quiet.wake();
        ASSERT_TRUE(quiet.database().run("COMMIT").ok());
        const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(400);
        while (!found && std::chrono::steady_clock::now() < until) found = pending() == 0;
    }
    EXPECT_TRUE(found);
}

TEST_F(RelayRuns, a_lost_answer_makes_no_second_message) {  // R2, R3, R15
    broker_.lose_next_answers(3);
    relay();
    for (int i = 1; i <= 20; ++i) commit({std::to_string(i)});
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 20)));
    EXPECT_GE(relay().figures().connects, 2u);
}

TEST_F(RelayRuns, a_cut_connection_in_the_middle_of_a_stream_loses_and_doubles_nothing) {  // R4
    relay();
    for (int i = 0; i < 30; ++i) {
        commit(names(i * 10 + 1, i * 10 + 10), i % 2 == 0 ? "k" : "");
        if (i % 3 == 0) broker_.cut();
    }
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 300)));
}

TEST_F(RelayRuns, a_relay_killed_at_any_moment_is_followed_by_one_that_goes_on) {  // R1, R3
    for (int i = 0; i < 15; ++i) {
        relay();
        commit(names(i * 20 + 1, i * 20 + 20));
        relay_.reset();  // at once: nothing is drained
    }
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 300)));
}

TEST_F(RelayRuns, waits_for_a_broker_that_is_down_and_then_drains_in_order) {  // R8
    broker_.set_down(true);
    relay();
    commit(names(1, 500));
    ASSERT_TRUE(eventually([&] { return broker_.opens() >= 5; }));
    broker_.set_down(false);
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 500)));
}

TEST_F(RelayRuns, poison_parks_its_key_and_others_go_on) {  // R9, block
    broker_.refuse([](const auto& message) {
        return message.payload == "bad" ? Code::no_such_exchange : Code::ok;
    });
    relay();
    commit({"k1", "bad", "k2"}, "k");
    commit({"j1"}, "j");
    commit({"free"});
    ASSERT_TRUE(eventually([&] { return relay().figures().parked == 1; }));
    ASSERT_TRUE(eventually([&] { return pending() == 2; }));
    EXPECT_THAT(broker_.payloads(), ElementsAre("k1", "j1", "free"));
    EXPECT_EQ(number("SELECT attempts FROM ferry_outbox_parked"), 10);
    EXPECT_EQ(number("SELECT reason_code FROM ferry_outbox_parked"), 201);
    EXPECT_EQ(number("SELECT next_ms IS NULL FROM ferry_outbox_parked"), 1);
    broker_.refuse({});
    ASSERT_TRUE(app().database().run("UPDATE ferry_outbox_parked SET next_ms = 1").ok());
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("k1", "j1", "free", "bad", "k2"));
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_parked"), 0);
}

TEST_F(RelayRuns, with_skip_the_key_goes_on_and_the_parked_message_is_kept) {  // R9, skip, R13
    broker_.refuse([](const auto& message) {
        return message.payload == "bad" ? Code::message_too_large : Code::ok;
    });
    app();
    auto options = options_for(file());
    options.rules.policy = Policy::skip;
    options.retain_ms = 1;
    relay_ = start(std::move(options));
    commit({"k1", "bad", "k2"}, "k");
    ASSERT_TRUE(eventually([&] { return broker_.payloads().size() == 2 && pending() == 1; }));
    EXPECT_THAT(broker_.payloads(), ElementsAre("k1", "k2"));
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_parked"), 1);
    ASSERT_TRUE(eventually([&] { return number("SELECT count(*) FROM ferry_outbox_sent") == 0; }));
    EXPECT_EQ(pending(), 1) << "retention takes sent messages only";
}

TEST_F(RelayRuns, a_message_that_an_operator_deleted_frees_its_key) {  // R9
    broker_.refuse([](const auto& message) {
        return message.payload == "bad" ? Code::message_too_large : Code::ok;
    });
    relay();
    commit({"bad", "next"}, "k");
    ASSERT_TRUE(
        eventually([&] { return number("SELECT count(*) FROM ferry_outbox_parked") == 1; }));
    ASSERT_TRUE(app()
                    .database()
                    .run("BEGIN IMMEDIATE; DELETE FROM ferry_outbox WHERE id = 1; "
                         "DELETE FROM ferry_outbox_parked; COMMIT")
                    .ok());
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAre("next"));
}

TEST_F(RelayRuns, a_row_that_cannot_be_a_message_is_parked_with_a_reason) {
    relay();
    ASSERT_TRUE(app()
                    .database()
                    .run("INSERT INTO ferry_outbox(routing_key, payload, headers) "
                         "VALUES ('q', 'x', '{\"list\":[1,2]}')")
                    .ok());
    commit({"good"});
    ASSERT_TRUE(eventually([&] { return relay().figures().parked == 1 && pending() == 1; }));
    EXPECT_THAT(broker_.payloads(), ElementsAre("good"));
    EXPECT_EQ(number("SELECT reason_code FROM ferry_outbox_parked"), 0);
    const auto reason = app().database().text("SELECT reason FROM ferry_outbox_parked");
    EXPECT_THAT(reason.value().value_or(""), HasSubstr("list"));
}

TEST_F(RelayRuns, a_lock_that_lasts_delays_marks_and_sends_nothing_twice) {  // G55: R11, O7
    relay();
    commit({"a"});
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(app().database().run("BEGIN IMMEDIATE").ok());
    const std::uint64_t before = broker_.publishes();
    Message message;
    message.routing_key = "q";
    message.payload = as_bytes("b");
    ASSERT_TRUE(app().enqueue(message).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the lock is what is tested
    EXPECT_EQ(broker_.publishes(), before);
    ASSERT_TRUE(app().database().run("COMMIT").ok());
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(broker_.publishes(), 2u);
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_parked"), 0);
}

TEST_F(RelayRuns, marks_that_fail_are_repeated_and_the_messages_are_not) {  // G55: R11
    app();
    ASSERT_TRUE(app()
                    .database()
                    .run("CREATE TABLE gate(shut); INSERT INTO gate VALUES (1); "
                         "CREATE TRIGGER gate BEFORE DELETE ON ferry_outbox WHEN "
                         "(SELECT shut FROM gate) BEGIN SELECT RAISE(ABORT, 'no'); END")
                    .ok());
    relay();
    commit(names(1, 50));
    ASSERT_TRUE(eventually([&] { return relay().figures().mark_failures >= 3; }));
    EXPECT_EQ(broker_.publishes(), 50u);
    EXPECT_LT(relay().figures().mark_failures, 50u) << "no hot loop";
    ASSERT_TRUE(app().database().run("UPDATE gate SET shut = 0").ok());
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(broker_.publishes(), 50u);
}

TEST_F(RelayRuns, keeps_sent_messages_as_long_as_asked_and_events_for_ever) {  // R13
    app();
    auto options = options_for(file());
    options.retain_ms = 3'600'000;
    relay_ = start(std::move(options));
    commit({"a", "b"});
    ASSERT_TRUE(app()
                    .database()
                    .run("INSERT INTO ferry_outbox(routing_key, payload, stream, version) "
                         "VALUES ('q', 'event', 's', 1)")
                    .ok());
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_sent WHERE sent_ms > 0"), 3);
    relay_.reset();
    options = options_for(file());
    options.retain_ms = 1;
    relay_ = start(std::move(options));
    ASSERT_TRUE(eventually([&] { return number("SELECT count(*) FROM ferry_outbox_sent") == 1; }));
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_sent WHERE stream = 's'"), 1);
}

TEST_F(RelayRuns, events_are_kept_without_any_retention) {
    relay();
    ASSERT_TRUE(app()
                    .database()
                    .run("INSERT INTO ferry_outbox(routing_key, payload, stream, version) "
                         "VALUES ('q', 'event', 's', 1)")
                    .ok());
    commit({"a"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(number("SELECT count(*) FROM ferry_outbox_sent"), 1);
}

TEST_F(RelayRuns, a_graceful_stop_leaves_nothing_half_done) {  // R14
    relay();
    commit(names(1, 2000));
    ASSERT_TRUE(eventually([&] { return !broker_.payloads().empty(); }));
    EXPECT_TRUE(relay_->stop(std::chrono::seconds(10)));
    const auto sent = static_cast<std::int64_t>(broker_.payloads().size());
    EXPECT_EQ(pending(), 2000 - sent);
    EXPECT_EQ(number("SELECT value = '' FROM ferry_outbox_state WHERE name = 'lease_owner'"), 1);
    EXPECT_FALSE(std::filesystem::exists(file() + "-ferry.sock"));
    relay_.reset();
    relay();
    ASSERT_TRUE(all_marked());
    EXPECT_THAT(broker_.payloads(), ElementsAreArray(names(1, 2000)));
}

TEST_F(RelayRuns, once_ends_when_all_is_sent) {
    app();
    commit(names(1, 100));
    auto options = options_for(file());
    options.once = true;
    const auto once = start(std::move(options));
    EXPECT_TRUE(once->wait_ended(std::chrono::seconds(20)));
    EXPECT_THAT(once->failure(), IsEmpty());
    EXPECT_EQ(pending(), 0);
    EXPECT_EQ(broker_.payloads().size(), 100u);
}

TEST_F(RelayRuns, once_without_a_broker_says_so) {
    app();
    broker_.set_down(true);
    auto options = options_for(file());
    options.once = true;
    const auto once = start(std::move(options));
    EXPECT_TRUE(once->wait_ended(std::chrono::seconds(20)));
    EXPECT_THAT(once->failure(), HasSubstr("down"));
}

TEST_F(RelayRuns, a_database_without_an_outbox_is_refused_with_a_sentence) {
    auto bare = sqlite::Database::open(file("bare.db"), sqlite::Database::Access::create);
    ASSERT_TRUE(bare.ok());
    ASSERT_TRUE(bare.value().run("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").ok());
    const auto started = Relay::start(options_for(file("bare.db")));
    ASSERT_FALSE(started.ok());
    EXPECT_EQ(started.error().kind, sqlite::Kind::schema);
    EXPECT_EQ(Relay::start(options_for(file("none.db"))).error().kind, sqlite::Kind::not_found);
}

TEST_F(RelayRuns, tells_prometheus_what_it_does) {
    relay();
    commit({"a"});
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(eventually(
        [&] { return relay().metrics().find("ferry_relay_sent_total 1") != std::string::npos; }));
    const std::string text = relay().metrics();
    EXPECT_THAT(text, HasSubstr("ferry_relay_commit_to_confirm_seconds_bucket"));
    EXPECT_THAT(text, HasSubstr("ferry_relay_lag_seconds"));
    EXPECT_THAT(text, HasSubstr("ferry_relay_leading 1"));
}

}  // namespace
}  // namespace ferry::outbox::relay
