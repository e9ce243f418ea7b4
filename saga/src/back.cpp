#include <algorithm>

#include "ferry/platform/planted.hpp"
#include "turn.hpp"

// The way back, and what operators decide about sagas that are parked.

namespace ferry::saga {

bool Turn::go_back() {
    for (std::uint32_t i = 0; i < instance.steps.size(); ++i) {
        if (instance.steps[i].state == StepState::undo_stuck) {
            park(i);
            return false;
        }
        if (being_undone(instance.steps[i].state)) return false;
    }
    for (auto left = static_cast<std::uint32_t>(instance.steps.size()); left-- > 0;) {
        const auto count = static_cast<std::uint32_t>(instance.steps.size());
        const std::uint32_t i =
            FERRY_PLANTED("saga-undone-from-the-first-step-on") ? count - 1 - left : left;
        StepRecord& step = instance.steps[i];
        if (step.state != StepState::done && step.state != StepState::unknown) continue;
        if (definition.steps[i].compensation || definition.steps[i].kind == StepKind::saga) {
            step.attempt = 0;
            step.undo_ms = now;
            send_compensation(i);
        } else {
            move(step, StepEvent::undo);
            move(step, StepEvent::succeed);
        }
        return true;
    }
    move(SagaEvent::undone);
    finish();
    return false;
}

void Turn::send_compensation(std::uint32_t at) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    const bool first = step.state == StepState::done || step.state == StepState::unknown;
    move(step, first ? StepEvent::undo : StepEvent::send);
    ++step.attempt;
    if (spec.kind == StepKind::saga) {
        outcome.actions.push_back(CancelChild{at, Op::undo, instance.reason});
        return;
    }
    Made made = make_json(spec.undo_input.empty() ? spec.input : spec.undo_input, *this);
    if (!made.ok) {
        note_error(step, "its compensation's message cannot be made: " + made.text);
        move(step, StepEvent::stick);
        return;
    }
    ++step.attempts;
    step.due_ms = now + spec.timeout_ms;
    outcome.actions.push_back(Send{at, Op::undo, step.attempt, std::move(made.text)});
}

void Turn::answered_undo(std::uint32_t at, const Reply& reply) {
    StepRecord& step = instance.steps[at];
    if (!being_undone(step.state)) {
        return refuse("a repeat, or too late: the step is " + std::string(name_of(step.state)));
    }
    if (reply.answer == Answer::done) {
        const bool was_stuck = step.state == StepState::undo_stuck;
        move(step, StepEvent::succeed);
        if (was_stuck && instance.state == SagaState::parked) {
            move(SagaEvent::resume_undo);
        }
        return;
    }
    const bool current = reply.attempt == 0 || reply.attempt == step.attempt;
    if (step.state != StepState::undoing || !current) {
        return refuse("it answers an attempt that is over");
    }
    note_error(step, reply.reason.empty() ? "its compensation failed" : reply.reason);
    compensation_failed(at, reply.wait_ms);
}

void Turn::compensation_failed(std::uint32_t at, std::uint64_t wait_ms) {
    const Step& spec = definition.steps[at];
    StepRecord& step = instance.steps[at];
    if (now >= step.undo_ms + spec.undo.give_up_ms || spec.kind == StepKind::saga) {
        move(step, StepEvent::stick);
        return;
    }
    move(step, StepEvent::again);
    const UndoPolicy& policy = spec.undo;
    step.due_ms = now + std::max(backoff_ms(policy.first_ms, policy.cap_ms, step.attempt, random),
                                 std::min(wait_ms, policy.cap_ms));
}

// ---- from outside ----

void Turn::on(const Cancel& cancel) {
    if (ended(instance.state)) return refuse("the saga has ended");
    if (instance.state == SagaState::aborting || instance.state == SagaState::compensating) {
        return refuse("the saga is being undone already");
    }
    if (no_way_back()) {
        return refuse("the pivot, step " + definition.steps[*pivot_of(definition)].name +
                      ", has begun: the saga can only go forward");
    }
    if (instance.state == SagaState::parked)
        return refuse("the saga is parked: retry, skip or force it");
    abort(cancel.reason.empty() ? "cancelled" : cancel.reason);
}

void Turn::on(const UndoAll& undo) {
    if (instance.state == SagaState::completed && !no_way_back()) {
        instance.ended_ms = 0;
        instance.forced = false;
        instance.reason = plain(undo.reason, limits::reason_bytes_max);
        move(SagaEvent::undo);
        return;
    }
    on(Cancel{undo.reason});
}

void Turn::on(const Retry&) {
    if (instance.state != SagaState::parked) return refuse("only a parked saga is retried");
    const bool back = instance.steps[stuck_step(instance)].state == StepState::undo_stuck;
    move(back ? SagaEvent::resume_undo : SagaEvent::resume_forward);
    for (std::uint32_t i = 0; i < instance.steps.size(); ++i) {
        StepRecord& step = instance.steps[i];
        if (step.state == StepState::stuck) {
            step.attempt = 0;
            if (definition.steps[i].kind == StepKind::signal) {
                move(step, StepEvent::send);
                const std::uint64_t wait = definition.steps[i].timeout_ms;
                if (wait != 0) step.due_ms = now + wait;
            } else {
                send_command(i);
            }
        } else if (step.state == StepState::undo_stuck) {
            step.attempt = 0;
            step.undo_ms = now;
            send_compensation(i);
        }
    }
}

void Turn::on(const Skip& skip) {
    if (instance.state != SagaState::parked)
        return refuse("only a step of a parked saga is skipped");
    StepRecord& step = instance.steps[stuck_step(instance)];
    const bool back = step.state == StepState::undo_stuck;
    if (back) {
        move(step, StepEvent::succeed);
    } else if (skip.result.empty()) {
        move(step, StepEvent::skip);
    } else {
        step.result = skip.result;
        move(step, StepEvent::succeed);
    }
    if (stuck_step(instance) == instance.steps.size()) {
        if (!back) instance.reason.clear();
        move(back ? SagaEvent::resume_undo : SagaEvent::resume_forward);
    }
}

void Turn::on(const Force& force) {
    if (instance.state != SagaState::parked) return refuse("only a parked saga is forced");
    instance.forced = true;
    if (!force.reason.empty()) instance.reason = plain(force.reason, limits::reason_bytes_max);
    move(force.end == SagaState::completed ? SagaEvent::force_completed
                                           : SagaEvent::force_compensated);
    if (force.end == SagaState::completed) instance.result = "{}";
    finish();
}

}  // namespace ferry::saga
