// Messages that come again and again.

#include "ferry/schedule/schedule.hpp"

#include <algorithm>

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

constexpr std::uint32_t next_times_max = 1000;

// With `whole` the message too, which a listing has no room for.
void write_schedule(wire::Encoder& out, const engine::Schedule& s, bool whole) {
    out.map(whole ? 11 : 10).str("name").str(s.name).str("cron").str(s.cron);
    out.str("zone").str(s.zone);
    out.str("missed").str(s.missed == engine::Missed::skip ? "skip" : "once");
    out.str("paused").boolean(s.paused).str("next_ms").uint(s.next_ms);
    out.str("last_ms").uint(s.last_ms).str("fired").uint(s.fired);
    out.str("skipped").uint(s.skipped).str("reached").uint(s.reached);
    if (whole) out.str("message").raw(s.message);
}

}  // namespace

bool NativeSession::take_schedule(Verb verb, Request& request) {
    switch (verb) {
        case Verb::schedule_set:
            return schedule_set(request);
        case Verb::schedule_delete:
            return schedule_delete(request);
        case Verb::schedule_list:
            return schedule_list(request);
        case Verb::schedule_show:
            return schedule_show(request);
        case Verb::schedule_pause:
            return schedule_pause(request);
        case Verb::schedule_next:
            return schedule_next(request);
        default:
            return take_prepared(verb, request);
    }
}

bool NativeSession::schedule_set(Request& request) {
    std::string_view name;
    std::string_view cron;
    std::string_view zone = "UTC";
    std::string_view missed = "once";
    bool check = false;
    engine::Schedule schedule;
    const Option known[] = {{.name = "cron", .text = &cron},
                            {.name = "zone", .text = &zone},
                            {.name = "missed", .text = &missed},
                            {.name = "paused", .flag = &schedule.paused},
                            {.name = "check", .flag = &check}};
    std::string complaint;
    if (request.count < 5 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    wire::MessageView message;
    if (!wire::read_message(request.fields, message)) return false;
    if (complaint.empty() && missed != "once" && missed != "skip")
        complaint = "missed is once or skip";
    if (complaint.empty()) complaint = schedule::complaint_of(cron, zone);
    if (complaint.empty() && message.whole.size() > limits::schedule_message_bytes_max)
        complaint = "the message of a schedule has at most 65536 bytes";
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (!may_publish(request, message)) return true;
    schedule.name = name.substr(0, limits::name_bytes_max + 1);
    schedule.cron = cron;
    schedule.zone = zone;
    schedule.missed = missed == "skip" ? engine::Missed::skip : engine::Missed::once;
    schedule.message.assign(message.whole.begin(), message.whole.end());
    if (!schedule.paused)
        schedule.next_ms = schedule::next_after(cron, zone, hub_.now().wall_ms).value_or(0);
    hub_.engine.set_schedule(id_, request.id, std::move(schedule), check, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::schedule_delete(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    hub_.engine.delete_schedule(id_, request.id, name, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::schedule_pause(Request& request) {
    std::string_view name;
    bool paused = false;
    if (request.count < 4 || !request.fields.read_str(name) || !request.fields.read_bool(paused))
        return false;
    std::uint64_t next = 0;
    if (const engine::Schedule* s = hub_.engine.schedule(name)) {
        const std::uint64_t from = std::max(s->last_ms, hub_.now().wall_ms);
        if (!paused) next = schedule::next_after(s->cron, s->zone, from).value_or(0);
    }
    hub_.engine.pause_schedule(id_, request.id, name, paused, next, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::schedule_list(Request& request) {
    const auto list = read_list_request(request.fields, request.count);
    if (!list) return false;
    write_page(link_.out(), request.id, "schedules",
               hub_.engine.schedules(list->after, list->wanted()), list->most,
               hub_.config.frame_bytes_max,
               [](wire::Encoder& out, const engine::Schedule* schedule) {
                   write_schedule(out, *schedule, false);
               });
    link_.sent();
    return true;
}

bool NativeSession::schedule_show(Request& request) {
    std::string_view name;
    if (request.count < 3 || !request.fields.read_str(name)) return false;
    const engine::Schedule* schedule = hub_.engine.schedule(name);
    if (schedule == nullptr) return refuse(request, Code::no_such_schedule, {});
    if (schedule->message.size() + page_reserve_bytes > hub_.config.frame_bytes_max)
        return refuse(request, Code::limit_reached, "its message does not fit into one frame");
    const std::size_t mark = wire::begin_frame(link_.out(), Verb::ok, 3);
    wire::Encoder out(link_.out());
    out.uint(request.id);
    write_schedule(out, *schedule, true);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

bool NativeSession::schedule_next(Request& request) {
    std::string_view cron;
    std::string_view zone;
    std::uint64_t from_ms = 0;
    std::uint64_t count = 0;
    wire::Cursor& fields = request.fields;
    if (request.count < 6 || !fields.read_str(cron) || !fields.read_str(zone) ||
        !fields.read_uint(from_ms) || !fields.read_uint(count)) {
        return false;
    }
    if (const std::string wrong = schedule::complaint_of(cron, zone); !wrong.empty())
        return refuse(request, Code::bad_option, wrong);
    if (count == 0 || count > next_times_max)
        return refuse(request, Code::bad_option, "ask for 1 to 1000 times");
    if (from_ms == 0) from_ms = hub_.now().wall_ms;
    std::vector<std::uint64_t> times;
    while (times.size() < count) {
        const auto next = schedule::next_after(cron, zone, from_ms);
        if (!next) break;
        times.push_back(from_ms = *next);
    }
    const std::size_t mark = begin_ok(link_.out(), request.id, 1);
    wire::Encoder out(link_.out());
    out.str("times").array(static_cast<std::uint32_t>(times.size()));
    for (const std::uint64_t time : times) out.uint(time);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

}  // namespace ferry::server::native
