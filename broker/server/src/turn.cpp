#include "turn.hpp"

#include "ferry/schedule/schedule.hpp"
#include "protocol_session.hpp"
#include "recovery.hpp"

namespace ferry::server {
namespace {

constexpr std::uint64_t linger_bytes_max = 64U << 10;
constexpr int changes_told_max = 128;  // in a round, to watchers of services

}  // namespace

Turn::Turn(const Parts& parts)
    : Hub(parts.config, parts.clock, parts.engine, parts.log, parts.bodies, parts.figures,
          parts.gate),
      keeper_(*this,
              [this](const std::function<void(engine::Position)>& pinned) {
                  for_each_session([&](ProtocolSession& one) { one.for_each_pinned(pinned); });
              }),
      effects_(parts.effects) {}

void Turn::go_into_service() {
    engine.durable(log.durable());
    engine.plan_schedules(now());
    touch();
}

void Turn::round() {
    touched_ = false;
    handed_out_ = false;
    engine.dispatch(now());
    submit();
    figures.arrivals.note(log.end(), now().mono);
    tell_watchers();
    while (!effects_.empty()) {
        work_.swap(effects_);
        for (engine::Effect& effect : work_) carry_out(effect);
        work_.clear();
    }
    // The engine hands out so much at a time; whether there is more only the next dispatch tells.
    if (handed_out_) touched_ = true;
}

void Turn::tell_watchers() {
    for (int told = 0; told < changes_told_max; ++told) {
        const auto change = registry.take_change();
        if (!change) return;
        if (ProtocolSession* found = session(change->first)) found->on_service(change->second);
    }
    touch();
}

// Acks that nobody asked to be told of wait a little for company: a sync of their own would delay
// the next publish.
void Turn::submit() {
    const engine::Position end = log.end();
    if (end == submitted_) return;
    if (engine.awaited() >= submitted_ || end - submitted_ >= linger_bytes_max) return write_out();
    if (lingers_) return;
    lingers_ = true;
    linger();
}

void Turn::lingered() {
    lingers_ = false;
    write_out();
}

void Turn::write_out() {
    submitted_ = log.end();
    log.submit();
}

void Turn::carry_out(engine::Effect& effect) {
    if (const auto* load = std::get_if<engine::LoadIndex>(&effect)) {
        load_index(*load);
        return;
    }
    if (const auto* load = std::get_if<engine::LoadBody>(&effect)) {
        load_body(*load);
        return;
    }
    if (const auto* due = std::get_if<engine::ScheduleDue>(&effect)) {
        plan(*due);
        return;
    }
    if (std::holds_alternative<engine::Deliver>(effect)) handed_out_ = true;
    const engine::SessionId id = std::visit(
        [](const auto& one) -> engine::SessionId {
            if constexpr (requires { one.session; }) {
                return one.session;
            } else {
                return 0;
            }
        },
        effect);
    if (ProtocolSession* found = session(id)) found->carry_out(effect);
}

void Turn::plan(const engine::ScheduleDue& due) {
    const auto next = schedule::next_after(due.cron, due.zone, due.after_ms);
    if (!next) {
        note(LogLevel::error, "schedule " + due.name + " is not due again: " +
                                  schedule::complaint_of(due.cron, due.zone));
    }
    engine.schedule_due(due.name, due.due_ms, next.value_or(0), now());
    touch();
}

void Turn::load_index(const engine::LoadIndex& load) {
    if (!bodies.find(load.record).empty()) {
        index_read(load, nullptr);
        return;
    }
    bodies.fetch(load.record, [this, load](const Error* error) { index_read(load, error); });
}

void Turn::index_read(const engine::LoadIndex& load, const Error* error) {
    touch();
    if (error == nullptr) {
        // A copy: the engine may append, which ends the life of what find() gave.
        const Bytes found = bodies.find(load.record);
        const std::vector<std::byte> body(found.begin(), found.end());
        engine.index_loaded(load.queue, load.record, body);
        return;
    }
    ++figures.read_errors;
    note(LogLevel::error, "a queue stands still: its index at position " +
                              std::to_string(load.record) + " cannot be read: " + describe(*error));
    engine.index_unreadable(load.queue, load.record);
}

void Turn::load_body(const engine::LoadBody& load) {
    if (!bodies.find(load.record).empty()) {
        body_read(load, nullptr);
        return;
    }
    bodies.fetch(load.record, [this, load](const Error* error) { body_read(load, error); });
}

void Turn::body_read(const engine::LoadBody& load, const Error* error) {
    touch();
    if (error == nullptr) {
        const Bytes found = bodies.find(load.record);
        const std::vector<std::byte> body(found.begin(), found.end());
        engine.body_loaded(load.queue, load.record, body, now());
        return;
    }
    ++figures.read_errors;
    note(LogLevel::error, "messages stay parked: position " + std::to_string(load.record) +
                              " cannot be read: " + describe(*error));
    engine.body_unreadable(load.queue, load.record);
}

void Turn::block_publishers() {
    const Blocked now_blocked = memory_short_ ? Blocked::memory
                                : disk_full_  ? Blocked::disk
                                              : Blocked::no;
    if (now_blocked == blocked_) return;
    blocked_ = now_blocked;
    for_each_session([](ProtocolSession& one) { one.on_blocked(); });
}

void Turn::log_moved() {
    engine.durable(log.durable());
    touch();
    const bool full = log.space() == log::Space::full;
    if (full == disk_full_) return;
    disk_full_ = full;
    engine.set_disk_full(full);
    note(full ? LogLevel::error : LogLevel::info,
         full ? "the disk is full, or nearly (data.low_water): publishes are refused until "
                "there is room"
              : "there is room on the disk again: publishes are taken");
    block_publishers();
}

void Turn::set_memory_short(bool is_short) {
    memory_short_ = is_short;
    block_publishers();
}

}  // namespace ferry::server
