#include "ferry/consumer/inbox_admin.hpp"

#include <utility>

#include "ferry/consumer/inbox.hpp"
#include "inbox_schema.hpp"
#include "marks.hpp"

namespace ferry::consumer {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;

std::uint64_t number(const Statement& statement, int column) {
    return static_cast<std::uint64_t>(statement.integer(column));
}

Answer<std::int64_t> consumer_id(const Database& db, std::string_view name) {
    if (auto checked = check_inbox_schema(db); !checked.ok()) return checked.error();
    auto select = db.prepare("SELECT id FROM ferry_inbox_consumer WHERE name = ?1");
    if (!select.ok()) return select.error();
    auto row = select.value().bind(1, name).step();
    if (!row.ok()) return row.error();
    if (row.value()) return select.value().integer(0);
    return Problem{Kind::not_found, 0,
                   "there is no consumer " + sqlite::bounded(name) + " in " + db.path() +
                       ": ferry inbox status lists them"};
}

/// Runs a deletion of some rows again until it finds none; each run is a transaction.
Answer<std::uint64_t> in_steps(const Database& db, std::string_view sql, std::int64_t consumer,
                               std::uint64_t value) {
    auto remove = db.prepare(sql);
    if (!remove.ok()) return remove.error();
    std::uint64_t total = 0;
    for (;;) {
        remove.value().reset();
        remove.value().bind(1, consumer).bind(2, limits::tidy_rows_max);
        if (sql.find("?3") != std::string_view::npos) remove.value().bind(3, value);
        if (auto done = remove.value().run(); !done.ok()) return done.error();
        const std::int64_t gone = db.changes();
        total += static_cast<std::uint64_t>(gone);
        if (gone == 0) return total;
    }
}

}  // namespace

Answer<std::vector<ConsumerRow>> inbox_status(const Database& db) {
    if (auto checked = check_inbox_schema(db); !checked.ok()) return checked.error();
    auto select = db.prepare(
        "SELECT name, queue, log_id, floor, running, "
        "(SELECT count(*) FROM ferry_inbox_cursor c WHERE c.consumer = o.id), "
        "(SELECT count(*) FROM ferry_inbox_range r JOIN ferry_inbox_cursor c ON c.id = r.cursor "
        "WHERE c.consumer = o.id), "
        "(SELECT count(*) FROM ferry_inbox_range r JOIN ferry_inbox_cursor c ON c.id = r.cursor "
        "WHERE c.consumer = o.id AND r.unsure = 1), "
        "(SELECT count(*) FROM ferry_inbox_id i WHERE i.consumer = o.id), "
        "(SELECT min(seen_ms) FROM ferry_inbox_id i WHERE i.consumer = o.id) "
        "FROM ferry_inbox_consumer o ORDER BY name");
    if (!select.ok()) return select.error();
    std::vector<ConsumerRow> rows;
    for (;;) {
        auto row = select.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return rows;
        const Statement& s = select.value();
        rows.push_back({std::string(s.text(0)), std::string(s.text(1)), std::string(s.text(2)),
                        number(s, 3), s.integer(4) != 0, number(s, 5), number(s, 6), number(s, 7),
                        number(s, 8), number(s, 9)});
    }
}

Answer<std::vector<CursorRow>> inbox_cursors(const Database& db, std::string_view consumer,
                                             std::uint32_t at_most) {
    if (auto checked = check_inbox_schema(db); !checked.ok()) return checked.error();
    if (!consumer.empty()) {
        if (auto known = consumer_id(db, consumer); !known.ok()) return known.error();
    }
    auto select = db.prepare(
        "SELECT o.name, c.producer, c.epoch, c.below, "
        "(SELECT count(*) FROM ferry_inbox_range r WHERE r.cursor = c.id), "
        "(SELECT max(last) FROM ferry_inbox_range r WHERE r.cursor = c.id), c.seen_ms "
        "FROM ferry_inbox_cursor c JOIN ferry_inbox_consumer o ON o.id = c.consumer "
        "WHERE ?1 = '' OR o.name = ?1 ORDER BY o.name, c.producer, c.epoch LIMIT ?2");
    if (!select.ok()) return select.error();
    select.value().bind(1, consumer).bind(2, at_most);
    std::vector<CursorRow> rows;
    for (;;) {
        auto row = select.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return rows;
        const Statement& s = select.value();
        rows.push_back({std::string(s.text(0)), std::string(s.text(1)), number(s, 2), number(s, 3),
                        number(s, 4), number(s, 5), number(s, 6)});
    }
}

namespace {

Answer<Known> known_outboxed(const Database& db, std::int64_t consumer, const Origin& origin) {
    Known known;
    Marks marks(db, consumer);
    auto exact = marks.look(origin, true);
    if (!exact.ok()) return exact.error();
    auto below = marks.look(origin, false);
    if (!below.ok()) return below.error();
    known.applied = below.value() == Marks::State::applied;
    if (exact.value() == Marks::State::applied) {
        known.why = "its effect is recorded";
    } else if (known.applied) {
        known.why =
            "it is below the cursor: it was settled, so only a copy that was sent back from dead "
            "letters would be applied";
    } else {
        known.why = "it has no effect yet";
    }
    return known;
}

}  // namespace

Answer<std::vector<Known>> inbox_show(const Database& db, std::string_view consumer,
                                      std::string_view id) {
    auto rows = inbox_status(db);
    if (!rows.ok()) return rows.error();
    std::vector<Known> all;
    for (const ConsumerRow& row : rows.value()) {
        if (!consumer.empty() && consumer != row.name) continue;
        auto number_of = consumer_id(db, row.name);
        if (!number_of.ok()) return number_of.error();
        Origin origin;
        Known known;
        if (origin_of(id, origin)) {
            auto found = known_outboxed(db, number_of.value(), origin);
            if (!found.ok()) return found.error();
            known = std::move(found).value();
        } else {
            Marks marks(db, number_of.value());
            auto found = marks.look_id(id);
            if (!found.ok()) return found.error();
            known.applied = found.value() == Marks::State::applied;
            known.why = known.applied ? "its id is recorded"
                                      : "it has no effect yet, or its id was forgotten";
        }
        known.consumer = row.name;
        known.id = std::string(id);
        all.push_back(std::move(known));
    }
    if (all.empty()) {
        auto missing = consumer_id(db, consumer);
        if (!missing.ok()) return missing.error();
    }
    return all;
}

Answer<Purged> inbox_purge_ids(const Database& db, std::string_view consumer,
                               std::uint64_t before_ms) {
    auto id = consumer_id(db, consumer);
    if (!id.ok()) return id.error();
    auto ids = in_steps(db,
                        "DELETE FROM ferry_inbox_id WHERE consumer = ?1 AND id IN (SELECT id FROM "
                        "ferry_inbox_id WHERE consumer = ?1 AND seen_ms < ?3 LIMIT ?2)",
                        id.value(), before_ms);
    if (!ids.ok()) return ids.error();
    return Purged{ids.value(), 0, 0};
}

Answer<Purged> inbox_forget(const Database& db, std::string_view consumer) {
    auto id = consumer_id(db, consumer);
    if (!id.ok()) return id.error();
    Purged purged;
    // Ranges first, their cursors after them: a stop in between leaves nothing dangling.
    const std::pair<std::uint64_t*, std::string_view> steps[] = {
        {&purged.ids,
         "DELETE FROM ferry_inbox_id WHERE consumer = ?1 AND id IN (SELECT id FROM ferry_inbox_id "
         "WHERE consumer = ?1 LIMIT ?2)"},
        {&purged.ranges,
         "DELETE FROM ferry_inbox_range WHERE (cursor, first) IN (SELECT r.cursor, r.first FROM "
         "ferry_inbox_range r JOIN ferry_inbox_cursor c ON c.id = r.cursor WHERE c.consumer = ?1 "
         "LIMIT ?2)"},
        {&purged.cursors,
         "DELETE FROM ferry_inbox_cursor WHERE id IN (SELECT id FROM ferry_inbox_cursor WHERE "
         "consumer = ?1 LIMIT ?2)"},
    };
    for (const auto& [count, sql] : steps) {
        auto gone = in_steps(db, sql, id.value(), 0);
        if (!gone.ok()) return gone.error();
        *count = gone.value();
    }
    auto last = db.prepare("DELETE FROM ferry_inbox_consumer WHERE id = ?1");
    if (!last.ok()) return last.error();
    if (auto done = last.value().bind(1, id.value()).run(); !done.ok()) return done.error();
    return purged;
}

sqlite::Status inbox_accept(const Database& db, std::string_view consumer) {
    auto id = consumer_id(db, consumer);
    if (!id.ok()) return id.error();
    auto update =
        db.prepare("UPDATE ferry_inbox_consumer SET log_id = '', floor = 0 WHERE id = ?1");
    if (!update.ok()) return update.error();
    return update.value().bind(1, id.value()).run();
}

Answer<std::vector<std::string>> inbox_verify(const Database& db) {
    if (auto checked = check_inbox_schema(db); !checked.ok()) return checked.error();
    const std::pair<std::string_view, std::string_view> checks[] = {
        {"SELECT count(*) FROM ferry_inbox_range a JOIN ferry_inbox_range b ON a.cursor = b.cursor "
         "AND a.first < b.first AND b.first <= a.last",
         "ranges overlap another one"},
        {"SELECT count(*) FROM ferry_inbox_range WHERE first < 1 OR last < first",
         "ranges have no valid bounds"},
        {"SELECT count(*) FROM ferry_inbox_range WHERE cursor NOT IN (SELECT id FROM "
         "ferry_inbox_cursor)",
         "ranges belong to no cursor"},
        {"SELECT count(*) FROM ferry_inbox_cursor WHERE consumer NOT IN (SELECT id FROM "
         "ferry_inbox_consumer)",
         "cursors belong to no consumer"},
        {"SELECT count(*) FROM ferry_inbox_cursor WHERE below < 0 OR epoch < 0",
         "cursors have a negative number"},
        {"SELECT count(*) FROM ferry_inbox_id WHERE consumer NOT IN (SELECT id FROM "
         "ferry_inbox_consumer)",
         "ids belong to no consumer"},
        {"SELECT count(*) FROM ferry_fence WHERE token < 0", "fences have a negative token"},
    };
    std::vector<std::string> wrong;
    auto integrity = db.text("PRAGMA integrity_check(1)");
    if (!integrity.ok()) return integrity.error();
    if (integrity.value().value_or("") != "ok") {
        wrong.push_back("the file is damaged: " +
                        sqlite::bounded(integrity.value().value_or("no answer")));
    }
    for (const auto& [sql, what] : checks) {
        auto count = db.integer(sql);
        if (!count.ok()) return count.error();
        if (count.value().value_or(0) > 0) {
            wrong.push_back(std::to_string(*count.value()) + " " + std::string(what));
        }
    }
    return wrong;
}

}  // namespace ferry::consumer
