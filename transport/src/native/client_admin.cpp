#include <algorithm>
#include <chrono>

#include "ferry/transport/client.hpp"
#include "native/ask.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

// Each call: encode the fields, ask, decode the answer.
namespace ferry::transport {

using native::ask;
using native::Core;
using native::invented_name;
using native::make_request;
using native::Request;
using native::RequestPtr;

namespace {

constexpr std::string_view queue_prefix = "queue ";
constexpr std::string_view exchange_prefix = "exchange ";

bool decode_nothing(Bytes, Done&) {
    return true;
}

/// A successful declaration is remembered before its caller hears of it: a reconnect may come at
/// any moment.
void remember_on_success(Core& core, const RequestPtr& request, std::string key, bool transient,
                         std::string touches = {}, std::string touches_too = {}) {
    Core::Declared declared{request->verb,  request->field_count, request->fields,
                            std::move(key), std::move(touches),   std::move(touches_too)};
    request->on_done = [&core, declared, transient](const Request& answered) {
        if (!answered.failed) core.remember(declared, transient);
    };
}

void forget_on_success(Core& core, const RequestPtr& request, std::string key) {
    request->on_done = [&core, key = std::move(key)](const Request& answered) {
        if (!answered.failed) core.forget_declared(key);
    };
}

std::string named(std::string_view prefix, std::string_view name) {
    return std::string(prefix) + std::string(name);
}

// Only what is set, so that brokers that know less understand a plain declaration. Returns how
// many settings were written.
std::uint32_t encode_policy(const QueuePolicy& policy, wire::Buffer& bytes) {
    wire::Encoder out(bytes);
    std::uint32_t count = 0;
    const auto text = [&](std::string_view name, const std::string& value) {
        if (value.empty()) return;
        out.str(name).str(value);
        ++count;
    };
    const auto number = [&](std::string_view name, std::uint64_t value) {
        if (value == 0) return;
        out.str(name).uint(value);
        ++count;
    };
    text("retry", policy.retry);
    number("retry_delay_ms", policy.retry_delay_ms);
    number("retry_delay_max_ms", policy.retry_delay_max_ms);
    number("retry_jitter_percent", policy.retry_jitter_percent);
    number("max_deliveries", policy.max_deliveries);
    number("message_ttl_ms", policy.message_ttl_ms);
    number("expires_ms", policy.expires_ms);
    number("max_length", policy.max_length);
    number("max_bytes", policy.max_bytes);
    number("dedupe_window_ms", policy.dedupe_window_ms);
    number("dedupe_max_ids", policy.dedupe_max_ids);
    text("overflow", policy.overflow);
    if (policy.priorities) {
        out.str("priorities").boolean(true);
        ++count;
    }
    text("dead_letter_exchange", policy.dead_letter_exchange);
    text("dead_letter_key", policy.dead_letter_key);
    return count;
}

}  // namespace

// ---- queues ----

Answer<DeclaredQueue> Client::declare_queue(std::string_view name, const QueueOptions& options,
                                            Timeout timeout) {
    // The client invents the name itself: the broker would choose another one after each reconnect.
    const std::string queue = name.empty() ? invented_name("gen-") : std::string(name);
    auto request = make_request(wire::Verb::queue_declare, 2, true);
    wire::Encoder out(request->fields);
    wire::Buffer policy;
    const std::uint32_t settings = encode_policy(options.policy, policy);
    out.str(queue).map(4U + (options.lease_ms != 0 ? 1U : 0U) + (options.check ? 1U : 0U) +
                       (options.ordered ? 1U : 0U) + (options.single_active ? 1U : 0U) + settings);
    out.str("durable").boolean(options.durable);
    out.str("exclusive").boolean(options.exclusive);
    out.str("auto_delete").boolean(options.auto_delete);
    out.str("passive").boolean(options.passive);
    if (options.lease_ms != 0) out.str("lease_ms").uint(options.lease_ms);
    if (options.check) out.str("check").boolean(true);
    if (options.ordered) out.str("ordered").boolean(true);
    if (options.single_active) out.str("single_active").boolean(true);
    out.raw(policy);
    if (!options.passive && !options.check) {
        const bool transient = !options.durable || options.exclusive || options.auto_delete;
        remember_on_success(*core_, request, named(queue_prefix, queue), transient);
    }
    return ask<DeclaredQueue>(*core_, request, timeout, native::decode_declared_queue);
}

namespace {

bool decode_messages(Bytes result, std::uint64_t& out) {
    return native::decode_figure(result, "messages", out);
}

}  // namespace

Answer<std::uint64_t> Client::delete_queue(std::string_view name, const DeleteQueueOptions& options,
                                           Timeout timeout) {
    auto request = make_request(wire::Verb::queue_delete, 2, false);
    wire::Encoder out(request->fields);
    out.str(name).map(2);
    out.str("if_unused").boolean(options.if_unused);
    out.str("if_empty").boolean(options.if_empty);
    forget_on_success(*core_, request, named(queue_prefix, name));
    return ask<std::uint64_t>(*core_, request, timeout, decode_messages);
}

Answer<std::uint64_t> Client::purge_queue(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::queue_purge, 1, false);
    wire::Encoder(request->fields).str(name);
    return ask<std::uint64_t>(*core_, request, timeout, decode_messages);
}

Answer<std::uint64_t> Client::move_messages(std::string_view queue, std::string_view target,
                                            const MoveSelection& selection, Timeout timeout) {
    auto request = make_request(wire::Verb::queue_move, 3, false);
    wire::Encoder out(request->fields);
    const std::uint32_t more =
        (selection.position != 0 ? 1U : 0U) + (selection.count != 0 ? 1U : 0U);
    out.str(queue).str(target).map(1 + more).str("parked").boolean(selection.parked);
    if (selection.position != 0) out.str("position").uint(selection.position);
    if (selection.count != 0) out.str("count").uint(selection.count);
    return ask<std::uint64_t>(*core_, request, timeout, decode_messages);
}

Answer<std::uint64_t> Client::cancel(std::string_view queue, std::string_view id, Timeout timeout) {
    auto request = make_request(wire::Verb::queue_drop, 2, false);
    wire::Encoder(request->fields).str(queue).str(id);
    return ask<std::uint64_t>(*core_, request, timeout, decode_messages);
}

Answer<std::uint64_t> Client::drop_message(std::string_view queue, std::uint64_t position,
                                           Timeout timeout) {
    auto request = make_request(wire::Verb::queue_drop, 2, false);
    wire::Encoder(request->fields).str(queue).uint(position);
    return ask<std::uint64_t>(*core_, request, timeout, decode_messages);
}

Answer<QueuePage> Client::list_queues(std::string_view after, std::uint32_t at_most,
                                      Timeout timeout) {
    auto request = make_request(wire::Verb::queue_list, 2, true);
    wire::Encoder(request->fields).str(after).uint(at_most);
    return ask<QueuePage>(*core_, request, timeout, native::decode_queue_page);
}

Answer<ConsumerPage> Client::list_consumers(std::string_view queue, const ConsumerPlace& after,
                                            std::uint32_t at_most, Timeout timeout) {
    auto request = make_request(wire::Verb::consumer_list, 4, true);
    wire::Encoder(request->fields).str(queue).str(after.queue).uint(after.skip).uint(at_most);
    auto page = ask<ConsumerPage>(*core_, request, timeout, native::decode_consumer_page);
    if (!page.ok() || page.value().consumers.empty()) return page;
    ConsumerPage& got = page.value();
    got.next.queue = got.consumers.back().queue;
    const auto of_last =
        std::count_if(got.consumers.begin(), got.consumers.end(),
                      [&](const QueueMember& member) { return member.queue == got.next.queue; });
    got.next.skip =
        static_cast<std::uint64_t>(of_last) + (after.queue == got.next.queue ? after.skip : 0);
    return page;
}

Answer<QueueInfo> Client::show_queue(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::queue_show, 1, true);
    wire::Encoder(request->fields).str(name);
    return ask<QueueInfo>(*core_, request, timeout, native::decode_queue);
}

Answer<std::vector<PeekedMessage>> Client::peek_queue(std::string_view name, std::uint64_t skip,
                                                      std::uint32_t messages, std::uint64_t bytes,
                                                      Timeout timeout, std::string_view where) {
    const bool elsewhere = where != "ready";
    auto request = make_request(wire::Verb::queue_peek, elsewhere ? 5 : 4, true);
    wire::Encoder out(request->fields);
    out.str(name).uint(skip).uint(messages).uint(bytes);
    if (elsewhere) out.str(where);
    return ask<std::vector<PeekedMessage>>(*core_, request, timeout, native::decode_peeked);
}

// ---- exchanges and bindings ----

Answer<Done> Client::declare_exchange(std::string_view name, std::string_view type,
                                      const ExchangeOptions& options, Timeout timeout) {
    auto request = make_request(wire::Verb::exchange_declare, 3, true);
    wire::Encoder out(request->fields);
    out.str(name).str(type).map(4U + (options.hash.empty() ? 0U : 1U));
    if (!options.hash.empty()) out.str("hash").str(options.hash);
    out.str("durable").boolean(options.durable);
    out.str("auto_delete").boolean(options.auto_delete);
    out.str("internal").boolean(options.internal);
    out.str("passive").boolean(options.passive);
    if (!options.passive) {
        const bool transient = !options.durable || options.auto_delete;
        remember_on_success(*core_, request, named(exchange_prefix, name), transient);
    }
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<Done> Client::delete_exchange(std::string_view name, bool if_unused, Timeout timeout) {
    auto request = make_request(wire::Verb::exchange_delete, 2, false);
    wire::Encoder(request->fields).str(name).map(1).str("if_unused").boolean(if_unused);
    forget_on_success(*core_, request, named(exchange_prefix, name));
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<ExchangePage> Client::list_exchanges(std::string_view after, std::uint32_t at_most,
                                            Timeout timeout) {
    auto request = make_request(wire::Verb::exchange_list, 2, true);
    wire::Encoder(request->fields).str(after).uint(at_most);
    return ask<ExchangePage>(*core_, request, timeout, native::decode_exchange_page);
}

Answer<ExchangeInfo> Client::show_exchange(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::exchange_show, 1, true);
    wire::Encoder(request->fields).str(name);
    return ask<ExchangeInfo>(*core_, request, timeout, native::decode_exchange);
}

namespace {

RequestPtr binding_request(wire::Verb verb, const Binding& binding) {
    auto request = make_request(verb, 5, verb == wire::Verb::bind);
    wire::Encoder out(request->fields);
    out.str(binding.source).str(binding.destination).str(binding.kind).str(binding.key);
    wire::write_headers(out, binding.arguments);
    return request;
}

/// Two bindings are the same when all their fields are.
std::string binding_key(const RequestPtr& request) {
    return "binding " + std::string(as_text(request->fields));
}

}  // namespace

Answer<Done> Client::bind(const Binding& binding, Timeout timeout) {
    auto request = binding_request(wire::Verb::bind, binding);
    const bool to_queue = binding.kind == "queue";
    remember_on_success(*core_, request, binding_key(request), false,
                        named(exchange_prefix, binding.source),
                        named(to_queue ? queue_prefix : exchange_prefix, binding.destination));
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<Done> Client::unbind(const Binding& binding, Timeout timeout) {
    auto request = binding_request(wire::Verb::unbind, binding);
    forget_on_success(*core_, request, binding_key(request));
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

// ---- policies ----

namespace {

bool decode_queues(Bytes result, std::uint64_t& out) {
    return native::decode_figure(result, "queues", out);
}

}  // namespace

Answer<std::uint64_t> Client::set_policy(std::string_view name, const PolicyOptions& options,
                                         Timeout timeout) {
    auto request = make_request(wire::Verb::policy_set, 3, true);
    wire::Encoder out(request->fields);
    wire::Buffer policy;
    const std::uint32_t settings = encode_policy(options.settings, policy);
    out.str(name).str(options.pattern).map(2U + settings);
    out.str("priority").uint(options.priority).str("check").boolean(options.check).raw(policy);
    return ask<std::uint64_t>(*core_, request, timeout, decode_queues);
}

Answer<std::uint64_t> Client::delete_policy(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::policy_delete, 1, false);
    wire::Encoder(request->fields).str(name);
    return ask<std::uint64_t>(*core_, request, timeout, decode_queues);
}

Answer<PolicyPage> Client::list_policies(std::string_view after, std::uint32_t at_most,
                                         Timeout timeout) {
    auto request = make_request(wire::Verb::policy_list, 2, true);
    wire::Encoder(request->fields).str(after).uint(at_most);
    return ask<PolicyPage>(*core_, request, timeout, native::decode_policy_page);
}

// ---- schedules ----

Answer<Done> Client::set_schedule(std::string_view name, const ScheduleOptions& options,
                                  Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_set, 3, true);
    wire::Encoder out(request->fields);
    out.str(name).map(5).str("cron").str(options.cron).str("zone").str(options.zone);
    out.str("missed").str(options.missed).str("paused").boolean(options.paused);
    out.str("check").boolean(options.check);
    wire::write_message(out, options.message);
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<Done> Client::delete_schedule(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_delete, 1, false);
    wire::Encoder(request->fields).str(name);
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<Done> Client::pause_schedule(std::string_view name, bool paused, Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_pause, 2, true);
    wire::Encoder(request->fields).str(name).boolean(paused);
    return ask<Done>(*core_, request, timeout, decode_nothing);
}

Answer<SchedulePage> Client::list_schedules(std::string_view after, std::uint32_t at_most,
                                            Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_list, 2, true);
    wire::Encoder(request->fields).str(after).uint(at_most);
    return ask<SchedulePage>(*core_, request, timeout, native::decode_schedule_page);
}

Answer<ScheduleInfo> Client::show_schedule(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_show, 1, true);
    wire::Encoder(request->fields).str(name);
    return ask<ScheduleInfo>(*core_, request, timeout, native::decode_schedule);
}

Answer<std::vector<std::uint64_t>> Client::next_times(std::string_view cron, std::string_view zone,
                                                      std::uint64_t from_ms, std::uint32_t count,
                                                      Timeout timeout) {
    auto request = make_request(wire::Verb::schedule_next, 4, true);
    wire::Encoder(request->fields).str(cron).str(zone).uint(from_ms).uint(count);
    return ask<std::vector<std::uint64_t>>(*core_, request, timeout, native::decode_times);
}

// ---- the broker ----

Answer<std::vector<Fact>> Client::why(std::string_view queue, const WhyTarget& target,
                                      Timeout timeout) {
    auto request = make_request(wire::Verb::why, 2, true);
    wire::Encoder out(request->fields);
    out.str(queue).map((target.position != 0 ? 1U : 0U) + (target.id.empty() ? 0U : 1U));
    if (target.position != 0) out.str("position").uint(target.position);
    if (!target.id.empty()) out.str("id").str(target.id);
    return ask<std::vector<Fact>>(*core_, request, timeout, native::decode_facts);
}

Answer<BrokerStats> Client::stats(Timeout timeout) {
    return ask<BrokerStats>(*core_, make_request(wire::Verb::stats, 0, true), timeout,
                            native::decode_stats);
}

Answer<BackupInfo> Client::backup(std::string_view directory, Timeout timeout) {
    auto request = make_request(wire::Verb::backup, 1, false);
    wire::Encoder(request->fields).str(directory);
    return ask<BackupInfo>(*core_, request, timeout, native::decode_backup);
}

Answer<std::uint64_t> Client::ping(Timeout timeout) {
    const auto begin = std::chrono::steady_clock::now();
    const auto answer = stats(timeout);
    if (!answer.ok()) return answer.error();
    const auto taken = std::chrono::steady_clock::now() - begin;
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count());
}

}  // namespace ferry::transport
