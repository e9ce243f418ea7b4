// Each call on an outbox while one of its statements fails, whichever: it says so, and made again
// it does what it would have done.

#include <gmock/gmock.h>

#include "failing_statements.hpp"
#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/decision.hpp"
#include "ferry/outbox/events.hpp"
#include "outbox_fixture.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Database;
using sqlite::Kind;
using sqlite::Status;
using test::FailingStatements;

constexpr std::uint64_t later_ms = 4'000'000'000'000;

template <class T>
Status status_of(const sqlite::Answer<T>& answer) {
    return answer.ok() ? sqlite::ok_status() : Status(answer.error());
}

/// Damage is an error here: there is none.
Status sound(const sqlite::Answer<std::vector<Finding>>& findings) {
    if (!findings.ok()) return findings.error();
    for (const Finding& finding : findings.value()) {
        if (finding.severity == Finding::Severity::damage) {
            return sqlite::Problem{Kind::corrupt, 0, finding.text};
        }
    }
    return sqlite::ok_status();
}

/// In a transaction of its own, as an application makes it.
template <class Work>
Status in_transaction(const Database& database, Work&& work) {
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    if (const Status done = work(); !done.ok()) return done;
    return transaction.value().commit();
}

/// With the streams of its outbox.
template <class Work>
Status with_log(const Database& database, Work&& work) {
    auto outbox = Outbox::open(database.handle());
    if (!outbox.ok()) return outbox.error();
    auto log = EventLog::open(outbox.value());
    if (!log.ok()) return log.error();
    return work(log.value());
}

Status append(const Database& database) {
    return with_log(database, [&](EventLog& log) {
        return in_transaction(database, [&] {
            return status_of(log.append("stream", 2, NewEvent{.type = "third"}));
        });
    });
}

Status project(const Database& database) {
    return with_log(database, [&](EventLog& log) {
        return status_of(log.project("model", 10, [&](const Event& event) {
            return database.run("INSERT INTO orders(text) VALUES ('" + std::string(event.type) +
                                "')");
        }));
    });
}

Status read_stream(const Database& database) {
    return with_log(database, [](EventLog& log) -> Status {
        if (const auto at = log.version("stream"); !at.ok()) return at.error();
        return status_of(log.read("stream", 1, [](const Event&) { return true; }));
    });
}

Status enqueue(const Database& database) {
    auto outbox = Outbox::open(database.handle());
    if (!outbox.ok()) return outbox.error();
    return in_transaction(database, [&] {
        return status_of(
            outbox.value().enqueue(Message{.routing_key = "q", .payload = as_bytes("new")}));
    });
}

Status forget(const Database& database) {
    const auto old = decisions_before(database, later_ms, {}, 10);
    if (!old.ok()) return old.error();
    std::vector<std::string> ids;
    for (const DecisionRow& row : old.value()) ids.push_back(row.id);
    return forget_decisions(database, ids);
}

struct Call {
    const char* name;
    Status (*made)(const Database&);
};
const Call calls[] = {
    {"figures", [](const Database& db) { return status_of(figures(db, true)); }},
    {"list",
     [](const Database& db) {
         Filter filter;
         for (const auto which : {Filter::Which::pending, Filter::Which::parked}) {
             filter.which = which;
             if (const auto found = list(db, filter); !found.ok()) return Status(found.error());
         }
         return sqlite::ok_status();
     }},
    {"show", [](const Database& db) { return status_of(show(db, 2)); }},
    {"retry", [](const Database& db) { return status_of(retry(db, {})); }},
    {"skip",
     [](const Database& db) {
         const std::int64_t ids[] = {2};
         return status_of(skip(db, ids, 5));
     }},
    {"purge_sent", [](const Database& db) { return status_of(purge_sent(db, later_ms)); }},
    {"verify", [](const Database& db) { return sound(verify(db)); }},
    {"repair", [](const Database& db) { return sound(verify(db, true)); }},
    {"append", append},
    {"project", project},
    {"read", read_stream},
    {"enqueue", enqueue},
    {"init",
     [](const Database& db) {
         if (const auto made = init(db, {}); !made.ok()) return Status(made.error());
         return init_decisions(db);
     }},
    {"decide",
     [](const Database& db) { return in_transaction(db, [&] { return decide(db, "mine"); }); }},
    {"settle", [](const Database& db) { return status_of(settle_decision(db, "theirs")); }},
    {"forget", forget},
};

class FailingStatementsTest : public OutboxTest,
                              public testing::WithParamInterface<FailingStatements::When> {
protected:
    /// A new database: two plain messages of which one is parked, a stream of two, one kept.
    Database fresh(bool with_outbox) {
        path_ = directory_ + "/" + std::to_string(++files_) + ".db";
        Database database = connect();
        if (!with_outbox) return database;
        Outbox outbox = open(database);
        auto log = EventLog::open(outbox);
        EXPECT_TRUE(log.ok() && init_decisions(database).ok());
        run(database, "BEGIN IMMEDIATE");
        EXPECT_TRUE(outbox.enqueue(hello("one")).ok() && outbox.enqueue(hello("two")).ok());
        for (const char* const type : {"first", "second"}) {
            EXPECT_TRUE(log.value().append("stream", std::nullopt, NewEvent{.type = type}).ok());
        }
        run(database,
            "INSERT INTO ferry_outbox_parked VALUES (2, NULL, 206, 'no such queue', 10, 1, 2, "
            "NULL); INSERT INTO ferry_outbox_sent SELECT *, 7, 0 FROM ferry_outbox WHERE id = 1; "
            "DELETE FROM ferry_outbox WHERE id = 1; COMMIT");
        EXPECT_TRUE(settle_decision(database, "an old one").ok());
        return database;
    }
    /// Everything in it but what the moment and chance decide.
    static std::string content(const Database& database) {
        std::string out;
        for (const char* const sql :
             {"SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)",
              "SELECT group_concat(id || routing_key || payload) FROM ferry_outbox",
              "SELECT group_concat(id || routing_key) FROM ferry_outbox_sent",
              "SELECT group_concat(id || attempts || coalesce(next_ms, '')) FROM "
              "ferry_outbox_parked",
              "SELECT group_concat(name) FROM (SELECT name FROM ferry_outbox_state ORDER BY name)",
              "SELECT value FROM ferry_outbox_state WHERE name = 'skipped_total'",
              "SELECT group_concat(seq) FROM sqlite_sequence",
              "SELECT group_concat(id || outcome) FROM ferry_decision",
              "SELECT group_concat(text) FROM orders"}) {
            out += text(database, sql) + "\n";
        }
        return out;
    }

    int files_ = 0;
};

TEST_P(FailingStatementsTest, OneThatFailsIsToldAndTheCallMadeAgainDoesItsWork) {
    for (const Call& call : calls) {
        const bool makes = std::string_view(call.name) == "init";
        const Database undisturbed = fresh(!makes);
        const Status well = call.made(undisturbed);
        ASSERT_TRUE(well.ok()) << call.name << ": " << well.error().text;
        const std::string expected = content(undisturbed);
        std::uint32_t reached = 0;
        for (std::uint32_t nth = 1;; ++nth) {
            SCOPED_TRACE(std::string(call.name) + ", statement " + std::to_string(nth));
            const Database database = fresh(!makes);
            FailingStatements statements;
            statements.watch(database.handle());
            statements.fail(GetParam(), nth);
            const Status first = call.made(database);
            if (!statements.failed()) break;
            ++reached;
            EXPECT_FALSE(database.in_transaction());
            statements.pass();
            if (first.ok()) {  // it could do without
                EXPECT_EQ(content(database), expected);
                continue;
            }
            EXPECT_FALSE(first.error().text.empty());
            EXPECT_NE(first.error().kind, Kind::corrupt) << first.error().text;
            EXPECT_NE(first.error().kind, Kind::schema) << first.error().text;
            const Status again = call.made(database);
            ASSERT_TRUE(again.ok()) << again.error().text << ", after: " << first.error().text;
            EXPECT_EQ(content(database), expected) << "after: " << first.error().text;
        }
        EXPECT_GT(reached, 0U) << call.name;
    }
}

INSTANTIATE_TEST_SUITE_P(, FailingStatementsTest,
                         testing::Values(FailingStatements::When::prepared,
                                         FailingStatements::When::run),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace ferry::outbox
