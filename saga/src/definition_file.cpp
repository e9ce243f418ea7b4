#include "ferry/saga/definition_file.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ferry/toml.hpp"
#include "values.hpp"

namespace ferry::saga {
namespace {

std::optional<std::uint64_t> duration_of(std::string_view text) {
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
    if (digits == 0 || digits > 12) return std::nullopt;
    const std::uint64_t number = std::stoull(std::string(text.substr(0, digits)));
    static const std::map<std::string_view, std::uint64_t> units{
        {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
    const auto unit = units.find(text.substr(digits));
    if (unit == units.end()) return std::nullopt;
    return number * unit->second;
}

Json json_of(const toml::node& node) {
    std::ostringstream out;  // toml++ prints JSON itself; dates become texts
    if (const auto* table = node.as_table()) {
        out << toml::json_formatter{*table};
    } else if (const auto* array = node.as_array()) {
        out << toml::json_formatter{*array};
    } else if (const auto* text = node.as_string()) {
        return text->get();
    } else if (const auto* number = node.as_integer()) {
        return number->get();
    } else if (const auto* real = node.as_floating_point()) {
        return real->get();
    } else if (const auto* flag = node.as_boolean()) {
        return flag->get();
    } else {
        return nullptr;
    }
    return Json::parse(out.str(), nullptr, false);
}

class Reader {
public:
    Reader(const std::string& file, ReadDefinition& out) : file_(file), out_(out) {}

    void read(const toml::table& root) {
        for (const auto& [name, node] : root) {
            const std::string key(name.str());
            note(key, name.source());
            if (key == "name") {
                text(key, node, definition_.name);
            } else if (key == "version") {
                number(key, node, definition_.version);
            } else if (key == "deadline") {
                duration(key, node, definition_.deadline_ms);
            } else if (key == "result") {
                mappings(key, node, definition_.result, true);
            } else if (key == "step") {
                steps(node);
            } else {
                complain(name.source(), key,
                         "is no key; there are name, version, deadline, result and [[step]]");
            }
        }
        confirm();
        if (!out_.complaints.empty()) return;
        for (const Complaint& one : check(definition_)) {
            out_.complaints.push_back({file_, line_of(one.where), one.where, one.what});
        }
        if (out_.complaints.empty()) out_.definition = std::move(definition_);
    }

private:
    struct Confirm {
        std::string step;
        Route route;
    };

    void complain(const toml::source_region& where, std::string field, std::string what) {
        out_.complaints.push_back({file_, where.begin.line, std::move(field), std::move(what)});
    }
    void note(const std::string& field, const toml::source_region& where) {
        lines_.emplace(field, where.begin.line);
    }
    std::uint32_t line_of(std::string where) const {
        for (;;) {
            const auto found = lines_.find(where);
            if (found != lines_.end()) return found->second;
            const std::size_t dot = where.rfind('.');
            if (dot == std::string::npos) return 0;
            where.resize(dot);
        }
    }

    void text(const std::string& field, const toml::node& node, std::string& into) {
        if (const auto* value = node.as_string()) {
            into = value->get();
        } else {
            complain(node.source(), field, "must be a text");
        }
    }
    void flag(const std::string& field, const toml::node& node, bool& into) {
        if (const auto* value = node.as_boolean()) {
            into = value->get();
        } else {
            complain(node.source(), field, "must be true or false");
        }
    }
    void number(const std::string& field, const toml::node& node, std::uint32_t& into) {
        const auto* value = node.as_integer();
        if (value != nullptr && value->get() >= 1 && value->get() <= 1'000'000'000) {
            into = static_cast<std::uint32_t>(value->get());
        } else {
            complain(node.source(), field, "must be a whole number from 1");
        }
    }
    void duration(const std::string& field, const toml::node& node, std::uint64_t& into) {
        const auto* value = node.as_string();
        const auto ms = value == nullptr ? std::nullopt : duration_of(value->get());
        if (ms) {
            into = *ms;
        } else {
            complain(node.source(), field,
                     "must be a time such as \"500ms\", \"10s\", \"5m\", \"24h\" or \"7d\"");
        }
    }
    void route(const std::string& field, const toml::node& node, Route& into) {
        if (const auto* key = node.as_string()) {
            into = {{}, key->get()};
            return;
        }
        const auto* table = node.as_table();
        if (table == nullptr) {
            complain(node.source(), field,
                     "must be a queue's name, { exchange, key } or { http = \"http://...\" }");
            return;
        }
        for (const auto& [name, value] : *table) {
            if (name.str() == "exchange") {
                text(field + ".exchange", value, into.exchange);
            } else if (name.str() == "key") {
                text(field + ".key", value, into.key);
            } else if (name.str() == "http") {
                text(field + ".http", value, into.url);
            } else if (name.str() == "method") {
                text(field + ".method", value, into.method);
            } else {
                complain(name.source(), field + "." + std::string(name.str()), "is no key here");
            }
        }
        if (!into.url.empty() && into.method.empty()) into.method = "POST";
    }

    void mappings(const std::string& field, const toml::node& node, std::vector<Mapping>& into,
                  bool all_optional) {
        const auto* table = node.as_table();
        if (table == nullptr) {
            complain(node.source(), field, "must be a table: what = \"/input/where/from\"");
            return;
        }
        for (const auto& [name, value] : *table) {
            Mapping one;
            const std::string key(name.str());
            one.to = key.empty() || key.front() == '/' ? key : "/" + escaped(key);
            one.optional = all_optional;
            source(field + "." + key, value, one);
            into.push_back(std::move(one));
        }
    }
    static std::string escaped(const std::string& key) {
        std::string out;
        for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
        return out;
    }
    void source(const std::string& field, const toml::node& node, Mapping& one) {
        if (const auto* pointer = node.as_string()) {
            one.from = pointer->get();
            if (one.from.empty() || one.from.front() != '/') {
                complain(node.source(), field,
                         "a source begins with /; a value is written { value = ... }");
            }
            return;
        }
        const auto* table = node.as_table();
        if (table == nullptr) {
            complain(node.source(), field, "a value is written { value = ... }");
            return;
        }
        for (const auto& [name, value] : *table) {
            if (name.str() == "from") {
                text(field + ".from", value, one.from);
            } else if (name.str() == "value") {
                one.json = json_of(value).dump();
            } else if (name.str() == "optional") {
                flag(field + ".optional", value, one.optional);
            } else {
                complain(name.source(), field + "." + std::string(name.str()),
                         "is no key; there are from, optional and value");
            }
        }
        if (one.from.empty() == one.json.empty()) {
            complain(node.source(), field, "needs either from or value");
        }
    }

    void conditions(const std::string& field, const toml::node& node,
                    std::vector<Condition>& into) {
        const auto* array = node.as_array();
        if (array == nullptr) {
            complain(node.source(), field, "must be a list: [{ at = \"/input/x\", is = 1 }]");
            return;
        }
        for (const toml::node& each : *array) condition(field, each, into);
    }
    void condition(const std::string& field, const toml::node& node, std::vector<Condition>& into) {
        static const std::map<std::string_view, Condition::Test> tests{
            {"is", Condition::Test::is},
            {"is_not", Condition::Test::is_not},
            {"above", Condition::Test::above},
            {"below", Condition::Test::below}};
        const auto* table = node.as_table();
        Condition one;
        int said = 0;
        if (table != nullptr) {
            for (const auto& [name, value] : *table) {
                const auto test = tests.find(name.str());
                if (name.str() == "at") {
                    text(field + ".at", value, one.at);
                } else if (test != tests.end()) {
                    one.test = test->second;
                    one.json = json_of(value).dump();
                    ++said;
                } else if (name.str() == "exists" && value.is_boolean()) {
                    one.test = value.as_boolean()->get() ? Condition::Test::exists
                                                         : Condition::Test::absent;
                    ++said;
                } else {
                    said = 9;
                }
            }
        }
        if (table == nullptr || one.at.empty() || said != 1) {
            complain(node.source(), field,
                     "a condition has at and one of is, is_not, above, below and exists = "
                     "true or false");
            return;
        }
        into.push_back(std::move(one));
    }

    void retry(const std::string& field, const toml::node& node, Step& step, bool undo) {
        const auto* table = node.as_table();
        if (table == nullptr) {
            complain(node.source(), field, "must be a table: { first = \"200ms\", ... }");
            return;
        }
        for (const auto& [name, value] : *table) {
            const std::string key(name.str());
            const std::string whole = field + "." + key;
            if (key == "first") {
                duration(whole, value, undo ? step.undo.first_ms : step.retry.first_ms);
            } else if (key == "cap") {
                duration(whole, value, undo ? step.undo.cap_ms : step.retry.cap_ms);
            } else if (key == "attempts" && !undo) {
                number(whole, value, step.retry.attempts);
            } else if (key == "give_up" && undo) {
                duration(whole, value, step.undo.give_up_ms);
            } else {
                complain(name.source(), whole,
                         undo ? "is no key; there are first, cap and give_up"
                              : "is no key; there are first, cap and attempts");
            }
        }
    }

    void steps(const toml::node& node) {
        const auto* array = node.as_array();
        if (array == nullptr || !array->is_array_of_tables()) {
            complain(node.source(), "step", "steps are written [[step]]");
            return;
        }
        for (const toml::node& each : *array) {
            const toml::table& table = *each.as_table();
            Step step;
            if (const auto* name = table.get_as<std::string>("name")) step.name = name->get();
            const std::string field =
                "steps." +
                (step.name.empty() ? std::to_string(definition_.steps.size() + 1) : step.name);
            note(field, each.source());
            const bool tries = table.contains("try");
            if (!tries) confirm();
            bool timed = false;
            Confirm wanted{step.name, {}};
            for (const auto& [name, value] : table) {
                const std::string key(name.str());
                note(field + "." + key, name.source());
                timed = timed || key == "timeout";
                if (!apply(field + "." + key, key, value, step, wanted)) {
                    complain(name.source(), field + "." + key,
                             "is no key of a step; docs/saga.md lists them");
                }
            }
            if (!timed && step.kind != StepKind::command) step.timeout_ms = 0;
            if (tries) {
                if (wanted.route.key.empty() || !step.compensation) {
                    complain(each.source(), field, "try goes with confirm and cancel");
                }
                if (step.group.empty()) step.group = "try";
                confirms_.push_back(std::move(wanted));
            }
            definition_.steps.push_back(std::move(step));
        }
    }

    bool apply(const std::string& field, const std::string& key, const toml::node& value,
               Step& step, Confirm& wanted) {
        if (key == "name") {
            text(field, value, step.name);
        } else if (key == "command" || key == "try") {
            route(field, value, step.command);
        } else if (key == "compensation" || key == "cancel") {
            route(field, value, step.compensation.emplace());
        } else if (key == "confirm") {
            route(field, value, wanted.route);
        } else if (key == "group") {
            text(field, value, step.group);
        } else if (key == "timeout") {
            duration(field, value, step.timeout_ms);
        } else if (key == "retry" || key == "undo") {
            retry(field, value, step, key == "undo");
        } else if (key == "when") {
            conditions(field, value, step.when);
        } else if (key == "input") {
            mappings(field, value, step.input, false);
        } else if (key == "undo_input") {
            mappings(field, value, step.undo_input, false);
        } else {
            return apply_kind(field, key, value, step);
        }
        return true;
    }
    bool apply_kind(const std::string& field, const std::string& key, const toml::node& value,
                    Step& step) {
        bool yes = false;
        if (key == "pivot") {
            flag(field, value, step.pivot);
        } else if (key == "retriable") {
            flag(field, value, step.retriable);
        } else if (key == "without_undo") {
            flag(field, value, step.without_undo);
        } else if (key == "saga") {
            text(field, value, step.saga);
            step.kind = StepKind::saga;
        } else if (key == "signal") {
            flag(field, value, yes);
            if (yes) step.kind = StepKind::signal;
        } else if (key == "decision") {
            flag(field, value, yes);
            if (yes) step.kind = StepKind::decision;
            if (yes) step.pivot = true;
        } else {
            return false;
        }
        return true;
    }

    /// Behind the last try: the decision, and a confirm for each.
    void confirm() {
        if (confirms_.empty()) return;
        Step decide;
        decide.name = "decide";
        decide.kind = StepKind::decision;
        decide.pivot = true;
        decide.timeout_ms = 0;
        definition_.steps.push_back(std::move(decide));
        for (Confirm& one : confirms_) {
            Step step;
            step.name = one.step + ".confirm";
            note("steps." + step.name, {{lines_["steps." + one.step], 1}, {}, {}});
            step.command = std::move(one.route);
            step.group = "confirm";
            step.retriable = true;
            definition_.steps.push_back(std::move(step));
        }
        confirms_.clear();
    }

    const std::string& file_;
    ReadDefinition& out_;
    Definition definition_;
    std::map<std::string, std::uint32_t> lines_;
    std::vector<Confirm> confirms_;
};

}  // namespace

std::string FileComplaint::text() const {
    std::string out = file;
    if (line != 0) out += ", line " + std::to_string(line);
    return out + ": " + (field.empty() ? "" : field + ": ") + what;
}

ReadDefinition read_definition(std::string_view text, const std::string& file) {
    ReadDefinition out;
    if (text.size() > limits::definition_file_bytes_max) {
        out.complaints.push_back({file, 0, {}, "is larger than 1 MiB; that is no definition"});
        return out;
    }
    try {
        const toml::table root = toml::parse(text, file);
        Reader(file, out).read(root);
    } catch (const toml::parse_error& error) {  // the library's way; it ends here
        out.complaints.push_back({file,
                                  error.source().begin.line,
                                  {},
                                  "this is not TOML: " + std::string(error.description())});
    }
    return out;
}

}  // namespace ferry::saga
