#include "store.hpp"

#include <algorithm>

#include "codec.hpp"
#include "schema.hpp"

namespace ferry::saga {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;
template <class T>
using Reply_ = sqlite::Answer<T>;

Reply_<std::unique_ptr<Store>> Store::open(const sqlite::Database& database) {
    if (auto fits = check_schema(database); !fits.ok()) return fits.error();
    std::unique_ptr<Store> store(new Store(database));
    if (auto ready = store->prepare(); !ready.ok()) return ready.error();
    return store;
}

Status Store::prepare() {
    const std::pair<sqlite::Statement*, std::string_view> all[] = {
        {&load_,
         "SELECT key, id, definition, state, revision, due_ms, started_ms, ended_ms, parent, body "
         "FROM ferry_saga WHERE id = ?1"},
        {&insert_,
         "INSERT INTO ferry_saga(id, definition, state, revision, due_ms, started_ms, ended_ms, "
         "parent, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(id) DO NOTHING"},
        {&update_,
         "UPDATE ferry_saga SET revision = ?3, body = ?4, state = ?5, due_ms = ?6, ended_ms = ?7 "
         "WHERE key = ?1 AND revision = ?2"},
        {&update_body_,
         "UPDATE ferry_saga SET revision = ?3, body = ?4 WHERE key = ?1 AND revision = ?2"},
        {&put_off_, "UPDATE ferry_saga SET due_ms = ?2 WHERE key = ?1"},
        {&due_,
         "SELECT id, due_ms FROM ferry_saga WHERE due_ms IS NOT NULL AND due_ms <= ?1 AND key % ?3 "
         "= ?2 ORDER BY due_ms LIMIT ?4"},
        {&next_due_, "SELECT min(due_ms) FROM ferry_saga WHERE due_ms IS NOT NULL"},
        {&audit_,
         "INSERT INTO ferry_saga_audit(saga, at_ms, who, what, note) VALUES(?1, ?2, ?3, ?4, ?5)"},
        {&member_, "SELECT 1 FROM ferry_saga_member WHERE owner = ?1 AND fence = ?2"},
        {&savepoint_, "SAVEPOINT ferry_saga"},
        {&release_, "RELEASE ferry_saga"},
        {&roll_back_, "ROLLBACK TO ferry_saga"},
        {&by_key_,
         "SELECT key, name, version, hash, body FROM ferry_saga_definition WHERE key = ?1"},
        {&by_version_,
         "SELECT key, name, version, hash, body FROM ferry_saga_definition WHERE name = ?1 AND "
         "version = ?2"},
        {&newest_,
         "SELECT key, name, version, hash, body FROM ferry_saga_definition WHERE name = ?1 ORDER "
         "BY version DESC LIMIT 1"},
    };
    for (const auto& [statement, sql] : all) {
        auto prepared = database_.prepare(sql, true);
        if (!prepared.ok()) return prepared.error();
        *statement = std::move(prepared).value();
    }
    return calls_.prepare();
}

Status Store::trust_own_rows() {
    auto triggers = database_.integer(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name <> "
        "'ferry_outbox_event'");
    if (!triggers.ok()) return triggers.error();
    if (triggers.value().value_or(0) != 0) return sqlite::ok_status();
    return database_.run("PRAGMA ignore_check_constraints = ON");
}

// ---- savepoints ----

Reply_<Store::Point> Store::point() {
    if (auto begun = savepoint_.run(); !begun.ok()) return begun.error();
    return Point(*this);
}

Status Store::Point::release() {
    Store* const store = std::exchange(store_, nullptr);
    return store->release_.run();
}

Status Store::Point::undo() {
    Store* const store = std::exchange(store_, nullptr);
    // SQLite may have ended the whole transaction, because of a full disk for example.
    if (store == nullptr || !store->database_.in_transaction()) return sqlite::ok_status();
    if (auto back = store->roll_back_.run(); !back.ok()) return back;
    return store->release_.run();
}

// ---- definitions ----

Reply_<const Stored*> Store::keep(sqlite::Statement& row) {
    auto found = row.step();
    if (!found.ok()) return found.error();
    if (!found.value()) return static_cast<const Stored*>(nullptr);
    const std::int64_t key = row.integer(0);
    std::unique_ptr<Stored>& kept = definitions_[key];
    if (!kept) {
        auto definition = from_canonical_text(row.text(4));
        if (!definition.ok()) {
            const std::string name(row.text(1));
            row.reset();
            definitions_.erase(key);
            return Problem{Kind::corrupt, 0, definition.error().text + ": " + name};
        }
        kept = std::make_unique<Stored>(
            Stored{key, std::string(row.text(3)), std::move(definition).value()});
        keys_[{kept->definition.name, kept->definition.version}] = key;
    }
    row.reset();
    return static_cast<const Stored*>(kept.get());
}

Reply_<const Stored*> Store::definition(std::int64_t key) {
    const auto known = definitions_.find(key);
    if (known != definitions_.end()) return static_cast<const Stored*>(known->second.get());
    by_key_.bind(1, key);
    return keep(by_key_);
}

Reply_<const Stored*> Store::find_definition(std::string_view name, std::uint32_t version) {
    if (version == 0) {
        newest_.bind(1, name);
        return keep(newest_);
    }
    by_version_.bind(1, name).bind(2, version);
    return keep(by_version_);
}

Reply_<const Stored*> Store::add_definition(const Definition& definition, std::uint64_t now_ms) {
    auto known = find_definition(definition.name, definition.version);
    if (!known.ok()) return known.error();
    const std::string body = canonical_text(definition);
    const std::string hash = hash_of(definition);
    if (known.value() != nullptr) {
        if (canonical_text(known.value()->definition) == body) return known.value();
        return Problem{Kind::conflict, 0,
                       "saga " + definition.name + " version " +
                           std::to_string(definition.version) + " is stored with the hash " +
                           known.value()->hash + ", and this one (" + hash +
                           ") differs: give it a new version"};
    }
    auto insert = database_.prepare(
        "INSERT INTO ferry_saga_definition(name, version, hash, body, added_ms) VALUES(?1, ?2, "
        "?3, ?4, ?5)");
    if (!insert.ok()) return insert.error();
    insert.value()
        .bind(1, std::string_view(definition.name))
        .bind(2, definition.version)
        .bind(3, std::string_view(hash))
        .bind(4, std::string_view(body))
        .bind(5, now_ms);
    if (auto done = insert.value().run(); !done.ok()) return done.error();
    return find_definition(definition.name, definition.version);
}

Reply_<std::vector<const Stored*>> Store::newest_definitions() {
    auto names = database_.prepare("SELECT DISTINCT name FROM ferry_saga_definition");
    if (!names.ok()) return names.error();
    std::vector<const Stored*> out;
    for (;;) {
        auto row = names.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        auto found = find_definition(names.value().text(0), 0);
        if (found.ok() && found.value() != nullptr) out.push_back(found.value());
    }
}

// ---- instances ----

Status Store::read(sqlite::Statement& from, Row& row) {
    row = {};
    row.key = from.integer(0);
    Instance& instance = row.instance;
    instance.id = from.text(1);
    const std::int64_t state = from.integer(3);
    instance.revision = static_cast<std::uint64_t>(from.integer(4));
    row.due_ms = static_cast<std::uint64_t>(from.integer(5));
    instance.started_ms = static_cast<std::uint64_t>(from.integer(6));
    instance.ended_ms = static_cast<std::uint64_t>(from.integer(7));
    instance.parent = from.text(8);
    const std::int64_t definition_key = from.integer(2);
    const bool readable = state >= 0 && state < static_cast<std::int64_t>(detail::saga_states) &&
                          decode_body(from.bytes(9), instance);
    from.reset();
    const Problem damaged{Kind::corrupt, 0, "the saga " + instance.id + " cannot be read"};
    if (!readable) return damaged;
    instance.state = static_cast<SagaState>(state);
    row.state = instance.state;
    auto stored = definition(definition_key);
    if (!stored.ok()) return stored.error();
    if (stored.value() == nullptr ||
        stored.value()->definition.steps.size() != instance.steps.size()) {
        return damaged;
    }
    row.stored = stored.value();
    return sqlite::ok_status();
}

Reply_<bool> Store::load(std::string_view id, Row& row) {
    load_.bind(1, id);
    auto found = load_.step();
    if (!found.ok()) return found.error();
    if (!found.value()) return false;
    if (auto done = read(load_, row); !done.ok()) return done.error();
    return true;
}

Reply_<bool> Store::insert(Row& row) {
    const Instance& instance = row.instance;
    encode_body(instance, body_);
    row.due_ms = due_ms(instance);
    insert_.bind(1, std::string_view(instance.id))
        .bind(2, row.stored->key)
        .bind(3, static_cast<int>(instance.state))
        .bind(4, instance.revision)
        .bind(6, instance.started_ms)
        .bind(9, as_bytes(body_));
    row.due_ms == 0 ? insert_.bind_null(5) : insert_.bind(5, row.due_ms);
    instance.ended_ms == 0 ? insert_.bind_null(7) : insert_.bind(7, instance.ended_ms);
    instance.parent.empty() ? insert_.bind_null(8)
                            : insert_.bind(8, std::string_view(instance.parent));
    if (auto done = insert_.run(); !done.ok()) return done.error();
    if (database_.changes() == 0) return false;
    row.state = instance.state;
    row.key = database_.last_row_id();
    return true;
}

Status Store::update(Row& row, std::uint64_t loaded_revision) {
    const Instance& instance = row.instance;
    encode_body(instance, body_);
    // An earlier time that is stored stays: most are never reached, and the index is left alone.
    const std::uint64_t due = due_ms(instance);
    const bool same_due = due != 0 && row.due_ms != 0 && due >= row.due_ms;
    // SQLite writes all the indexes anew that an UPDATE names: most steps need none of them. (A
    // saga's end is a change of its state.)
    const bool only_body = same_due && row.state == instance.state;
    sqlite::Statement& update = only_body ? update_body_ : update_;
    update.bind(1, row.key)
        .bind(2, loaded_revision)
        .bind(3, instance.revision)
        .bind(4, as_bytes(body_));
    if (!only_body) {
        if (!same_due) row.due_ms = due;
        update.bind(5, static_cast<int>(instance.state));
        row.due_ms == 0 ? update.bind_null(6) : update.bind(6, row.due_ms);
        instance.ended_ms == 0 ? update.bind_null(7) : update.bind(7, instance.ended_ms);
    }
    if (auto done = update.run(); !done.ok()) return done;
    row.state = instance.state;
    if (database_.changes() == 1) return sqlite::ok_status();
    return Problem{Kind::conflict, 0, "the saga " + instance.id + " was changed by somebody else"};
}

Status Store::put_off(const Row& row) {
    const std::uint64_t due = due_ms(row.instance);
    put_off_.bind(1, row.key);
    due == 0 ? put_off_.bind_null(2) : put_off_.bind(2, due);
    return put_off_.run();
}

Reply_<std::vector<Store::Due>> Store::due(std::uint64_t now_ms, std::uint32_t rank,
                                           std::uint32_t members, std::uint32_t at_most) {
    due_.bind(1, now_ms).bind(2, rank).bind(3, members).bind(4, at_most);
    std::vector<Due> out;
    for (;;) {
        auto row = due_.step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        out.push_back({std::string(due_.text(0)), static_cast<std::uint64_t>(due_.integer(1))});
    }
}

Reply_<std::uint64_t> Store::next_due() {
    auto row = next_due_.step();
    if (!row.ok()) return row.error();
    const auto due = row.value() ? static_cast<std::uint64_t>(next_due_.integer(0)) : 0;
    next_due_.reset();
    return due;
}

Status Store::audit(std::string_view saga, std::uint64_t at_ms, std::string_view who,
                    std::string_view what, std::string_view note) {
    return audit_.bind(1, saga).bind(2, at_ms).bind(3, who).bind(4, what).bind(5, note).run();
}

// ---- members ----

Reply_<std::uint64_t> Store::join(std::string_view owner, std::uint64_t now_ms,
                                  std::uint64_t until_ms) {
    auto old = database_.prepare("DELETE FROM ferry_saga_member WHERE until_ms <= ?1");
    if (!old.ok()) return old.error();
    if (auto done = old.value().bind(1, now_ms).run(); !done.ok()) return done.error();
    auto fence = database_.integer(
        "UPDATE ferry_saga_state SET value = value + 1 WHERE name = 'fence' RETURNING value");
    if (!fence.ok()) return fence.error();
    auto insert = database_.prepare(
        "INSERT OR REPLACE INTO ferry_saga_member(owner, fence, until_ms) VALUES(?1, ?2, ?3)");
    if (!insert.ok()) return insert.error();
    const std::int64_t taken = fence.value().value_or(0);
    auto done = insert.value().bind(1, owner).bind(2, taken).bind(3, until_ms).run();
    if (!done.ok()) return done.error();
    if (auto noted = note_time(now_ms); !noted.ok()) return noted.error();
    return static_cast<std::uint64_t>(taken);
}

Reply_<bool> Store::renew(std::string_view owner, std::uint64_t fence, std::uint64_t now_ms,
                          std::uint64_t until_ms) {
    auto update = database_.prepare(
        "UPDATE ferry_saga_member SET until_ms = ?3 WHERE owner = ?1 AND fence = ?2");
    if (!update.ok()) return update.error();
    auto done = update.value().bind(1, owner).bind(2, fence).bind(3, until_ms).run();
    if (!done.ok()) return done.error();
    if (database_.changes() != 1) return false;
    auto old = database_.prepare("DELETE FROM ferry_saga_member WHERE until_ms <= ?1");
    if (!old.ok()) return old.error();
    if (auto cleared = old.value().bind(1, now_ms).run(); !cleared.ok()) return cleared.error();
    if (auto noted = note_time(now_ms); !noted.ok()) return noted.error();
    return true;
}

Status Store::note_time(std::uint64_t now_ms) {
    auto note = database_.prepare(
        "INSERT INTO ferry_saga_state(name, value) VALUES('time_ms', ?1) ON CONFLICT(name) DO "
        "UPDATE SET value = max(value, excluded.value)");
    if (!note.ok()) return note.error();
    return note.value().bind(1, now_ms).run();
}

Reply_<std::uint64_t> Store::latest_ms() {
    auto value = database_.integer("SELECT value FROM ferry_saga_state WHERE name = 'time_ms'");
    if (!value.ok()) return value.error();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, value.value().value_or(0)));
}

Reply_<bool> Store::is_member(std::string_view owner, std::uint64_t fence) {
    auto row = member_.bind(1, owner).bind(2, fence).step();
    if (!row.ok()) return row.error();
    const bool yes = row.value();
    member_.reset();
    return yes;
}

Status Store::leave(std::string_view owner, std::uint64_t fence) {
    auto statement =
        database_.prepare("DELETE FROM ferry_saga_member WHERE owner = ?1 AND fence = ?2");
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, owner).bind(2, fence).run();
}

Reply_<Store::Rank> Store::rank_of(std::string_view owner) {
    auto statement =
        database_.prepare("SELECT count(*), coalesce(sum(owner < ?1), 0) FROM ferry_saga_member");
    if (!statement.ok()) return statement.error();
    auto row = statement.value().bind(1, owner).step();
    if (!row.ok()) return row.error();
    Rank out;
    out.members =
        static_cast<std::uint32_t>(std::max<std::int64_t>(1, statement.value().integer(0)));
    out.rank = static_cast<std::uint32_t>(statement.value().integer(1));
    return out;
}

Reply_<std::uint64_t> Store::purge(std::uint64_t before_ms, std::uint32_t at_most) {
    // A sub-saga stays as long as its parent, which may still undo it.
    const std::string old =
        "FROM ferry_saga AS s WHERE ended_ms IS NOT NULL AND ended_ms < ?1 AND NOT EXISTS(SELECT 1 "
        "FROM ferry_saga AS p WHERE p.id = s.parent AND p.ended_ms IS NULL) ORDER BY ended_ms "
        "LIMIT ?2)";
    for (const std::string& sql : {"DELETE FROM ferry_saga_audit WHERE saga IN (SELECT id " + old,
                                   "DELETE FROM ferry_saga WHERE key IN (SELECT key " + old}) {
        auto statement = database_.prepare(sql);
        if (!statement.ok()) return statement.error();
        auto done = statement.value().bind(1, before_ms).bind(2, at_most).run();
        if (!done.ok()) return done.error();
    }
    return static_cast<std::uint64_t>(database_.changes());
}

Reply_<std::string> Store::queue() {
    auto name = database_.text("SELECT value FROM ferry_saga_state WHERE name = 'queue'");
    if (!name.ok()) return name.error();
    return name.value().value_or("");
}

}  // namespace ferry::saga
