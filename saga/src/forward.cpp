#include <algorithm>

#include "turn.hpp"

// The way forward: which steps begin, and what becomes of their answers.

namespace ferry::saga {
namespace {

bool settled(const StepRecord& step) {
    return step.state == StepState::done || step.state == StepState::skipped;
}

}  // namespace

bool Turn::behind_pivot(std::uint32_t at) const {
    const auto pivot = pivot_of(definition);
    return pivot && at > *pivot;
}

/// True: something changed that may let more begin.
bool Turn::go_forward() {
    const auto& specs = definition.steps;
    std::uint32_t first = 0;
    while (first < specs.size() && settled(instance.steps[first])) ++first;
    if (first == specs.size()) {
        complete();
        return false;
    }
    std::uint32_t end = first + 1;
    while (!specs[first].group.empty() && end < specs.size() &&
           specs[end].group == specs[first].group) {
        ++end;
    }
    for (std::uint32_t i = first; i < end; ++i) {
        if (instance.steps[i].state == StepState::waiting) begin_step(i);
        const StepState state = instance.steps[i].state;
        if (state == StepState::failed || state == StepState::unknown) {
            abort("step " + specs[i].name + ": " + instance.steps[i].error);
            return true;
        }
        if (state == StepState::stuck) {
            park(i);
            return false;
        }
    }
    return std::all_of(instance.steps.begin() + first, instance.steps.begin() + end, settled);
}

void Turn::begin_step(std::uint32_t at) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    if (!holds(spec.when, *this)) {
        move(step, StepEvent::skip);
        return;
    }
    switch (spec.kind) {
        case StepKind::command:
        case StepKind::saga:
            send_command(at);
            return;
        case StepKind::decision:
            step.began_ms = now;
            move(step, StepEvent::send);
            move(step, StepEvent::succeed);
            return;
        case StepKind::signal: {
            step.began_ms = now;
            move(step, StepEvent::send);
            const auto came = instance.signals.find(spec.name);
            if (came != instance.signals.end()) {
                step.result = came->second;
                move(step, StepEvent::succeed);
            } else if (spec.timeout_ms != 0) {
                step.due_ms = now + spec.timeout_ms;
            }
            return;
        }
    }
}

void Turn::send_command(std::uint32_t at) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    Made made = make_json(spec.input, *this);
    if (!made.ok) {
        note_error(step, "its message cannot be made: " + made.text);
        if (step.state != StepState::waiting) move(step, StepEvent::send);
        move(step, behind_pivot(at) ? StepEvent::stick : StepEvent::fail);
        return;
    }
    move(step, StepEvent::send);
    ++step.attempt;
    ++step.attempts;
    if (step.began_ms == 0) step.began_ms = now;
    if (spec.timeout_ms != 0) step.due_ms = now + spec.timeout_ms;
    if (spec.kind == StepKind::saga) {
        outcome.actions.push_back(StartChild{at, std::move(made.text)});
    } else {
        outcome.actions.push_back(Send{at, Op::act, step.attempt, std::move(made.text)});
    }
}

void Turn::complete() {
    if (definition.result.empty()) {
        instance.result = "{}";
    } else {
        Made made = make_json(definition.result, *this);
        instance.result = made.ok ? std::move(made.text) : "{}";
    }
    move(SagaEvent::complete);
    finish();
}

// ---- answers ----

bool Turn::too_much(std::string_view more) const {
    return data_bytes(instance) + more.size() > limits::data_bytes_max;
}

void Turn::on(const Begin&) {
    instance.started_ms = now;
    instance.deadline_ms = now + definition.deadline_ms;
    outcome.changed = true;
}

void Turn::on(const Reply& reply) {
    if (reply.step >= instance.steps.size()) return refuse("there is no such step");
    if (ended(instance.state)) return refuse("the saga has ended");
    if (reply.op == Op::undo) {
        answered_undo(reply.step, reply);
    } else {
        answered_act(reply.step, reply);
    }
}

void Turn::answered_act(std::uint32_t at, const Reply& reply) {
    StepRecord& step = instance.steps[at];
    const bool was_stuck = step.state == StepState::stuck;
    const bool final =
        reply.answer == Answer::failed && !definition.steps[at].retriable && !behind_pivot(at);
    if (was_stuck && reply.answer != Answer::done && !final) return refuse("the step is stuck");
    if (!in_flight(step.state) && step.state != StepState::unknown && !was_stuck) {
        return refuse("a repeat, or too late: the step is " + std::string(name_of(step.state)));
    }
    const bool current = reply.attempt == 0 || reply.attempt == step.attempt;
    if (reply.answer == Answer::done) {
        note_error(step, reply.reason);
        keep_result(step, reply.result);
        move(step, StepEvent::succeed);
    } else if (final) {
        note_error(step, reply.reason.empty() ? "it failed" : reply.reason);
        move(step, StepEvent::fail);
    } else if (step.state != StepState::running || !current) {
        return refuse("it answers an attempt that is over");
    } else {
        note_error(step, reply.reason.empty() ? "it could not be done" : reply.reason);
        attempt_failed(at, reply.answer != Answer::unknown, reply.wait_ms);
    }
    if (was_stuck && stuck_step(instance) == instance.steps.size()) {
        instance.reason.clear();
        move(SagaEvent::resume_forward);
    }
}

void Turn::keep_result(StepRecord& step, const std::string& result) {
    if (!too_much(result)) {
        step.result = result;
        return;
    }
    note_error(step, "its result of " + std::to_string(result.size()) +
                         " bytes was dropped: the saga's data would be too large");
}

void Turn::attempt_failed(std::uint32_t at, bool answered, std::uint64_t wait_ms) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    if (!answered) step.uncertain = true;
    const bool last = step.attempt >= spec.retry.attempts || spec.kind == StepKind::saga;
    if (instance.state == SagaState::aborting) {
        move(step, step.uncertain ? StepEvent::lose : StepEvent::fail);
    } else if (last) {
        out_of_attempts(at);
    } else {
        move(step, StepEvent::again);
        const RetryPolicy& policy = spec.retry;
        step.due_ms =
            now + std::max(backoff_ms(policy.first_ms, policy.cap_ms, step.attempt, random),
                           std::min(wait_ms, policy.cap_ms));
    }
}

void Turn::out_of_attempts(std::uint32_t at) {
    StepRecord& step = instance.steps[at];
    const bool pivot = definition.steps[at].pivot;
    if (behind_pivot(at) || (pivot && step.uncertain)) {
        // Behind the pivot there is no failure, and whether an unanswered pivot happened nobody
        // may guess.
        move(step, StepEvent::stick);
    } else {
        move(step, step.uncertain ? StepEvent::lose : StepEvent::fail);
    }
}

void Turn::on(const Signal& signal) {
    const auto waits = [&](const Step& s) {
        return s.kind == StepKind::signal && s.name == signal.name;
    };
    const auto spec = std::find_if(definition.steps.begin(), definition.steps.end(), waits);
    if (spec == definition.steps.end()) return refuse("no step waits for it");
    if (ended(instance.state)) return refuse("the saga has ended");
    if (instance.state != SagaState::running && instance.state != SagaState::parked) {
        return refuse("the saga is being undone");
    }
    if (instance.signals.contains(signal.name)) return refuse("it came before");
    if (too_much(signal.payload)) return refuse("the saga's data would be too large");
    instance.signals.emplace(signal.name, signal.payload);
    outcome.changed = true;
    StepRecord& step = instance.steps[static_cast<std::size_t>(spec - definition.steps.begin())];
    if (step.state == StepState::running) {
        step.result = signal.payload;
        move(step, StepEvent::succeed);
    }
}

// ---- time ----

void Turn::on(const Tick&) {
    for (std::uint32_t i = 0; i < instance.steps.size(); ++i) {
        if (instance.steps[i].due_ms != 0 && instance.steps[i].due_ms <= now) tick(i);
    }
    if (!ended(instance.state) && instance.deadline_ms != 0 && instance.deadline_ms <= now) {
        deadline();
    }
    if (!outcome.changed) refuse("nothing is due");
}

void Turn::tick(std::uint32_t at) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    const std::string silence = "no answer within " + std::to_string(spec.timeout_ms) + " ms";
    switch (step.state) {
        case StepState::running:
            if (spec.kind == StepKind::signal) {
                note_error(step, "the signal did not come in time");
                move(step, behind_pivot(at) ? StepEvent::stick : StepEvent::fail);
            } else {
                note_error(step, silence);
                attempt_failed(at, false);
            }
            break;
        case StepState::backing_off:
            send_command(at);
            break;
        case StepState::undoing:
            note_error(step, silence);
            compensation_failed(at);
            break;
        case StepState::undo_backing_off:
            send_compensation(at);
            break;
        default:
            step.due_ms = 0;
            outcome.changed = true;
    }
}

void Turn::deadline() {
    if (instance.state == SagaState::running && !no_way_back()) {
        abort("the deadline passed");
        return;
    }
    instance.deadline_ms = 0;
    instance.overdue = true;
    outcome.changed = true;
}

}  // namespace ferry::saga
