#include "ferry/history/history_file.hpp"

#include <algorithm>
#include <array>
#include <istream>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

namespace ferry::history {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> type_names = {"invoke", "ok", "fail", "info"};
constexpr std::array<std::string_view, 22> what_names = {
    "publish",    "commit",    "deliver",   "ack",         "nack",    "lease_ended",
    "poll",       "effect",    "expire",    "dead_letter", "purge",   "crash",
    "saga_begin", "saga_step", "saga_undo", "saga_end",    "drained", "depth",
    "durable",    "reject",    "lock",      "unlock"};
constexpr std::array<std::string_view, 3> attempts_names = {"unchecked", "growing", "exact"};

using Problem = std::string;  // empty: none

template <class Number>
Problem number(const Json& value, Number& out) {
    if (!value.is_number_unsigned() ||
        value.get<std::uint64_t>() > std::numeric_limits<Number>::max()) {
        return "is no number that fits";
    }
    out = static_cast<Number>(value.get<std::uint64_t>());
    return {};
}

template <class Enum, std::size_t n>
Problem named(const Json& value, const std::array<std::string_view, n>& names, Enum& out) {
    if (!value.is_string()) return "is no text";
    const auto found = std::find(names.begin(), names.end(), value.get_ref<const std::string&>());
    if (found == names.end()) return "has a value that is unknown";
    out = static_cast<Enum>(found - names.begin());
    return {};
}

Problem truth(const Json& value, bool& out) {
    if (!value.is_boolean()) return "is neither true nor false";
    out = value.get<bool>();
    return {};
}

Problem numbers(const Json& value, std::set<std::uint32_t>& out) {
    if (!value.is_array()) return "is no list";
    for (const Json& one : value) {
        std::uint32_t got = 0;
        if (Problem wrong = number(one, got); !wrong.empty()) return wrong;
        out.insert(got);
    }
    return {};
}

/// [[consumer, window], …]
Problem pairs(const Json& value, std::map<std::uint32_t, std::uint32_t>& out) {
    if (!value.is_array()) return "is no list";
    for (const Json& pair : value) {
        std::uint32_t who = 0;
        std::uint32_t window = 0;
        if (!pair.is_array() || pair.size() != 2) return "is no list of pairs";
        if (Problem wrong = number(pair[0], who); !wrong.empty()) return wrong;
        if (Problem wrong = number(pair[1], window); !wrong.empty()) return wrong;
        out[who] = window;
    }
    return {};
}

Problem read_field(const std::string& name, const Json& value, Event& event) {
    if (name == "process") return number(value, event.process);
    if (name == "time_ns") return number(value, event.time_ns);
    if (name == "type") return named(value, type_names, event.type);
    if (name == "what") return named(value, what_names, event.what);
    if (name == "queue") return number(value, event.queue);
    if (name == "key") return number(value, event.key);
    if (name == "id") return number(value, event.id);
    if (name == "epoch") return number(value, event.epoch);
    if (name == "seq") return number(value, event.seq);
    if (name == "payload") return number(value, event.payload);
    if (name == "position") return number(value, event.position);
    if (name == "lease") return number(value, event.lease);
    if (name == "attempt") return number(value, event.attempt);
    if (name == "redelivered") return truth(value, event.redelivered);
    if (name == "expires_ns") return number(value, event.expires_ns);
    if (name == "group") return number(value, event.group);
    return "is unknown";
}

Problem read_rule(const std::string& name, const Json& value, Rules& rules) {
    if (name == "ordered_queues") return numbers(value, rules.ordered_queues);
    if (name == "no_ack_queues") return numbers(value, rules.no_ack_queues);
    if (name == "dead_letter_queues") return numbers(value, rules.dead_letter_queues);
    if (name == "dead_letter_from") return numbers(value, rules.dead_letter_from);
    if (name == "brokers") return numbers(value, rules.brokers);
    if (name == "windows") return pairs(value, rules.windows);
    if (name == "deliveries_max") return pairs(value, rules.deliveries_max);
    if (name == "lock_permits") return pairs(value, rules.lock_permits);
    if (name == "lease_ns") return number(value, rules.lease_ns);
    if (name == "tolerance_ns") return number(value, rules.tolerance_ns);
    if (name == "retry_delay_ns") return number(value, rules.retry_delay_ns);
    if (name == "healed_ns") return number(value, rules.healed_ns);
    if (name == "stuck_ns") return number(value, rules.stuck_ns);
    if (name == "drain_expected") return truth(value, rules.drain_expected);
    if (name == "effects_expected") return truth(value, rules.effects_expected);
    if (name == "effects_once") return truth(value, rules.effects_once);
    if (name == "positions_checked") return truth(value, rules.positions_checked);
    if (name == "wall_jumps") return truth(value, rules.wall_jumps);
    if (name == "broker_order") return truth(value, rules.broker_order);
    if (name == "attempts") return named(value, attempts_names, rules.attempts);
    return "is unknown";
}

/// In one line, whatever is in it.
std::string in_quotes(const std::string& text) {
    return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

template <class Into, class Field>
Problem read_fields(const Json& object, Into& into, Field field) {
    if (!object.is_object()) return "it is no JSON object";
    for (const auto& [name, value] : object.items()) {
        if (const Problem wrong = field(name, value, into); !wrong.empty()) {
            return in_quotes(name.substr(0, 40)) + " " + wrong;
        }
    }
    return {};
}

Problem read_line(const std::string& line, History& history, Rules& rules) {
    const Json parsed = Json::parse(line, nullptr, false);
    if (parsed.is_discarded()) return "it is no JSON";
    if (parsed.is_object() && parsed.contains("rules")) {
        return read_fields(parsed["rules"], rules, read_rule);
    }
    if (parsed.is_object() && !(parsed.contains("what") && parsed.contains("type"))) {
        return "an event has at least \"what\" and \"type\"";
    }
    Event event;
    if (Problem wrong = read_fields(parsed, event, read_field); !wrong.empty()) return wrong;
    history.push_back(event);
    return {};
}

/// A line of at most line_bytes_max. False: there is none, or (`too_long`) it is longer.
bool next_line(std::istream& in, std::string& line, bool& too_long) {
    line.clear();
    for (int c = in.get(); c != std::char_traits<char>::eof(); c = in.get()) {
        if (c == '\n') return true;
        if (line.size() == line_bytes_max) {
            too_long = true;
            return false;
        }
        line.push_back(static_cast<char>(c));
    }
    return !line.empty();
}

Json list_of(const std::map<std::uint32_t, std::uint32_t>& map) {
    Json pairs = Json::array();
    for (const auto& [first, second] : map) pairs.push_back({first, second});
    return pairs;
}

void put(std::string& out, std::string_view name, std::uint64_t value) {
    if (value == 0) return;
    out.append(",\"").append(name).append("\":").append(std::to_string(value));
}

}  // namespace

std::string_view name_of(Type type) noexcept {
    return type_names[static_cast<std::size_t>(type)];
}
std::string_view name_of(What what) noexcept {
    return what_names[static_cast<std::size_t>(what)];
}

std::string line_of(const Event& event) {
    // By hand: a history has millions of these.
    std::string out = "{\"process\":" + std::to_string(event.process);
    put(out, "time_ns", event.time_ns);
    out.append(",\"type\":\"").append(name_of(event.type));
    out.append("\",\"what\":\"").append(name_of(event.what)).append("\"");
    put(out, "queue", event.queue);
    put(out, "key", event.key);
    put(out, "id", event.id);
    put(out, "epoch", event.epoch);
    put(out, "seq", event.seq);
    put(out, "payload", event.payload);
    put(out, "position", event.position);
    put(out, "lease", event.lease);
    put(out, "attempt", event.attempt);
    if (event.redelivered) out += ",\"redelivered\":true";
    put(out, "expires_ns", event.expires_ns);
    put(out, "group", event.group);
    return out + "}\n";
}

std::string line_of(const Rules& rules) {
    const Json all = {{"ordered_queues", rules.ordered_queues},
                      {"no_ack_queues", rules.no_ack_queues},
                      {"dead_letter_queues", rules.dead_letter_queues},
                      {"brokers", rules.brokers},
                      {"dead_letter_from", rules.dead_letter_from},
                      {"windows", list_of(rules.windows)},
                      {"deliveries_max", list_of(rules.deliveries_max)},
                      {"lock_permits", list_of(rules.lock_permits)},
                      {"lease_ns", rules.lease_ns},
                      {"tolerance_ns", rules.tolerance_ns},
                      {"retry_delay_ns", rules.retry_delay_ns},
                      {"healed_ns", rules.healed_ns},
                      {"stuck_ns", rules.stuck_ns},
                      {"drain_expected", rules.drain_expected},
                      {"effects_expected", rules.effects_expected},
                      {"effects_once", rules.effects_once},
                      {"positions_checked", rules.positions_checked},
                      {"wall_jumps", rules.wall_jumps},
                      {"broker_order", rules.broker_order},
                      {"attempts", attempts_names[static_cast<std::size_t>(rules.attempts)]}};
    return Json({{"rules", all}}).dump() + "\n";
}

ResultOr<Done, ReadError> read(std::istream& in, std::string_view name, History& history,
                               Rules& rules) {
    std::string line;
    bool too_long = false;
    std::size_t number = 1;
    const auto wrong_there = [&](const Problem& wrong) {
        return ReadError{std::string(name) + ":" + std::to_string(number) + ": " + wrong};
    };
    for (; next_line(in, line, too_long); ++number) {
        if (line.empty()) continue;
        const Problem wrong = read_line(line, history, rules);
        if (!wrong.empty()) return wrong_there(wrong);
    }
    if (too_long) {
        return wrong_there("it is longer than " + std::to_string(line_bytes_max) + " bytes");
    }
    return Done{};
}

History merge(std::vector<History> parts) {
    History all;
    for (History& part : parts) all.insert(all.end(), part.begin(), part.end());
    std::stable_sort(all.begin(), all.end(),
                     [](const Event& a, const Event& b) { return a.time_ns < b.time_ns; });
    return all;
}

}  // namespace ferry::history
