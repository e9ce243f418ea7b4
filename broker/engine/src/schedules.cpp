// Messages that come again and again.
//
//   1 a schedule's time comes: the driver is asked when it is due next (ScheduleDue), as calendars
//     and time zones are not known here
//   2 with the answer (schedule_due) one record publishes the message and has the next time
//
// A crash before 2 begins again at 1, for the same time; behind it that time is settled. So each
// due time has one message, whatever happens in between.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
// `how` of a record schedule_moved.
constexpr std::uint8_t moved_planned = 0;     // another time, nothing else
constexpr std::uint8_t moved_skipped = 1;     // this time is settled without a message
constexpr std::uint8_t moved_unroutable = 2;  // its message reached no queue
constexpr std::uint64_t alarm_ahead_ns_max = 24ULL * 3600 * 1000 * ns_per_ms;
constexpr std::size_t zone_bytes_max = 64;
constexpr std::size_t name_bytes_max = 200;                  // it begins the id of its messages
constexpr std::uint64_t last_date_ms = 250'000'000'000'000;  // in the year 9892

bool read_template(Bytes bytes, wire::Message& out) {
    wire::Cursor cursor(bytes);
    wire::MessageView view;
    if (!wire::read_message(cursor, view) || !cursor.at_end()) return false;
    if (view.properties.size() > 1 && !wire::read_properties(view.properties, out.properties))
        return false;
    out.exchange = view.exchange;
    out.routing_key = view.routing_key;
    out.payload = as_text(view.payload);
    return true;
}

void two_digits(std::string& out, std::uint64_t value) {
    out += static_cast<char>('0' + value / 10 % 10);
    out += static_cast<char>('0' + value % 10);
}

// "2026-11-21T03:00:00Z". Days to dates as Howard Hinnant describes them in
// "chrono-Compatible Low-Level Date Algorithms".
std::string time_text(std::uint64_t ms) {
    const std::uint64_t seconds = ms / 1000;
    const std::uint64_t shifted = seconds / 86'400 + 719'468;  // days since 0000-03-01
    const std::uint64_t era = shifted / 146'097;
    const std::uint64_t day_of_era = shifted % 146'097;
    const std::uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const std::uint64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::uint64_t month_index = (5 * day_of_year + 2) / 153;
    const std::uint64_t month = month_index < 10 ? month_index + 3 : month_index - 9;
    std::string out = std::to_string(year_of_era + era * 400 + (month <= 2 ? 1 : 0)) + "-";
    two_digits(out, month);
    out += '-';
    two_digits(out, day_of_year - (153 * month_index + 2) / 5 + 1);
    out += 'T';
    two_digits(out, seconds / 3600 % 24);
    out += ':';
    two_digits(out, seconds / 60 % 60);
    out += ':';
    two_digits(out, seconds % 60);
    return out + "Z";
}

// The message of one due time.
void mark_occurrence(const Schedule& schedule, wire::Message& message) {
    message.properties.id = schedule.name + ":" + time_text(schedule.next_ms);
    message.properties.headers.emplace_back("ferry-scheduled-for",
                                            static_cast<std::int64_t>(schedule.next_ms));
}

std::string complaint_of(const Schedule& s) {
    if (!wire::valid_name(s.name) || s.name.size() > name_bytes_max)
        return "a schedule's name has 1 to 200 of a-z A-Z 0-9 . _ -";
    if (s.cron.empty() || s.cron.size() > limits::short_text_bytes_max)
        return "a cron expression has 1 to 255 bytes";
    if (s.zone.empty() || s.zone.size() > zone_bytes_max) return "a time zone has 1 to 64 bytes";
    if (s.next_ms > last_date_ms || s.last_ms > last_date_ms) return "this date is too far away";
    if (s.message.size() > limits::schedule_message_bytes_max)
        return "the message of a schedule has at most 65536 bytes";
    wire::Message message;
    if (!read_template(s.message, message)) return "the message is malformed";
    if (message.properties.deliver_at_ms != 0 || message.properties.expires_at_ms != 0)
        return "a message that comes again has no deliver at and no expires at";
    mark_occurrence(s, message);
    return wire::check_message(message);
}

void put_schedule(std::vector<std::byte>& out, const Schedule& s) {
    put_text(out, s.name);
    put_text(out, s.cron);
    put_text(out, s.zone);
    put_u8(out, static_cast<std::uint8_t>((s.missed == Missed::skip ? 1 : 0) | (s.paused ? 2 : 0)));
    put_varint(out, s.next_ms);
    put_varint(out, s.last_ms);
    put_varint(out, s.fired);
    put_varint(out, s.skipped);
    put_varint(out, s.reached);
    put_text(out, as_text(s.message));
}

Schedule get_schedule(Reader& in) {
    Schedule s;
    s.name = in.text();
    s.cron = in.text();
    s.zone = in.text();
    const std::uint8_t flags = in.u8();
    s.missed = (flags & 1U) != 0 ? Missed::skip : Missed::once;
    s.paused = (flags & 2U) != 0;
    s.next_ms = in.varint();
    s.last_ms = in.varint();
    s.fired = in.varint();
    s.skipped = in.varint();
    s.reached = in.varint();
    const Bytes message = as_bytes(in.text());
    s.message.assign(message.begin(), message.end());
    if (in.ok() && !complaint_of(s).empty()) in.reject();
    return s;
}

}  // namespace

// ---- which is due ----

void Engine::State::arm_schedule(const Schedule& s, std::uint64_t next_ms) {
    schedule_alarms.erase({s.next_ms, s.name});
    if (next_ms != 0 && !s.paused) schedule_alarms.insert({next_ms, s.name});
}

void Engine::State::keep_schedule(Schedule schedule) {
    const auto at = schedules.find(schedule.name);
    if (at != schedules.end()) schedule_alarms.erase({at->second.next_ms, schedule.name});
    schedules_asked.erase(schedule.name);
    Schedule& kept = schedules[schedule.name];
    kept = std::move(schedule);
    arm_schedule(kept, kept.next_ms);
}

void Engine::State::drop_schedule(const std::string& name) {
    const auto at = schedules.find(name);
    schedule_alarms.erase({at->second.next_ms, name});
    schedules_asked.erase(name);
    schedules.erase(at);
}

void Engine::State::ask_schedule(const Schedule& s, std::uint64_t after_ms) {
    if (!schedules_asked.insert(s.name).second) return;
    effects.push_back(ScheduleDue{s.name, s.cron, s.zone, s.next_ms, after_ms});
}

void Engine::State::ask_due_schedules(Now now) {
    if (disk_full) return;
    for (const auto& [next, name] : schedule_alarms) {
        if (next > now.wall_ms) break;
        // Of times that were missed the first one counts for all.
        const bool late = now.wall_ms - next > limits::schedule_grace_ms;
        ask_schedule(schedules.find(name)->second, late ? now.wall_ms : next);
    }
}

// The wall clock was put back, or is another one than before a restart. What was settled stays so;
// what was counted from a time that is in the future again is counted anew.
void Engine::State::replan_schedules(std::uint64_t wall_ms) {
    for (const auto& [next, name] : schedule_alarms) {
        const Schedule& s = schedules.find(name)->second;
        if (next > wall_ms) ask_schedule(s, std::max(s.last_ms, wall_ms));
    }
}

std::uint64_t Engine::State::next_schedule_ns() const {
    if (disk_full) return UINT64_MAX;
    for (const auto& [next, name] : schedule_alarms) {
        if (schedules_asked.count(name) != 0) continue;
        const std::int64_t mono_ms = static_cast<std::int64_t>(next) - wall_offset;
        const auto due = static_cast<std::uint64_t>(std::max<std::int64_t>(mono_ms, 0));
        // The alarm may come a moment before the wall clock is there.
        return std::max<std::uint64_t>(1,
                                       std::min(due * ns_per_ms, last_now.ns + alarm_ahead_ns_max));
    }
    return UINT64_MAX;
}

// ---- a time is settled ----

void Engine::State::settle_schedule(Schedule& s, std::uint64_t due_ms, std::uint64_t next_ms) {
    arm_schedule(s, next_ms);
    s.last_ms = due_ms;
    s.next_ms = next_ms;
}

void Engine::State::move_schedule(Schedule& s, std::uint8_t how, std::uint64_t next_ms) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::schedule_moved));
    put_text(body, s.name);
    put_u8(body, how);
    put_varint(body, next_ms);
    append(body);
    if (how == moved_planned) {
        arm_schedule(s, next_ms);
        s.next_ms = next_ms;
        return;
    }
    ++s.skipped;
    if (how == moved_skipped) ++totals.schedule_skips;
    if (how == moved_unroutable) ++totals.schedule_unroutable;
    settle_schedule(s, s.next_ms, next_ms);
}

// Queues that refuse publishes when they are full refuse a schedule's too.
bool Engine::State::has_room(const Route& route, std::size_t bytes) {
    ++plan_number;
    PublishPlan plan;
    plan.bytes = static_cast<std::uint32_t>(bytes);
    take_room(route, plan);
    return plan.code == Code::ok;
}

void Engine::State::fire_schedule(Schedule& s, std::uint64_t next_ms, Now now) {
    wire::Message occurrence;
    std::vector<std::byte> message;
    wire::Encoder encoder(message);
    wire::MessageView view;
    const bool readable = read_template(s.message, occurrence);
    FERRY_ASSERT(readable, "the message was checked when the schedule was set");
    mark_occurrence(s, occurrence);
    wire::write_message(encoder, occurrence);
    wire::Cursor cursor(message);
    topology.trim_routes();
    const Route* route = wire::read_message(cursor, view) ? &topology.route(view) : nullptr;
    const bool routed = route != nullptr && route->exchange_exists && !route->exchange_internal &&
                        !route->too_many && !route->queues.empty();
    if (!routed || !has_room(*route, message.size()))
        return move_schedule(s, moved_unroutable, next_ms);
    record.clear();
    record.wall_ms = now.wall_ms;
    record.schedule = s.name;
    record.due_ms = s.next_ms;
    record.next_ms = next_ms;
    for (const QueueId id : route->queues)
        record.targets.push_back({id, counts_as_delivered(*queue_of(id))});
    Run run;
    run.count = 1;
    run.bytes = static_cast<std::uint32_t>(message.size());
    run.targets_count = static_cast<std::uint32_t>(record.targets.size());
    for (const QueueId id : route->queues) {
        if (queue_of(id)->options.policy.priorities) run.priority = occurrence.properties.priority;
    }
    record.runs.push_back(run);
    head.clear();
    encode_transaction_head(head, record);
    const Bytes both[] = {head, message};
    const Journal::Place place = append(both);
    apply_publish(place, record, std::span(both).subspan(1));
    ++totals.scheduled;
    ++s.fired;
    s.reached = record.targets.size();
    settle_schedule(s, s.next_ms, next_ms);
    record.clear();
}

void Engine::schedule_due(std::string_view name, std::uint64_t due_ms, std::uint64_t next_ms,
                          Now now) {
    State& s = *state_;
    s.see(now);
    const auto at = s.schedules.find(name);
    if (at == s.schedules.end() || s.schedules_asked.count(name) == 0) return;
    s.schedules_asked.erase(s.schedules_asked.find(name));
    Schedule& schedule = at->second;
    if (schedule.next_ms != due_ms || schedule.paused) return;
    if (due_ms > now.wall_ms) {
        if (next_ms != due_ms) s.move_schedule(schedule, moved_planned, next_ms);
        return;
    }
    if (s.disk_full) return;  // asked again when there is space
    // It was asked while its time was ahead, and the answer is that time: asked again at once.
    if (next_ms == due_ms) return s.ask_due_schedules(now);
    const bool late = now.wall_ms - due_ms > limits::schedule_grace_ms;
    if (late && schedule.missed == Missed::skip) {
        s.move_schedule(schedule, moved_skipped, next_ms);
    } else {
        s.fire_schedule(schedule, next_ms, now);
    }
}

void Engine::plan_schedules(Now now) {
    state_->see(now);
    state_->replan_schedules(now.wall_ms);
}

// ---- commands ----

namespace {
void log_schedule(std::vector<std::byte>& body, const Schedule& schedule) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::schedule_set));
    put_schedule(body, schedule);
}
std::string no_schedule(std::string_view name) {
    return "there is no schedule '" + std::string(name) + "'";
}
}  // namespace

void Engine::set_schedule(SessionId session, std::uint64_t request, Schedule schedule, bool check,
                          Now now) {
    State& s = *state_;
    s.see(now);
    if (std::string wrong = complaint_of(schedule); !wrong.empty())
        return s.fail(session, request, Code::bad_option, std::move(wrong));
    const auto at = s.schedules.find(schedule.name);
    if (at == s.schedules.end() && s.schedules.size() >= limits::schedules_max)
        return s.fail(session, request, Code::limit_reached, "there are at most 1000 schedules");
    if (check) {
        s.effects.push_back(Reply{session, request, Plain{}});
        return;
    }
    if (at != s.schedules.end()) {
        const Schedule& old = at->second;
        const bool same_times =
            old.cron == schedule.cron && old.zone == schedule.zone && old.paused == schedule.paused;
        if (same_times && old.missed == schedule.missed && old.message == schedule.message)
            return s.reply(s.last_gate, session, request, Plain{});
        schedule.fired = old.fired;
        schedule.skipped = old.skipped;
        schedule.reached = old.reached;
        if (same_times) schedule.next_ms = old.next_ms;
        if (same_times) schedule.last_ms = old.last_ms;
    }
    log_schedule(s.body, schedule);
    s.append(s.body);
    s.keep_schedule(std::move(schedule));
    s.reply(s.last_gate, session, request, Plain{});
}

void Engine::delete_schedule(SessionId session, std::uint64_t request, std::string_view name,
                             Now now) {
    State& s = *state_;
    s.see(now);
    if (s.schedules.find(name) == s.schedules.end())
        return s.fail(session, request, Code::no_such_schedule, no_schedule(name));
    s.body.clear();
    put_u8(s.body, static_cast<std::uint8_t>(RecordType::schedule_delete));
    put_text(s.body, name);
    s.append(s.body);
    s.drop_schedule(std::string(name));
    s.reply(s.last_gate, session, request, Plain{});
}

void Engine::pause_schedule(SessionId session, std::uint64_t request, std::string_view name,
                            bool paused, std::uint64_t next_ms, Now now) {
    State& s = *state_;
    s.see(now);
    const auto at = s.schedules.find(name);
    if (at == s.schedules.end())
        return s.fail(session, request, Code::no_such_schedule, no_schedule(name));
    if (at->second.paused != paused) {
        Schedule changed = at->second;
        changed.paused = paused;
        changed.next_ms = paused ? 0 : next_ms;
        log_schedule(s.body, changed);
        s.append(s.body);
        s.keep_schedule(std::move(changed));
    }
    s.reply(s.last_gate, session, request, Plain{});
}

const Schedule* Engine::schedule(std::string_view name) const {
    const auto at = state_->schedules.find(name);
    return at == state_->schedules.end() ? nullptr : &at->second;
}

std::vector<const Schedule*> Engine::schedules(std::string_view after, std::size_t most) const {
    std::vector<const Schedule*> out;
    for (auto at = state_->schedules.upper_bound(after);
         at != state_->schedules.end() && out.size() < most; ++at) {
        out.push_back(&at->second);
    }
    return out;
}

// ---- log ----

bool Engine::State::replay_schedule(RecordType type, const Journal::Place& place, Bytes bytes) {
    if (type == RecordType::schedule_fired) {
        if (!decode_publish(bytes, record) || !record.acks.empty() || !record.rejects.empty() ||
            record.next_ms > last_date_ms) {
            return false;
        }
        const auto at = schedules.find(record.schedule);
        if (at == schedules.end() || at->second.next_ms != record.due_ms) return false;
        const Bytes messages = bytes.subspan(record.messages_offset);
        apply_publish(place, record, std::span(&messages, 1));
        ++at->second.fired;
        at->second.reached = record.targets.size();
        settle_schedule(at->second, record.due_ms, record.next_ms);
        return true;
    }
    Reader in(bytes);
    in.u8();
    if (type == RecordType::schedule_set) {
        Schedule schedule = get_schedule(in);
        if (!in.ok() || !in.at_end()) return false;
        keep_schedule(std::move(schedule));
        return true;
    }
    const auto at = schedules.find(in.text());
    if (!in.ok() || at == schedules.end()) return false;
    if (type == RecordType::schedule_delete) {
        if (!in.at_end()) return false;
        drop_schedule(std::string(at->first));
        return true;
    }
    Schedule& s = at->second;
    const std::uint8_t how = in.u8();
    const auto next = in.bounded<std::uint64_t>(last_date_ms);
    if (!in.ok() || !in.at_end() || how > moved_unroutable) return false;
    if (how == moved_planned) {
        arm_schedule(s, next);
        s.next_ms = next;
        return true;
    }
    ++s.skipped;
    settle_schedule(s, s.next_ms, next);
    return true;
}

void Engine::State::save_schedules(std::vector<std::byte>& out) const {
    put_varint(out, schedules.size());
    for (const auto& [name, schedule] : schedules) put_schedule(out, schedule);
}

bool Engine::State::load_schedules(Reader& in) {
    for (std::size_t count = in.count(12); count > 0 && in.ok(); --count) {
        Schedule schedule = get_schedule(in);
        if (in.ok() && schedules.count(schedule.name) != 0) in.reject();
        if (in.ok()) keep_schedule(std::move(schedule));
    }
    return in.ok();
}

}  // namespace ferry::engine
