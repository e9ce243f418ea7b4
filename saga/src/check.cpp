#include <algorithm>
#include <initializer_list>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "ferry/outbox/limits.hpp"
#include "ferry/saga/definition.hpp"
#include "ferry/saga/http_calls.hpp"
#include "values.hpp"

// What is wrong with a definition. Whatever is found here can not go wrong while a saga runs, so
// every rule that the state machine relies on is one of these.

namespace ferry::saga {
namespace {

class Checker {
public:
    explicit Checker(const Definition& definition)
        : definition_(definition), pivot_(pivot_of(definition)) {}

    std::vector<Complaint> run() {
        name("name", definition_.name);
        if (definition_.version == 0) add("version", "versions begin with 1");
        if (definition_.deadline_ms == 0) {
            add("deadline", "is missing: how long may the whole saga take before it is undone?");
        } else if (definition_.deadline_ms > limits::duration_ms_max) {
            add("deadline", "is more than ten years");
        }
        if (definition_.steps.empty()) add("steps", "there are none");
        if (definition_.steps.size() > limits::steps_max) {
            add("steps", "there are more than " + std::to_string(limits::steps_max));
            return std::move(found_);
        }
        for (at_ = 0; at_ < definition_.steps.size(); ++at_) step(definition_.steps[at_]);
        groups();
        for (const Mapping& one : definition_.result) mapping("result", one, nullptr);
        return std::move(found_);
    }

private:
    void add(std::string where, std::string what) {
        found_.push_back({std::move(where), std::move(what)});
    }

    void name(const std::string& where, const std::string& text) {
        const auto fits = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '.' || c == '_' || c == '-';
        };
        if (text.empty() || text.size() > limits::name_bytes_max ||
            !std::all_of(text.begin(), text.end(), fits)) {
            add(where, "a name is 1 to " + std::to_string(limits::name_bytes_max) +
                           " letters, digits, '.', '_' or '-', not \"" + text.substr(0, 100) +
                           "\"");
        }
    }

    void step(const Step& s) {
        here_ = "steps." + (s.name.empty() ? std::to_string(at_ + 1) : s.name);
        name(here_ + ".name", s.name);
        if (!names_.insert(s.name).second) add(here_, "there is an earlier step of this name");
        kind(s);
        undoing(s);
        policies(s);
        if (s.when.size() > limits::conditions_max) add(here_ + ".when", "too many conditions");
        for (const Condition& one : s.when) condition(one);
        if (s.input.size() > limits::mappings_max || s.undo_input.size() > limits::mappings_max) {
            add(here_ + ".input", "too many mappings");
        }
        for (const Mapping& one : s.input) mapping(here_ + ".input", one, &s);
        for (const Mapping& one : s.undo_input) mapping(here_ + ".undo_input", one, nullptr);
    }

    void kind(const Step& s) {
        const bool sends = s.kind == StepKind::command;
        if (s.kind > StepKind::decision) add(here_ + ".kind", "is none that this program knows");
        if (sends) {
            route(here_ + ".command", s.command);
            if (s.timeout_ms == 0) add(here_ + ".timeout", "is missing");
        } else if (s.compensation || s.command != Route{}) {
            add(here_, "only a step that sends a command has command and compensation");
        }
        if (s.compensation) route(here_ + ".compensation", *s.compensation);
        if (s.kind == StepKind::saga) {
            name(here_ + ".saga", s.saga);
            if (s.timeout_ms != 0) add(here_ + ".timeout", "a sub-saga has its own deadline");
            if (s.saga == definition_.name) add(here_ + ".saga", "a saga cannot contain itself");
        }
        if (s.kind == StepKind::decision && !s.pivot) add(here_, "a decision is a pivot");
        if (s.timeout_ms > limits::duration_ms_max) add(here_ + ".timeout", "is over ten years");
    }

    void undoing(const Step& s) {
        if (s.pivot && pivot_ != at_) {
            add(here_ + ".pivot", "there is one already, \"" + definition_.steps[*pivot_].name +
                                      "\": a saga has one point of no return");
        }
        const bool too_late = pivot_ && at_ >= *pivot_;
        if (too_late && s.compensation) {
            add(here_ + ".compensation",
                s.pivot ? "the pivot is never undone" : "steps behind the pivot are never undone");
        }
        if (!too_late && s.kind == StepKind::command && !s.compensation && !s.without_undo) {
            add(here_ + ".compensation",
                "is missing: how is this step undone? If it has nothing to undo, say so with "
                "without_undo");
        }
        if (s.compensation && s.without_undo) {
            add(here_ + ".without_undo", "contradicts the compensation");
        }
        if (s.pivot && !s.group.empty()) {
            add(here_ + ".group",
                "the pivot runs alone: what would be undone if another step of "
                "the group failed after it?");
        }
        if (s.pivot && !s.when.empty()) {
            add(here_ + ".when", "a pivot that may be skipped leaves open what can be undone");
        }
    }

    void policies(const Step& s) {
        if (s.retry.attempts == 0 || s.retry.attempts > limits::attempts_max) {
            add(here_ + ".retry.attempts", "must be 1 to " + std::to_string(limits::attempts_max));
        }
        const auto wait = [&](const char* where, std::uint64_t first, std::uint64_t cap) {
            if (first == 0 || first > cap || cap > limits::duration_ms_max) {
                add(here_ + where, "the first wait must be above 0 and not above the cap");
            }
        };
        wait(".retry", s.retry.first_ms, s.retry.cap_ms);
        wait(".undo", s.undo.first_ms, s.undo.cap_ms);
        if (s.undo.give_up_ms == 0 || s.undo.give_up_ms > limits::duration_ms_max) {
            add(here_ + ".undo.give_up", "must be above 0 and at most ten years");
        }
    }

    void route(const std::string& where, const Route& to) {
        if (!to.url.empty()) return url(where, to);
        if (!to.method.empty()) add(where, "a method goes with http");
        if (to.key.empty()) add(where, "is missing: the queue, or the routing key");
        if (to.key.size() > outbox::limits::routing_key_bytes_max) add(where, "is too long");
        if (to.exchange.size() > outbox::limits::name_bytes_max) {
            add(where, "the exchange's name is too long");
        }
    }

    void url(const std::string& where, const Route& to) {
        if (!to.key.empty() || !to.exchange.empty()) {
            add(where, "is either an HTTP call or a message, not both");
        }
        if (!split_url(to.url)) {
            add(where, "\"" + sqlite::bounded(to.url, 200) +
                           "\" is no URL such as http://host:8080/path: only http and https, "
                           "without name and password, of printable ASCII, at most " +
                           std::to_string(limits::url_bytes_max) + " bytes");
        }
        const auto methods = {"POST", "PUT", "PATCH", "DELETE"};
        if (std::find(methods.begin(), methods.end(), to.method) == methods.end()) {
            add(where, "the method must be POST, PUT, PATCH or DELETE");
        }
    }

    void condition(const Condition& one) {
        const std::string where = here_ + ".when";
        pointer(where, one.at, at_);
        if (one.test > Condition::Test::absent) add(where, "is a test that this program knows not");
        const bool bare =
            one.test == Condition::Test::exists || one.test == Condition::Test::absent;
        if (bare) {
            if (!one.json.empty()) add(where, one.at + " is compared with nothing");
            return;
        }
        const auto value = parse_json(one.json);
        if (!value) {
            add(where,
                "what " + one.at + " is compared with is no JSON: " + one.json.substr(0, 50));
        } else if (one.test != Condition::Test::is && one.test != Condition::Test::is_not &&
                   !value->is_number()) {
            add(where, "above and below compare " + one.at + " with a number");
        }
    }

    /// `of`: a step whose own result is not there yet; null: an undo or the end, where all is.
    void mapping(const std::string& where, const Mapping& one, const Step* of) {
        if (!one.to.empty() && one.to.front() != '/') {
            add(where, "\"" + one.to.substr(0, 100) + "\" is no JSON pointer: it begins with /");
        }
        if (one.to.size() > limits::pointer_bytes_max) add(where, "a pointer is too long");
        if (!valid_pointer(one.to))
            add(where, "\"" + one.to.substr(0, 100) + "\" is no JSON pointer");
        if (!one.from.empty() && !one.json.empty()) add(where, one.to + " has two sources");
        if (one.from.empty()) {
            if (!parse_json(one.json))
                add(where, one.to + " has no source, or one that is no JSON");
            return;
        }
        pointer(where, one.from, of == nullptr ? definition_.steps.size() : at_);
    }

    void pointer(const std::string& where, const std::string& text, std::size_t before) {
        if (text.size() > limits::pointer_bytes_max || !valid_pointer(text) || text.empty()) {
            add(where, "\"" + text.substr(0, 100) + "\" is no JSON pointer such as /input/order");
            return;
        }
        const auto parts = split_pointer(text);
        if (parts[0] == "input") return;
        if (parts[0] == "saga" && parts.size() == 2 && parts[1] == "id") return;
        if (parts[0] != "steps" || parts.size() < 2) {
            add(where, text + " begins with none of /input, /steps/NAME and /saga/id");
            return;
        }
        const auto known = std::find_if(definition_.steps.begin(), definition_.steps.end(),
                                        [&](const Step& s) { return s.name == parts[1]; });
        const auto index = static_cast<std::size_t>(known - definition_.steps.begin());
        if (known == definition_.steps.end()) {
            add(where, text + ": there is no step \"" + parts[1] + "\"");
        } else if (index >= before) {
            add(where, text + ": \"" + parts[1] + "\" has no result yet then");
        } else if (before < definition_.steps.size() && !known->group.empty() &&
                   known->group == definition_.steps[before].group) {
            add(where, text + ": \"" + parts[1] + "\" runs at the same time");
        }
    }

    void groups() {
        std::set<std::string> over;
        std::string running;
        for (const Step& s : definition_.steps) {
            if (s.group == running) continue;
            if (!running.empty()) over.insert(running);
            running = s.group;
            if (over.contains(s.group)) {
                add("steps." + s.name + ".group",
                    "the steps of group \"" + s.group + "\" do not stand together");
            }
            if (!s.group.empty()) name("steps." + s.name + ".group", s.group);
        }
    }

    const Definition& definition_;
    const std::optional<std::size_t> pivot_;
    std::vector<Complaint> found_;
    std::set<std::string> names_;
    std::string here_;
    std::size_t at_ = 0;
};

}  // namespace

std::vector<Complaint> check(const Definition& definition) {
    return Checker(definition).run();
}

namespace {

using Newest = std::map<std::string, const Definition*>;

/// Whether `from` starts `wanted`, at whatever depth. `seen` ends rings of others.
bool contains(const Newest& all, const Definition& from, const std::string& wanted,
              std::set<std::string>& seen) {
    for (const Step& step : from.steps) {
        if (step.kind != StepKind::saga) continue;
        if (step.saga == wanted) return true;
        const auto child = all.find(step.saga);
        if (child == all.end() || !seen.insert(step.saga).second) continue;
        if (contains(all, *child->second, wanted, seen)) return true;
    }
    return false;
}

}  // namespace

std::vector<Complaint> check_together(const std::vector<Definition>& definitions) {
    Newest newest;
    for (const Definition& one : definitions) {
        const Definition*& known = newest[one.name];
        if (known == nullptr || known->version < one.version) known = &one;
    }
    std::vector<Complaint> found;
    for (const Definition& parent : definitions) {
        for (std::size_t i = 0; i < parent.steps.size(); ++i) {
            const Step& step = parent.steps[i];
            const auto child = step.kind == StepKind::saga ? newest.find(step.saga) : newest.end();
            if (child == newest.end()) continue;
            const std::string where = parent.name + ".steps." + step.name + ".saga";
            const auto pivot = pivot_of(*child->second);
            if (pivot && may_be_undone(parent, i)) {
                found.push_back({where, "the saga " + step.saga + " has a pivot, step " +
                                            child->second->steps[*pivot].name +
                                            ", and cannot be undone behind it, but this step may "
                                            "have to be: make it the pivot, or put it behind"});
            }
            std::set<std::string> seen;
            if (step.saga != parent.name && contains(newest, *child->second, parent.name, seen)) {
                found.push_back({where, "the sagas " + parent.name + " and " + step.saga +
                                            " contain each other: they would never end"});
            }
        }
    }
    return found;
}

}  // namespace ferry::saga
