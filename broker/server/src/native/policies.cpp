// Policies, and the settings that they share with queue declarations.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "list_page.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "policy_fields.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

void write_policy_row(wire::Encoder& out, const engine::PolicyView& view) {
    const engine::NamedPolicy& policy = view.policy;
    out.map(6).str("name").str(policy.name).str("pattern").str(policy.pattern);
    out.str("priority").uint(policy.priority);
    out.str("source").str(policy.from_file ? "config" : "runtime");
    out.str("queues").uint(view.queues).str("settings");
    write_policy(out, policy.settings);
}

}  // namespace

void PolicyFields::add_options(std::vector<Option>& out, bool of_queue) {
    const Option all[] = {
        {.name = "retry", .text = &retry},
        {.name = "retry_delay_ms", .number = &numbers.retry_delay_ms},
        {.name = "retry_delay_max_ms", .number = &numbers.retry_delay_max_ms},
        {.name = "retry_jitter_percent", .number = &jitter, .most = 100},
        {.name = "max_deliveries", .number = &deliveries, .most = limits::max_deliveries_max},
        {.name = "message_ttl_ms", .number = &numbers.message_ttl_ms, .most = limits::ttl_ms_max},
        {.name = "expires_ms", .number = &numbers.expires_ms, .most = limits::ttl_ms_max},
        {.name = "max_length", .number = &numbers.max_messages, .most = limits::queue_length_max},
        {.name = "max_bytes", .number = &numbers.max_bytes, .most = limits::queue_bytes_max},
        {.name = "overflow", .text = &overflow},
        {.name = "dedupe_window_ms",
         .number = &numbers.dedupe_window_ms,
         .most = limits::dedupe_window_ms_max},
        {.name = "dedupe_max_ids",
         .number = &numbers.dedupe_max_ids,
         .most = limits::dedupe_ids_max},
        {.name = "dead_letter_exchange", .text = &exchange},
        {.name = "dead_letter_key", .text = &key},
    };
    out.insert(out.end(), std::begin(all), std::end(all));
    if (of_queue) out.push_back({.name = "priorities", .flag = &numbers.priorities});
}

std::string PolicyFields::fill(engine::QueuePolicy& out) const {
    out = numbers;
    out.retry_jitter_percent = static_cast<std::uint32_t>(jitter);
    out.max_deliveries = static_cast<std::uint32_t>(deliveries);
    out.dead_letter_exchange = exchange;
    out.dead_letter_key = key;
    bool known = overflow.empty();
    for (const auto rule : {engine::Overflow::drop_head, engine::Overflow::reject_publish,
                            engine::Overflow::dead_letter_head}) {
        if (overflow != overflow_name(rule)) continue;
        out.overflow = rule;
        known = true;
    }
    if (!known) return "overflow is drop_head, reject_publish or dead_letter_head";
    for (const auto kind : {engine::RetryKind::none, engine::RetryKind::fixed,
                            engine::RetryKind::linear, engine::RetryKind::exponential}) {
        if (retry != retry_name(kind) && !retry.empty()) continue;
        out.retry = kind;
        return {};
    }
    return "retry is none, fixed, linear or exponential";
}

bool NativeSession::take_policy(Verb verb, Request& request) {
    switch (verb) {
        case Verb::policy_set:
            return policy_set(request);
        case Verb::policy_delete:
            return policy_delete(request);
        case Verb::policy_list:
            return policy_list(request);
        default:
            return take_schedule(verb, request);
    }
}

bool NativeSession::policy_set(Request& request) {
    std::string_view name;
    std::string_view pattern;
    std::uint64_t priority = 0;
    bool check = false;
    PolicyFields fields;
    std::vector<Option> known{
        {.name = "priority", .number = &priority, .most = limits::policy_priority_max},
        {.name = "check", .flag = &check},
    };
    fields.add_options(known, false);
    std::string complaint;
    if (request.count < 5 || !request.fields.read_str(name) || !request.fields.read_str(pattern) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    engine::NamedPolicy policy;
    policy.name = name.substr(0, limits::name_bytes_max + 1);
    policy.pattern = pattern.substr(0, limits::name_bytes_max + 1);
    policy.priority = static_cast<std::uint32_t>(priority);
    if (complaint.empty()) complaint = fields.fill(policy.settings);
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    hub_.engine.set_policy(id_, request.id, policy, check, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::policy_delete(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    hub_.engine.delete_policy(id_, request.id, name, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::policy_list(Request& request) {
    const auto list = read_list_request(request.fields, request.count);
    if (!list) return false;
    write_page(link_.out(), request.id, "policies",
               hub_.engine.policies(list->after, list->wanted()), list->most,
               hub_.config.frame_bytes_max, write_policy_row);
    link_.sent();
    return true;
}

}  // namespace ferry::server::native
