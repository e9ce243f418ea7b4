#include <nlohmann/json.hpp>

#include "ferry/saga/definition.hpp"
#include "values.hpp"

// The one text of a definition. Every field is written, in a fixed order, so that equal texts are
// equal definitions; a field that is added later is left out where it has its default.

namespace ferry::saga {
namespace {

using Ordered = nlohmann::ordered_json;

Ordered route(const Route& r) {
    if (!r.url.empty()) return Ordered::array({r.exchange, r.key, r.url, r.method});
    return Ordered::array({r.exchange, r.key});
}
Ordered mappings(const std::vector<Mapping>& all) {
    Ordered out = Ordered::array();
    for (const Mapping& m : all) out.push_back(Ordered::array({m.to, m.from, m.json, m.optional}));
    return out;
}

Ordered step(const Step& s) {
    Ordered out;
    out["name"] = s.name;
    out["kind"] = static_cast<int>(s.kind);
    out["command"] = route(s.command);
    out["compensation"] = s.compensation ? route(*s.compensation) : Ordered(nullptr);
    out["flags"] = Ordered::array({s.without_undo, s.pivot, s.retriable});
    out["group"] = s.group;
    out["timeout"] = s.timeout_ms;
    out["retry"] = Ordered::array({s.retry.first_ms, s.retry.cap_ms, s.retry.attempts});
    out["undo"] = Ordered::array({s.undo.first_ms, s.undo.cap_ms, s.undo.give_up_ms});
    out["when"] = Ordered::array();
    for (const Condition& c : s.when) {
        out["when"].push_back(Ordered::array({c.at, static_cast<int>(c.test), c.json}));
    }
    out["input"] = mappings(s.input);
    out["undo_input"] = mappings(s.undo_input);
    out["saga"] = s.saga;
    return out;
}

Route read_route(const Json& j) {
    Route out{j.at(0).get<std::string>(), j.at(1).get<std::string>()};
    if (j.size() > 2) out.url = j.at(2).get<std::string>();
    if (j.size() > 3) out.method = j.at(3).get<std::string>();
    return out;
}
std::vector<Mapping> read_mappings(const Json& j) {
    std::vector<Mapping> out;
    for (const Json& m : j) {
        out.push_back({m.at(0).get<std::string>(), m.at(1).get<std::string>(),
                       m.at(2).get<std::string>(), m.at(3).get<bool>()});
    }
    return out;
}

Step read_step(const Json& j) {
    Step s;
    s.name = j.at("name").get<std::string>();
    s.kind = static_cast<StepKind>(j.at("kind").get<std::uint8_t>());
    s.command = read_route(j.at("command"));
    if (!j.at("compensation").is_null()) s.compensation = read_route(j.at("compensation"));
    s.without_undo = j.at("flags").at(0).get<bool>();
    s.pivot = j.at("flags").at(1).get<bool>();
    s.retriable = j.at("flags").at(2).get<bool>();
    s.group = j.at("group").get<std::string>();
    s.timeout_ms = j.at("timeout").get<std::uint64_t>();
    s.retry = {j.at("retry").at(0).get<std::uint64_t>(), j.at("retry").at(1).get<std::uint64_t>(),
               j.at("retry").at(2).get<std::uint32_t>()};
    s.undo = {j.at("undo").at(0).get<std::uint64_t>(), j.at("undo").at(1).get<std::uint64_t>(),
              j.at("undo").at(2).get<std::uint64_t>()};
    for (const Json& c : j.at("when")) {
        s.when.push_back({c.at(0).get<std::string>(),
                          static_cast<Condition::Test>(c.at(1).get<std::uint8_t>()),
                          c.at(2).get<std::string>()});
    }
    s.input = read_mappings(j.at("input"));
    s.undo_input = read_mappings(j.at("undo_input"));
    s.saga = j.at("saga").get<std::string>();
    return s;
}

}  // namespace

std::string canonical_text(const Definition& definition) {
    Ordered out;
    out["format"] = 1;
    out["name"] = definition.name;
    out["version"] = definition.version;
    out["deadline"] = definition.deadline_ms;
    out["steps"] = Ordered::array();
    for (const Step& s : definition.steps) out["steps"].push_back(step(s));
    out["result"] = mappings(definition.result);
    return out.dump(-1, ' ', false, Ordered::error_handler_t::replace);
}

sqlite::Answer<Definition> from_canonical_text(std::string_view text) {
    const auto json = parse_json(text);
    const sqlite::Problem damaged{sqlite::Kind::corrupt, 0,
                                  "a stored saga definition is damaged or of a newer program"};
    if (!json) return damaged;
    try {  // the library's way; it ends here
        if (json->at("format") != 1) return damaged;
        Definition out;
        out.name = json->at("name").get<std::string>();
        out.version = json->at("version").get<std::uint32_t>();
        out.deadline_ms = json->at("deadline").get<std::uint64_t>();
        for (const Json& s : json->at("steps")) out.steps.push_back(read_step(s));
        out.result = read_mappings(json->at("result"));
        // A definition that was refused cannot have been stored.
        if (!check(out).empty() || canonical_text(out) != text) return damaged;
        return out;
    } catch (const Json::exception&) {
        return damaged;
    }
}

}  // namespace ferry::saga
