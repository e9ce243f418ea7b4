#include "definitions.hpp"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "message_json.hpp"

namespace ferry::cli {
namespace {

using transport::QueuePolicy;

constexpr int format = 1;

struct NumberSetting {
    const char* name;
    std::uint64_t QueuePolicy::*place;
};
struct TextSetting {
    const char* name;
    std::string QueuePolicy::*place;
};
constexpr NumberSetting numbers[] = {
    {"retry_delay_ms", &QueuePolicy::retry_delay_ms},
    {"retry_delay_max_ms", &QueuePolicy::retry_delay_max_ms},
    {"retry_jitter_percent", &QueuePolicy::retry_jitter_percent},
    {"max_deliveries", &QueuePolicy::max_deliveries},
    {"message_ttl_ms", &QueuePolicy::message_ttl_ms},
    {"expires_ms", &QueuePolicy::expires_ms},
    {"max_length", &QueuePolicy::max_length},
    {"max_bytes", &QueuePolicy::max_bytes},
    {"dedupe_window_ms", &QueuePolicy::dedupe_window_ms},
    {"dedupe_max_ids", &QueuePolicy::dedupe_max_ids},
};
constexpr TextSetting texts[] = {
    {"retry", &QueuePolicy::retry},
    {"overflow", &QueuePolicy::overflow},
    {"dead_letter_exchange", &QueuePolicy::dead_letter_exchange},
    {"dead_letter_key", &QueuePolicy::dead_letter_key},
};

Json settings_json(const QueuePolicy& settings) {
    Json out = Json::object();
    for (const TextSetting& each : texts) {
        if (!(settings.*each.place).empty()) out[each.name] = settings.*each.place;
    }
    for (const NumberSetting& each : numbers) {
        if (settings.*each.place != 0) out[each.name] = settings.*each.place;
    }
    if (settings.priorities) out["priorities"] = true;
    return out;
}

Json headers_json(const wire::Headers& headers) {
    Json out = Json::object();
    for (const auto& [name, value] : headers) out[name] = header_json(value);
    return out;
}

/// Reads one object; every key has to be asked for, so that a misspelt one is noticed.
class Fields {
public:
    Fields(const Json& object, std::string where, std::string& wrong)
        : object_(object), where_(std::move(where)), wrong_(wrong) {
        if (!object.is_object()) fail("an object is wanted here");
    }

    void text(const char* key, std::string& out, bool required = false) {
        if (const Json* value = take(key, required)) {
            if (value->is_string()) {
                out = value->get<std::string>();
            } else {
                fail(std::string(key) + " is a text");
            }
        }
    }
    void flag(const char* key, bool& out) {
        if (const Json* value = take(key, false)) {
            if (value->is_boolean()) {
                out = value->get<bool>();
            } else {
                fail(std::string(key) + " is true or false");
            }
        }
    }
    void number(const char* key, std::uint64_t& out) {
        if (const Json* value = take(key, false)) {
            if (value->is_number_unsigned()) {
                out = value->get<std::uint64_t>();
            } else {
                fail(std::string(key) + " is a whole number, 0 or more");
            }
        }
    }
    void headers(const char* key, wire::Headers& out) {
        const Json* value = take(key, false);
        if (value == nullptr) return;
        if (!value->is_object()) return fail(std::string(key) + " is an object");
        for (const auto& [name, one] : value->items()) {
            wire::HeaderValue header;
            if (one.is_null()) {
                header = std::monostate{};
            } else if (one.is_boolean()) {
                header = one.get<bool>();
            } else if (one.is_number_integer()) {
                header = one.get<std::int64_t>();
            } else if (one.is_number()) {
                header = one.get<double>();
            } else if (one.is_string()) {
                header = one.get<std::string>();
            } else {
                return fail(std::string(key) + "." + name + " is a text, a number, true or false");
            }
            out.emplace_back(name, std::move(header));
        }
        std::sort(out.begin(), out.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    void settings(QueuePolicy& out) {
        const Json* value = take("settings", false);
        if (value == nullptr) return;
        Fields inner(*value, where_ + ".settings", wrong_);
        for (const TextSetting& each : texts) inner.text(each.name, out.*each.place);
        for (const NumberSetting& each : numbers) inner.number(each.name, out.*each.place);
        inner.flag("priorities", out.priorities);
        inner.end();
    }
    void message(wire::Message& out) {
        const Json* value = take("message", true);
        if (value == nullptr) return;
        Fields inner(*value, where_ + ".message", wrong_);
        std::uint64_t priority = 0;
        inner.text("exchange", out.exchange);
        inner.text("routing_key", out.routing_key);
        inner.text("payload", out.payload);
        inner.text("ordering_key", out.properties.ordering_key);
        inner.text("content_type", out.properties.content_type);
        inner.text("reply_to", out.properties.reply_to);
        inner.text("correlation_id", out.properties.correlation_id);
        inner.number("priority", priority);
        inner.headers("headers", out.properties.headers);
        std::string encoded;
        inner.text("payload_base64", encoded);
        if (!encoded.empty() && !from_base64(encoded, out.payload))
            inner.fail("payload_base64 is not base64");
        if (priority > 9) inner.fail("priority is 0 to 9");
        out.properties.priority = static_cast<std::uint8_t>(priority & 15U);
        inner.end();
        if (wrong_.empty()) wrong_ = wire::check_message(out);
    }
    void end() {
        if (!object_.is_object()) return;
        for (const auto& [key, value] : object_.items()) {
            if (asked_.count(key) == 0) fail("unknown key " + key);
        }
    }
    void fail(const std::string& what) {
        if (wrong_.empty()) wrong_ = where_ + ": " + what;
    }

private:
    const Json* take(const char* key, bool required) {
        asked_.insert(key);
        if (!object_.is_object()) return nullptr;
        const auto found = object_.find(key);
        if (found != object_.end()) return &*found;
        if (required) fail(std::string(key) + " is missing");
        return nullptr;
    }

    const Json& object_;
    std::string where_;
    std::string& wrong_;
    std::set<std::string> asked_;
};

/// Calls read(fields, element) for each element of the list under `key`.
template <class T, class Read>
void read_list(const Json& root, const char* key, std::vector<T>& out, std::string& wrong,
               Read&& read) {
    const auto list = root.find(key);
    if (list == root.end()) return;
    if (!list->is_array()) {
        wrong = std::string(key) + ": a list is wanted here";
        return;
    }
    std::set<std::string> names;
    for (std::size_t i = 0; i < list->size() && wrong.empty(); ++i) {
        Fields fields((*list)[i], std::string(key) + "[" + std::to_string(i) + "]", wrong);
        T element{};
        const std::string name = read(fields, element);
        fields.end();
        if (!names.insert(name).second) fields.fail("it is there twice");
        out.push_back(std::move(element));
    }
}

void need_name(Fields& fields, const std::string& name) {
    if (!wire::valid_name(name)) fields.fail("names have 1 to 255 of a-z A-Z 0-9 . _ -");
}

void need_own_name(Fields& fields, const std::string& name) {
    need_name(fields, name);
    if (name.starts_with("amq.")) fields.fail("names that begin with amq. are the broker's");
}

std::string read_exchange(Fields& fields, Definitions::Exchange& out) {
    fields.text("name", out.name, true);
    fields.text("type", out.type, true);
    fields.flag("durable", out.options.durable);
    fields.flag("auto_delete", out.options.auto_delete);
    fields.flag("internal", out.options.internal);
    fields.text("hash", out.options.hash);
    need_own_name(fields, out.name);
    return out.name;
}

std::string read_queue(Fields& fields, Definitions::Queue& out) {
    fields.text("name", out.name, true);
    fields.flag("durable", out.options.durable);
    fields.flag("auto_delete", out.options.auto_delete);
    fields.flag("ordered", out.options.ordered);
    fields.flag("single_active", out.options.single_active);
    fields.number("lease_ms", out.options.lease_ms);
    fields.settings(out.options.policy);
    need_own_name(fields, out.name);
    return out.name;
}

std::string read_binding(Fields& fields, transport::Binding& out) {
    fields.text("source", out.source, true);
    fields.text("destination", out.destination, true);
    fields.text("kind", out.kind);
    fields.text("key", out.key);
    fields.headers("arguments", out.arguments);
    need_name(fields, out.source);
    need_name(fields, out.destination);
    if (out.kind != "queue" && out.kind != "exchange") fields.fail("kind is queue or exchange");
    if (out.key.size() > 255) fields.fail("a key has at most 255 bytes");
    return to_json(out).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string read_policy(Fields& fields, Definitions::Policy& out) {
    fields.text("name", out.name, true);
    fields.text("pattern", out.options.pattern, true);
    fields.number("priority", out.options.priority);
    fields.settings(out.options.settings);
    need_name(fields, out.name);
    return out.name;
}

std::string read_schedule(Fields& fields, Definitions::Schedule& out) {
    fields.text("name", out.name, true);
    fields.text("cron", out.options.cron, true);
    fields.text("zone", out.options.zone);
    fields.text("missed", out.options.missed);
    fields.flag("paused", out.options.paused);
    fields.message(out.options.message);
    need_name(fields, out.name);
    return out.name;
}

template <class T>
Json list_json(const std::vector<T>& list) {
    Json out = Json::array();
    for (const T& each : list) out.push_back(to_json(each));
    return out;
}

}  // namespace

Json to_json(const Definitions::Exchange& exchange) {
    Json out{{"name", exchange.name},
             {"type", exchange.type},
             {"durable", exchange.options.durable},
             {"auto_delete", exchange.options.auto_delete},
             {"internal", exchange.options.internal}};
    if (!exchange.options.hash.empty()) out["hash"] = exchange.options.hash;
    return out;
}

Json to_json(const Definitions::Queue& queue) {
    Json out{{"name", queue.name},
             {"durable", queue.options.durable},
             {"auto_delete", queue.options.auto_delete},
             {"lease_ms", queue.options.lease_ms},
             {"settings", settings_json(queue.options.policy)}};
    if (queue.options.ordered) out["ordered"] = true;
    if (queue.options.single_active) out["single_active"] = true;
    return out;
}

Json to_json(const transport::Binding& binding) {
    return {{"source", binding.source},
            {"destination", binding.destination},
            {"kind", binding.kind},
            {"key", binding.key},
            {"arguments", headers_json(binding.arguments)}};
}

Json to_json(const Definitions::Policy& policy) {
    return {{"name", policy.name},
            {"pattern", policy.options.pattern},
            {"priority", policy.options.priority},
            {"settings", settings_json(policy.options.settings)}};
}

Json to_json(const Definitions::Schedule& schedule) {
    const wire::Message& m = schedule.options.message;
    Json message{{"exchange", m.exchange}, {"routing_key", m.routing_key}};
    const auto text = [&](const char* name, const std::string& value) {
        if (!value.empty()) message[name] = value;
    };
    text("ordering_key", m.properties.ordering_key);
    text("content_type", m.properties.content_type);
    text("reply_to", m.properties.reply_to);
    text("correlation_id", m.properties.correlation_id);
    if (m.properties.priority != 0) message["priority"] = m.properties.priority;
    if (!m.properties.headers.empty()) message["headers"] = headers_json(m.properties.headers);
    put_bytes(message, "payload", m.payload);
    return {{"name", schedule.name},
            {"cron", schedule.options.cron},
            {"zone", schedule.options.zone},
            {"missed", schedule.options.missed},
            {"paused", schedule.options.paused},
            {"message", message}};
}

Json to_json(const Definitions& definitions) {
    return {{"ferrymq_definitions", format},
            {"exchanges", list_json(definitions.exchanges)},
            {"queues", list_json(definitions.queues)},
            {"bindings", list_json(definitions.bindings)},
            {"policies", list_json(definitions.policies)},
            {"schedules", list_json(definitions.schedules)}};
}

bool parse_definitions(std::string_view text, Definitions& out, std::string& wrong) {
    wrong.clear();
    const Json root = Json::parse(text, nullptr, false);
    if (root.is_discarded()) {
        wrong = "this is not JSON";
        return false;
    }
    const auto version = root.is_object() ? root.find("ferrymq_definitions") : root.end();
    if (version == root.end() || *version != format) {
        wrong =
            "this is no export of definitions that this program knows: it lacks "
            "\"ferrymq_definitions\": 1";
        return false;
    }
    for (const auto& [key, value] : root.items()) {
        static const std::set<std::string> known{
            "ferrymq_definitions", "exchanges", "queues", "bindings", "policies", "schedules"};
        if (known.count(key) == 0 && wrong.empty()) wrong = "unknown key " + key;
    }
    if (wrong.empty()) read_list(root, "exchanges", out.exchanges, wrong, read_exchange);
    if (wrong.empty()) read_list(root, "queues", out.queues, wrong, read_queue);
    if (wrong.empty()) read_list(root, "bindings", out.bindings, wrong, read_binding);
    if (wrong.empty()) read_list(root, "policies", out.policies, wrong, read_policy);
    if (wrong.empty()) read_list(root, "schedules", out.schedules, wrong, read_schedule);
    return wrong.empty();
}

QueuePolicy settings_from(const wire::Headers& settings) {
    QueuePolicy out;
    for (const auto& [name, value] : settings) {
        const auto* number = std::get_if<std::int64_t>(&value);
        const auto* text = std::get_if<std::string>(&value);
        for (const NumberSetting& each : numbers) {
            if (number != nullptr && name == each.name)
                out.*each.place = static_cast<std::uint64_t>(*number);
        }
        for (const TextSetting& each : texts) {
            if (text != nullptr && name == each.name) out.*each.place = *text;
        }
        const auto* flag = std::get_if<bool>(&value);
        if (flag != nullptr && name == "priorities") out.priorities = *flag;
    }
    return out;
}

}  // namespace ferry::cli
