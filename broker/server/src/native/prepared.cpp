// Prepared messages: prepare, then submit or drop; docs/checkback.md.

#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "list_page.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

std::string_view unasked_name(engine::Unasked unasked) {
    switch (unasked) {
        case engine::Unasked::none:
            return "";
        case engine::Unasked::no_queue:
            return "no_queue";
        case engine::Unasked::queue_full:
            return "queue_full";
        case engine::Unasked::nobody_there:
            return "nobody_there";
    }
    return "";
}

// With `whole` the message too, which a listing has no room for.
void write_prepared(wire::Encoder& out, const engine::PreparedView& view, bool whole) {
    const engine::Prepared& p = *view.prepared;
    wire::Cursor cursor(p.message);
    wire::MessageView message;
    const bool readable = wire::read_message(cursor, message);
    out.map(whole ? 15 : 14).str("id").str(p.id).str("producer").str(p.producer);
    out.str("check_queue").str(p.check_queue).str("check_after_ms").uint(p.check_after_ms);
    out.str("max_checks").uint(p.max_checks).str("prepared_ms").uint(p.prepared_ms);
    out.str("next_check_ms").uint(view.next_check_ms).str("checks").uint(p.checks);
    out.str("asked").uint(p.asked).str("asked_ms").uint(p.asked_ms);
    out.str("parked").boolean(p.parked).str("unasked").str(unasked_name(view.unasked));
    out.str("exchange").str(readable ? message.exchange : "");
    out.str("routing_key").str(readable ? message.routing_key : "");
    if (whole) out.str("message").raw(p.message);
}

}  // namespace

bool NativeSession::take_prepared(Verb verb, Request& request) {
    switch (verb) {
        case Verb::prepare:
            return prepare(request);
        case Verb::prepared_decide:
            return prepared_decide(request);
        case Verb::prepared_list:
            return prepared_list(request);
        case Verb::prepared_show:
            return prepared_show(request);
        default:
            return take_lock(verb, request);
    }
}

bool NativeSession::prepare(Request& request) {
    std::string_view id;
    std::string_view queue;
    std::string_view producer = client_name_;
    std::uint64_t after = 0;
    std::uint64_t checks = 0;
    const Option known[] = {{.name = "check_queue", .text = &queue},
                            {.name = "producer", .text = &producer},
                            {.name = "check_after_ms", .number = &after},
                            {.name = "max_checks", .number = &checks, .most = UINT32_MAX}};
    std::string complaint;
    if (request.count < 5 || request.id == 0 || !request.fields.read_str(id) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    wire::MessageView message;
    if (!wire::read_message(request.fields, message)) return false;
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (!may_publish(request, message) || !may(request, engine::Right::write, queue)) return true;
    engine::Prepared wanted;
    wanted.id = id.substr(0, limits::prepared_id_bytes_max + 1);
    wanted.producer = producer.substr(0, limits::short_text_bytes_max + 1);
    wanted.check_queue = queue.substr(0, limits::name_bytes_max + 1);
    wanted.check_after_ms = after;
    wanted.max_checks = static_cast<std::uint32_t>(checks);
    wanted.message.assign(message.whole.begin(), message.whole.end());
    if (!hub_.engine.prepare(id_, request.id, std::move(wanted), hub_.now())) return false;
    await_answer(request.id);
    published(1, message.whole.size());
    if (hub_.behind()) link_.pause(Pause::behind);
    return true;
}

bool NativeSession::prepared_decide(Request& request) {
    std::string_view id;
    std::string_view what;
    if (request.count < 4 || request.id == 0 || !request.fields.read_str(id) ||
        !request.fields.read_str(what)) {
        return false;
    }
    if (!may_decide(request, id)) return true;
    if (what == "submit") {
        hub_.engine.submit(id_, request.id, id, hub_.now());
    } else if (what == "drop") {
        hub_.engine.drop_prepared(id_, request.id, id, hub_.now());
    } else if (what == "resume") {
        hub_.engine.resume_prepared(id_, request.id, id, hub_.now());
    } else {
        return refuse(request, Code::bad_option, "decide submit, drop or resume");
    }
    await_answer(request.id);
    return true;
}

bool NativeSession::prepared_list(Request& request) {
    bool parked = false;
    const Option known[] = {{.name = "parked", .flag = &parked}};
    std::string complaint;
    if (request.count < 5) return false;
    const auto list = read_list_request(request.fields, request.count);
    if (!list || !read_options(request.fields, known, complaint)) return false;
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    write_page(link_.out(), request.id, "prepared",
               hub_.engine.prepared(list->after, list->wanted(), parked), list->most,
               hub_.config.frame_bytes_max,
               [](wire::Encoder& out, const engine::PreparedView& view) {
                   write_prepared(out, view, false);
               });
    link_.sent();
    return true;
}

bool NativeSession::prepared_show(Request& request) {
    std::string_view id;
    if (request.count < 3 || !request.fields.read_str(id)) return false;
    if (!may_decide(request, id)) return true;
    const auto view = hub_.engine.prepared(id);
    if (!view) return refuse(request, Code::no_such_prepared, {});
    const bool whole =
        view->prepared->message.size() + page_reserve_bytes <= hub_.config.frame_bytes_max;
    const std::size_t mark = wire::begin_frame(link_.out(), Verb::ok, 3);
    wire::Encoder out(link_.out());
    out.uint(request.id);
    write_prepared(out, *view, whole);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

}  // namespace ferry::server::native
