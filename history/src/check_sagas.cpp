#include <algorithm>
#include <map>

#include "findings.hpp"

namespace ferry::history {
namespace {

struct Effect {
    At at = 0;
    bool undo = false;
    std::uint64_t step = 0;
    std::uint64_t group = 0;
};

struct Saga {
    bool begun = false;
    std::uint64_t steps = 0;
    std::vector<Effect> effects;
    std::vector<At> ends;
    bool completed = false;
};

std::string saga_words(std::uint64_t id) {
    return "saga " + std::to_string(id);
}

void check_states(std::uint64_t id, const Saga& saga, bool drained, Findings& findings) {
    if (saga.ends.size() > 1 || (saga.ends.empty() && saga.begun && drained)) {
        findings.add(Violation::saga_states, id, [&] {
            return saga_words(id) + " has " + std::to_string(saga.ends.size()) + " final states";
        });
    }
    if (saga.ends.empty() || saga.effects.empty()) return;
    if (saga.effects.back().at > saga.ends.front()) {
        findings.add(Violation::saga_order, id, [&] {
            return saga_words(id) + " had an effect in " + words(saga.effects.back().at) +
                   ", after its final state";
        });
    }
}

void check_effects_of(std::uint64_t id, const Saga& saga, Findings& findings) {
    struct Count {
        std::uint64_t done = 0;
        std::uint64_t undone = 0;
    };
    std::map<std::uint64_t, Count> counts;
    for (const Effect& effect : saga.effects) {
        Count& count = counts[effect.step];
        ++(effect.undo ? count.undone : count.done);
    }
    std::uint64_t done = 0;
    bool wrong = false;
    std::uint64_t which = 0;
    for (const auto& [step, count] : counts) {
        if (count.done != 0) ++done;
        const bool twice = count.done > 1 || count.undone > 1 || count.undone > count.done;
        const bool half =
            !saga.ends.empty() && (saga.completed ? count.undone != 0 : count.undone != count.done);
        if (!wrong && (twice || half)) {
            wrong = true;
            which = step;
        }
    }
    if (wrong) {
        findings.add(Violation::saga_effects, id, [&] {
            const Count& count = counts[which];
            return saga_words(id) +
                   (saga.ends.empty() ? ""
                    : saga.completed  ? ", completed"
                                      : ", compensated") +
                   ": step " + std::to_string(which) + " was done " + std::to_string(count.done) +
                   " and undone " + std::to_string(count.undone) + " times";
        });
    } else if (saga.completed && saga.steps != 0 && done != saga.steps) {
        findings.add(Violation::saga_effects, id, [&] {
            return saga_words(id) + " completed with " + std::to_string(done) + " of " +
                   std::to_string(saga.steps) + " steps";
        });
    }
}

void check_order_of(std::uint64_t id, const Saga& saga, Findings& findings) {
    const Effect* step = nullptr;
    const Effect* undo = nullptr;
    std::uint64_t undone_group = 0;  // of all compensations so far; 0: they have none in common
    for (const Effect& effect : saga.effects) {
        const Effect* const before = effect.undo ? undo : step;
        const bool together =
            before != nullptr && effect.group != 0 && effect.group == before->group;
        const bool turned = before != nullptr && !together && effect.step != before->step &&
                            (effect.undo ? effect.step > before->step : effect.step < before->step);
        // A command of the same group may still be on its way when the others are undone.
        const bool late =
            !effect.undo && undo != nullptr && (effect.group == 0 || effect.group != undone_group);
        if (turned || late) {
            findings.add(Violation::saga_order, id, [&] {
                return saga_words(id) + ": step " + std::to_string(effect.step) +
                       (effect.undo ? " was undone" : " was done") + " in " + words(effect.at) +
                       (turned ? ", out of order" : ", after a compensation");
            });
            return;
        }
        if (effect.undo) {
            undone_group = undo == nullptr || effect.group == undone_group ? effect.group : 0;
        }
        (effect.undo ? undo : step) = &effect;
    }
}

}  // namespace

void check_sagas(const Ledger& ledger, Findings& findings) {
    std::map<std::uint64_t, Saga> sagas;
    bool drained = false;
    for (At at = 0; at < ledger.history().size(); ++at) {
        const Event& event = ledger.history()[at];
        switch (event.what) {
            case What::saga_begin: {
                Saga& saga = sagas[event.id];
                // One whose beginning was rolled back, or nobody knows of, need not end.
                if (event.type == Type::ok) saga.begun = true;
                saga.steps = std::max(saga.steps, event.seq);
                break;
            }
            case What::saga_step:
            case What::saga_undo:
                sagas[event.id].effects.push_back(
                    {at, event.what == What::saga_undo, event.seq, event.key});
                break;
            case What::saga_end: {
                Saga& saga = sagas[event.id];
                saga.ends.push_back(at);
                saga.completed = event.attempt == 1;
                break;
            }
            case What::drained:
                drained = true;
                break;
            default:
                break;
        }
    }
    for (const auto& [id, saga] : sagas) {
        check_states(id, saga, drained, findings);
        check_effects_of(id, saga, findings);
        check_order_of(id, saga, findings);
    }
}

}  // namespace ferry::history
