// Named locks; docs/locks.md.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "list_page.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

void write_parties(wire::Encoder& out, const std::vector<engine::LockPartyView>& parties) {
    out.array(static_cast<std::uint32_t>(parties.size()));
    for (const engine::LockPartyView& party : parties) {
        out.map(5).str("holder").str(party.holder).str("session").uint(party.session);
        out.str("token").uint(party.token).str("ttl_ms").uint(party.ttl_ms);
        out.str("left_ms").uint(party.left_ms);
    }
}

// With `whole` who holds it and who waits.
void write_lock(wire::Encoder& out, const engine::LockView& lock, bool whole) {
    out.map(whole ? 8 : 6).str("name").str(lock.name).str("permits").uint(lock.permits);
    out.str("holding").uint(lock.holding).str("waiting").uint(lock.waiting);
    out.str("delayed").uint(lock.delayed).str("delay_left_ms").uint(lock.delay_left_ms);
    if (!whole) return;
    out.str("holders");
    write_parties(out, lock.holders);
    out.str("waiters");
    write_parties(out, lock.waiters);
}

}  // namespace

bool NativeSession::take_lock(Verb verb, Request& request) {
    switch (verb) {
        case Verb::reply:
            return reply(request);
        case Verb::service:
            return service(request);
        case Verb::service_list:
            return service_list(request);
        case Verb::lock:
            return lock(request);
        case Verb::unlock:
            return unlock(request);
        case Verb::lock_renew:
            return lock_renew(request);
        case Verb::lock_list:
            return lock_list(request);
        case Verb::lock_show:
            return lock_show(request);
        default:
            return take_query(verb, request);
    }
}

bool NativeSession::lock(Request& request) {
    engine::LockCommand command;
    command.session = id_;
    command.request = request.id;
    command.delay_ms = limits::lock_delay_ms_default;
    const Option known[] = {
        {.name = "wait", .flag = &command.wait},
        {.name = "ttl_ms",
         .number = &command.ttl_ms,
         .least = limits::lock_ttl_ms_min,
         .most = limits::lock_ttl_ms_max},
        {.name = "delay_ms", .number = &command.delay_ms, .most = limits::lock_delay_ms_max},
        {.name = "permits",
         .number = &command.permits,
         .least = 1,
         .most = limits::lock_permits_max},
    };
    std::string complaint;
    if (request.count < 5 || request.id == 0 || !request.fields.read_str(command.name) ||
        !request.fields.read_str(command.holder) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    hub_.engine.lock(command, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::unlock(Request& request) {
    std::string_view name;
    std::string_view holder;
    std::uint64_t token = 0;
    bool force = false;
    const Option known[] = {{.name = "force", .flag = &force}};
    std::string complaint;
    if (request.count < 6 || request.id == 0 || !request.fields.read_str(name) ||
        !request.fields.read_str(holder) || !request.fields.read_uint(token) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (force && !may(request, engine::Right::configure, name)) return true;
    if (force) {
        hub_.audit({.user = rights_ == nullptr ? std::string_view{} : rights_->user,
                    .from = link_.peer(),
                    .action = "lock_force",
                    .object = name,
                    .result = "allowed"});
        hub_.note(LogLevel::warn, "lock " + std::string(name) + " is taken from its holders by " +
                                      client_name_ + " (session " + std::to_string(id_) + ")");
        hub_.engine.force_unlock(id_, request.id, name, token, hub_.now());
    } else {
        hub_.engine.unlock(id_, request.id, name, holder, token, hub_.now());
    }
    await_answer(request.id);
    return true;
}

bool NativeSession::lock_renew(Request& request) {
    std::string_view name;
    std::string_view holder;
    std::uint64_t token = 0;
    if (request.count < 5 || request.id == 0 || !request.fields.read_str(name) ||
        !request.fields.read_str(holder) || !request.fields.read_uint(token)) {
        return false;
    }
    hub_.engine.renew_lock(id_, request.id, name, holder, token, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::lock_list(Request& request) {
    const auto list = read_list_request(request.fields, request.count);
    if (!list) return false;
    write_page(link_.out(), request.id, "locks",
               hub_.engine.locks(list->after, list->wanted(), hub_.now()), list->most,
               hub_.config.frame_bytes_max, [](wire::Encoder& out, const engine::LockView& view) {
                   write_lock(out, view, false);
               });
    link_.sent();
    return true;
}

bool NativeSession::lock_show(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    const auto view = hub_.engine.lock(name, hub_.now());
    if (!view) return refuse(request, Code::no_such_lock, {});
    const std::size_t mark = wire::begin_frame(link_.out(), Verb::ok, 3);
    wire::Encoder out(link_.out());
    out.uint(request.id);
    write_lock(out, *view, true);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

}  // namespace ferry::server::native
