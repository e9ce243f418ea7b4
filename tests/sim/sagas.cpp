#include "sagas.hpp"

#include <algorithm>

#include "saga/src/contract.hpp"
#include "saga/src/schema.hpp"

namespace ferry::simulation {

using consumer::Handled;
using history::Event;
using history::Type;
using history::What;

namespace {

constexpr std::uint32_t first_saga_process = 500;
constexpr std::uint64_t lease_ms = 5'000;
constexpr std::uint32_t due_max = 16;
// Sagas that repeat their commands faster than workers with a window of one take them would never
// come to rest.
constexpr std::uint64_t repeat_cap_ms = 30'000;
constexpr const char* owner = "orchestrator";
constexpr const char* saga_name = "sale";

std::string saga_id(std::uint64_t number) {
    return "s" + std::to_string(number);
}
std::uint64_t number_in(std::string_view name) {
    std::uint64_t number = 0;
    for (const char c : name)
        if (c >= '0' && c <= '9') number = number * 10 + static_cast<std::uint64_t>(c - '0');
    return number;
}

std::string header(const consumer::Incoming& message, std::string_view name) {
    for (const auto& [key, value] : message.properties().headers) {
        const auto* text = std::get_if<std::string>(&value);
        if (key == name && text != nullptr) return *text;
    }
    return {};
}

std::string said(const sqlite::Status& status) {
    return status.ok() ? std::string() : status.error().text;
}

Machine::Place place_of(std::uint32_t number, std::uint32_t queue) {
    return {first_saga_process + number, number, queue, "/saga" + std::to_string(number), false};
}

}  // namespace

saga::Definition draw_saga(const Swarm& swarm) {
    World world(mix(swarm.seed, 0x5A6A));
    saga::Definition out;
    out.name = saga_name;
    out.deadline_ms = world.spread(1'000, 60'000);
    const std::uint64_t steps = world.between(1, 4);
    const bool pivot = world.chance(300);
    for (std::uint64_t i = 1; i <= steps; ++i) {
        saga::Step step;
        step.name = "step" + std::to_string(i);
        step.command.key =
            queue_name(swarm.worker_queue(static_cast<std::uint32_t>(i % swarm.saga_workers)));
        step.timeout_ms = world.between(300, 4'000);
        step.retry = {world.between(20, 500), repeat_cap_ms,
                      static_cast<std::uint32_t>(world.between(1, 5))};
        step.undo.first_ms = world.between(20, 500);
        step.undo.cap_ms = repeat_cap_ms;
        step.pivot = pivot && i == steps;
        if (!step.pivot) step.compensation = step.command;
        out.steps.push_back(std::move(step));
    }
    // Two that run at the same time.
    if (steps >= 3 && world.chance(300)) out.steps[0].group = out.steps[1].group = "both";
    return out;
}

// ---- the orchestrator ----

SagaHost::SagaHost(Stage& stage, SqliteDisks& disks, std::uint32_t number,
                   saga::Definition definition)
    : Machine(stage, disks, place_of(number, stage.swarm.saga_queue())),
      definition_(std::move(definition)),
      most_(std::max(2U, stage.swarm.messages / 4)),
      dice_(stage.world.random.next()) {}

std::string SagaHost::prepare(const sqlite::Database& database) {
    if (auto why = said(saga::make_schema(database)); !why.empty()) return why;
    auto opened = saga::Store::open(database);
    if (!opened.ok()) return opened.error().text;
    store_ = std::move(opened).value();
    runner_ = std::make_unique<saga::Runner>(*store_, queue_name(queue_), dice_);
    wall_.emplace(clock_);
    auto latest = store_->latest_ms();
    if (!latest.ok()) return latest.error().text;
    wall_->at_least(latest.value());
    fence_ = 0;
    return change([&](std::uint64_t now_ms) {
        auto added = store_->add_definition(definition_, now_ms);
        return added.ok() ? sqlite::ok_status() : sqlite::Status(added.error());
    });
}

consumer::InboxOptions SagaHost::inbox() const {
    consumer::InboxOptions options;
    options.consumer = "saga";
    options.no_id = consumer::NoId::position;
    return options;
}

void SagaHost::closing() {
    parked_.clear();
    reply_runner_.reset();
    reply_store_.reset();
    runner_.reset();
    store_.reset();
}

sqlite::Status SagaHost::stay_member(std::uint64_t now_ms) {
    if (fence_ != 0) {
        auto mine = store_->renew(owner, fence_, now_ms, now_ms + lease_ms);
        if (!mine.ok()) return mine.error();
        if (mine.value()) return sqlite::ok_status();
    }
    auto joined = store_->join(owner, now_ms, now_ms + lease_ms);
    if (!joined.ok()) return joined.error();
    fence_ = joined.value();
    return sqlite::ok_status();
}

std::string SagaHost::change(const std::function<sqlite::Status(std::uint64_t now_ms)>& what) {
    const std::uint64_t now_ms = wall_->now_ms();
    auto transaction = sqlite::Transaction::begin(store_->database());
    if (!transaction.ok()) return transaction.error().text;
    if (auto member = stay_member(now_ms); !member.ok()) return member.error().text;
    if (auto done = what(now_ms); !done.ok()) return done.error().text;
    return said(transaction.value().commit());
}

void SagaHost::note(std::uint64_t number, Type type, What what, std::uint32_t end) {
    Event event;
    event.process = process_;
    event.type = type;
    event.what = what;
    event.id = number;
    event.attempt = end;
    stage_.recorder.add(event);
}

saga::Runner::Publish SagaHost::publish() {
    return [this](const outbox::Message& out) {
        auto stored = app_->outbox->enqueue(out);
        return stored.ok() ? sqlite::ok_status() : sqlite::Status(stored.error());
    };
}

// A saga that cannot go on, nor back, is parked until somebody decides: here, to try again.
void SagaHost::retry_in(std::uint64_t number) {
    if (!parked_.insert(number).second) return;
    world_.trace("saga is parked", process_, number);
    world_.after(world_.between(100 * ms, 3 * second), life_, [this, number] {
        if (down_) return;
        parked_.erase(number);
        const std::string wrong = change([&](std::uint64_t now_ms) {
            auto fed = runner_->feed(saga_id(number), saga::Retry{}, now_ms, publish());
            return fed.ok() ? sqlite::ok_status() : sqlite::Status(fed.error());
        });
        if (cut_soon_) return go_down(true);
        if (!wrong.empty()) return world_.fail("a saga could not be retried: " + wrong);
        disk_.seen();
        announce();
        look_for_end(number);
    });
}

void SagaHost::go_on() {
    world_.after(world_.below(stage_.swarm.pause_ns_max), life_, [this] { begin(); });
    tick();
}

void SagaHost::begin() {
    if (down_ || made_ >= most_) return;
    const std::uint64_t number = ++made_;
    Saga& saga = sagas_[number];
    note(number, Type::invoke, What::saga_begin);
    const std::string wrong = change([&](std::uint64_t now_ms) {
        auto started = runner_->start({saga_id(number), saga_name, 0, "{}", {}}, now_ms, publish());
        return started.ok() ? sqlite::ok_status() : sqlite::Status(started.error());
    });
    world_.trace("saga", process_, number, wrong.empty() ? 0 : 1);
    if (cut_soon_) return go_down(true);
    if (!wrong.empty()) return world_.fail("a saga could not begin: " + wrong);
    saga.fate = Fate::begun;
    note(number, Type::ok, What::saga_begin);
    disk_.seen();
    announce();
    world_.after(world_.below(4 * stage_.swarm.pause_ns_max), life_, [this] { begin(); });
}

void SagaHost::tick() {
    world_.after(world_.between(20 * ms, 300 * ms), life_, [this] {
        if (down_) return;
        std::vector<saga::Store::Due> due;
        auto next = store_->next_due();
        const bool any = next.ok() && next.value() != 0 && next.value() <= wall_->now_ms();
        const std::string wrong = !any ? std::string() : change([&](std::uint64_t now_ms) {
            auto found = store_->due(now_ms, 0, 1, due_max);
            if (!found.ok()) return sqlite::Status(found.error());
            due = std::move(found).value();
            for (const saga::Store::Due& one : due) {
                auto done = runner_->tick(one, now_ms, publish());
                if (!done.ok()) return done;
            }
            return sqlite::ok_status();
        });
        if (any && cut_soon_) return go_down(true);
        if (!wrong.empty()) return world_.fail("sagas' timers do not run: " + wrong);
        if (any) {
            world_.trace("saga timers", process_, due.size());
            disk_.seen();
            announce();
        }
        for (const saga::Store::Due& one : due) look_for_end(number_in(one.id));
        tick();
    });
}

Handled SagaHost::reply(consumer::Effects& effects) {
    if (reply_runner_ == nullptr) {
        auto opened = saga::Store::open(effects.database());
        if (!opened.ok()) return consumer::handled_of(opened.error());
        reply_store_ = std::move(opened).value();
        reply_runner_ = std::make_unique<saga::Runner>(*reply_store_, queue_name(queue_), dice_);
    }
    auto member = reply_store_->is_member(owner, fence_);
    if (!member.ok()) return consumer::handled_of(member.error());
    if (!member.value()) return Handled::later("this orchestrator's lease has ended");
    namespace contract = saga::contract;
    const consumer::Incoming& message = effects.message();
    saga::Reply answer;
    const std::string how = header(message, contract::answer);
    answer.answer = how == "done"     ? saga::Answer::done
                    : how == "failed" ? saga::Answer::failed
                                      : saga::Answer::again;
    answer.op = header(message, contract::op) == "undo" ? saga::Op::undo : saga::Op::act;
    std::int64_t attempt = 0;
    if (message.header(contract::attempt, attempt))
        answer.attempt = static_cast<std::uint32_t>(attempt);
    answer.reason = header(message, contract::reason);
    auto fed =
        reply_runner_->answer(message.properties().correlation_id, header(message, contract::step),
                              std::move(answer), wall_->now_ms(), [&](const outbox::Message& out) {
                                  if (effects.publish(out)) return sqlite::ok_status();
                                  return sqlite::Status(sqlite::Problem{sqlite::Kind::failed, 0,
                                                                        effects.handled().reason});
                              });
    if (effects.handled().kind != Handled::Kind::done) return effects.handled();
    return fed.ok() ? Handled::done() : consumer::handled_of(fed.error());
}

bool SagaHost::handle(const Received& message) {
    if (down_) return false;
    const Handled handled =
        apply(message, [this](consumer::Effects& effects) { return reply(effects); });
    const bool done = handled.kind == Handled::Kind::done;
    const std::uint64_t number = number_in(message.properties.correlation_id);
    world_.trace("saga reply", process_, number, done ? 1 : 0);
    if (cut_soon_) {
        go_down(true);
        return false;
    }
    if (!done && handled.kind != Handled::Kind::retry)
        world_.fail("a reply to a saga could not be taken: " + handled.reason);
    if (!done) return false;
    disk_.seen();
    announce();
    look_for_end(number);
    return true;
}

void SagaHost::look_for_end(std::uint64_t number) {
    saga::Store::Row row;
    auto known = store_->load(saga_id(number), row);
    if (!known.ok()) return world_.fail("a saga cannot be read: " + known.error().text);
    if (!known.value()) return world_.fail("a saga is lost: " + std::to_string(number));
    const saga::SagaState state = row.instance.state;
    Saga& saga = sagas_[number];
    if (saga.end.has_value() && *saga.end != state)
        return world_.fail("a saga that had ended is in another state: " + std::to_string(number));
    if (state == saga::SagaState::parked) return retry_in(number);
    if (state != saga::SagaState::completed && state != saga::SagaState::compensated) return;
    if (saga.end.has_value()) return;
    saga.end = state;
    note(number, Type::ok, What::saga_end, state == saga::SagaState::completed ? 1 : 2);
}

// Those of which nobody knows whether their beginning was committed are there or not.
void SagaHost::look_back() {
    for (auto& [number, saga] : sagas_) {
        saga::Store::Row row;
        auto known = store_->load(saga_id(number), row);
        const bool there = known.ok() && known.value();
        if (saga.fate == Fate::unsure) {
            saga.fate = there ? Fate::begun : Fate::rolled_back;
            if (there) note(number, Type::ok, What::saga_begin);
        }
        if (there != (saga.fate == Fate::begun))
            return world_.fail("a saga's beginning is not as it was: " + std::to_string(number));
        if (there) look_for_end(number);
    }
}

void SagaHost::heal() {
    most_ = made_;
    cut_soon_ = false;
}

std::string SagaHost::unrest() {
    if (std::string why = unsent(); !why.empty()) return why;
    for (const auto& [number, saga] : sagas_) {
        if (saga.fate == Fate::begun && !saga.end.has_value())
            return "saga " + std::to_string(number) + " has not ended";
    }
    return {};
}

// ---- a participant ----

SagaWorker::SagaWorker(Stage& stage, SqliteDisks& disks, std::uint32_t number, std::uint32_t queue,
                       const saga::Definition& definition)
    : Machine(stage, disks, place_of(number, queue)),
      together_(!definition.steps.front().group.empty()) {}

const char* SagaWorker::tables() const {
    return "CREATE TABLE IF NOT EXISTS effects(n INTEGER PRIMARY KEY AUTOINCREMENT, saga INTEGER, "
           "step INTEGER, undo INTEGER)";
}

std::string SagaWorker::prepare(const sqlite::Database& database) {
    if (auto why = said(saga::make_barrier(database)); !why.empty()) return why;
    auto opened = saga::Participant::open({path_, "worker", consumer::Duration{1'000'000'000}, {}});
    if (!opened.ok()) return opened.error().text;
    participant_ = std::move(opened).value();
    participant_->act(queue_name(queue_), [this](saga::Call& call) { return act(call, false); });
    participant_->undo(queue_name(queue_), [this](saga::Call& call) { return act(call, true); });
    return {};
}

consumer::InboxOptions SagaWorker::inbox() const {
    consumer::InboxOptions options;
    options.consumer = "worker";
    options.no_id = consumer::NoId::position;
    return options;
}

saga::Said SagaWorker::act(saga::Call& call, bool undo) {
    call.effects.run("INSERT INTO effects(saga, step, undo) VALUES(?1, ?2, ?3)",
                     static_cast<std::int64_t>(number_in(call.saga)),
                     static_cast<std::int64_t>(number_in(call.step)), undo ? 1 : 0);
    // What it wrote is rolled back with a refusal.
    if (!undo && !stage_.healed && world_.chance(60)) return saga::Said::failed("it will not");
    if (!stage_.healed && world_.chance(80)) return saga::Said::again("not now");
    return saga::Said::done();
}

bool SagaWorker::handle(const Received& message) {
    if (down_) return false;
    const Handled handled = apply(
        message, [this](consumer::Effects& effects) { return participant_->handle(effects); });
    const bool done = handled.kind == Handled::Kind::done;
    world_.trace("saga command", process_, number_in(message.properties.correlation_id),
                 done ? 1 : 0);
    if (cut_soon_) {
        go_down(true);
        return false;
    }
    if (!done) world_.fail("a command of a saga could not be carried out: " + handled.reason);
    if (!done) return false;
    disk_.seen();
    announce();
    note_effects();
    return true;
}

void SagaWorker::note_effects() {
    auto statement = app_->database.prepare("SELECT n, saga, step, undo FROM effects ORDER BY n");
    if (!statement.ok()) return;
    std::int64_t last = 0;
    for (;;) {
        const auto row = statement.value().step();
        if (!row.ok() || !row.value()) break;
        last = statement.value().integer(0);
        if (last <= noted_) continue;
        noted_ = last;
        Event event;
        event.process = process_;
        event.type = Type::ok;
        event.what = statement.value().integer(3) != 0 ? What::saga_undo : What::saga_step;
        event.id = static_cast<std::uint64_t>(statement.value().integer(1));
        event.seq = static_cast<std::uint64_t>(statement.value().integer(2));
        event.key = together_ && event.seq <= 2 ? 1 : 0;
        stage_.recorder.add(event);
    }
    if (last < noted_) world_.fail("an effect of a saga's step is lost");
}

}  // namespace ferry::simulation
