#include <gmock/gmock.h>

#include "ferry/outbox/events.hpp"
#include "outbox_fixture.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Kind;
using testing::HasSubstr;

class EventTest : public OutboxTest {
protected:
    EventTest()
        : database_(connect()), outbox_(open(database_)), log_(EventLog::open(outbox_).value()) {}

    static NewEvent event(std::string_view type, std::string_view payload = "{}") {
        return NewEvent{.type = type, .payload = as_bytes(payload)};
    }
    void append(std::string_view stream, std::string_view type, std::string_view payload = "{}") {
        run(database_, "BEGIN IMMEDIATE");
        ASSERT_TRUE(log_.append(stream, std::nullopt, event(type, payload)).ok());
        run(database_, "COMMIT");
    }
    /// What the relay does when the broker has confirmed everything up to an id.
    void mark_sent(std::int64_t upto) {
        const std::string ids = " WHERE id <= " + std::to_string(upto);
        run(database_,
            "BEGIN IMMEDIATE; INSERT INTO ferry_outbox_sent SELECT *, 1, 0 FROM ferry_outbox" +
                ids + " AND stream IS NOT NULL; DELETE FROM ferry_outbox" + ids + "; COMMIT");
    }
    std::string told(std::string_view stream, std::uint64_t from = 1) {
        std::string out;
        const auto done = log_.read(stream, from, [&](const Event& found) {
            out += std::to_string(found.version) + std::string(found.type) +
                   (found.sent ? "+" : "") + " ";
            return true;
        });
        EXPECT_TRUE(done.ok());
        return out;
    }

    sqlite::Database database_;
    Outbox outbox_;
    EventLog log_;
};

TEST_F(EventTest, EventsGetVersionsAndAreMessages) {
    append("order-1", "placed");
    append("order-2", "placed");
    append("order-1", "paid");
    EXPECT_EQ(log_.version("order-1").value(), 2U);
    EXPECT_EQ(log_.version("order-3").value(), 0U);
    EXPECT_EQ(told("order-1"), "1placed 2paid ");
    EXPECT_EQ(text(database_,
                   "SELECT exchange || routing_key || ordering_key || headers FROM "
                   "ferry_outbox WHERE id = 3"),
              "eventspaidorder-1{\"ferry-stream\":\"order-1\",\"ferry-version\":2}");
}

TEST_F(EventTest, AnUnexpectedVersionIsAConflictAndStoresNothing) {
    append("order-1", "placed");
    run(database_, "BEGIN IMMEDIATE");
    EXPECT_THAT(said(log_.append("order-1", 0, event("placed")), Kind::conflict),
                HasSubstr("is at version 1, not 0"));
    EXPECT_THAT(said(log_.append("order-1", 2, event("paid")), Kind::conflict),
                HasSubstr("read it again"));
    EXPECT_EQ(log_.append("order-1", 1, event("paid")).value(), 2U);
    run(database_, "COMMIT");
    EXPECT_EQ(pending(database_), 2);
}

// G47
TEST_F(EventTest, TwoThatReadTheSameVersionDoNotBothAppend) {
    append("order-1", "placed");
    const auto other = connect();
    Outbox other_outbox = open(other);
    EventLog other_log = EventLog::open(other_outbox).value();
    const std::uint64_t read_by_both = log_.version("order-1").value();
    run(other, "BEGIN IMMEDIATE");
    ASSERT_TRUE(other_log.append("order-1", read_by_both, event("cancelled")).ok());
    run(other, "COMMIT");
    run(database_, "BEGIN IMMEDIATE");
    EXPECT_FALSE(log_.append("order-1", read_by_both, event("paid")).ok());
    run(database_, "ROLLBACK");
    EXPECT_EQ(told("order-1"), "1placed 2cancelled ");
}

TEST_F(EventTest, SeveralEventsAreAppendedTogetherOrNotAtAll) {
    const NewEvent good[] = {event("placed"), event("paid")};
    const NewEvent bad[] = {event("sent"), event("")};
    run(database_, "BEGIN IMMEDIATE");
    EXPECT_EQ(log_.append("order-1", 0, good).value(), 2U);
    EXPECT_THAT(said(log_.append("order-1", 2, bad), Kind::refused), HasSubstr("event's type"));
    EXPECT_EQ(log_.version("order-1").value(), 2U);
    run(database_, "COMMIT");
    EXPECT_EQ(told("order-1"), "1placed 2paid ");
}

TEST_F(EventTest, AppendIsRefusedOutsideATransactionAndForBadNames) {
    EXPECT_THAT(said(log_.append("s", 0, event("t")), Kind::refused), HasSubstr("BEGIN IMMEDIATE"));
    run(database_, "BEGIN IMMEDIATE");
    const std::string longer(256, 's');
    EXPECT_FALSE(log_.append("", 0, event("t")).ok());
    EXPECT_FALSE(log_.append(longer, 0, event("t")).ok());
    EXPECT_FALSE(log_.append("s", 0, event(longer)).ok());
    EXPECT_FALSE(log_.append("s", 0, std::span<const NewEvent>{}).ok());
    run(database_, "COMMIT");
    EXPECT_EQ(pending(database_), 0);
}

TEST_F(EventTest, AStreamIsReadWholeWhileItsFirstHalfIsSent) {
    append("order-1", "placed");
    append("order-2", "placed");
    append("order-1", "paid");
    mark_sent(2);
    append("order-1", "sent");
    EXPECT_EQ(told("order-1"), "1placed+ 2paid 3sent ");
    EXPECT_EQ(told("order-1", 2), "2paid 3sent ");
    mark_sent(4);
    EXPECT_EQ(log_.version("order-1").value(), 3U);
    append("order-1", "closed");
    EXPECT_EQ(told("order-1", 4), "4closed ");
}

TEST_F(EventTest, APlainInsertCannotRepeatTheVersionOfASentEvent) {
    append("order-1", "placed");
    mark_sent(1);
    const auto repeated = database_.run(
        "INSERT INTO ferry_outbox(routing_key, payload, stream, version) VALUES ('t', 'x', "
        "'order-1', 1)");
    EXPECT_THAT(said(repeated, Kind::constraint), HasSubstr("another version"));
}

TEST_F(EventTest, FoldRebuildsAState) {
    append("account", "paid-in", "100");
    append("account", "paid-out", "30");
    append("other", "paid-in", "7");
    append("account", "paid-in", "5");
    const auto balance = log_.fold("account", 0, [](int& sum, const Event& found) {
        const int amount = std::stoi(std::string(as_text(found.payload)));
        sum += found.type == "paid-in" ? amount : -amount;
    });
    EXPECT_EQ(balance.value(), 75);
}

// G47
TEST_F(EventTest, AProjectionTakesEachEventOnce) {
    run(database_, "CREATE TABLE totals(type TEXT PRIMARY KEY, n INTEGER)");
    const auto count = [this](const Event& found) {
        auto statement = database_.prepare(
            "INSERT INTO totals VALUES (?1, 1) ON CONFLICT(type) DO UPDATE SET n = n + 1");
        return statement.value().bind(1, found.type).run();
    };
    append("a", "x");
    append("b", "x");
    append("a", "y");
    mark_sent(1);
    EXPECT_EQ(log_.project("totals", 2, count).value(), 2U);
    EXPECT_EQ(log_.project("totals", 2, count).value(), 1U);
    EXPECT_EQ(log_.project("totals", 2, count).value(), 0U);
    append("c", "y");
    EXPECT_EQ(log_.project("totals", 100, count).value(), 1U);
    EXPECT_EQ(text(database_, "SELECT group_concat(type || n) FROM totals"), "x2,y2");

    run(database_, "DELETE FROM totals");
    ASSERT_TRUE(log_.restart_projection("totals").ok());
    EXPECT_EQ(log_.project("totals", 100, count).value(), 4U);
    EXPECT_EQ(text(database_, "SELECT group_concat(type || n) FROM totals"), "x2,y2");
}

TEST_F(EventTest, AProjectionThatFailsIsTriedAgainFromTheSamePlace) {
    append("a", "x");
    append("a", "y");
    int calls = 0;
    const auto fails = [&calls](const Event& found) -> sqlite::Status {
        ++calls;
        if (found.type == "y") return sqlite::Problem{Kind::refused, 0, "not today"};
        return sqlite::ok_status();
    };
    EXPECT_THAT(said(log_.project("p", 10, fails), Kind::refused), HasSubstr("not today"));
    EXPECT_FALSE(database_.in_transaction());
    const auto fine = [&calls](const Event&) {
        ++calls;
        return sqlite::ok_status();
    };
    EXPECT_EQ(log_.project("p", 10, fine).value(), 2U);
    EXPECT_EQ(calls, 4);
    EXPECT_FALSE(log_.project("", 10, fine).ok());
}

}  // namespace
}  // namespace ferry::outbox
