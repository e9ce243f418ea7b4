#include "runner.hpp"

#include <algorithm>
#include <array>

#include "contract.hpp"
#include "ferry/platform/assert.hpp"
#include "values.hpp"

namespace ferry::saga {
namespace {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

constexpr std::size_t child_id_bytes_max = 250;  // it is an ordering key, too

std::string hex(std::uint64_t value) {
    std::string out(16, '0');
    for (std::size_t i = 16; i-- > 0; value >>= 4U) out[i] = "0123456789abcdef"[value & 15U];
    return out;
}

bool utf8(std::string_view text) {
    return plain(text, text.size() + 8) == text;
}

Problem refused(std::string text) {
    return {Kind::refused, 0, std::move(text)};
}

std::string label_of(const Definition& definition) {
    return definition.name + "/" + std::to_string(definition.version);
}

/// A failure of this step is not final.
bool never_fails(const Definition& definition, std::size_t step) {
    const auto pivot = pivot_of(definition);
    return definition.steps[step].retriable || (pivot && step > *pivot);
}

/// The first of try, confirm and cancel: what it reserves is confirmed by the step NAME.confirm.
bool is_try(const Definition& definition, std::size_t step) {
    if (!may_be_undone(definition, step) || !pivot_of(definition)) return false;
    const std::string confirm = definition.steps[step].name + ".confirm";
    return std::any_of(definition.steps.begin(), definition.steps.end(),
                       [&](const Step& one) { return one.name == confirm; });
}

Problem missing(std::string_view id) {
    return {Kind::not_found, 0, "there is no saga " + sqlite::bounded(id)};
}

}  // namespace

std::string Runner::new_trace(std::string_view traceparent) {
    const bool given =
        traceparent.size() == 55 && traceparent.starts_with("00-") &&
        traceparent.substr(3, 32).find_first_not_of("0123456789abcdef") == std::string_view::npos;
    if (given) return std::string(traceparent.substr(3, 32));
    const std::uint64_t high = random_.next();
    return hex(high) + hex(random_.next() | 1U);
}

void Runner::count(Tally::What what, const Store::Row& row, std::uint32_t step, double seconds) {
    tally_.entries.push_back({what, row.stored, step, seconds});
}

// ---- from outside ----

sqlite::Answer<StartAnswer> Runner::start(const StartRequest& request, std::uint64_t now_ms,
                                          const Publish& publish) {
    if (request.id.empty() || request.id.size() > limits::id_bytes_max || !utf8(request.id)) {
        return refused("a saga's id is 1 to " + std::to_string(limits::id_bytes_max) +
                       " bytes of UTF-8");
    }
    if (!valid_json(request.input))
        return refused("the input of saga " + request.id + " is no JSON");
    if (request.input.size() > limits::data_bytes_max) {
        return refused("the input of saga " + request.id + " has more than " +
                       std::to_string(limits::data_bytes_max) + " bytes");
    }
    auto stored = store_.find_definition(request.definition, request.version);
    if (!stored.ok()) return stored.error();
    if (stored.value() == nullptr) {
        return started_before(
            request, {Kind::not_found, 0,
                      "there is no definition " + sqlite::bounded(request.definition) +
                          (request.version == 0 ? std::string()
                                                : " version " + std::to_string(request.version))});
    }
    Store::Row row;
    row.stored = stored.value();
    row.instance.id = request.id;
    row.instance.input = request.input;
    row.instance.trace = new_trace(request.traceparent);
    auto made = create(row, now_ms, publish);
    if (!made.ok()) return made.error();
    if (!made.value()) return started_before(request, missing(request.id));
    if (auto done = drain(now_ms, publish); !done.ok()) return done.error();
    return StartAnswer{true, row.instance.state};
}

/// The answer to a start whose id may be taken; `otherwise` if it is not.
sqlite::Answer<StartAnswer> Runner::started_before(const StartRequest& request, Problem otherwise) {
    Store::Row row;
    auto known = store_.load(request.id, row);
    if (!known.ok()) return known.error();
    if (!known.value()) return otherwise;
    const bool same = row.stored->definition.name == request.definition &&
                      parse_json(row.instance.input) == parse_json(request.input);
    if (same) return StartAnswer{false, row.instance.state};
    return Problem{Kind::conflict, 0,
                   "there is a saga " + request.id + " already, of " + row.stored->definition.name +
                       " and with another input or definition"};
}

/// False: the id is taken, and nothing was done.
sqlite::Answer<bool> Runner::create(Store::Row& row, std::uint64_t now_ms, const Publish& publish) {
    row.instance.steps.resize(row.stored->definition.steps.size());
    const Outcome outcome = apply(row.stored->definition, row.instance, Begin{}, now_ms, random_);
    auto made = store_.insert(row);
    if (!made.ok() || !made.value()) return made;
    count(Tally::What::started, row);
    if (auto done = act(row, outcome, now_ms, publish); !done.ok()) return done.error();
    return true;
}

sqlite::Answer<Outcome> Runner::feed(std::string_view id, const Event& event, std::uint64_t now_ms,
                                     const Publish& publish) {
    Store::Row row;
    auto known = store_.load(id, row);
    if (!known.ok()) return known.error();
    if (!known.value()) {
        tally_.entries.push_back({Tally::What::unknown, nullptr, 0, 0});
        return missing(id);
    }
    auto outcome = one(row, event, now_ms, publish);
    if (!outcome.ok()) return outcome.error();
    if (auto done = drain(now_ms, publish); !done.ok()) return done.error();
    return outcome;
}

sqlite::Answer<Outcome> Runner::answer(std::string_view id, std::string_view step, Reply reply,
                                       std::uint64_t now_ms, const Publish& publish) {
    Store::Row row;
    auto known = store_.load(id, row);
    if (!known.ok()) return known.error();
    if (!known.value()) {
        tally_.entries.push_back({Tally::What::unknown, nullptr, 0, 0});
        return missing(id);
    }
    const auto& steps = row.stored->definition.steps;
    reply.step = 0;
    while (reply.step < steps.size() && steps[reply.step].name != step) ++reply.step;
    auto outcome = one(row, std::move(reply), now_ms, publish);
    if (!outcome.ok()) return outcome.error();
    if (auto done = drain(now_ms, publish); !done.ok()) return done.error();
    return outcome;
}

Status Runner::tick(const Store::Due& due, std::uint64_t now_ms, const Publish& publish) {
    Store::Row row;
    auto known = store_.load(due.id, row);
    if (!known.ok()) return known.error();
    if (!known.value()) return sqlite::ok_status();
    // The time that is stored may be an earlier one than the instance still waits for.
    row.due_ms = 0;
    auto outcome = one(row, Tick{}, now_ms, publish);
    if (!outcome.ok()) return outcome.error();
    if (!outcome.value().changed) return store_.put_off(row);
    return drain(now_ms, publish);
}

// ---- one event ----

sqlite::Answer<Outcome> Runner::one(Store::Row& row, const Event& event, std::uint64_t now_ms,
                                    const Publish& publish) {
    const std::uint64_t loaded = row.instance.revision;
    Outcome outcome = apply(row.stored->definition, row.instance, event, now_ms, random_);
    if (!outcome.changed) {
        if (std::holds_alternative<Reply>(event)) count(Tally::What::ignored, row);
        return outcome;
    }
    if (const auto* reply = std::get_if<Reply>(&event)) {
        const StepRecord& step = row.instance.steps[reply->step];
        if (step.state == StepState::done) {
            count(Tally::What::step_done, row, reply->step,
                  static_cast<double>(step.ended_ms - step.began_ms) / 1000.0);
        }
    }
    if (auto done = store_.update(row, loaded); !done.ok()) return done.error();
    if (auto done = act(row, outcome, now_ms, publish); !done.ok()) return done.error();
    return outcome;
}

Status Runner::act(const Store::Row& row, const Outcome& outcome, std::uint64_t now_ms,
                   const Publish& publish) {
    const Instance& instance = row.instance;
    for (const Action& action : outcome.actions) {
        Status done = sqlite::ok_status();
        if (const auto* command = std::get_if<Send>(&action)) {
            if (command->attempt > 1) count(Tally::What::resent, row, command->step);
            done = send(row, *command, publish);
        } else if (const auto* child = std::get_if<StartChild>(&action)) {
            done = start_child(row, *child, now_ms, publish);
        } else if (const auto* cancel = std::get_if<CancelChild>(&action)) {
            const std::string child_of = child_id(
                instance, row.stored->definition.steps[cancel->step], instance.steps[cancel->step]);
            const std::string why = "of " + instance.id + ": " + cancel->reason;
            Pending next{child_of, Event(Cancel{why}), {}, 0};
            if (cancel->op == Op::undo)
                next = {child_of, Event(UndoAll{why}), instance.id, cancel->step};
            pending_.push_back(std::move(next));
        } else if (std::holds_alternative<Parked>(action)) {
            count(Tally::What::parked, row);
            done = store_.audit(instance.id, now_ms, "orchestrator", "parked", instance.reason);
        } else {
            count(instance.state == SagaState::completed ? Tally::What::completed
                                                         : Tally::What::compensated,
                  row);
            if (!instance.parent.empty()) {
                pending_.push_back({instance.parent,
                                    ChildEnd{instance.id, instance.parent_step, instance.state,
                                             instance.result, instance.reason},
                                    {},
                                    0});
            }
        }
        if (!done.ok()) return done;
    }
    return sqlite::ok_status();
}

Status Runner::send(const Store::Row& row, const Send& send, const Publish& publish) {
    const Instance& instance = row.instance;
    const Step& step = row.stored->definition.steps[send.step];
    const Route& route = send.op == Op::undo ? *step.compensation : step.command;
    if (!route.url.empty()) return call(row, send, route);
    // Kept, so that their memory is: the same names for each command.
    std::size_t used = 0;
    const auto header = [&](std::string_view name, wire::HeaderValue value) {
        if (used == headers_.size()) headers_.emplace_back();
        headers_[used].first = name;
        headers_[used++].second = std::move(value);
    };
    header(contract::step, step.name);
    header(contract::op, std::string(send.op == Op::undo ? "undo" : "act"));
    header(contract::attempt, static_cast<std::int64_t>(send.attempt));
    header(contract::token, static_cast<std::int64_t>(instance.revision));
    header(contract::definition, label_of(row.stored->definition));
    header(contract::trace, traceparent_of(instance));
    if (never_fails(row.stored->definition, send.step)) header(contract::retriable, true);
    if (send.op == Op::act && is_try(row.stored->definition, send.step)) {
        header(contract::holds, true);
    }
    outbox::Message message;
    message.exchange = route.exchange;
    message.routing_key = route.key;
    message.payload = as_bytes(send.payload);
    message.ordering_key = instance.id;
    message.content_type = contract::json;
    message.headers = std::span(headers_).first(used);
    message.correlation_id = instance.id;
    message.reply_to = queue_;
    return publish(message);
}

std::string Runner::traceparent_of(const Instance& instance) {
    return "00-" + instance.trace + "-" + hex(random_.next() | 1U) + "-01";
}

/// The call itself is made behind the commit, by whoever holds it then.
Status Runner::call(const Store::Row& row, const Send& send, const Route& route) {
    const Instance& instance = row.instance;
    HttpCall call;
    call.saga = instance.id;
    call.step = row.stored->definition.steps[send.step].name;
    call.op = send.op;
    call.attempt = send.attempt;
    call.token = instance.revision;
    call.definition = label_of(row.stored->definition);
    call.retriable = never_fails(row.stored->definition, send.step);
    call.trace = traceparent_of(instance);
    call.method = route.method;
    call.url = route.url;
    call.body = send.payload;
    call.due_ms = instance.steps[send.step].due_ms;
    call.repeated = send.op == Op::undo ? send.attempt > 1 : instance.steps[send.step].uncertain;
    return store_.calls().add(call, fence_ == nullptr ? 0 : fence_->load());
}

// ---- sub-sagas, in the same transaction ----

void Runner::reply_to(std::string id, std::uint32_t step, Op op, Answer answer,
                      std::string reason) {
    Reply reply;
    reply.step = step;
    reply.op = op;
    reply.answer = answer;
    reply.reason = std::move(reason);
    pending_.push_back({std::move(id), Event(std::move(reply)), {}, 0});
}

Status Runner::start_child(const Store::Row& row, const StartChild& child, std::uint64_t now_ms,
                           const Publish& publish) {
    const Instance& parent = row.instance;
    const Step& step = row.stored->definition.steps[child.step];
    auto stored = store_.find_definition(step.saga, 0);
    if (!stored.ok()) return stored.error();
    Store::Row made;
    made.stored = stored.value();
    made.instance.id = child_id(parent, step, parent.steps[child.step]);
    made.instance.parent = parent.id;
    made.instance.parent_step = child.step;
    made.instance.depth = parent.depth + 1;
    made.instance.input = child.input;
    made.instance.trace = parent.trace;
    std::string wrong;
    if (made.stored == nullptr) wrong = "there is no definition " + step.saga;
    if (made.stored != nullptr && pivot_of(made.stored->definition) &&
        may_be_undone(row.stored->definition, child.step)) {
        wrong = "the saga " + step.saga + " has a pivot, and this step may have to be undone";
    }
    if (made.instance.depth > limits::depth_max) wrong = "sub-sagas are nested too deeply";
    if (made.instance.id.size() > child_id_bytes_max) wrong = "the sub-saga's id is too long";
    Store::Row other;
    auto taken = store_.load(made.instance.id, other);
    if (!taken.ok()) return taken.error();
    if (taken.value()) wrong = "there is another saga " + made.instance.id;
    if (!wrong.empty()) {
        reply_to(parent.id, child.step, Op::act, Answer::failed, wrong);
        return sqlite::ok_status();
    }
    auto created = create(made, now_ms, publish);
    if (!created.ok()) return created.error();
    FERRY_ASSERT(created.value(), "the id was free in this transaction");
    return sqlite::ok_status();
}

Status Runner::drain(std::uint64_t now_ms, const Publish& publish) {
    while (!pending_.empty()) {
        Pending next = std::move(pending_.front());
        pending_.pop_front();
        if (auto done = pending(next, now_ms, publish); !done.ok()) {
            pending_.clear();
            return done;
        }
    }
    return sqlite::ok_status();
}

Status Runner::pending(Pending& next, std::uint64_t now_ms, const Publish& publish) {
    Store::Row row;
    auto known = store_.load(next.id, row);
    if (!known.ok()) return known.error();
    if (!known.value()) {
        // A sub-saga that is not there has nothing to undo.
        if (!next.asker.empty()) reply_to(next.asker, next.asker_step, Op::undo, Answer::done, {});
        return sqlite::ok_status();
    }
    Event event = Tick{};
    if (auto* end = std::get_if<ChildEnd>(&next.what)) {
        if (end->step >= row.instance.steps.size()) return sqlite::ok_status();
        const StepRecord& step = row.instance.steps[end->step];
        const Step& spec = row.stored->definition.steps[end->step];
        if (child_id(row.instance, spec, step) != end->child) return sqlite::ok_status();
        Reply reply;
        reply.step = end->step;
        const bool undone = being_undone(step.state) && end->state == SagaState::compensated;
        reply.op = undone ? Op::undo : Op::act;
        reply.answer = undone || end->state == SagaState::completed ? Answer::done : Answer::failed;
        reply.result = undone ? std::string() : end->result;
        reply.reason = end->reason;
        event = std::move(reply);
    } else {
        event = std::move(std::get<Event>(next.what));
    }
    auto outcome = one(row, event, now_ms, publish);
    if (!outcome.ok()) return outcome.error();
    if (next.asker.empty() || outcome.value().changed) return sqlite::ok_status();
    // The asker waits for an end; where there will be none it must know.
    if (row.instance.state == SagaState::compensated) {
        reply_to(next.asker, next.asker_step, Op::undo, Answer::done, {});
    } else if (row.instance.state == SagaState::completed ||
               row.instance.state == SagaState::running) {
        reply_to(next.asker, next.asker_step, Op::undo, Answer::failed, outcome.value().refused);
    }
    return sqlite::ok_status();
}

}  // namespace ferry::saga
