// Queues, exchanges and bindings: made, changed and removed.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "permissions.hpp"
#include "policy_fields.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

std::optional<engine::ExchangeType> exchange_type(std::string_view name) {
    for (const auto type :
         {engine::ExchangeType::direct, engine::ExchangeType::topic, engine::ExchangeType::fanout,
          engine::ExchangeType::headers, engine::ExchangeType::consistent_hash}) {
        if (type_name(type) == name) return type;
    }
    return std::nullopt;
}

/// False: it is none of what can be hashed.
bool read_hash(std::string_view text, engine::ExchangeOptions& out) {
    constexpr std::string_view header = "header:";
    if (text.starts_with(header) && text.size() > header.size()) {
        out.hash_on = engine::HashOn::header;
        out.hash_header = text.substr(header.size());
        return true;
    }
    if (text == "ordering_key") out.hash_on = engine::HashOn::ordering_key;
    return text.empty() || text == "routing_key" || text == "ordering_key";
}

}  // namespace

bool NativeSession::take_topology(Verb verb, Request& request) {
    switch (verb) {
        case Verb::queue_declare:
            return queue_declare(request);
        case Verb::queue_delete:
            return queue_delete(request);
        case Verb::queue_purge:
            return queue_purge(request);
        case Verb::queue_move:
            return queue_move(request);
        case Verb::queue_drop:
            return queue_drop(request);
        case Verb::exchange_declare:
            return exchange_declare(request);
        case Verb::exchange_delete:
            return exchange_delete(request);
        case Verb::bind:
            return bind(request, false);
        case Verb::unbind:
            return bind(request, true);
        default:
            return take_policy(verb, request);
    }
}

bool NativeSession::queue_declare(Request& request) {
    std::string_view name;
    engine::QueueOptions options;
    PolicyFields policy;
    std::vector<Option> known{
        {.name = "durable", .flag = &options.durable},
        {.name = "exclusive", .flag = &options.exclusive},
        {.name = "auto_delete", .flag = &options.auto_delete},
        {.name = "passive", .flag = &options.passive},
        {.name = "check", .flag = &options.check},
        {.name = "ordered", .flag = &options.ordered},
        {.name = "single_active", .flag = &options.single_active},
        {.name = "lease_ms",
         .number = &options.lease_ms,
         .least = limits::lease_ms_min,
         .most = limits::lease_ms_max},
    };
    policy.add_options(known, true);
    std::string complaint;
    if (request.count < 4 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (complaint.empty()) complaint = policy.fill(options.policy);
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (!options.passive && !options.check &&
        !may(request, engine::Right::configure, name.empty() ? generated_name : name)) {
        return true;
    }
    const engine::QueuePolicy& set = options.policy;
    if (set.dead_letters() &&
        !may(request, engine::Right::write,
             set.dead_letter_exchange.empty() ? set.dead_letter_key : set.dead_letter_exchange)) {
        return true;
    }
    hub_.engine.declare_queue(id_, request.id, name, options, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::queue_delete(Request& request) {
    std::string_view name;
    bool if_unused = false;
    bool if_empty = false;
    const Option known[] = {{.name = "if_unused", .flag = &if_unused},
                            {.name = "if_empty", .flag = &if_empty}};
    std::string complaint;
    if (request.count < 4 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    hub_.engine.delete_queue(id_, request.id, name, if_unused, if_empty, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::queue_purge(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    hub_.engine.purge_queue(id_, request.id, name, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::queue_move(Request& request) {
    std::string_view name;
    std::string_view target;
    std::uint64_t position = 0;
    std::uint64_t count = limits::move_messages_max;
    bool parked = false;
    const Option known[] = {
        {.name = "position", .number = &position, .least = 1},
        {.name = "count", .number = &count, .least = 1, .most = limits::move_messages_max},
        {.name = "parked", .flag = &parked}};
    std::string complaint;
    if (request.count < 5 || !request.fields.read_str(name) || !request.fields.read_str(target) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    // Back to where they died may be anywhere.
    const engine::Right needed = target.empty() ? engine::Right::admin : engine::Right::write;
    if (!may(request, needed, target)) return true;
    hub_.engine.move_messages(id_, request.id, name, target, position, count, parked, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::queue_drop(Request& request) {
    std::string_view name;
    std::string_view message_id;
    std::uint64_t position = 0;
    if (request.count < 4 || !request.fields.read_str(name)) return false;
    if (request.fields.next_is_str() && request.fields.read_str(message_id)) {
        hub_.engine.cancel(id_, request.id, name, message_id, hub_.now());
        await_answer(request.id);
        return true;
    }
    if (!request.fields.read_uint(position)) return false;
    hub_.engine.drop_message(id_, request.id, name, position, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::exchange_declare(Request& request) {
    std::string_view name;
    std::string_view type;
    std::string_view hash;
    engine::ExchangeOptions options;
    const Option known[] = {{.name = "durable", .flag = &options.durable},
                            {.name = "auto_delete", .flag = &options.auto_delete},
                            {.name = "internal", .flag = &options.internal},
                            {.name = "passive", .flag = &options.passive},
                            {.name = "hash", .text = &hash}};
    std::string complaint;
    if (request.count < 5 || !request.fields.read_str(name) || !request.fields.read_str(type) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    const std::optional<engine::ExchangeType> known_type = exchange_type(type);
    if (!known_type) {
        return refuse(request, Code::bad_option,
                      "an exchange's type is direct, topic, fanout, headers or consistent-hash");
    }
    if (!read_hash(hash, options)) {
        return refuse(request, Code::bad_option,
                      "hash is routing_key, ordering_key or header:NAME");
    }
    if (!options.passive && !may(request, engine::Right::configure, name)) return true;
    hub_.engine.declare_exchange(id_, request.id, name, *known_type, options);
    await_answer(request.id);
    return true;
}

bool NativeSession::exchange_delete(Request& request) {
    std::string_view name;
    bool if_unused = false;
    const Option known[] = {{.name = "if_unused", .flag = &if_unused}};
    std::string complaint;
    if (request.count < 4 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    hub_.engine.delete_exchange(id_, request.id, name, if_unused);
    await_answer(request.id);
    return true;
}

bool NativeSession::bind(Request& request, bool unbind) {
    std::string_view source;
    std::string_view destination;
    std::string_view kind;
    std::string_view key;
    engine::Binding binding;
    wire::Cursor& fields = request.fields;
    if (request.count < 7 || !fields.read_str(source) || !fields.read_str(destination) ||
        !fields.read_str(kind) || !fields.read_str(key) ||
        !read_arguments(fields, binding.arguments)) {
        return false;
    }
    if (kind != "queue" && kind != "exchange") {
        return refuse(request, Code::bad_option, "a binding's kind is queue or exchange");
    }
    if (source.size() > limits::name_bytes_max || destination.size() > limits::name_bytes_max) {
        return refuse(request, Code::bad_name, {});
    }
    if (key.size() > limits::routing_key_bytes_max) {
        return refuse(request, Code::bad_option, "a routing key has at most 255 bytes");
    }
    if (!may(request, engine::Right::write, destination)) return true;
    binding.source = source;
    binding.destination = destination;
    binding.to_exchange = kind == "exchange";
    binding.key = key;
    if (unbind) {
        hub_.engine.unbind(id_, request.id, binding);
    } else {
        hub_.engine.bind(id_, request.id, binding);
    }
    await_answer(request.id);
    return true;
}

}  // namespace ferry::server::native
