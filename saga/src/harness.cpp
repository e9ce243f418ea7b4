#include "ferry/saga/harness.hpp"

#include <algorithm>
#include <deque>
#include <map>

#include "ferry/platform/assert.hpp"
#include "machine.hpp"

namespace ferry::saga {
namespace {

enum class Effect : std::uint8_t { none, done, failed, undone };

constexpr std::uint64_t start_ms = 1'000'000;
/// More events than any saga of steps_max steps can need: a loop in the machine ends here.
constexpr int rounds_max = 1'000'000;

std::string moment(std::uint64_t ms) {
    std::string out = std::to_string(ms / 1000) + "." + std::to_string(1000 + ms % 1000).substr(1);
    return std::string(out.size() < 10 ? 10 - out.size() : 0, ' ') + out + " s  ";
}

}  // namespace

struct Harness::Impl {
    struct Script {
        std::deque<Play> act;
        std::deque<Play> undo;
        Effect effect = Effect::none;
        std::string result;
        std::string reason;
        std::string payload;
        bool given_up = false;  // an operator decided
    };
    explicit Impl(Definition d) : definition(std::move(d)), scripts(definition.steps.size()) {
        FERRY_ASSERT(check(definition).empty(), "a definition with complaints");
        instance.id = "test";
        instance.steps.resize(definition.steps.size());
    }

    [[nodiscard]] std::size_t index(std::string_view name) const {
        const auto found = std::find_if(definition.steps.begin(), definition.steps.end(),
                                        [&](const Step& s) { return s.name == name; });
        FERRY_ASSERT(found != definition.steps.end(), "the definition has no step of this name");
        return static_cast<std::size_t>(found - definition.steps.begin());
    }
    void tell(const std::string& line) { story.push_back(moment(now - start_ms) + line); }

    void feed(const Event& event) {
        const SagaState before = instance.state;
        Outcome outcome = apply(definition, instance, event, now, random);
        if (!outcome.refused.empty()) tell("(" + outcome.refused + ")");
        if (instance.state != before || std::holds_alternative<Begin>(event)) {
            tell("saga " + std::string(name_of(instance.state)) +
                 (instance.reason.empty() ? "" : ": " + instance.reason));
        }
        for (Action& action : outcome.actions) {
            if (auto* send = std::get_if<Send>(&action)) {
                scripts[send->step].payload = std::move(send->payload);
                deliver(send->step, send->op, send->attempt);
            } else if (const auto* child = std::get_if<StartChild>(&action)) {
                scripts[child->step].payload = child->input;
                deliver(child->step, Op::act, 0);
            } else if (const auto* back = std::get_if<CancelChild>(&action)) {
                if (back->op == Op::undo) deliver(back->step, Op::undo, 0);
            }
        }
    }

    void deliver(std::uint32_t step, Op op, std::uint32_t attempt) {
        Script& script = scripts[step];
        const std::string& name = definition.steps[step].name;
        std::deque<Play>& plays = op == Op::act ? script.act : script.undo;
        Play play;
        if (!plays.empty()) {
            play = std::move(plays.front());
            plays.pop_front();
        }
        const std::string what = (op == Op::undo ? "undo " : "") + name;
        if (play.kind == Play::Kind::lost) return tell(what + " -> lost on the way");
        Reply reply;
        reply.step = step;
        reply.op = op;
        reply.attempt = attempt;
        meet(script, op, play, definition.steps[step], reply);
        if (play.kind == Play::Kind::lost_answer)
            return tell(what + " -> done, the answer is lost");
        tell(what + " -> " +
             (reply.answer == Answer::done     ? "done"
              : reply.answer == Answer::failed ? "failed: " + reply.reason
                                               : "not now: " + reply.reason));
        answers.push_back(std::move(reply));
    }

    /// As a participant with a barrier does.
    void meet(Script& script, Op op, const Play& play, const Step& spec, Reply& reply) const {
        const bool works = play.kind == Play::Kind::done || play.kind == Play::Kind::lost_answer;
        const auto refuse = [&] {
            reply.answer = play.kind == Play::Kind::failed ? Answer::failed : Answer::again;
            reply.reason = play.text;
        };
        if (op == Op::undo) {
            if (script.effect == Effect::done && !works) return refuse();
            script.effect = Effect::undone;
            return;
        }
        if (script.effect == Effect::none && works) {
            script.effect = Effect::done;
            script.result = play.text;
        } else if (script.effect == Effect::none) {
            const auto pivot = pivot_of(definition);
            const bool behind = pivot && reply.step > *pivot;
            if (play.kind == Play::Kind::failed && !spec.retriable && !behind) {
                script.effect = Effect::failed;
                script.reason = play.text;
            }
            return refuse();
        }
        if (script.effect == Effect::done) {
            reply.result = script.result;
            return;
        }
        reply.answer = Answer::failed;
        reply.reason = script.effect == Effect::failed ? script.reason : "it was undone before";
    }

    bool one_round() {
        if (!answers.empty()) {
            const Reply reply = std::move(answers.front());
            answers.pop_front();
            feed(reply);
            return true;
        }
        if (ended(instance.state) || instance.state == SagaState::parked) return false;
        const bool waits = std::any_of(instance.steps.begin(), instance.steps.end(),
                                       [](const StepRecord& s) { return s.due_ms != 0; });
        if (!waits) return false;
        now = std::max(now, due_ms(instance));
        feed(Tick{});
        return true;
    }

    Definition definition;
    Instance instance;
    std::vector<Script> scripts;
    std::deque<Reply> answers;
    std::vector<std::string> story;
    std::uint64_t now = start_ms;
    SeededRandom random{1};
};

Harness::Harness(Definition definition) : impl_(std::make_unique<Impl>(std::move(definition))) {}
Harness::~Harness() = default;

Harness& Harness::act(std::string_view step, std::vector<Play> plays) {
    impl_->scripts[impl_->index(step)].act.assign(plays.begin(), plays.end());
    return *this;
}

Harness& Harness::undo(std::string_view step, std::vector<Play> plays) {
    impl_->scripts[impl_->index(step)].undo.assign(plays.begin(), plays.end());
    return *this;
}

Harness& Harness::start(std::string_view input_json) {
    impl_->instance.input = input_json;
    impl_->feed(Begin{});
    return *this;
}

Harness& Harness::run() {
    for (int i = 0; i < rounds_max && impl_->one_round(); ++i) {
    }
    return *this;
}

Harness& Harness::signal(std::string_view name, std::string_view json) {
    impl_->tell("signal " + std::string(name));
    impl_->feed(Signal{std::string(name), std::string(json)});
    return *this;
}

Harness& Harness::cancel(std::string_view reason) {
    impl_->tell("cancel");
    impl_->feed(Cancel{std::string(reason)});
    return *this;
}

Harness& Harness::retry() {
    impl_->tell("an operator retries");
    impl_->feed(Retry{});
    return *this;
}

Harness& Harness::skip(std::string_view result_json) {
    impl_->tell("an operator skips the step");
    const std::size_t step = stuck_step(impl_->instance);
    if (step < impl_->scripts.size()) impl_->scripts[step].given_up = true;
    impl_->feed(Skip{std::string(result_json)});
    return *this;
}

Harness& Harness::force(SagaState end) {
    impl_->tell("an operator ends it");
    for (Impl::Script& script : impl_->scripts) script.given_up = true;
    impl_->feed(Force{end, "forced"});
    return *this;
}

SagaState Harness::state() const {
    return impl_->instance.state;
}
StepState Harness::step(std::string_view name) const {
    return impl_->instance.steps[impl_->index(name)].state;
}
const std::string& Harness::reason() const {
    return impl_->instance.reason;
}
const std::string& Harness::result() const {
    return impl_->instance.result;
}
int Harness::effects(std::string_view step) const {
    return impl_->scripts[impl_->index(step)].effect == Effect::done ? 1 : 0;
}
const std::string& Harness::payload(std::string_view step) const {
    return impl_->scripts[impl_->index(step)].payload;
}
const std::vector<std::string>& Harness::story() const {
    return impl_->story;
}
Duration Harness::elapsed() const {
    return Duration(static_cast<std::int64_t>(impl_->now - start_ms));
}

std::string Harness::disagreement() const {
    for (std::size_t i = 0; i < impl_->scripts.size(); ++i) {
        const Step& spec = impl_->definition.steps[i];
        const StepRecord& record = impl_->instance.steps[i];
        const bool silent = spec.kind == StepKind::signal || spec.kind == StepKind::decision;
        if (silent || impl_->scripts[i].given_up) continue;
        const bool there = impl_->scripts[i].effect == Effect::done;
        const bool wanted = record.state != StepState::skipped;
        if (state() == SagaState::completed && there != wanted) {
            return "step " + spec.name + (there ? " happened" : " did not happen") +
                   ", and the saga completed";
        }
        const bool undoable = spec.compensation || spec.kind == StepKind::saga;
        if (state() == SagaState::compensated && there && undoable) {
            return "step " + spec.name + " is still done, and the saga is compensated";
        }
    }
    return {};
}

std::vector<std::string> sweep_failures(const Definition& definition, std::string_view input_json) {
    const std::map<std::string, std::vector<Play>> ways{
        {"fails", {Play::failed("sweep")}},
        {"fails for a while", {Play::again("sweep"), Play::again("sweep")}},
        {"is lost once", {Play::lost()}},
        {"loses its answer once", {Play::lost_answer("{}")}},
        {"never arrives", std::vector<Play>(1000, Play::lost())},
        {"never answers", std::vector<Play>(1000, Play::lost_answer("{}"))},
    };
    std::vector<std::string> out;
    for (const Step& step : definition.steps) {
        if (step.kind == StepKind::signal || step.kind == StepKind::decision) continue;
        for (const auto& [way, plays] : ways) {
            Harness harness(definition);
            harness.act(step.name, plays).start(input_json);
            // Everybody who is waited for says so.
            for (const Step& waited : definition.steps) {
                if (waited.kind == StepKind::signal) harness.signal(waited.name);
            }
            harness.run();
            std::string wrong = harness.disagreement();
            if (!saga::ended(harness.state()) && harness.state() != SagaState::parked) {
                wrong = "it hangs as " + std::string(name_of(harness.state()));
            }
            if (!wrong.empty()) out.push_back("when step " + step.name + " " + way + ": " + wrong);
        }
    }
    return out;
}

}  // namespace ferry::saga
