#include "policy_table.hpp"

#include <array>
#include <optional>
#include <utility>

#include "config_value.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::config {
namespace {

using engine::NamedPolicy;
using engine::Overflow;
using engine::QueuePolicy;
using engine::RetryKind;

template <class T>
struct Row {
    const char* key;
    T& (*place)(QueuePolicy&);
    std::uint64_t most;
};

constexpr Row<std::uint64_t> durations[] = {
    {"retry_delay", [](QueuePolicy& p) -> std::uint64_t& { return p.retry_delay_ms; },
     limits::retry_delay_ms_max},
    {"retry_delay_max", [](QueuePolicy& p) -> std::uint64_t& { return p.retry_delay_max_ms; },
     limits::retry_delay_ms_max},
    {"message_ttl", [](QueuePolicy& p) -> std::uint64_t& { return p.message_ttl_ms; },
     limits::ttl_ms_max},
    {"expires", [](QueuePolicy& p) -> std::uint64_t& { return p.expires_ms; }, limits::ttl_ms_max},
    {"dedupe_window", [](QueuePolicy& p) -> std::uint64_t& { return p.dedupe_window_ms; },
     limits::dedupe_window_ms_max},
};
constexpr Row<std::uint64_t> sizes[] = {
    {"max_bytes", [](QueuePolicy& p) -> std::uint64_t& { return p.max_bytes; },
     limits::queue_bytes_max},
};
constexpr Row<std::uint64_t> large_counts[] = {
    {"max_length", [](QueuePolicy& p) -> std::uint64_t& { return p.max_messages; },
     limits::queue_length_max},
    {"dedupe_max_ids", [](QueuePolicy& p) -> std::uint64_t& { return p.dedupe_max_ids; },
     limits::dedupe_ids_max},
};
constexpr Row<std::uint32_t> counts[] = {
    {"retry_jitter_percent",
     [](QueuePolicy& p) -> std::uint32_t& { return p.retry_jitter_percent; }, 100},
    {"max_deliveries", [](QueuePolicy& p) -> std::uint32_t& { return p.max_deliveries; },
     limits::max_deliveries_max},
};
constexpr Row<std::string> texts[] = {
    {"dead_letter_exchange", [](QueuePolicy& p) -> std::string& { return p.dead_letter_exchange; },
     limits::name_bytes_max},
    {"dead_letter_key", [](QueuePolicy& p) -> std::string& { return p.dead_letter_key; },
     limits::routing_key_bytes_max},
};
constexpr std::array<std::pair<const char*, RetryKind>, 4> retries{
    {{"none", RetryKind::none},
     {"fixed", RetryKind::fixed},
     {"linear", RetryKind::linear},
     {"exponential", RetryKind::exponential}}};

constexpr std::array<std::pair<const char*, Overflow>, 3> overflows{
    {{"drop_head", Overflow::drop_head},
     {"reject_publish", Overflow::reject_publish},
     {"dead_letter_head", Overflow::dead_letter_head}}};

constexpr const char* keys =
    "name, pattern, priority, retry, retry_delay, retry_delay_max, retry_jitter_percent, "
    "max_deliveries, message_ttl, expires, max_length, max_bytes, overflow, dedupe_window, "
    "dedupe_max_ids, dead_letter_exchange, dead_letter_key";

std::optional<std::uint64_t> number_in(const RawValue& value, std::uint64_t most) {
    const auto* number = std::get_if<std::int64_t>(&value);
    if (number == nullptr || *number < 0) return std::nullopt;
    const auto wanted = static_cast<std::uint64_t>(*number);
    return wanted > most ? std::nullopt : std::optional(wanted);
}

/// Empty, or which choices there are.
template <class T, std::size_t N>
std::string set_choice(const std::array<std::pair<const char*, T>, N>& choices,
                       const RawValue& value, T& place) {
    const auto* text = std::get_if<std::string>(&value);
    std::string expected = "one of";
    for (const auto& [name, choice] : choices) {
        expected += std::string(" \"") + name + "\"";
        if (text == nullptr || *text != name) continue;
        place = choice;
        return {};
    }
    return expected;
}

/// A number out of a table of counts. False: the key is not in it.
template <class T, std::size_t N>
bool set_count(const Row<T> (&rows)[N], QueuePolicy& settings, std::string_view key,
               const RawValue& value, std::string& expected) {
    for (const Row<T>& row : rows) {
        if (key != row.key) continue;
        const auto number = number_in(value, row.most);
        if (!number) expected = "a number from 0 to " + std::to_string(row.most);
        if (number) row.place(settings) = static_cast<T>(*number);
        return true;
    }
    return false;
}

std::string quoted(const std::string& text) {
    return "\"" + text + "\"";
}

}  // namespace

std::string set_policy_key(NamedPolicy& policy, std::string_view key, const RawValue& value) {
    const auto* text = std::get_if<std::string>(&value);
    if (key == "name" || key == "pattern") {
        if (text == nullptr) return "a text";
        (key == "name" ? policy.name : policy.pattern) = *text;
        return {};
    }
    if (key == "priority") {
        const auto number = number_in(value, limits::policy_priority_max);
        if (!number) return "a number from 0 to " + std::to_string(limits::policy_priority_max);
        policy.priority = static_cast<std::uint32_t>(*number);
        return {};
    }
    QueuePolicy& settings = policy.settings;
    if (key == "retry") return set_choice(retries, value, settings.retry);
    if (key == "overflow") return set_choice(overflows, value, settings.overflow);
    std::string expected;
    if (set_count(counts, settings, key, value, expected)) return expected;
    if (set_count(large_counts, settings, key, value, expected)) return expected;
    for (const auto& row : sizes) {
        if (key != row.key) continue;
        const auto bytes = text != nullptr ? parse_size(*text) : number_in(value, row.most);
        if (!bytes || *bytes > row.most) return "a size of at most " + quoted(size_text(row.most));
        row.place(settings) = *bytes;
        return {};
    }
    for (const auto& row : durations) {
        if (key != row.key) continue;
        const auto ms = text != nullptr ? parse_duration_ms(*text) : std::nullopt;
        if (!ms || *ms > row.most)
            return "a duration of at most " + quoted(duration_text(row.most));
        row.place(policy.settings) = *ms;
        return {};
    }
    for (const auto& row : texts) {
        if (key != row.key) continue;
        if (text == nullptr || text->size() > row.most)
            return "a text of at most " + std::to_string(row.most) + " bytes";
        row.place(policy.settings) = *text;
        return {};
    }
    return std::string("one of the keys of a policy: ") + keys;
}

std::string policy_text(const NamedPolicy& policy) {
    QueuePolicy settings = policy.settings;
    std::string out = "[[policy]]\nname = " + quoted(policy.name) +
                      "\npattern = " + quoted(policy.pattern) +
                      "\npriority = " + std::to_string(policy.priority) + "\n";
    for (const auto& [name, kind] : retries) {
        if (kind == settings.retry && kind != RetryKind::none)
            out += "retry = " + quoted(name) + "\n";
    }
    for (const auto& row : durations) {
        const std::uint64_t ms = row.place(settings);
        if (ms != 0) out += std::string(row.key) + " = " + quoted(duration_text(ms)) + "\n";
    }
    for (const auto& row : counts) {
        const std::uint32_t number = row.place(settings);
        if (number != 0) out += std::string(row.key) + " = " + std::to_string(number) + "\n";
    }
    for (const auto& row : large_counts) {
        const std::uint64_t number = row.place(settings);
        if (number != 0) out += std::string(row.key) + " = " + std::to_string(number) + "\n";
    }
    for (const auto& row : sizes) {
        const std::uint64_t bytes = row.place(settings);
        if (bytes != 0) out += std::string(row.key) + " = " + quoted(size_text(bytes)) + "\n";
    }
    for (const auto& [name, rule] : overflows) {
        if (rule == settings.overflow && rule != Overflow::drop_head)
            out += "overflow = " + quoted(name) + "\n";
    }
    for (const auto& row : texts) {
        const std::string& text = row.place(settings);
        if (!text.empty()) out += std::string(row.key) + " = " + quoted(text) + "\n";
    }
    return out;
}

}  // namespace ferry::config
