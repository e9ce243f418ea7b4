#include "ferry/outbox/decision.hpp"

#include "ferry/outbox/limits.hpp"
#include "ferry/sqlite/wal_sync.hpp"
#include "full_sync.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

// A plain INSERT INTO ferry_decision(id) of any language is a commit's row.
constexpr std::string_view schema = R"sql(
CREATE TABLE IF NOT EXISTS ferry_decision(
  id TEXT PRIMARY KEY NOT NULL CHECK(length(id) BETWEEN 1 AND 200),
  outcome TEXT NOT NULL DEFAULT 'committed' CHECK(outcome IN ('committed', 'rolled back')),
  decided_ms INTEGER NOT NULL
    DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ferry_decision_decided ON ferry_decision(decided_ms, id);
)sql";

Status check_id(std::string_view id) {
    if (!id.empty() && id.size() <= ferry::limits::prepared_id_bytes_max)
        return sqlite::ok_status();
    return Problem{Kind::refused, 0, "the id of a prepared message has 1 to 200 bytes"};
}

Status check_wal(const Database& database) {
    const auto mode = database.text("PRAGMA main.journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value().value_or("") == "wal") return sqlite::ok_status();
    return Problem{Kind::schema, 0,
                   "the database " + database.path() +
                       " has journal_mode=" + mode.value().value_or("?") +
                       "; decisions need WAL: run PRAGMA journal_mode=WAL on it once"};
}

// Another table of this name is refused instead of half understood.
Status check_shape(const Database& database) {
    const auto fits =
        database.prepare("SELECT id, outcome, decided_ms FROM ferry_decision WHERE id = ''");
    if (fits.ok()) return sqlite::ok_status();
    if (fits.error().code != SQLITE_ERROR) return fits.error();
    return Problem{
        Kind::schema, 0,
        "there is another table ferry_decision in " + database.path() + ": " + fits.error().text};
}

}  // namespace

std::string_view decision_sql() {
    return schema;
}

Status init_decisions(const Database& database) {
    const auto tables = database.integer("SELECT count(*) FROM sqlite_schema");
    if (!tables.ok()) return tables.error();
    if (tables.value().value_or(1) == 0) {
        if (const auto set = database.text("PRAGMA journal_mode=WAL"); !set.ok())
            return set.error();
    }
    if (Status wal = check_wal(database); !wal.ok()) return wal;
    auto savepoint = sqlite::Savepoint::begin(database);
    if (!savepoint.ok()) return savepoint.error();
    if (Status made = database.run(schema); !made.ok()) return made;
    if (Status fits = check_shape(database); !fits.ok()) return fits;
    return savepoint.value().release();
}

Status check_decisions(const Database& database) {
    const auto table = database.integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_decision'");
    if (!table.ok()) return table.error();
    if (!table.value()) {
        return Problem{Kind::schema, 0,
                       "there is no table ferry_decision in " + database.path() +
                           ": is it the right database? ferry prepared init makes it"};
    }
    if (Status wal = check_wal(database); !wal.ok()) return wal;
    return check_shape(database);
}

Status decide(const Database& database, std::string_view id) {
    if (Status fit = check_id(id); !fit.ok()) return fit;
    if (!database.in_transaction()) {
        return Problem{Kind::refused, 0,
                       "a decision is part of the transaction that it decides about: begin one"};
    }
    if (Status full = check_full_sync(database); !full.ok()) return full;
    auto insert =
        database.prepare("INSERT INTO ferry_decision(id, outcome) VALUES(?1, 'committed')");
    if (!insert.ok()) return insert.error();
    Status done = insert.value().bind(1, id).run();
    if (done.ok() || done.error().kind != Kind::constraint) return done;
    return Problem{Kind::conflict, done.error().code,
                   "message '" + sqlite::bounded(id) +
                       "' is decided already: the broker asked and was told that it was rolled "
                       "back, or the id was used before; roll this transaction back"};
}

Answer<Decided> settle_decision(const Database& database, std::string_view id) {
    if (Status fit = check_id(id); !fit.ok()) return fit.error();
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    {
        auto insert = database.prepare(
            "INSERT INTO ferry_decision(id, outcome) VALUES(?1, 'rolled back') "
            "ON CONFLICT(id) DO NOTHING");
        if (!insert.ok()) return insert.error();
        if (Status done = insert.value().bind(1, id).run(); !done.ok()) return done.error();
    }
    bool committed = false;
    {
        auto select =
            database.prepare("SELECT outcome = 'committed' FROM ferry_decision WHERE id = ?1");
        if (!select.ok()) return select.error();
        const auto row = select.value().bind(1, id).step();
        if (!row.ok()) return row.error();
        if (!row.value()) {
            return Problem{Kind::failed, 0,
                           "a trigger took the row from ferry_decision that was just written"};
        }
        committed = select.value().integer(0) != 0;
    }
    if (Status done = transaction.value().commit(); !done.ok()) return done.error();
    // Whoever committed it may not have waited for the disk, and the message must not be there when
    // the row is not.
    if (committed) {
        if (Status synced = sqlite::sync_wal(database); !synced.ok()) return synced.error();
    }
    return committed ? Decided::committed : Decided::rolled_back;
}

Answer<std::vector<DecisionRow>> decisions_before(const Database& database, std::int64_t before_ms,
                                                  const DecisionRow& after, std::uint32_t at_most) {
    auto select = database.prepare(
        "SELECT id, decided_ms FROM ferry_decision "
        "WHERE decided_ms < ?1 AND (decided_ms, id) > (?2, ?3) ORDER BY decided_ms, id LIMIT ?4");
    if (!select.ok()) return select.error();
    select.value().bind(1, before_ms).bind(2, after.decided_ms).bind(3, after.id).bind(4, at_most);
    std::vector<DecisionRow> out;
    for (;;) {
        const auto row = select.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        out.push_back({std::string(select.value().text(0)), select.value().integer(1)});
    }
}

Status forget_decisions(const Database& database, std::span<const std::string> ids) {
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    {
        auto remove = database.prepare("DELETE FROM ferry_decision WHERE id = ?1");
        if (!remove.ok()) return remove.error();
        for (const std::string& id : ids) {
            if (Status done = remove.value().bind(1, id).run(); !done.ok()) return done;
        }
    }
    return transaction.value().commit();
}

}  // namespace ferry::outbox
