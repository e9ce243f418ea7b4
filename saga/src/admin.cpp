#include "ferry/saga/admin.hpp"

#include <algorithm>
#include <optional>

#include "changes.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/clock.hpp"
#include "values.hpp"

namespace ferry::saga {
namespace {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

std::string route_of(const Route& route) {
    if (!route.url.empty()) return route.method + " " + route.url;
    return route.exchange.empty() ? route.key : route.exchange + ":" + route.key;
}

bool in_doubt(const Store::Row& row) {
    const Instance& instance = row.instance;
    if (ended(instance.state)) return false;
    const auto pivot = pivot_of(row.stored->definition);
    if (pivot && instance.steps[*pivot].state == StepState::done) return true;
    return std::any_of(instance.steps.begin(), instance.steps.end(), [](const StepRecord& step) {
        return step.uncertain && step.state != StepState::done && step.state != StepState::undone;
    });
}

std::string waits_for(const Store::Row& row) {
    const Instance& instance = row.instance;
    if (ended(instance.state)) return "nothing: it has ended";
    if (instance.state == SagaState::parked) {
        return "an operator: ferry saga retry, skip or force";
    }
    std::string out;
    for (std::size_t i = 0; i < instance.steps.size(); ++i) {
        const StepRecord& step = instance.steps[i];
        const Step& spec = row.stored->definition.steps[i];
        std::string what;
        if (step.state == StepState::running) {
            what = spec.kind == StepKind::signal ? "the signal " + spec.name
                   : spec.kind == StepKind::saga ? "the saga " + child_id(instance, spec, step)
                                                 : "an answer from " + route_of(spec.command);
        } else if (step.state == StepState::backing_off) {
            what = "the next attempt of " + spec.name;
        } else if (step.state == StepState::undoing) {
            what = spec.compensation ? "an answer from " + route_of(*spec.compensation)
                                     : "the saga " + child_id(instance, spec, step);
        } else if (step.state == StepState::undo_backing_off) {
            what = "the next attempt to undo " + spec.name;
        }
        if (!what.empty()) out += (out.empty() ? "" : ", ") + what;
    }
    return out;
}

SagaRow row_of(const Store::Row& row) {
    const Instance& instance = row.instance;
    SagaRow out;
    out.id = instance.id;
    out.definition = row.stored->definition.name;
    out.version = row.stored->definition.version;
    out.state = instance.state;
    out.started_ms = instance.started_ms;
    out.ended_ms = instance.ended_ms;
    out.deadline_ms = instance.deadline_ms;
    out.due_ms = due_ms(instance);
    out.revision = instance.revision;
    out.forced = instance.forced;
    out.overdue = instance.overdue;
    out.reason = instance.reason;
    out.parent = instance.parent;
    out.changed_ms = std::max(instance.started_ms, instance.ended_ms);
    for (const StepRecord& step : instance.steps) {
        out.changed_ms = std::max({out.changed_ms, step.began_ms, step.ended_ms, step.undo_ms});
    }
    out.waits_for = waits_for(row);
    return out;
}

StepView view_of(const Step& spec, const StepRecord& step) {
    StepView out;
    out.name = spec.name;
    out.state = step.state;
    out.sends_to = spec.kind == StepKind::command  ? route_of(spec.command)
                   : spec.kind == StepKind::signal ? "signal"
                   : spec.kind == StepKind::saga   ? "saga " + spec.saga
                                                   : "decision";
    if (spec.compensation) out.undo_to = route_of(*spec.compensation);
    out.attempts = step.attempts;
    out.uncertain = step.uncertain;
    out.began_ms = step.began_ms;
    out.ended_ms = step.ended_ms;
    out.due_ms = step.due_ms;
    out.result = step.result;
    out.error = step.error;
    return out;
}

}  // namespace

struct Admin::Impl {
    std::optional<sqlite::Database> reading;
    std::optional<outbox::Outbox> outbox;
    std::unique_ptr<Store> store;
    std::unique_ptr<Runner> runner;
    Runner::Publish publish;

    [[nodiscard]] const sqlite::Database& database() const {
        return reading ? *reading : outbox->database();
    }
    /// `job` in a transaction of its own.
    Status in_transaction(const std::function<Status(std::uint64_t now_ms)>& job) {
        if (!runner) return Problem{Kind::read_only, 0, "the sagas were opened for reading only"};
        auto transaction = sqlite::Transaction::begin(database());
        if (!transaction.ok()) return transaction.error();
        // The orchestrators' time: by one that is behind, a deadline would be over at once.
        auto latest = store->latest_ms();
        if (!latest.ok()) return latest.error();
        const std::uint64_t now_ms = std::max(system_clock().now().wall_ms, latest.value());
        if (auto done = job(now_ms); !done.ok()) return done;
        return transaction.value().commit();
    }
    Status event(std::string_view id, const Event& event, std::string_view who,
                 std::string_view what, std::string_view note) {
        return in_transaction([&](std::uint64_t now_ms) {
            return change(*runner, id, event, who, what, note, now_ms, publish);
        });
    }
};

Admin::Admin(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Admin::~Admin() = default;

sqlite::Answer<std::unique_ptr<Admin>> Admin::open(const std::string& path, bool read_only) {
    auto impl = std::make_unique<Impl>();
    if (read_only) {
        auto opened = sqlite::Database::open(path, sqlite::Database::Access::read_only);
        if (!opened.ok()) return opened.error();
        impl->reading.emplace(std::move(opened).value());
    } else {
        auto opened = outbox::Outbox::open(path);
        if (!opened.ok()) return opened.error();
        impl->outbox.emplace(std::move(opened).value());
    }
    auto store = Store::open(impl->database());
    if (!store.ok()) return store.error();
    impl->store = std::move(store).value();
    if (!read_only) {
        auto queue = impl->store->queue();
        if (!queue.ok()) return queue.error();
        impl->runner = std::make_unique<Runner>(*impl->store, queue.value(), system_random());
        Impl* const inner = impl.get();
        impl->publish = [inner](const outbox::Message& message) {
            auto stored = inner->outbox->enqueue(message);
            return stored.ok() ? sqlite::ok_status() : Status(stored.error());
        };
    }
    return std::unique_ptr<Admin>(new Admin(std::move(impl)));
}

// ---- reading ----

sqlite::Answer<std::vector<SagaRow>> Admin::list(const ListFilter& filter) {
    std::string sql =
        "SELECT s.id FROM ferry_saga AS s JOIN ferry_saga_definition AS d ON d.key = s.definition "
        "WHERE s.id > ?1";
    if (filter.state) sql += " AND s.state = ?2";
    if (filter.open || filter.in_doubt) sql += " AND s.ended_ms IS NULL";
    if (!filter.definition.empty()) sql += " AND d.name = ?3";
    sql += " ORDER BY s.id";
    auto statement = impl_->database().prepare(sql);
    if (!statement.ok()) return statement.error();
    statement.value().bind(1, std::string_view(filter.after_id));
    if (filter.state) statement.value().bind(2, static_cast<int>(*filter.state));
    if (!filter.definition.empty()) {
        statement.value().bind(3, std::string_view(filter.definition));
    }
    std::vector<SagaRow> out;
    while (out.size() < filter.at_most) {
        auto found = statement.value().step();
        if (!found.ok()) return found.error();
        if (!found.value()) break;
        Store::Row row;
        const std::string id(statement.value().text(0));
        auto loaded = impl_->store->load(id, row);
        if (!loaded.ok()) return loaded.error();
        if (!loaded.value() || (filter.in_doubt && !in_doubt(row))) continue;
        out.push_back(row_of(row));
    }
    return out;
}

sqlite::Answer<SagaView> Admin::show(std::string_view id) {
    Store::Row row;
    auto loaded = impl_->store->load(id, row);
    if (!loaded.ok()) return loaded.error();
    if (!loaded.value()) {
        return Problem{Kind::not_found, 0, "there is no saga " + sqlite::bounded(id)};
    }
    SagaView out;
    out.row = row_of(row);
    out.hash = row.stored->hash;
    out.trace = row.instance.trace;
    out.input = row.instance.input;
    out.result = row.instance.result;
    for (std::size_t i = 0; i < row.instance.steps.size(); ++i) {
        out.steps.push_back(view_of(row.stored->definition.steps[i], row.instance.steps[i]));
    }
    out.signals.assign(row.instance.signals.begin(), row.instance.signals.end());
    auto audit = impl_->database().prepare(
        "SELECT at_ms, who, what, note FROM ferry_saga_audit WHERE saga = ?1 ORDER BY key");
    if (!audit.ok()) return audit.error();
    audit.value().bind(1, id);
    for (;;) {
        auto line = audit.value().step();
        if (!line.ok()) return line.error();
        if (!line.value()) return out;
        out.audit.push_back({static_cast<std::uint64_t>(audit.value().integer(0)),
                             std::string(audit.value().text(1)), std::string(audit.value().text(2)),
                             std::string(audit.value().text(3))});
    }
}

sqlite::Answer<std::vector<DefinitionRow>> Admin::definitions() {
    auto statement = impl_->database().prepare(
        "SELECT d.name, d.version, d.hash, d.added_ms, (SELECT count(*) FROM ferry_saga AS s WHERE "
        "s.definition = d.key AND s.ended_ms IS NULL) FROM ferry_saga_definition AS d ORDER BY "
        "d.name, d.version");
    if (!statement.ok()) return statement.error();
    std::vector<DefinitionRow> out;
    for (;;) {
        auto row = statement.value().step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        sqlite::Statement& s = statement.value();
        out.push_back({std::string(s.text(0)), static_cast<std::uint32_t>(s.integer(1)),
                       std::string(s.text(2)), static_cast<std::uint64_t>(s.integer(4)),
                       static_cast<std::uint64_t>(s.integer(3))});
    }
}

// ---- changing ----

sqlite::Answer<bool> Admin::start(std::string_view definition, std::string_view id,
                                  std::string_view input_json, std::string_view traceparent) {
    StartRequest request;
    request.definition = definition;
    request.id = id;
    request.input = input_json;
    request.traceparent = traceparent;
    bool created = false;
    auto done = impl_->in_transaction([&](std::uint64_t now_ms) {
        auto started = impl_->runner->start(request, now_ms, impl_->publish);
        if (!started.ok()) return Status(started.error());
        created = started.value().created;
        return sqlite::ok_status();
    });
    if (!done.ok()) return done.error();
    return created;
}

Status Admin::signal(std::string_view id, std::string_view name, std::string_view json,
                     std::string_view who) {
    if (!parse_json(json)) return Problem{Kind::refused, 0, "a signal's payload is JSON"};
    return impl_->event(id, Signal{std::string(name), std::string(json)}, who, "signal", name);
}

Status Admin::cancel(std::string_view id, std::string_view who, std::string_view note) {
    return impl_->event(
        id, Cancel{note.empty() ? "cancelled by " + std::string(who) : std::string(note)}, who,
        "cancel", note);
}

Status Admin::retry(std::string_view id, std::string_view who, std::string_view note) {
    return impl_->event(id, Retry{}, who, "retry", note);
}

Status Admin::skip(std::string_view id, std::string_view result_json, std::string_view who,
                   std::string_view note) {
    if (!result_json.empty() && !parse_json(result_json)) {
        return Problem{Kind::refused, 0, "a step's result is JSON"};
    }
    return impl_->event(id, Skip{std::string(result_json)}, who, "skip", note);
}

Status Admin::force(std::string_view id, SagaState end, std::string_view who,
                    std::string_view note) {
    if (!ended(end)) {
        return Problem{Kind::refused, 0, "a saga is forced to completed or compensated"};
    }
    return impl_->event(id, Force{end, std::string(note)}, who,
                        "force " + std::string(name_of(end)), note);
}

}  // namespace ferry::saga
