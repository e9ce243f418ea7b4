// Subscriptions, pulls and what becomes of deliveries.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

constexpr std::string_view window_text = "a window has at most 100000 messages and 268435456 bytes";

bool window_fits(std::uint64_t messages, std::uint64_t bytes) {
    return messages <= limits::window_messages_max && bytes <= limits::window_bytes_max;
}

}  // namespace

bool NativeSession::take_consuming(Verb verb, Request& request) {
    switch (verb) {
        case Verb::subscribe:
            return subscribe(request);
        case Verb::pull:
            return pull(request);
        case Verb::nack:
            return nack(request);
        case Verb::extend:
            return extend(request);
        case Verb::credit:
            return credit(request);
        case Verb::unsubscribe:
            return unsubscribe(request);
        default:
            return take_topology(verb, request);
    }
}

bool NativeSession::subscribe(Request& request) {
    std::uint64_t subscription = 0;
    std::string_view queue;
    engine::SubscribeOptions options;
    std::string_view member;
    const Option known[] = {
        {.name = "no_ack", .flag = &options.no_ack},
        {.name = "exclusive", .flag = &options.exclusive},
        {.name = "lease_ms",
         .number = &options.lease_ms,
         .least = limits::lease_ms_min,
         .most = limits::lease_ms_max},
        {.name = "member", .text = &member},
        {.name = "weight", .number = &options.weight, .least = 1, .most = limits::ring_weight_max},
    };
    std::string complaint;
    wire::Cursor& fields = request.fields;
    if (request.count < 7 || !fields.read_uint(subscription) || !fields.read_str(queue) ||
        !fields.read_uint(options.window_messages) || !fields.read_uint(options.window_bytes) ||
        !read_options(fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (!window_fits(options.window_messages, options.window_bytes)) {
        return refuse(request, Code::bad_option, window_text);
    }
    options.member = member;
    options.some_at_a_time = deliveries_.some_at_a_time();
    hub_.engine.subscribe(id_, request.id, subscription, queue, options, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::pull(Request& request) {
    std::uint64_t subscription = 0;
    std::string_view queue;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    bool no_ack = false;
    const Option known[] = {{.name = "no_ack", .flag = &no_ack}};
    std::string complaint;
    wire::Cursor& fields = request.fields;
    if (request.count < 7 || !fields.read_uint(subscription) || !fields.read_str(queue) ||
        !fields.read_uint(messages) || !fields.read_uint(bytes) ||
        !read_options(fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (messages == 0 || !window_fits(messages, bytes)) {
        return refuse(request, Code::bad_option, "a pull takes 1 to 100000 messages");
    }
    hub_.engine.pull(id_, request.id, subscription, queue, messages, bytes, no_ack, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::ack(Request& request) {
    std::uint64_t subscription = 0;
    if (request.count < 4 || !request.fields.read_uint(subscription) ||
        !read_ranges(request.fields, hub_.ranges)) {
        return false;
    }
    hub_.engine.ack(id_, request.id, subscription, hub_.ranges, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::nack(Request& request) {
    std::uint64_t subscription = 0;
    bool requeue = false;
    if (request.count < 5 || !request.fields.read_uint(subscription) ||
        !read_ranges(request.fields, hub_.ranges) || !request.fields.read_bool(requeue)) {
        return false;
    }
    std::optional<std::uint64_t> delay;
    if (request.count > 5 && !request.fields.read_nil()) {
        std::uint64_t delay_ms = 0;
        if (!request.fields.read_uint(delay_ms)) return false;
        if (delay_ms > limits::retry_delay_ms_max) {
            return refuse(request, Code::bad_option, "a delay is 0 to 604800000 ms (7 days)");
        }
        delay = delay_ms;
    }
    hub_.engine.nack(id_, request.id, subscription, hub_.ranges, requeue, hub_.now(), delay);
    await_answer(request.id);
    return true;
}

bool NativeSession::extend(Request& request) {
    std::uint64_t subscription = 0;
    std::uint64_t lease_ms = 0;
    if (request.count < 5 || !request.fields.read_uint(subscription) ||
        !read_ranges(request.fields, hub_.ranges) || !request.fields.read_uint(lease_ms)) {
        return false;
    }
    if (lease_ms < limits::lease_ms_min || lease_ms > limits::lease_ms_max) {
        return refuse(request, Code::bad_option, "a lease lasts from 1 second to 7 days");
    }
    hub_.engine.extend(id_, request.id, subscription, hub_.ranges, lease_ms, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::credit(Request& request) {
    std::uint64_t subscription = 0;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    if (request.count < 5 || !request.fields.read_uint(subscription) ||
        !request.fields.read_uint(messages) || !request.fields.read_uint(bytes)) {
        return false;
    }
    if (!window_fits(messages, bytes)) {
        return refuse(request, Code::bad_option, window_text);
    }
    hub_.engine.credit(id_, request.id, subscription, messages, bytes);
    await_answer(request.id);
    return true;
}

bool NativeSession::unsubscribe(Request& request) {
    std::uint64_t subscription = 0;
    if (request.count < 3 || !request.fields.read_uint(subscription)) return false;
    hub_.engine.unsubscribe(id_, request.id, subscription, hub_.now());
    await_answer(request.id);
    return true;
}

}  // namespace ferry::server::native
