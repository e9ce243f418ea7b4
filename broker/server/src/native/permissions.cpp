// What the user of a connection may do. Every request comes through let_through(), which holds what
// its verb demands (engine::demand_of) against the user's rights; names that only a handler can
// find come back by may(). Messages are looked at by the engine, where it finds their route. All of
// them ask engine::permits().

#include "permissions.hpp"

#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "sign_in.hpp"

namespace ferry::server::native {

using engine::Demand;
using engine::Right;
using wire::Code;
using wire::Verb;

namespace {

constexpr std::uint64_t denied_every_ns = 1'000'000'000;

/// Operations that are written down, by name; empty: not this one.
std::string_view audited(Verb verb) {
    switch (verb) {
        case Verb::queue_declare:
            return "queue_declare";
        case Verb::queue_delete:
            return "queue_delete";
        case Verb::queue_purge:
            return "queue_purge";
        case Verb::queue_move:
            return "queue_move";
        case Verb::queue_drop:
            return "queue_drop";
        case Verb::exchange_declare:
            return "exchange_declare";
        case Verb::exchange_delete:
            return "exchange_delete";
        case Verb::bind:
            return "bind";
        case Verb::unbind:
            return "unbind";
        case Verb::policy_set:
            return "policy_set";
        case Verb::policy_delete:
            return "policy_delete";
        case Verb::schedule_set:
            return "schedule_set";
        case Verb::schedule_delete:
            return "schedule_delete";
        case Verb::schedule_pause:
            return "schedule_pause";
        case Verb::backup:
            return "backup";
        default:
            return {};
    }
}

}  // namespace

bool NativeSession::let_through(Verb verb, const Request& request) {
    const Demand demand = engine::demand_of(verb);
    const bool named = demand.name == Demand::Name::first || demand.name == Demand::Name::second;
    std::string_view name;
    wire::Cursor fields = request.fields;
    if (demand.name == Demand::Name::second && !fields.skip()) return true;
    // Where a name must be, what is none is malformed, and its handler says so.
    if (!fields.read_str(name)) {
        if (named) return true;
        name = {};
    }
    if (verb == Verb::queue_declare && name.empty()) name = generated_name;
    if (demand.name != Demand::Name::inside && !may(request, demand.right, name)) return false;
    audit_operation(verb, name);
    return true;
}

bool NativeSession::may(const Request& request, Right right, std::string_view name) {
    if (rights_ == nullptr || engine::permits(*rights_, right, name)) return true;
    deny(request, right, name);
    return false;
}

bool NativeSession::may_publish(const Request& request, const wire::MessageView& message) {
    return may(request, Right::write,
               message.exchange.empty() ? message.routing_key : message.exchange);
}

// Whoever may publish a message may decide about it. What is not there is told by its handler.
bool NativeSession::may_decide(const Request& request, std::string_view prepared_id) {
    if (rights_ == nullptr || rights_->admin) return true;
    const auto view = hub_.engine.prepared(prepared_id);
    if (!view) return true;
    wire::Cursor cursor(view->prepared->message);
    wire::MessageView message;
    return !wire::read_message(cursor, message) || may_publish(request, message);
}

void NativeSession::deny(const Request& request, Right right, std::string_view name) {
    const std::string text = engine::lack_text(*rights_, right, name);
    note_denied(name, text);
    refuse(request, Code::permission_denied, text);
}

// A client that tries without end fills no log.
void NativeSession::note_denied(std::string_view object, std::string_view text) {
    ++hub_.figures.permissions_denied;
    const Instant now = hub_.now().mono;
    if (denied_noted_.ns != 0 && now.ns - denied_noted_.ns < denied_every_ns) return;
    denied_noted_ = now;
    hub_.audit({.user = rights_ == nullptr ? std::string_view{} : rights_->user,
                .from = link_.peer(),
                .action = "permission",
                .object = object,
                .result = "denied",
                .detail = text});
}

void NativeSession::audit_operation(Verb verb, std::string_view name) {
    const std::string_view action = audited(verb);
    if (action.empty()) return;
    hub_.audit({.user = rights_->user,
                .from = link_.peer(),
                .action = action,
                .object = name,
                .result = "allowed"});
}

}  // namespace ferry::server::native
