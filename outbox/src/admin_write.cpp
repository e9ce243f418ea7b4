#include <algorithm>
#include <string>

#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/schema.hpp"
#include "ferry/outbox/state.hpp"
#include "ferry/outbox/wake.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;
using sqlite::Status;
using sqlite::Transaction;

void wake_relay(const Database& database) {
    if (const std::string path = database.path(); !path.empty()) send_wake(path);
}

/// Ids of all that are parked, at most limits::bulk_rows_max of them, behind `after`.
Answer<std::vector<std::int64_t>> parked_ids(const Database& database, std::int64_t after) {
    auto statement = database.prepare(
        "SELECT id FROM main.ferry_outbox_parked WHERE next_ms IS NULL AND id > ?1 ORDER BY id "
        "LIMIT ?2");
    if (!statement.ok()) return statement.error();
    statement.value().bind(1, after).bind(2, limits::bulk_rows_max);
    std::vector<std::int64_t> out;
    while (true) {
        const auto row = statement.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        out.push_back(statement.value().integer(0));
    }
}

/// Does `work` to the ids given, or to all that are parked, in steps of their own transactions.
template <class Work>
Answer<std::uint64_t> in_steps(const Database& database, Ids ids, Work&& work) {
    std::uint64_t done = 0;
    std::int64_t after = INT64_MIN;
    while (true) {
        auto transaction = Transaction::begin(database);
        if (!transaction.ok()) return transaction.error();
        std::vector<std::int64_t> step(ids.begin(), ids.end());
        if (ids.empty()) {
            auto parked = parked_ids(database, after);
            if (!parked.ok()) return parked.error();
            step = std::move(parked).value();
        }
        for (const std::int64_t id : step) {
            if (const Status one = work(id); !one.ok()) return one.error();
        }
        if (const Status stored = transaction.value().commit(); !stored.ok()) {
            return stored.error();
        }
        done += step.size();
        if (!ids.empty() || step.size() < limits::bulk_rows_max) return done;
        after = step.back();
    }
}

Status check_ids(Ids ids) {
    if (ids.size() <= limits::bulk_rows_max) return sqlite::ok_status();
    return Problem{Kind::refused, 0,
                   "at most " + std::to_string(limits::bulk_rows_max) + " messages at a time"};
}

Problem not_refused(std::int64_t id) {
    return {Kind::not_found, 0,
            "message " + std::to_string(id) +
                " is not among the refused ones (see ferry outbox list --refused); nothing was "
                "changed"};
}

}  // namespace

Answer<std::uint64_t> retry(const Database& database, Ids ids) {
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    if (const Status fine = check_ids(ids); !fine.ok()) return fine.error();
    auto update = database.prepare(
        "UPDATE main.ferry_outbox_parked SET next_ms = 0, attempts = 0 WHERE id = ?1");
    if (!update.ok()) return update.error();
    const auto done = in_steps(database, ids, [&](std::int64_t id) -> Status {
        const Status ran = update.value().bind(1, id).run();
        if (!ran.ok()) return ran;
        return database.changes() == 0 ? Status(not_refused(id)) : sqlite::ok_status();
    });
    wake_relay(database);
    return done;
}

namespace {

/// Takes one message out; prepared once for many.
class Skipper {
public:
    static Answer<Skipper> make(const Database& database, std::uint64_t now_ms) {
        Skipper out(database, now_ms);
        const std::pair<Statement*, const char*> all[] = {
            {&out.refused_, "SELECT 1 FROM main.ferry_outbox_parked WHERE id = ?1"},
            {&out.keep_event_,
             "INSERT INTO main.ferry_outbox_sent SELECT id, exchange, routing_key, payload, "
             "ordering_key, content_type, headers, deliver_at_ms, expires_at_ms, priority, "
             "correlation_id, reply_to, created_ms, stream, version, ?2, 1 FROM "
             "main.ferry_outbox WHERE id = ?1 AND stream IS NOT NULL"},
            {&out.remove_, "DELETE FROM main.ferry_outbox WHERE id = ?1"},
            {&out.unpark_, "DELETE FROM main.ferry_outbox_parked WHERE id = ?1"},
        };
        for (const auto& [statement, sql] : all) {
            auto prepared = database.prepare(sql);
            if (!prepared.ok()) return prepared.error();
            *statement = std::move(prepared).value();
        }
        return out;
    }

    Status operator()(std::int64_t id) {
        const auto refused = refused_.bind(1, id).step();
        if (!refused.ok()) return refused.error();
        refused_.reset();
        if (!refused.value() && relay_at_work()) {
            return Problem{Kind::conflict, 0,
                           "message " + std::to_string(id) +
                               " was not refused, and a relay is at work that may just be sending "
                               "it: stop the relay first; nothing was changed"};
        }
        if (const Status kept = keep_event_.bind(1, id).bind(2, now_ms_).run(); !kept.ok()) {
            return kept;
        }
        if (const Status gone = remove_.bind(1, id).run(); !gone.ok()) return gone;
        const bool was_there = database_.changes() == 1;
        if (const Status unparked = unpark_.bind(1, id).run(); !unparked.ok()) return unparked;
        if (!was_there && !refused.value()) {
            return Problem{Kind::not_found, 0,
                           "there is no message " + std::to_string(id) +
                               " that waits to be sent; nothing was changed"};
        }
        return State(database_).add(state::skipped_total, 1);
    }

private:
    Skipper(const Database& database, std::uint64_t now_ms)
        : database_(database), now_ms_(now_ms) {}

    [[nodiscard]] bool relay_at_work() const {
        const auto until = State(database_).number(state::lease_until_ms);
        return !until.ok() || until.value().value_or(0) > static_cast<std::int64_t>(now_ms_);
    }

    const Database& database_;
    std::uint64_t now_ms_;
    Statement refused_, keep_event_, remove_, unpark_;
};

}  // namespace

Answer<std::uint64_t> skip(const Database& database, Ids ids, std::uint64_t now_ms) {
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    if (const Status fine = check_ids(ids); !fine.ok()) return fine.error();
    auto skipper = Skipper::make(database, now_ms);
    if (!skipper.ok()) return skipper.error();
    const auto done =
        in_steps(database, ids, [&skipper](std::int64_t id) { return skipper.value()(id); });
    wake_relay(database);
    return done;
}

Answer<std::uint64_t> purge_sent(const Database& database, std::uint64_t before_ms,
                                 const std::function<bool(std::uint64_t)>& progress) {
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    // By ranges of ids, so that no step looks at the same rows again.
    auto last_of_step = database.prepare(
        "SELECT max(id) FROM (SELECT id FROM main.ferry_outbox_sent WHERE id > ?1 ORDER BY id "
        "LIMIT ?2)");
    if (!last_of_step.ok()) return last_of_step.error();
    auto remove = database.prepare(
        "DELETE FROM main.ferry_outbox_sent WHERE id > ?1 AND id <= ?2 AND sent_ms < ?3 "
        "AND stream IS NULL");
    if (!remove.ok()) return remove.error();
    std::uint64_t purged = 0;
    for (std::int64_t after = INT64_MIN;;) {
        Statement& find = last_of_step.value();
        const auto found = find.bind(1, after).bind(2, limits::bulk_rows_max).step();
        if (!found.ok()) return found.error();
        if (!found.value() || find.is_null(0)) return purged;
        const std::int64_t last = find.integer(0);
        find.reset();
        auto transaction = Transaction::begin(database);
        if (!transaction.ok()) return transaction.error();
        const Status ran = remove.value().bind(1, after).bind(2, last).bind(3, before_ms).run();
        if (!ran.ok()) return ran.error();
        const auto gone = static_cast<std::uint64_t>(database.changes());
        if (const Status stored = transaction.value().commit(); !stored.ok()) {
            return stored.error();
        }
        purged += gone;
        after = last;
        if (progress && !progress(purged)) return purged;
    }
}

}  // namespace ferry::outbox
