#include "app.hpp"

#include <algorithm>

#include "ferry/outbox/schema.hpp"

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

namespace {

constexpr std::uint32_t first_app = 200;

}  // namespace

App::App(Stage& stage, SqliteDisks& disks, std::uint32_t number, std::uint32_t queue)
    : Machine(stage, disks,
              {first_app + number, number, queue, "/app" + std::to_string(number), true}),
      most_(std::max(1U, stage.swarm.messages / 2)) {}

const char* App::tables() const {
    return "CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY); "
           "CREATE TABLE IF NOT EXISTS effects(id INTEGER)";
}

consumer::InboxOptions App::inbox() const {
    consumer::InboxOptions options;
    options.consumer = "effects";
    options.outgoing = false;
    return options;
}

void App::go_on() {
    world_.after(world_.below(stage_.swarm.pause_ns_max), life_, [this] { order(); });
}

// ---- orders ----

void App::note(std::uint64_t id, Type type, What what) {
    const Order& order = orders_.at(id);
    Event event;
    event.process = process_;
    event.type = type;
    event.what = what;
    event.queue = order.note.queue;
    event.key = order.note.key;
    event.id = id;
    event.payload = order.note.payload;
    stage_.recorder.add(event);
}

void App::order() {
    if (made_ >= most_) return;
    std::vector<std::uint64_t> ids;
    const std::uint64_t count = world_.between(1, 3);
    for (std::uint64_t i = 0; i < count; ++i) {
        Order order;
        order.note.id = stage_.recorder.new_id();
        order.note.queue = queue_;
        if (stage_.swarm.keys) order.note.key = 1 + world_.below(3);
        order.payload = payload_of(order.note.id, world_.below(stage_.swarm.payload_max));
        order.note.payload = hash_of(order.payload);
        ids.push_back(order.note.id);
        orders_.emplace(ids.back(), std::move(order));
    }
    made_ += count;
    place(ids, world_.chance(100));
    if (down_) return;
    world_.after(world_.below(stage_.swarm.pause_ns_max), life_, [this] { order(); });
}

std::string App::write_orders(const std::vector<std::uint64_t>& ids, bool roll_back) {
    const sqlite::Database& database = app_->database;
    const auto failed = [&](const sqlite::Problem& problem) {
        database.run("ROLLBACK").ignore("it may be over already");
        return problem.text;
    };
    if (auto begun = database.run("BEGIN IMMEDIATE"); !begun.ok()) return begun.error().text;
    for (const std::uint64_t id : ids) {
        const Order& order = orders_.at(id);
        auto inserted = database.run("INSERT INTO orders VALUES(" + std::to_string(id) + ")");
        if (!inserted.ok()) return failed(inserted.error());
        const std::string queue = queue_name(queue_);
        const std::string key =
            order.note.key == 0 ? std::string() : "k" + std::to_string(order.note.key);
        const auto stored = app_->outbox->enqueue(
            {.routing_key = queue, .payload = as_bytes(order.payload), .ordering_key = key});
        if (!stored.ok()) return failed(stored.error());
    }
    auto ended = database.run(roll_back ? "ROLLBACK" : "COMMIT");
    return ended.ok() ? std::string() : failed(ended.error());
}

void App::place(const std::vector<std::uint64_t>& ids, bool roll_back) {
    for (const std::uint64_t id : ids) note(id, Type::invoke, What::commit);
    const std::string wrong = write_orders(ids, roll_back);
    world_.trace("order", process_, ids.front(), wrong.empty() ? 0 : 1);
    if (cut_soon_) {  // in the middle of it: who asked never learns
        for (const std::uint64_t id : ids) note(id, Type::info, What::commit);
        return go_down(true);
    }
    if (!wrong.empty()) return world_.fail("an application could not commit: " + wrong);
    disk_.seen();
    for (const std::uint64_t id : ids) {
        orders_.at(id).fate = roll_back ? Order::Fate::rolled_back : Order::Fate::committed;
        note(id, roll_back ? Type::fail : Type::ok, What::commit);
    }
    announce();
}

// ---- effects ----

bool App::handle(const Received& message) {
    if (down_) return false;
    const std::uint64_t id = id_in(message.payload);
    const bool unlucky = !stage_.healed && world_.chance(50);
    const consumer::Handled handled = apply(message, [&](consumer::Effects& effects) {
        effects.run("INSERT INTO effects(id) VALUES(?1)", static_cast<std::int64_t>(id));
        return unlucky ? consumer::Handled::retry("bad luck") : consumer::Handled::done();
    });
    const bool done = handled.kind == consumer::Handled::Kind::done;
    world_.trace("effect", process_, id, done ? (handled.duplicate ? 2 : 1) : 0);
    if (cut_soon_) {
        go_down(true);
        return false;
    }
    if (!done && !unlucky) world_.fail("an effect could not be made: " + handled.reason);
    if (!done) return false;
    disk_.seen();
    if (!handled.duplicate) note_effect(id);
    return true;
}

void App::note_effect(std::uint64_t id) {
    const auto at = orders_.find(id);
    if (at == orders_.end()) return world_.fail("an effect of a message that nobody ordered");
    at->second.effect = true;
    note(id, Type::ok, What::effect);
}

void App::heal() {
    most_ = std::min(most_, made_);
    cut_soon_ = false;
}

std::set<std::uint64_t> App::ids_in(const char* sql) {
    std::set<std::uint64_t> out;
    auto statement = app_->database.prepare(sql);
    if (!statement.ok()) return out;
    for (;;) {
        const auto row = statement.value().step();
        if (!row.ok() || !row.value()) return out;
        out.insert(static_cast<std::uint64_t>(statement.value().integer(0)));
    }
}

// What a crash left undecided is decided by what the database has.
void App::look_back() {
    const std::set<std::uint64_t> placed = ids_in("SELECT id FROM orders");
    const std::set<std::uint64_t> effects = ids_in("SELECT id FROM effects");
    for (auto& [id, order] : orders_) {
        const bool is_there = placed.contains(id);
        if (order.fate == Order::Fate::committed && !is_there)
            return world_.fail("a committed order is lost: " + std::to_string(id));
        if (order.fate == Order::Fate::rolled_back && is_there)
            return world_.fail("a rolled back order is there: " + std::to_string(id));
        if (order.fate == Order::Fate::unsure) {
            order.fate = is_there ? Order::Fate::committed : Order::Fate::rolled_back;
            note(id, Type::invoke, What::commit);
            note(id, is_there ? Type::ok : Type::fail, What::commit);
        }
        if (order.effect && !effects.contains(id))
            return world_.fail("an effect is lost: " + std::to_string(id));
        if (!order.effect && effects.contains(id)) note_effect(id);
    }
}

std::string App::unrest() {
    if (std::string why = unsent(); !why.empty()) return why;
    const std::string who = "application " + std::to_string(process_);
    for (const auto& [id, order] : orders_) {
        if (order.fate == Order::Fate::committed && !order.effect)
            return who + " has no effect of " + std::to_string(id);
    }
    return {};
}

std::string App::verify() {
    if (app_ == nullptr) return "an application is down";
    const auto twice =
        app_->database.integer("SELECT id FROM effects GROUP BY id HAVING count(*) > 1 LIMIT 1");
    if (twice.ok() && twice.value())
        return "two effects of one message: " + std::to_string(*twice.value());
    const std::set<std::uint64_t> effects = ids_in("SELECT id FROM effects");
    for (const auto& [id, order] : orders_) {
        const bool is_there = effects.contains(id);
        if (is_there != (order.fate == Order::Fate::committed))
            return std::string(is_there ? "an effect of what was rolled back: "
                                        : "no effect of a committed order: ") +
                   std::to_string(id);
    }
    return {};
}

}  // namespace ferry::simulation
