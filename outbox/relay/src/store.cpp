#include "store.hpp"

#include <algorithm>

#include "ferry/outbox/schema.hpp"
#include "ferry/outbox/state.hpp"
#include "ferry/platform/planted.hpp"

namespace ferry::outbox::relay {
namespace {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;
using sqlite::Status;

// The relay must not sit in SQLite while its lease runs out: a lock that lasts is waited for
// outside.
constexpr std::chrono::milliseconds busy_timeout{10};
// So many ranges are marked in one transaction: with many holes each is little work.
constexpr std::size_t ranges_per_write_max = 512;

constexpr const char* columns =
    "exchange, routing_key, payload, ordering_key, content_type, headers, deliver_at_ms, "
    "expires_at_ms, priority, correlation_id, reply_to, created_ms";

std::uint64_t number(std::int64_t value) {
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}

Answer<std::uint64_t> one_number(Statement& statement) {
    const auto row = statement.step();
    if (!row.ok()) return row.error();
    const std::uint64_t value = row.value() ? number(statement.integer(0)) : 0;
    statement.reset();
    return value;
}

Answer<std::uint64_t> state_number(const sqlite::Database& database, std::string_view name) {
    const auto value = State(database).number(name);
    if (!value.ok()) return value.error();
    return number(value.value().value_or(0));
}

}  // namespace

Answer<Store> Store::open(const std::string& path) {
    auto opened = sqlite::Database::open(path, sqlite::Database::Access::read_write, busy_timeout);
    if (!opened.ok()) return opened.error();
    Store store(std::move(opened).value());
    const Status checked = check_schema(store.database_);
    if (!checked.ok()) return checked.error();
    const auto mode = store.database_.text("PRAGMA main.journal_mode");
    if (!mode.ok()) return mode.error();
    if (mode.value().value_or("") != "wal") {
        return Problem{Kind::refused, 0,
                       "the database is not in WAL mode; run PRAGMA journal_mode=WAL, once for the "
                       "file"};
    }
    const Status prepared = store.prepare();
    if (!prepared.ok()) return prepared.error();
    return store;
}

Status Store::prepare() {
    const std::string kept = "id, " + std::string(columns) + ", stream, version";
    const std::pair<Statement*, std::string> all[] = {
        {&read_, "SELECT id, " + std::string(columns) +
                     " FROM main.ferry_outbox WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"},
        {&max_id_, "SELECT max(id) FROM main.ferry_outbox"},
        {&last_id_, "SELECT seq FROM main.sqlite_sequence WHERE name = 'ferry_outbox'"},
        {&key_of_, "SELECT ordering_key FROM main.ferry_outbox WHERE id = ?1"},
        {&created_, "SELECT created_ms FROM main.ferry_outbox WHERE id >= ?1 ORDER BY id LIMIT 1"},
        {&fence_of_, "SELECT value FROM main.ferry_outbox_state WHERE name = 'lease_fence'"},
        {&set_,
         "INSERT INTO main.ferry_outbox_state(name, value) VALUES (?1, ?2) "
         "ON CONFLICT(name) DO UPDATE SET value = excluded.value"},
        {&nth_,
         "SELECT id FROM main.ferry_outbox WHERE id BETWEEN ?1 AND ?2 ORDER BY id "
         "LIMIT 1 OFFSET ?3"},
        {&has_events_,
         "SELECT EXISTS(SELECT 1 FROM main.ferry_outbox INDEXED BY ferry_outbox_stream "
         "WHERE stream IS NOT NULL)"},
        {&keep_, "INSERT OR IGNORE INTO main.ferry_outbox_sent(" + kept + ", sent_ms) SELECT " +
                     kept +
                     ", ?3 FROM main.ferry_outbox WHERE id BETWEEN ?1 AND ?2 "
                     "AND (?4 OR stream IS NOT NULL)"},
        {&delete_, "DELETE FROM main.ferry_outbox WHERE id BETWEEN ?1 AND ?2"},
        {&delete_parked_, "DELETE FROM main.ferry_outbox_parked WHERE id BETWEEN ?1 AND ?2"},
        {&park_,
         "INSERT INTO main.ferry_outbox_parked"
         "(id, key, reason_code, reason, attempts, first_ms, last_ms, next_ms) "
         "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7 "
         "WHERE EXISTS(SELECT 1 FROM main.ferry_outbox WHERE id = ?1) "
         "ON CONFLICT(id) DO UPDATE SET reason_code = excluded.reason_code, "
         "reason = excluded.reason, attempts = excluded.attempts, last_ms = excluded.last_ms, "
         "next_ms = excluded.next_ms"},
        {&kept_,
         "SELECT id, stream IS NULL, sent_ms FROM main.ferry_outbox_sent WHERE id > ?1 ORDER BY id "
         "LIMIT ?2"},
        {&expire_,
         "DELETE FROM main.ferry_outbox_sent WHERE id > ?1 AND id <= ?2 AND stream IS NULL"},
    };
    for (const auto& [statement, sql] : all) {
        auto prepared = database_.prepare(sql, true);
        if (!prepared.ok()) return prepared.error();
        *statement = std::move(prepared).value();
    }
    return sqlite::ok_status();
}

// ---- reading ----

Answer<Start> Store::start() const {
    const auto reading = sqlite::Transaction::begin(database_, sqlite::Transaction::Mode::read);
    if (!reading.ok()) return reading.error();
    const auto who = identity(database_);
    if (!who.ok()) return who.error();
    Start start;
    start.producer = who.value().producer;
    start.epoch = who.value().epoch;
    const std::pair<std::string_view, std::uint64_t*> numbers[] = {
        {state::base, &start.base},
        {state::reserved, &start.reserved},
        {state::confirmed, &start.confirmed},
    };
    for (const auto& [name, into] : numbers) {
        const auto value = state_number(database_, name);
        if (!value.ok()) return value.error();
        *into = value.value();
    }
    const auto last =
        database_.integer("SELECT seq FROM main.sqlite_sequence WHERE name = 'ferry_outbox'");
    if (!last.ok()) return last.error();
    start.last_id = number(last.value().value_or(0));
    const auto first = database_.integer("SELECT min(id) FROM main.ferry_outbox");
    if (!first.ok()) return first.error();
    start.first_pending = number(first.value().value_or(0));
    return start;
}

Answer<std::uint64_t> Store::max_id() {
    const auto found = one_number(max_id_);
    if (found.ok()) seen_max_ = found.value();
    return found;
}
Answer<std::uint64_t> Store::last_id() {
    return one_number(last_id_);
}

RowView Store::view(const Statement& row) {
    RowView view;
    view.id = number(row.integer(0));
    view.exchange = row.text(1);
    view.routing_key = row.text(2);
    view.payload = row.bytes(3);
    view.ordering_key = row.text(4);
    view.content_type = row.text(5);
    view.headers = row.text(6);
    view.deliver_at_ms = number(row.integer(7));
    view.expires_at_ms = number(row.integer(8));
    view.priority = number(row.integer(9));
    view.correlation_id = row.text(10);
    view.reply_to = row.text(11);
    view.created_ms = number(row.integer(12));
    return view;
}

Answer<std::optional<std::string>> Store::key_of(std::uint64_t id) {
    const auto row = key_of_.bind(1, id).step();
    if (!row.ok()) return row.error();
    std::optional<std::string> key;
    if (row.value()) key = std::string(key_of_.text(0));
    key_of_.reset();
    return key;
}

Answer<std::optional<std::uint64_t>> Store::created_ms_from(std::uint64_t id) {
    const auto row = created_.bind(1, id).step();
    if (!row.ok()) return row.error();
    std::optional<std::uint64_t> created;
    if (row.value()) created = number(created_.integer(0));
    created_.reset();
    return created;
}

Answer<std::vector<ParkedRow>> Store::parked(std::uint64_t wall_ms) {
    auto prepared = database_.prepare(
        "SELECT p.id, o.ordering_key, p.attempts, p.next_ms FROM main.ferry_outbox_parked p "
        "JOIN main.ferry_outbox o ON o.id = p.id ORDER BY p.id");
    if (!prepared.ok()) return prepared.error();
    Statement& query = prepared.value();
    std::vector<ParkedRow> rows;
    while (true) {
        const auto row = query.step();
        if (!row.ok()) return row.error();
        if (!row.value()) return rows;
        ParkedRow parked;
        parked.id = number(query.integer(0));
        parked.key = query.text(1);
        parked.attempts = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(number(query.integer(2)), UINT32_MAX));
        if (!query.is_null(3)) {
            const std::uint64_t next = number(query.integer(3));
            parked.retry_in_ms = next > wall_ms ? next - wall_ms : 0;
        }
        rows.push_back(std::move(parked));
    }
}

Answer<std::vector<std::pair<std::uint64_t, std::string>>> Store::keys(Range ids) {
    auto prepared = database_.prepare(
        "SELECT id, ordering_key FROM main.ferry_outbox WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
    if (!prepared.ok()) return prepared.error();
    Statement& query = prepared.value();
    query.bind(1, ids.first).bind(2, ids.last);
    std::vector<std::pair<std::uint64_t, std::string>> rows;
    while (true) {
        const auto row = query.step();
        if (!row.ok()) return row.error();
        if (!row.value()) return rows;
        rows.emplace_back(number(query.integer(0)), std::string(query.text(1)));
    }
}

// ---- the lease ----

Answer<Store::Lease> Store::lease() const {
    const State all(database_);
    Lease lease;
    const auto owner = all.text(outbox::state::lease_owner);
    if (!owner.ok()) return owner.error();
    lease.owner = owner.value().value_or("");
    const auto fence = state_number(database_, outbox::state::lease_fence);
    if (!fence.ok()) return fence.error();
    lease.fence = fence.value();
    const auto until = state_number(database_, outbox::state::lease_until_ms);
    if (!until.ok()) return until.error();
    lease.until_ms = until.value();
    return lease;
}

Answer<std::uint64_t> Store::take_lease(const Lease& seen, const std::string& owner,
                                        std::uint64_t until_ms) {
    auto writing = sqlite::Transaction::begin(database_);
    if (!writing.ok()) return writing.error();
    const auto now = lease();
    if (!now.ok()) return now.error();
    if (now.value().fence != seen.fence || now.value().until_ms != seen.until_ms ||
        now.value().owner != seen.owner) {
        return Problem{Kind::conflict, 0, "another relay was faster"};
    }
    const State all(database_);
    const std::uint64_t fence = seen.fence + 1;
    for (const Status& done :
         {all.set(outbox::state::lease_owner, owner),
          all.set(outbox::state::lease_fence, static_cast<std::int64_t>(fence)),
          all.set(outbox::state::lease_until_ms, static_cast<std::int64_t>(until_ms))}) {
        if (!done.ok()) return done.error();
    }
    const Status committed = writing.value().commit();
    if (!committed.ok()) return committed.error();
    fence_ = fence;
    return fence;
}

Status Store::check_fence() {
    const auto fence = one_number(fence_of_);
    if (!fence.ok()) return fence.error();
    if (fence.value() != fence_ && !FERRY_PLANTED("relay-marks-without-its-lease")) {
        return Problem{Kind::conflict, 0, "another relay holds the lease now"};
    }
    return sqlite::ok_status();
}

Status Store::renew_lease(std::uint64_t until_ms) {
    auto writing = sqlite::Transaction::begin(database_);
    if (!writing.ok()) return writing.error();
    const Status ours = check_fence();
    if (!ours.ok()) return ours;
    const Status done = set(outbox::state::lease_until_ms, until_ms);
    if (!done.ok()) return done;
    return writing.value().commit();
}

Status Store::release_lease() {
    auto writing = sqlite::Transaction::begin(database_);
    if (!writing.ok()) return writing.error();
    const Status ours = check_fence();
    if (!ours.ok()) return ours;
    const Status owner = State(database_).set(outbox::state::lease_owner, std::string_view{});
    if (!owner.ok()) return owner;
    const Status done = set(outbox::state::lease_until_ms, 0);
    if (!done.ok()) return done;
    return writing.value().commit();
}

// ---- changing ----

Status Store::set(std::string_view name, std::uint64_t value) {
    return set_.bind(1, name).bind(2, value).run();
}

Answer<WriteDone> Store::write(const WriteWish& wish) {
    auto writing = sqlite::Transaction::begin(database_);
    if (!writing.ok()) return writing.error();
    const Status ours = check_fence();
    if (!ours.ok()) return ours.error();
    WriteDone done;
    const Status marked = mark(wish, done);
    if (!marked.ok()) return marked.error();
    const Status parked = write_refusals(wish);
    if (!parked.ok()) return parked.error();
    if (wish.reserve != 0 && !FERRY_PLANTED("relay-sends-without-reserving")) {
        const Status reserved = set(state::reserved, wish.reserve);
        if (!reserved.ok()) return reserved.error();
    }
    if (wish.lease_until_ms != 0) {
        const Status renewed = set(outbox::state::lease_until_ms, wish.lease_until_ms);
        if (!renewed.ok()) return renewed.error();
    }
    const Status committed = writing.value().commit();
    if (!committed.ok()) return committed.error();
    // Our own commit is synced, and with it all that stands before it in the log.
    synced_upto_ = std::max(synced_upto_, seen_max_);
    return done;
}

Status Store::mark(const WriteWish& wish, WriteDone& done) {
    if (wish.finished == nullptr || wish.finished->empty()) return sqlite::ok_status();
    bool events = false;
    if (wish.retain_ms == 0) {
        const auto any = one_number(has_events_);
        if (!any.ok()) return any.error();
        events = any.value() != 0;
    }
    for (const Range& range : wish.finished->all()) {
        if (done.rows >= wish.rows_max || done.marked.size() >= ranges_per_write_max) break;
        const Status marked = mark_range(range, wish, events, done);
        if (!marked.ok()) return marked;
    }
    const std::uint64_t last = wish.confirmed_upto;
    const State all(database_);
    const auto before = state_number(database_, outbox::state::last_sent);
    if (!before.ok()) return before.error();
    if (last > before.value()) {
        const Status set_last = set(outbox::state::last_sent, last);
        if (!set_last.ok()) return set_last;
    }
    const auto confirmed = state_number(database_, state::confirmed);
    if (!confirmed.ok()) return confirmed.error();
    if (last > confirmed.value()) {
        const Status set_confirmed = set(state::confirmed, last);
        if (!set_confirmed.ok()) return set_confirmed;
    }
    if (done.rows == 0) return sqlite::ok_status();
    const Status total = all.add(outbox::state::sent_total, static_cast<std::int64_t>(done.rows));
    if (!total.ok()) return total;
    return set(outbox::state::sent_ms, wish.wall_ms);
}

Status Store::mark_range(Range range, const WriteWish& wish, bool events, WriteDone& done) {
    // So many rows and no more, whatever the holes.
    const std::uint64_t left = wish.rows_max - done.rows;
    const auto nth = nth_.bind(1, range.first).bind(2, range.last).bind(3, left - 1).step();
    if (!nth.ok()) return nth.error();
    if (nth.value()) range.last = number(nth_.integer(0));
    nth_.reset();
    if (events || wish.retain_ms != 0) {
        const Status kept = keep_.bind(1, range.first)
                                .bind(2, range.last)
                                .bind(3, wish.wall_ms)
                                .bind(4, wish.retain_ms != 0 ? 1 : 0)
                                .run();
        if (!kept.ok()) return kept;
    }
    const Status deleted = delete_.bind(1, range.first).bind(2, range.last).run();
    if (!deleted.ok()) return deleted;
    done.rows += number(database_.changes());
    done.marked.push_back(range);
    return delete_parked_.bind(1, range.first).bind(2, range.last).run();
}

Status Store::write_refusals(const WriteWish& wish) {
    for (const Refusal& refusal : wish.refusals) {
        const std::string reason = sqlite::bounded(refusal.reason, limits::reason_bytes_max);
        park_.bind(1, refusal.id)
            .bind(3, static_cast<std::uint32_t>(refusal.code))
            .bind(4, reason)
            .bind(5, refusal.attempts)
            .bind(6, wish.wall_ms);
        refusal.key.empty() ? park_.bind_null(2) : park_.bind(2, refusal.key);
        refusal.retry_in_ms.has_value() ? park_.bind(7, wish.wall_ms + *refusal.retry_in_ms)
                                        : park_.bind_null(7);
        const Status done = park_.run();
        if (!done.ok()) return done;
    }
    return sqlite::ok_status();
}

Answer<bool> Store::expire(std::uint64_t before_ms, std::uint32_t rows_max) {
    // Ids are in the order of sending, nearly; events among them stay. What was looked at once is
    // not looked at again, so that old events cost nothing.
    std::uint64_t upto = expired_upto_;
    bool any = false;
    std::uint32_t seen = 0;
    kept_.bind(1, expired_upto_).bind(2, rows_max);
    while (true) {
        const auto row = kept_.step();
        if (!row.ok()) return row.error();
        if (!row.value()) break;
        const bool event = kept_.integer(1) == 0;
        if (!event && number(kept_.integer(2)) >= before_ms) {
            kept_.reset();
            break;
        }
        any = any || !event;
        upto = number(kept_.integer(0));
        ++seen;
    }
    if (any) {
        auto writing = sqlite::Transaction::begin(database_);
        if (!writing.ok()) return writing.error();
        const Status ours = check_fence();
        if (!ours.ok()) return ours.error();
        const Status done = expire_.bind(1, expired_upto_).bind(2, upto).run();
        if (!done.ok()) return done.error();
        const Status committed = writing.value().commit();
        if (!committed.ok()) return committed.error();
    }
    expired_upto_ = upto;
    return seen == rows_max;
}

Status Store::begin_anew(std::string_view producer, std::string_view reason,
                         std::uint64_t wall_ms) {
    synced_upto_ = 0;  // ids may have begun anew
    seen_max_ = 0;
    auto writing = sqlite::Transaction::begin(database_);
    if (!writing.ok()) return writing.error();
    const Status ours = check_fence();
    if (!ours.ok()) return ours;
    const auto now = identity(database_);
    if (!now.ok()) return now.error();
    const auto first = database_.integer("SELECT min(id) FROM main.ferry_outbox");
    if (!first.ok()) return first.error();
    std::uint64_t base = 0;
    if (first.value().has_value()) {
        base = number(*first.value() - 1);
    } else {
        const auto last = last_id();
        if (!last.ok()) return last.error();
        base = last.value();
    }
    const State all(database_);
    if (!producer.empty()) {
        const Status named = all.set(outbox::state::producer, producer);
        if (!named.ok()) return named;
    }
    const std::uint64_t epoch = producer.empty() ? now.value().epoch + 1 : 1;
    const std::pair<std::string_view, std::uint64_t> numbers[] = {
        {outbox::state::epoch, epoch}, {state::base, base},        {state::reserved, base},
        {state::confirmed, base},      {state::epoch_ms, wall_ms},
    };
    for (const auto& [name, value] : numbers) {
        const Status done = set(name, value);
        if (!done.ok()) return done;
    }
    const Status why = all.set(state::epoch_reason, sqlite::bounded(reason));
    if (!why.ok()) return why;
    return writing.value().commit();
}

}  // namespace ferry::outbox::relay
