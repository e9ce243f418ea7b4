#include "machine.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "turn.hpp"

namespace ferry::saga {

std::uint64_t due_ms(const Instance& instance) {
    std::uint64_t due = ended(instance.state) ? 0 : instance.deadline_ms;
    for (const StepRecord& step : instance.steps) {
        if (step.due_ms != 0 && (due == 0 || step.due_ms < due)) due = step.due_ms;
    }
    return due;
}

std::size_t data_bytes(const Instance& instance) {
    std::size_t bytes = instance.input.size();
    for (const StepRecord& step : instance.steps) bytes += step.result.size();
    for (const auto& [name, payload] : instance.signals) bytes += name.size() + payload.size();
    return bytes;
}

std::size_t stuck_step(const Instance& instance) {
    for (std::size_t i = 0; i < instance.steps.size(); ++i) {
        const StepState state = instance.steps[i].state;
        if (state == StepState::stuck || state == StepState::undo_stuck) return i;
    }
    return instance.steps.size();
}

std::uint64_t backoff_ms(std::uint64_t first_ms, std::uint64_t cap_ms, std::uint32_t attempt,
                         Random& random) {
    std::uint64_t wait = first_ms;
    for (std::uint32_t i = 1; i < attempt && wait < cap_ms; ++i) wait *= 2;
    wait = std::min(wait, cap_ms);
    return std::max<std::uint64_t>(1, wait - random.next() % (wait / 2 + 1));
}

std::string child_id(const Instance& instance, const Step& step, const StepRecord& record) {
    std::string id = instance.id + "/" + step.name;
    // One that failed for good has ended; to try again is to start another.
    if (record.attempts > 1) id += "#" + std::to_string(record.attempts);
    return id;
}

Outcome apply(const Definition& definition, Instance& instance, const Event& event,
              std::uint64_t now_ms, Random& random) {
    FERRY_ASSERT(instance.steps.size() == definition.steps.size(), "another definition's instance");
    Turn turn(definition, instance, now_ms, random);
    std::visit([&](const auto& one) { turn.on(one); }, event);
    if (turn.outcome.changed) {
        turn.settle();
        ++instance.revision;
        FERRY_ASSERT(ended(instance.state) == (instance.ended_ms != 0),
                     "ended once, and says when");
    }
    return std::move(turn.outcome);
}

// ---- moves ----

void Turn::move(SagaEvent event) {
    const auto to = next(instance.state, event);
    FERRY_ASSERT(to.has_value(), "a saga cannot do that in its state");
    instance.state = *to;
    outcome.changed = true;
}

void Turn::move(StepRecord& step, StepEvent event) {
    const auto to = next(step.state, event);
    FERRY_ASSERT(to.has_value(), "a step cannot do that in its state");
    step.state = *to;
    step.due_ms = 0;
    if (!in_flight(step.state) && !being_undone(step.state)) step.ended_ms = now;
    outcome.changed = true;
}

void Turn::refuse(std::string why) {
    outcome.refused = std::move(why);
}

void Turn::note_error(StepRecord& step, std::string_view text) {
    if (!text.empty()) step.error = plain(text, limits::reason_bytes_max);
}

// ---- what pointers see ----

std::optional<std::string_view> Turn::input() const {
    return instance.input;
}

std::optional<std::string_view> Turn::result_of(std::string_view name) const {
    for (std::size_t i = 0; i < definition.steps.size(); ++i) {
        if (definition.steps[i].name != name) continue;
        const std::string& result = instance.steps[i].result;
        if (result.empty()) return std::nullopt;
        return result;
    }
    return std::nullopt;
}

// ---- the way back ----

bool Turn::no_way_back() const {
    const auto pivot = pivot_of(definition);
    return pivot && instance.steps[*pivot].state != StepState::waiting &&
           instance.steps[*pivot].state != StepState::failed;
}

void Turn::abort(std::string_view reason) {
    instance.reason = plain(reason, limits::reason_bytes_max);
    instance.deadline_ms = 0;
    move(SagaEvent::abort);
    for (std::uint32_t i = 0; i < instance.steps.size(); ++i) {
        StepRecord& step = instance.steps[i];
        if (!in_flight(step.state)) continue;
        switch (definition.steps[i].kind) {
            case StepKind::signal:
                move(step, StepEvent::fail);
                break;
            case StepKind::saga:
                outcome.actions.push_back(CancelChild{i, Op::act, instance.reason});
                break;
            default:
                // What was not answered stays open until its time is over; what was, and waits
                // for another attempt, gets none.
                if (step.state == StepState::backing_off) {
                    move(step, step.uncertain ? StepEvent::lose : StepEvent::fail);
                }
        }
    }
}

void Turn::settle() {
    for (bool going = true; going;) {
        going = false;
        switch (instance.state) {
            case SagaState::running:
                going = go_forward();
                break;
            case SagaState::aborting:
                if (std::none_of(instance.steps.begin(), instance.steps.end(),
                                 [](const StepRecord& s) { return in_flight(s.state); })) {
                    move(SagaEvent::undo);
                    going = true;
                }
                break;
            case SagaState::compensating:
                going = go_back();
                break;
            case SagaState::parked:
            case SagaState::completed:
            case SagaState::compensated:
                break;
        }
    }
}

void Turn::finish() {
    instance.ended_ms = now;
    instance.deadline_ms = 0;
    for (StepRecord& step : instance.steps) step.due_ms = 0;
    outcome.actions.push_back(Ended{});
}

void Turn::park(std::uint32_t step) {
    instance.reason = "step " + definition.steps[step].name + ": " + instance.steps[step].error;
    move(SagaEvent::park);
    outcome.actions.push_back(Parked{step});
}

}  // namespace ferry::saga
