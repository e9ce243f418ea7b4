#include "marks.hpp"

#include <limits>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/origin.hpp"

namespace ferry::consumer {
namespace {

constexpr std::int64_t everything = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t open_max = 16;  // producers of which one transaction knows more than rows say

}  // namespace

bool origin_of(std::string_view id, Origin& out) {
    const auto parsed = wire::parse_origin(id);
    if (!parsed.ok()) return false;
    out = {std::string(parsed.value().producer), parsed.value().epoch, parsed.value().sequence};
    return true;
}

// ---- statements ----

sqlite::Statement* Marks::statement(std::string_view sql) {
    const auto known = statements_.find(sql);
    if (known != statements_.end()) {
        known->second.reset();
        return &known->second;
    }
    auto prepared = database_.prepare(sql, true);
    if (!prepared.ok()) {
        problem_ = prepared.error();
        return nullptr;
    }
    return &statements_.emplace(sql, std::move(prepared).value()).first->second;
}

sqlite::Answer<bool> Marks::row(sqlite::Statement* found, std::int64_t* values, int count) {
    auto step = found->step();
    if (!step.ok() || !step.value()) return step;
    for (int i = 0; i < count; ++i) values[i] = found->integer(i);
    found->reset();
    return true;
}

// ---- what was applied ----

sqlite::Answer<Marks::Open*> Marks::open(const Origin& origin) {
    for (Open& one : open_) {
        if (one.origin.epoch == origin.epoch && one.origin.producer == origin.producer) return &one;
    }
    auto* const select = statement(
        "SELECT id, below, closes FROM ferry_inbox_cursor "
        "WHERE consumer = ?1 AND producer = ?2 AND epoch = ?3");
    if (select == nullptr) return problem_;
    select->bind(1, consumer_).bind(2, std::string_view(origin.producer)).bind(3, origin.epoch);
    std::int64_t values[3] = {};
    auto found = row(select, values, 3);
    if (!found.ok()) return found.error();
    if (!found.value()) return static_cast<Open*>(nullptr);
    if (open_.size() == open_max) {
        if (auto saved = save(open_.front()); !saved.ok()) return saved.error();
        open_.erase(open_.begin());
    }
    open_.emplace_back();
    open_.back().origin = origin;
    open_.back().cursor = Cursor{values[0], values[1], values[2] != 0};
    return &open_.back();
}

sqlite::Answer<bool> Marks::find(const Origin& origin, Cursor& out) {
    auto found = open(origin);
    if (!found.ok()) return found.error();
    if (found.value() == nullptr) return false;
    out = found.value()->cursor;
    return true;
}

/// Finds what is around a sequence, unless that is known.
sqlite::Status Marks::surround(Open& open, std::int64_t sequence) {
    if (open.known && sequence >= open.from && sequence < open.next) return sqlite::ok_status();
    if (auto saved = save(open); !saved.ok()) return saved;
    open.known = false;
    auto before = range_at(open.cursor.id, sequence, open.range);
    if (!before.ok()) return before.error();
    open.before = before.value();
    open.from = open.before ? open.range.first : 0;
    if (auto next = find_next(open, sequence); !next.ok()) return next;
    open.known = true;
    return sqlite::ok_status();
}

sqlite::Status Marks::find_next(Open& open, std::int64_t behind) {
    auto* const select = statement(
        "SELECT first FROM ferry_inbox_range WHERE cursor = ?1 AND first > ?2 ORDER BY first LIMIT "
        "1");
    if (select == nullptr) return problem_;
    select->bind(1, open.cursor.id).bind(2, behind);
    open.next = everything;
    auto found = row(select, &open.next, 1);
    if (!found.ok()) return found.error();
    return sqlite::ok_status();
}

sqlite::Status Marks::save(Open& open) {
    if (!open.unsaved) return sqlite::ok_status();
    auto longer = stretch(open.cursor.id, open.range.first, open.range.last);
    if (longer.ok()) open.unsaved = false;
    return longer;
}

sqlite::Status Marks::save() {
    if (broken_) return problem_;
    for (Open& one : open_) {
        if (auto saved = save(one); !saved.ok()) return saved;
    }
    return sqlite::ok_status();
}

sqlite::Answer<bool> Marks::closed(const Origin& origin) {
    auto* const select = statement(
        "SELECT 1 FROM ferry_inbox_cursor "
        "WHERE consumer = ?1 AND producer = ?2 AND epoch > ?3 AND closes = 1 LIMIT 1");
    if (select == nullptr) return problem_;
    select->bind(1, consumer_).bind(2, std::string_view(origin.producer)).bind(3, origin.epoch);
    return row(select, nullptr, 0);
}

sqlite::Answer<bool> Marks::range_at(std::int64_t cursor, std::int64_t sequence, Range& out) {
    auto* const select = statement(
        "SELECT first, last, unsure FROM ferry_inbox_range "
        "WHERE cursor = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1");
    if (select == nullptr) return problem_;
    select->bind(1, cursor).bind(2, sequence);
    std::int64_t values[3] = {};
    auto found = row(select, values, 3);
    if (found.ok() && found.value()) out = Range{values[0], values[1], values[2] != 0};
    return found;
}

sqlite::Answer<Marks::State> Marks::look(const Origin& origin, bool redriven) {
    auto found = open(origin);
    if (!found.ok()) return found.error();
    if (found.value() == nullptr) {
        auto settled = closed(origin);
        if (!settled.ok()) return settled.error();
        return settled.value() && !redriven ? State::applied : State::fresh;
    }
    Open& open = *found.value();
    const auto sequence = static_cast<std::int64_t>(origin.sequence);
    if (auto near = surround(open, sequence); !near.ok()) return near.error();
    if (open.before && open.range.last >= sequence) return State::applied;
    return sequence < open.cursor.below && !redriven ? State::applied : State::fresh;
}

sqlite::Answer<std::int64_t> Marks::cursor_for(const Origin& origin, std::uint64_t now_ms) {
    Cursor cursor;
    auto found = find(origin, cursor);
    if (!found.ok()) return found.error();
    if (found.value()) return cursor.id;
    auto settled = closed(origin);
    if (!settled.ok()) return settled.error();
    auto* const insert = statement(
        "INSERT INTO ferry_inbox_cursor(consumer, producer, epoch, below, seen_ms) "
        "VALUES(?1, ?2, ?3, ?4, ?5)");
    if (insert == nullptr) return problem_;
    insert->bind(1, consumer_)
        .bind(2, std::string_view(origin.producer))
        .bind(3, origin.epoch)
        .bind(4, settled.value() ? everything : 0)
        .bind(5, now_ms);
    if (auto done = insert->run(); !done.ok()) return done.error();
    return database_.last_row_id();
}

sqlite::Status Marks::insert_range(std::int64_t cursor, const Range& range) {
    auto* const insert = statement(
        "INSERT INTO ferry_inbox_range(cursor, first, last, unsure) VALUES(?1, ?2, ?3, ?4)");
    if (insert == nullptr) return problem_;
    insert->bind(1, cursor).bind(2, range.first).bind(3, range.last).bind(4, range.unsure ? 1 : 0);
    return insert->run();
}

sqlite::Status Marks::delete_range(std::int64_t cursor, std::int64_t first) {
    auto* const remove =
        statement("DELETE FROM ferry_inbox_range WHERE cursor = ?1 AND first = ?2");
    if (remove == nullptr) return problem_;
    remove->bind(1, cursor).bind(2, first);
    return remove->run();
}

sqlite::Status Marks::savepoint() {
    auto* const begin = statement("SAVEPOINT ferry_effect");
    return begin == nullptr ? sqlite::Status(problem_) : begin->run();
}

sqlite::Status Marks::release() {
    auto* const end = statement("RELEASE ferry_effect");
    return end == nullptr ? sqlite::Status(problem_) : end->run();
}

sqlite::Status Marks::undo() {
    auto* const back = statement(undo_sql);
    return back == nullptr ? sqlite::Status(problem_) : back->run();
}

sqlite::Status Marks::stretch(std::int64_t cursor, std::int64_t first, std::int64_t last) {
    auto* const update =
        statement("UPDATE ferry_inbox_range SET last = ?3 WHERE cursor = ?1 AND first = ?2");
    if (update == nullptr) return problem_;
    update->bind(1, cursor).bind(2, first).bind(3, last);
    return update->run();
}

sqlite::Status Marks::add(const Origin& origin, std::uint64_t now_ms) {
    // What is in memory may be neither what was before nor what should be after a failure.
    const auto failed = [this](sqlite::Problem problem) {
        distrust(problem);
        return problem;
    };
    if (auto cursor = cursor_for(origin, now_ms); !cursor.ok()) return failed(cursor.error());
    auto found = open(origin);
    if (!found.ok()) return failed(found.error());
    FERRY_ASSERT(found.value() != nullptr, "the cursor was made above");
    auto added = add_to(*found.value(), static_cast<std::int64_t>(origin.sequence));
    if (!added.ok()) return failed(added.error());
    return added;
}

sqlite::Status Marks::add_to(Open& open, std::int64_t sequence) {
    if (auto near = surround(open, sequence); !near.ok()) return near;
    std::int64_t last = sequence;
    if (open.next - 1 == sequence) {
        // The range that begins right behind joins.
        Range next;
        auto there = range_at(open.cursor.id, open.next, next);
        if (!there.ok()) return there.error();
        if (there.value() && next.first == open.next && !next.unsure) {
            if (auto gone = delete_range(open.cursor.id, next.first); !gone.ok()) return gone;
            last = next.last;
            if (auto behind = find_next(open, last); !behind.ok()) return behind;
        }
    }
    if (open.before && open.range.last == sequence - 1 && !open.range.unsure) {
        open.range.last = last;
        open.unsaved = true;
        return sqlite::ok_status();
    }
    if (auto saved = save(open); !saved.ok()) return saved;
    open.range = Range{sequence, last, false};
    open.from = sequence;
    open.before = true;
    return insert_range(open.cursor.id, open.range);
}

sqlite::Answer<Marks::State> Marks::look_id(std::string_view id) {
    auto* const select = statement("SELECT 1 FROM ferry_inbox_id WHERE consumer = ?1 AND id = ?2");
    if (select == nullptr) return problem_;
    select->bind(1, consumer_).bind(2, id);
    auto found = row(select, nullptr, 0);
    if (!found.ok()) return found.error();
    return found.value() ? State::applied : State::fresh;
}

sqlite::Status Marks::add_id(std::string_view id, std::uint64_t now_ms) {
    auto* const insert =
        statement("INSERT INTO ferry_inbox_id(consumer, id, seen_ms) VALUES(?1, ?2, ?3)");
    if (insert == nullptr) return problem_;
    insert->bind(1, consumer_).bind(2, id).bind(3, now_ms);
    return insert->run();
}

// ---- what need not be kept ----

sqlite::Answer<std::uint64_t> Marks::raise(const Origin& below, std::uint32_t at_most,
                                           std::uint64_t now_ms) {
    forget();
    auto cursor = cursor_for(below, now_ms);
    if (!cursor.ok()) return cursor.error();
    forget();  // its row is about to change
    auto* const update = statement(
        "UPDATE ferry_inbox_cursor SET below = max(below, ?2), seen_ms = ?3 WHERE id = ?1");
    if (update == nullptr) return problem_;
    update->bind(1, cursor.value()).bind(2, below.sequence).bind(3, now_ms);
    if (auto done = update->run(); !done.ok()) return done.error();
    auto* const remove = statement(
        "DELETE FROM ferry_inbox_range WHERE cursor = ?1 AND first IN (SELECT first FROM "
        "ferry_inbox_range WHERE cursor = ?1 AND first < ?2 AND last < ?2 AND unsure = 0 LIMIT "
        "?3)");
    if (remove == nullptr) return problem_;
    remove->bind(1, cursor.value()).bind(2, below.sequence).bind(3, at_most);
    if (auto done = remove->run(); !done.ok()) return done.error();
    return static_cast<std::uint64_t>(database_.changes());
}

sqlite::Status Marks::close_before(const Origin& newest) {
    forget();
    auto* const close = statement(
        "UPDATE ferry_inbox_cursor SET closes = 1 "
        "WHERE consumer = ?1 AND producer = ?2 AND epoch = ?3");
    auto* const ranges = statement(
        "DELETE FROM ferry_inbox_range WHERE unsure = 0 AND cursor IN (SELECT id FROM "
        "ferry_inbox_cursor WHERE consumer = ?1 AND producer = ?2 AND epoch < ?3)");
    auto* const full = statement(
        "UPDATE ferry_inbox_cursor SET below = 9223372036854775807 "
        "WHERE consumer = ?1 AND producer = ?2 AND epoch < ?3");
    auto* const gone = statement(
        "DELETE FROM ferry_inbox_cursor WHERE consumer = ?1 AND producer = ?2 AND epoch < ?3 "
        "AND NOT EXISTS (SELECT 1 FROM ferry_inbox_range WHERE cursor = ferry_inbox_cursor.id)");
    for (auto* const one : {close, ranges, full, gone}) {
        if (one == nullptr) return problem_;
        one->bind(1, consumer_).bind(2, std::string_view(newest.producer)).bind(3, newest.epoch);
        if (auto done = one->run(); !done.ok()) return done;
    }
    return sqlite::ok_status();
}

sqlite::Status Marks::keep_exact(const Origin& origin) {
    forget();
    Cursor cursor;
    auto found = find(origin, cursor);
    if (!found.ok()) return found.error();
    if (!found.value()) return sqlite::ok_status();
    const auto sequence = static_cast<std::int64_t>(origin.sequence);
    Range range;
    auto at = range_at(cursor.id, sequence, range);
    if (!at.ok()) return at.error();
    if (!at.value() || range.last < sequence || range.unsure) return sqlite::ok_status();
    if (auto gone = delete_range(cursor.id, range.first); !gone.ok()) return gone;
    for (const Range& part :
         {Range{range.first, sequence - 1, false}, Range{sequence, sequence, true},
          Range{sequence + 1, range.last, false}}) {
        if (part.first > part.last) continue;
        if (auto made = insert_range(cursor.id, part); !made.ok()) return made;
    }
    return sqlite::ok_status();
}

sqlite::Status Marks::keep_all_exact() {
    auto* const mark = statement(
        "UPDATE ferry_inbox_range SET unsure = 1 WHERE unsure = 0 AND cursor IN "
        "(SELECT id FROM ferry_inbox_cursor WHERE consumer = ?1)");
    if (mark == nullptr) return problem_;
    mark->bind(1, consumer_);
    if (auto done = mark->run(); !done.ok()) return done;
    // Neighbours become one again, or every crash would leave a row more.
    auto* const join = statement(
        "SELECT a.cursor, a.first, b.first, b.last FROM ferry_inbox_range a JOIN "
        "ferry_inbox_range b ON b.cursor = a.cursor AND b.first = a.last + 1 WHERE a.unsure = 1 "
        "AND b.unsure = 1 AND a.cursor IN (SELECT id FROM ferry_inbox_cursor WHERE consumer = ?1) "
        "LIMIT 1");
    if (join == nullptr) return problem_;
    for (;;) {
        join->reset();
        join->bind(1, consumer_);
        std::int64_t values[4] = {};
        auto found = row(join, values, 4);
        if (!found.ok()) return found.error();
        if (!found.value()) return sqlite::ok_status();
        if (auto gone = delete_range(values[0], values[2]); !gone.ok()) return gone;
        if (auto longer = stretch(values[0], values[1], values[3]); !longer.ok()) return longer;
    }
}

sqlite::Answer<std::uint64_t> Marks::drop_ids_before(std::uint64_t seen_ms, std::uint32_t at_most) {
    auto* const remove = statement(
        "DELETE FROM ferry_inbox_id WHERE consumer = ?1 AND id IN (SELECT id FROM ferry_inbox_id "
        "WHERE consumer = ?1 AND seen_ms < ?2 ORDER BY seen_ms LIMIT ?3)");
    if (remove == nullptr) return problem_;
    remove->bind(1, consumer_).bind(2, seen_ms).bind(3, at_most);
    if (auto done = remove->run(); !done.ok()) return done.error();
    return static_cast<std::uint64_t>(database_.changes());
}

sqlite::Status Marks::evict(const Bounds& bounds, InboxFigures& figures) {
    forget();
    auto* const old_cursors = statement(
        "SELECT id FROM ferry_inbox_cursor WHERE consumer = ?1 ORDER BY seen_ms DESC "
        "LIMIT 1 OFFSET ?2");
    if (old_cursors == nullptr) return problem_;
    for (std::uint32_t i = 0; i < limits::tidy_rows_max; ++i) {
        old_cursors->reset();
        old_cursors->bind(1, consumer_).bind(2, bounds.cursors);
        std::int64_t id = 0;
        auto found = row(old_cursors, &id, 1);
        if (!found.ok()) return found.error();
        if (!found.value()) break;
        auto* const ranges = statement("DELETE FROM ferry_inbox_range WHERE cursor = ?1");
        auto* const cursor = statement("DELETE FROM ferry_inbox_cursor WHERE id = ?1");
        for (auto* const one : {ranges, cursor}) {
            if (one == nullptr) return problem_;
            one->bind(1, id);
            if (auto done = one->run(); !done.ok()) return done;
        }
        ++figures.evicted_cursors;
    }
    auto* const unsure = statement(
        "DELETE FROM ferry_inbox_range WHERE (cursor, first) IN (SELECT r.cursor, r.first FROM "
        "ferry_inbox_range r JOIN ferry_inbox_cursor c ON c.id = r.cursor WHERE c.consumer = ?1 "
        "AND r.unsure = 1 AND r.last < c.below ORDER BY r.first DESC LIMIT ?2 OFFSET ?3)");
    if (unsure == nullptr) return problem_;
    unsure->bind(1, consumer_).bind(2, limits::tidy_rows_max).bind(3, bounds.unsure_ranges);
    if (auto done = unsure->run(); !done.ok()) return done;
    figures.evicted_ranges += static_cast<std::uint64_t>(database_.changes());
    return sqlite::ok_status();
}

}  // namespace ferry::consumer
