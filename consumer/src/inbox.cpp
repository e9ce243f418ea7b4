#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/fault_point.hpp"

#include <algorithm>
#include <exception>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/origin.hpp"
#include "inbox_impl.hpp"
#include "inbox_schema.hpp"

// One effect:
//
//   BEGIN IMMEDIATE           - or join the transaction that is open
//     SAVEPOINT
//       was it applied? fn's writes, the mark, outgoing rows
//     RELEASE                 - or ROLLBACK TO: this message changed nothing
//   COMMIT                    - by the last call that joined; all return after it
//
// While one commit waits for the disk, the next calls gather in a line; the first of them begins
// and each hands the open transaction to the one behind. So a call waits for at most two syncs,
// and a sync serves all who came during the one before.

namespace ferry::consumer {
namespace {

constexpr std::uint32_t members_max = 256;                 // of one shared transaction
constexpr std::chrono::milliseconds sharing_time_max{20};  // no new members after that

using sqlite::Problem;
using SteadyClock = std::chrono::steady_clock;

}  // namespace

Handled handled_of(const sqlite::Problem& problem) {
    switch (problem.kind) {
        case sqlite::Kind::busy:
        case sqlite::Kind::snapshot:
        case sqlite::Kind::full:
        case sqlite::Kind::io:
            return Handled::later(problem.text);
        default:
            return Handled::retry(problem.text);
    }
}

// ---- sharing a transaction ----

sqlite::Status Inbox::Impl::enter(std::unique_lock<std::mutex>& lock) {
    ++waiting;
    turn.wait(lock, [this] { return !busy; });
    --waiting;
    busy = true;
    if (!open) {
        lock.unlock();
        auto begun = begin();
        lock.lock();
        if (!begun.ok()) {
            busy = false;
            turn.notify_all();
            return begun;
        }
        open = true;
        marks->forget();
        members = 0;
        began = SteadyClock::now();
    }
    ++members;
    return sqlite::ok_status();
}

sqlite::Status Inbox::Impl::begin() noexcept {
    return without_throwing([this]() -> sqlite::Status {
        auto begun = sqlite::Transaction::begin(database);
        if (!begun.ok()) return begun.error();
        underway.emplace(std::move(begun).value());
        return sqlite::ok_status();
    });
}

sqlite::Status Inbox::Impl::commit() noexcept {
    return without_throwing([this] {
        if (auto there = still_open(); !there.ok()) return there;
        if (auto saved = marks->save(); !saved.ok()) return saved;
        return underway->commit();
    });
}

void Inbox::Impl::give_up() noexcept {
    underway.reset();
    const std::scoped_lock lock(mutex);
    finish(Problem{sqlite::Kind::full, 0, "no memory"});
}

void Inbox::Impl::finish(sqlite::Status result) {
    const auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - began);
    if (!result.ok() && members > 1) failures[number] = {members - 1, result.error()};
    ++number;
    open = false;
    busy = false;
    turn.notify_all();
    const std::scoped_lock lock(notes);
    const auto us = static_cast<std::uint64_t>(took.count());
    ++figures.transactions;
    figures.transaction_us_max = std::max(figures.transaction_us_max, us);
    if (took > options.slow_transaction) ++figures.slow_transactions;
}

sqlite::Status Inbox::Impl::leave(std::unique_lock<std::mutex>& lock) {
    const std::uint64_t own = number;
    const bool share =
        waiting > 0 && members < members_max && SteadyClock::now() - began < sharing_time_max;
    if (share) {
        busy = false;
        turn.notify_all();
        turn.wait(lock, [&] { return number > own; });
        const auto failed = failures.find(own);
        if (failed == failures.end()) return sqlite::ok_status();
        const Problem why = failed->second.second;
        if (--failed->second.first == 0) failures.erase(failed);
        return why;
    }
    lock.unlock();
    FERRY_FAULT_POINT("inbox.before_commit");
    sqlite::Status result = commit();
    FERRY_FAULT_POINT("inbox.after_commit");
    underway.reset();  // what was not committed is undone
    if (FERRY_PLANTED("inbox-failed-commit-ignored")) result = sqlite::ok_status();
    lock.lock();
    const auto took = SteadyClock::now() - began;
    finish(result);
    if (took > options.slow_transaction) {
        const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
        say("a transaction of the inbox took " + std::to_string(ms) +
            " ms: handlers must not wait inside of it, every writer of the database waits too");
    }
    return result;
}

// ---- one message ----

sqlite::Answer<Marks::State> Inbox::Impl::look(const Incoming& message, Origin& origin,
                                               bool& outboxed, std::string& id) {
    const bool by_position = FERRY_PLANTED("inbox-knows-messages-by-position");
    outboxed = !by_position && origin_of(message.id(), origin);
    if (outboxed) return marks->look(origin, message.redriven());
    id = message.id();
    if (id.empty() || by_position) id = "position:" + std::to_string(message.delivery().position);
    return marks->look_id(id);
}

Handled Inbox::Impl::effect(const Incoming& message, const Effect& fn) {
    Effects effects(access, message);
    Handled handled;
    try {
        handled = fn(effects);
    } catch (const std::exception& error) {
        handled = Handled::retry(std::string("the handler threw: ") + error.what());
    } catch (...) {
        handled = Handled::retry("the handler threw something that is no std::exception");
    }
    if (handled.kind == Handled::Kind::done && effects.handled().kind != Handled::Kind::done) {
        handled = effects.handled();
    }
    return handled;
}

/// False: it needs no effect, or cannot have one now.
bool Inbox::Impl::is_fresh(const Incoming& message, Applying& one, Handled& handled) {
    auto state = look(message, one.origin, one.outboxed, one.id);
    if (!state.ok()) {
        handled = handled_of(state.error());
        return false;
    }
    one.fresh = state.value() == Marks::State::fresh;
    handled.duplicate = !one.fresh;
    return one.fresh;
}

sqlite::Status Inbox::Impl::mark(const Applying& one) {
    if (FERRY_PLANTED("inbox-mark-forgotten")) return sqlite::ok_status();
    return one.outboxed ? marks->add(one.origin, wall_ms()) : marks->add_id(one.id, wall_ms());
}

/// SQLite ends a transaction by itself after some failures. What is written then is committed at
/// once: a mark without its effect.
sqlite::Status Inbox::Impl::still_open() {
    if (database.in_transaction()) return sqlite::ok_status();
    const Problem ended{sqlite::Kind::full, 0, "the database has ended the transaction"};
    marks->distrust(ended);
    return ended;
}

Handled Inbox::Impl::one(const Incoming& message, const Effect& fn) {
    Applying applying;
    Handled handled;
    if (auto there = still_open(); !there.ok()) return handled_of(there.error());
    if (!is_fresh(message, applying, handled)) {
        note(message, applying, handled);
        return handled;
    }
    if (auto begun = marks->savepoint(); !begun.ok()) {
        return handled_of(begun.error());
    }
    handled = effect(message, fn);
    if (handled.kind == Handled::Kind::done) {
        if (auto marked = mark(applying); !marked.ok()) handled = handled_of(marked.error());
    }
    if (handled.kind != Handled::Kind::done && !FERRY_PLANTED("inbox-effect-of-a-failure-kept")) {
        // What cannot be undone alone is undone with the whole transaction.
        auto undone = marks->undo();
        if (!undone.ok() && !FERRY_PLANTED("inbox-failed-undo-ignored"))
            marks->distrust(undone.error());
    }
    if (auto released = marks->release(); !released.ok() && handled.kind == Handled::Kind::done) {
        marks->distrust(released.error());
        handled = handled_of(released.error());
    }
    note(message, applying, handled);
    return handled;
}

/// Remembers what a later collapse of ranges needs to know of a message.
void Inbox::Impl::note(const Incoming& message, const Applying& applying, const Handled& handled) {
    if (!applying.fresh && !handled.duplicate) return;
    const bool done = handled.kind == Handled::Kind::done;
    if (handled.duplicate && !applying.outboxed) return;
    const Origin* const origin = applying.outboxed && done ? &applying.origin : nullptr;
    const std::scoped_lock lock(notes);
    const std::uint64_t retention_ms = static_cast<std::uint64_t>(options.id_retention.count());
    if (origin == nullptr) {
        Origin other;
        if (!origin_of(message.id(), other) && message.delivery().redelivered() &&
            message.delivery().published_ms + retention_ms < wall_ms()) {
            ++figures.beyond_retention;
        }
        return;
    }
    Stream& stream = streams[{origin->producer, origin->epoch}];
    const std::uint64_t position = message.delivery().position;
    if (stream.first_position == 0) stream.first_position = position;
    stream.lost.erase(origin->sequence);
    stream.unsettled.insert(origin->sequence);
    std::int64_t below = 0;
    if (message.header(wire::floor_header, below) && below > 0) {
        stream.note_floor({static_cast<std::uint64_t>(below), position});
    }
}

/// False: the message does not come to its turn, and `handled` says why.
bool Inbox::Impl::has_turn(const Incoming& message, const Stopped& stopped,
                           Handled& handled) const {
    const std::string& key = message.properties().ordering_key;
    if (!key.empty() && stopped.count(key) != 0) {
        handled = Handled::later("an earlier message of its ordering key is not done");
        return false;
    }
    if (message.id().empty() && options.no_id == NoId::refuse) {
        handled = Handled::poison(
            "the message has no id, so its repeats cannot be known: have its publisher set "
            "one, or choose NoId::position");
        return false;
    }
    return true;
}

void Inbox::Impl::each(std::span<const Incoming> messages, std::span<Handled> handled,
                       const Effect& fn) {
    // Whoever shares the transaction would be undone, too.
    const bool alone = members == 1;
    const bool many = messages.size() > 1;
    if (options.repeatable && alone && many && together(messages, handled, fn)) return;
    Stopped stopped;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const std::string& key = messages[i].properties().ordering_key;
        if (has_turn(messages[i], stopped, handled[i])) handled[i] = one(messages[i], fn);
        if (!key.empty() && handled[i].kind != Handled::Kind::done) stopped.insert(key);
    }
}

// A savepoint for each message costs as much as several statements, and each page that is changed
// in it is copied for it. Few effects fail, and most of those have written nothing before.

/// All messages without savepoints. False: one of them failed and has to be undone alone. The
/// transaction is another one then, with nothing in it.
bool Inbox::Impl::together(std::span<const Incoming> messages, std::span<Handled> handled,
                           const Effect& fn) {
    std::vector<Applying> applying(messages.size());
    Stopped stopped;
    bool whole = true;
    for (std::size_t i = 0; i < messages.size() && whole; ++i) {
        handled[i] = {};
        const std::string& key = messages[i].properties().ordering_key;
        if (has_turn(messages[i], stopped, handled[i]) &&
            is_fresh(messages[i], applying[i], handled[i])) {
            whole = effect_of_many(messages[i], applying[i], handled[i], fn);
        }
        if (!key.empty() && handled[i].kind != Handled::Kind::done) stopped.insert(key);
    }
    if (whole) {
        for (std::size_t i = 0; i < messages.size(); ++i) {
            note(messages[i], applying[i], handled[i]);
        }
        return true;
    }
    underway.reset();
    marks->forget();
    auto begun = begin();
    std::fill(handled.begin(), handled.end(), begun.ok() ? Handled{} : handled_of(begun.error()));
    if (begun.ok()) return false;
    marks->distrust(begun.error());
    return true;
}

/// False: it has to be undone.
bool Inbox::Impl::effect_of_many(const Incoming& message, const Applying& applying,
                                 Handled& handled, const Effect& fn) {
    const std::int64_t before = database.changes_in_all();
    handled = effect(message, fn);
    if (!database.in_transaction()) return false;
    if (handled.kind == Handled::Kind::done) return mark(applying).ok();
    return database.changes_in_all() == before;
}

Handled Inbox::apply(const Incoming& message, const Effect& fn) {
    Handled handled;
    apply_batch({&message, 1}, {&handled, 1}, fn);
    return handled;
}

void Inbox::apply_batch(std::span<const Incoming> messages, std::span<Handled> handled,
                        const Effect& fn) {
    FERRY_ASSERT(messages.size() == handled.size(), "one Handled for each message");
    Impl& impl = *impl_;
    std::unique_lock lock(impl.mutex);
    if (auto entered = impl.enter(lock); !entered.ok()) {
        const Handled later = handled_of(entered.error());
        std::fill(handled.begin(), handled.end(), later);
        const std::scoped_lock figures(impl.notes);
        if (later.kind == Handled::Kind::later) impl.figures.busy += messages.size();
        return;
    }
    lock.unlock();
    try {
        impl.each(messages, handled, fn);
    } catch (...) {
        impl.give_up();
        throw;
    }
    lock.lock();
    const auto committed = impl.leave(lock);
    lock.unlock();
    const std::scoped_lock figures(impl.notes);
    for (Handled& each : handled) {
        if (!committed.ok() && each.kind == Handled::Kind::done) {
            each = handled_of(committed.error());
        }
        if (each.kind == Handled::Kind::done) {
            ++(each.duplicate ? impl.figures.duplicates : impl.figures.applied);
        } else if (each.kind == Handled::Kind::later) {
            ++impl.figures.busy;
        } else {
            ++impl.figures.failed;
        }
    }
}

sqlite::Answer<bool> Inbox::applied(const Incoming& message) {
    Impl& impl = *impl_;
    std::unique_lock lock(impl.mutex);
    impl.turn.wait(lock, [&] { return !impl.busy && !impl.open; });
    Origin origin;
    std::string id;
    bool outboxed = false;
    impl.marks->forget();
    auto state = impl.look(message, origin, outboxed, id);
    if (!state.ok()) return state.error();
    return state.value() == Marks::State::applied;
}

// ---- open and close ----

Inbox::Inbox(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Inbox::~Inbox() {
    impl_->leave_cleanly();
}

sqlite::Status Inbox::init(const std::string& path) {
    auto database = sqlite::Database::open(path, sqlite::Database::Access::create);
    if (!database.ok()) return database.error();
    return make_inbox_schema(database.value());
}

sqlite::Answer<std::unique_ptr<Inbox>> Inbox::open(const std::string& path, InboxOptions options) {
    const std::string& name = options.consumer;
    if (name.empty() || name.size() > limits::consumer_name_bytes_max) {
        return Problem{sqlite::Kind::refused, 0,
                       "a consumer has a name of 1 to " +
                           std::to_string(limits::consumer_name_bytes_max) + " bytes"};
    }
    if (options.id_retention.count() <= 0) {
        return Problem{sqlite::Kind::refused, 0, "ids must be kept for longer than 0 ms"};
    }
    auto database =
        sqlite::Database::open(path, sqlite::Database::Access::read_write, options.busy_timeout);
    if (!database.ok()) return database.error();
    if (auto checked = check_inbox_schema(database.value()); !checked.ok()) {
        return checked.error();
    }
    auto impl = std::make_unique<Impl>(std::move(database).value(), std::move(options));
    if (auto known = impl->open_consumer(); !known.ok()) return known.error();
    return std::unique_ptr<Inbox>(new Inbox(std::move(impl)));
}

sqlite::Status Inbox::Impl::open_consumer() {
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    auto insert = database.prepare(
        "INSERT INTO ferry_inbox_consumer(name) VALUES(?1) ON CONFLICT(name) DO NOTHING");
    if (!insert.ok()) return insert.error();
    if (auto done = insert.value().bind(1, std::string_view(options.consumer)).run(); !done.ok()) {
        return done;
    }
    auto select = database.prepare(
        "SELECT id, queue, log_id, floor, running FROM ferry_inbox_consumer WHERE name = ?1");
    if (!select.ok()) return select.error();
    auto row = select.value().bind(1, std::string_view(options.consumer)).step();
    if (!row.ok()) return row.error();
    FERRY_ASSERT(row.value(), "the row was made above");
    consumer = select.value().integer(0);
    place.queue = std::string(select.value().text(1));
    place.log_id = std::string(select.value().text(2));
    place.floor = static_cast<std::uint64_t>(select.value().integer(3));
    const bool was_running = select.value().integer(4) != 0;
    select.value().reset();
    marks = std::make_unique<Marks>(database, consumer);
    acks_in_doubt = was_running;
    auto running = database.prepare("UPDATE ferry_inbox_consumer SET running = 1 WHERE id = ?1");
    if (!running.ok()) return running.error();
    if (auto done = running.value().bind(1, consumer).run(); !done.ok()) return done;
    if (auto committed = transaction.value().commit(); !committed.ok()) return committed;
    if (!options.outgoing) return sqlite::ok_status();
    auto has = database.integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_outbox'");
    if (!has.ok()) return has.error();
    if (!has.value().has_value()) return sqlite::ok_status();
    auto opened = outbox::Outbox::open(database.handle());
    if (!opened.ok()) return opened.error();
    outgoing.emplace(std::move(opened).value());
    access.outbox = &*outgoing;
    return sqlite::ok_status();
}

void Inbox::Impl::leave_cleanly() {
    if (acks_in_doubt) return;
    for (const auto& [name, stream] : streams) {
        if (!stream.unsettled.empty() || !stream.lost.empty()) return;
    }
    auto stopped = database.prepare("UPDATE ferry_inbox_consumer SET running = 0 WHERE id = ?1");
    if (!stopped.ok()) return;
    stopped.value().bind(1, consumer).run().ignore("then the next start keeps a little more");
}

InboxFigures Inbox::figures() const {
    const std::scoped_lock lock(impl_->notes);
    return impl_->figures;
}

std::string Inbox::last_problem() const {
    const std::scoped_lock lock(impl_->notes);
    return impl_->problem;
}

}  // namespace ferry::consumer
