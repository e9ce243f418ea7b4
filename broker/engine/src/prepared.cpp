// Messages whose producers have no outbox: prepare, local work, submit.
//
//   1 prepare: the message is durable, and in no queue
//   2 submit: one record publishes it and ends its being prepared; or drop
//   3 neither in time: a check goes into the queue that `prepare` named, again and again at growing
//     distances, until somebody submits or drops; after the last one the message is parked
//
// Nothing decides in the producer's place: what is parked stays until somebody says what it is to
// be. A check counts only if one record put it into its queue; if the queue is missing or full, or
// nobody takes what lies there, it is tried again later and nothing is written.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
// More are not looked at in one tick, so that a turn ends.
constexpr std::size_t looked_at_max = 256;
constexpr std::uint64_t crowded_wait_ns = 20 * ns_per_ms;
constexpr std::uint64_t alarm_ahead_ms_max = 24ULL * 3600 * 1000;

std::string named(std::string_view id) {
    return "'" + std::string(id) + "'";
}

bool same(const Prepared& a, const Prepared& b) {
    return a.check_queue == b.check_queue && a.message == b.message;
}

void put_head(std::vector<std::byte>& body, RecordType type, std::string_view id) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(type));
    put_text(body, id);
}

// What asks the producer.
std::vector<std::byte> check_of(const Prepared& p) {
    wire::Message check;
    check.routing_key = p.check_queue;
    const std::uint32_t attempt = p.asked + 1;
    check.properties.id = p.id + ":check:" + std::to_string(attempt);
    check.properties.correlation_id = p.id;
    wire::Headers& headers = check.properties.headers;
    headers.emplace_back("ferry-check-id", p.id);
    headers.emplace_back("ferry-check-attempt", static_cast<std::int64_t>(attempt));
    headers.emplace_back("ferry-check-prepared-ms", static_cast<std::int64_t>(p.prepared_ms));
    if (!p.producer.empty()) headers.emplace_back("ferry-check-producer", p.producer);
    std::vector<std::byte> out;
    wire::Encoder encoder(out);
    wire::write_message(encoder, check);
    return out;
}

}  // namespace

// ---- when ----

std::uint64_t Engine::State::next_prepared_ns() const {
    const auto* next = prepared.next();
    if (next == nullptr || disk_full) return UINT64_MAX;
    const std::uint64_t wait = next->first > clock.steady_ms ? next->first - clock.steady_ms : 0;
    const std::uint64_t at =
        std::min(wait, steady_ms(last_now) - clock.steady_ms + alarm_ahead_ms_max) * ns_per_ms;
    return std::max<std::uint64_t>({clock.mono.ns + at, prepared_not_before_ns, 1});
}

void Engine::State::look_at_prepared(Now now) {
    if (disk_full) return;
    const std::uint64_t steady = steady_ms(now.mono);
    std::size_t looked_at = 0;
    while (const auto* next = prepared.next()) {
        if (next->first > steady) return;
        if (++looked_at > looked_at_max) {
            prepared_not_before_ns = now.mono.ns + crowded_wait_ns;
            return;
        }
        PreparedMessages::Kept& kept = *prepared.find(next->second);
        Prepared& p = kept.prepared;
        if (p.checks >= p.max_checks) {
            put_head(body, RecordType::prepared_park, p.id);
            append(body);
            prepared.park(kept);
            continue;
        }
        const Unasked unasked = ask_producer(kept, now);
        if (unasked == Unasked::none) continue;
        ++totals.checks_not_put;
        prepared.try_again(
            kept, unasked,
            steady + std::min<std::uint64_t>(p.check_after_ms, limits::check_again_ms_max));
    }
}

// Puts a check into its queue, or says why not.
Unasked Engine::State::ask_producer(PreparedMessages::Kept& kept, Now now) {
    const Prepared& p = kept.prepared;
    Queue* queue = queue_named(p.check_queue);
    if (queue == nullptr) return Unasked::no_queue;
    // While the answering side is down one check in its queue is enough; more would use up the
    // attempts of who is not even there to answer.
    if (queue->subscriptions.empty() && queue->waiting_pulls.empty() &&
        queue->ready.messages() > 0) {
        return Unasked::nobody_there;
    }
    const std::vector<std::byte> message = check_of(p);
    Route route;
    route.queues.push_back(queue->id);
    if (!has_room(route, message.size())) return Unasked::queue_full;
    record.clear();
    record.wall_ms = now.wall_ms;
    record.prepared = p.id;
    record.steady_ms = steady_ms(now.mono);
    record.next_check = record.steady_ms + distance_ms(p, p.checks + 1);
    record.targets.push_back({queue->id, counts_as_delivered(*queue)});
    Run run;
    run.count = 1;
    run.bytes = static_cast<std::uint32_t>(message.size());
    run.targets_count = 1;
    record.runs.push_back(run);
    head.clear();
    encode_transaction_head(head, record);
    const Bytes both[] = {head, message};
    const Journal::Place place = append(both);
    apply_publish(place, record, std::span(both).subspan(1));
    ++totals.checks;
    prepared.asked(kept, record.wall_ms, record.next_check);
    record.clear();
    return Unasked::none;
}

// ---- commands ----

PublishCommand Engine::State::publish_of(SessionId session, const Prepared& p) const {
    return {session, 0, 1, wire::publish_mandatory, 0, 1, p.message};
}

// It is not prepared: was it decided?
void Engine::State::prepared_failure(SessionId session, std::uint64_t request, std::string_view id,
                                     bool submitted) {
    const PreparedMessages::Decision* decision = prepared.decision(id);
    if (decision == nullptr) {
        return fail(session, request, Code::no_such_prepared,
                    "no message " + named(id) + " is prepared, nor was it decided lately");
    }
    if (decision->submitted == submitted)
        return reply(last_gate, session, request, PreparedAnswer{true});
    fail(session, request, Code::prepared_decided,
         "message " + named(id) + " was " + (decision->submitted ? "submitted" : "dropped") +
             " before, and stays so");
}

bool Engine::prepare(SessionId session, std::uint64_t request, Prepared wanted, Now now) {
    State& s = *state_;
    s.see(now);
    if (wanted.check_after_ms == 0) wanted.check_after_ms = limits::check_after_ms_default;
    if (wanted.max_checks == 0) wanted.max_checks = limits::max_checks_default;
    const auto failed = [&](Code code, std::string text) {
        s.fail(session, request, code, std::move(text));
        return true;
    };
    if (std::string wrong = complaint_of(wanted); !wrong.empty())
        return failed(Code::bad_option, std::move(wrong));
    // As if it were published now, so that what could never be published is refused at once.
    const PublishCommand publish = s.publish_of(session, wanted);
    const bool sound = s.plan_publish(publish, Producer{}, now);
    s.forget_planned_ids();
    if (!sound) return false;
    if (const PreparedMessages::Kept* kept = s.prepared.find(wanted.id)) {
        if (!same(kept->prepared, wanted)) {
            return failed(Code::prepared_differently,
                          "another message is prepared as " + named(wanted.id) + "; take a new id");
        }
        s.reply(s.last_gate, session, request, PreparedAnswer{true});
        return true;
    }
    if (const PreparedMessages::Decision* decision = s.prepared.decision(wanted.id)) {
        return failed(Code::prepared_decided, "a message " + named(wanted.id) + " was " +
                                                  (decision->submitted ? "submitted" : "dropped") +
                                                  " before; take a new id");
    }
    const PublishPlan& plan = s.plans.front();
    if (plan.code != Code::ok) {
        return failed(plan.code, s.text_of_refusal(plan.code, publish, plan.full));
    }
    if (s.queue_named(wanted.check_queue) == nullptr) {
        return failed(Code::no_such_queue, "there is no queue '" + wanted.check_queue +
                                               "' in which to ask; declare it first");
    }
    if (!s.prepared.has_room(wanted.message.size())) {
        return failed(Code::limit_reached,
                      "at most 65536 messages with 64 MiB are prepared at a time; decide some: "
                      "ferry prepared list shows them");
    }
    wanted.prepared_ms = now.wall_ms;
    const std::uint64_t steady = s.steady_ms(now.mono);
    wanted.next_check = steady + wanted.check_after_ms;
    wanted.checks = wanted.asked = 0;
    wanted.asked_ms = 0;
    wanted.parked = false;
    s.body.clear();
    put_u8(s.body, static_cast<std::uint8_t>(RecordType::prepared));
    put_varint(s.body, steady);
    put_prepared(s.body, wanted);
    s.append(s.body);
    s.prepared.add(std::move(wanted));
    s.reply(s.last_gate, session, request, PreparedAnswer{false});
    return true;
}

void Engine::State::write_submit(SessionId session, std::uint64_t request, const Prepared& p,
                                 Now now) {
    record.clear();
    parts.assign(1, Bytes{});
    record.wall_ms = now.wall_ms;
    record.prepared = p.id;
    record.steady_ms = steady_ms(now.mono);
    const PublishPlan& plan = plans.front();
    if (plan.fate == PublishPlan::Fate::store) add_run(plan, p.message);
    head.clear();
    encode_transaction_head(head, record);
    parts.front() = head;
    const Journal::Place place = append(parts);
    apply_publish(place, record, std::span(parts).subspan(1));
    ++totals.published;
    ++totals.prepared_submitted;
    prepared.decide(p.id, true, record.steady_ms, record.wall_ms);
    record.clear();
    parts.clear();  // they pointed into the message
    after(place.position, Reply{session, request, PreparedAnswer{false}});
}

void Engine::submit(SessionId session, std::uint64_t request, std::string_view id, Now now) {
    State& s = *state_;
    s.see(now);
    const PreparedMessages::Kept* kept = s.prepared.find(id);
    if (kept == nullptr) return s.prepared_failure(session, request, id, true);
    const PublishCommand publish = s.publish_of(session, kept->prepared);
    // It was checked when it was prepared; what a log brings back may be anything.
    if (!s.plan_publish(publish, Producer{}, now)) {
        s.forget_planned_ids();
        return s.fail(session, request, Code::damaged,
                      "the prepared message " + named(id) + " is damaged; drop it");
    }
    const PublishPlan& plan = s.plans.front();
    if (plan.fate == PublishPlan::Fate::refuse) {
        s.forget_planned_ids();
        return s.fail(session, request, plan.code,
                      s.text_of_refusal(plan.code, publish, plan.full) + "; it stays prepared");
    }
    s.write_submit(session, request, kept->prepared, now);
}

void Engine::drop_prepared(SessionId session, std::uint64_t request, std::string_view id, Now now) {
    State& s = *state_;
    s.see(now);
    if (s.prepared.find(id) == nullptr) return s.prepared_failure(session, request, id, false);
    const std::uint64_t steady = s.steady_ms(now.mono);
    put_head(s.body, RecordType::prepared_drop, id);
    put_varint(s.body, steady);
    put_varint(s.body, now.wall_ms);
    s.append(s.body);
    ++s.totals.prepared_dropped;
    s.prepared.decide(std::string(id), false, steady, now.wall_ms);
    s.reply(s.last_gate, session, request, PreparedAnswer{false});
}

void Engine::resume_prepared(SessionId session, std::uint64_t request, std::string_view id,
                             Now now) {
    State& s = *state_;
    s.see(now);
    PreparedMessages::Kept* kept = s.prepared.find(id);
    if (kept == nullptr) {
        const PreparedMessages::Decision* decision = s.prepared.decision(id);
        if (decision == nullptr) return s.prepared_failure(session, request, id, false);
        return s.fail(session, request, Code::prepared_decided,
                      "message " + named(id) + " was " +
                          (decision->submitted ? "submitted" : "dropped") + " before");
    }
    const std::uint64_t steady = s.steady_ms(now.mono);
    put_head(s.body, RecordType::prepared_resume, id);
    put_varint(s.body, steady);
    put_varint(s.body, now.wall_ms);
    s.append(s.body);
    s.prepared.resume(*kept, steady);
    s.reply(s.last_gate, session, request, PreparedAnswer{false});
}

// ---- queries ----

PreparedView Engine::State::view_of(const PreparedMessages::Kept& kept) const {
    PreparedView view{&kept.prepared, 0, kept.unasked};
    if (kept.prepared.parked) return view;
    const std::uint64_t due = std::max(kept.prepared.next_check, kept.again);
    const std::uint64_t steady = steady_ms(last_now);
    view.next_check_ms = last_wall_ms + (due > steady ? due - steady : 0);
    return view;
}

std::optional<PreparedView> Engine::prepared(std::string_view id) const {
    const PreparedMessages::Kept* kept = state_->prepared.find(id);
    if (kept == nullptr) return std::nullopt;
    return state_->view_of(*kept);
}

std::vector<PreparedView> Engine::prepared(std::string_view after, std::size_t most,
                                           bool parked_only) const {
    std::vector<PreparedView> out;
    const PreparedMessages::Map& all = state_->prepared.all();
    for (auto at = all.upper_bound(after); at != all.end() && out.size() < most; ++at) {
        if (parked_only && !at->second.prepared.parked) continue;
        out.push_back(state_->view_of(at->second));
    }
    return out;
}

// ---- log ----

// Replay: a record tells both clocks.
void Engine::State::set_clock(std::uint64_t steady, std::uint64_t wall_ms) {
    clock.steady_ms = steady;
    clock.wall_ms = wall_ms;
}

bool Engine::State::replay_prepared(RecordType type, const Journal::Place& place, Bytes bytes) {
    if (type == RecordType::prepared_submit || type == RecordType::prepared_check) {
        if (!decode_publish(bytes, record) || !record.acks.empty() || !record.rejects.empty())
            return false;
        PreparedMessages::Kept* kept = prepared.find(record.prepared);
        if (kept == nullptr || record.steady_ms > steady_ms_max) return false;
        const bool check = type == RecordType::prepared_check;
        if (check && (record.next_check > TimerList::due_max ||
                      kept->prepared.checks >= kept->prepared.max_checks)) {
            return false;
        }
        const Bytes messages = bytes.subspan(record.messages_offset);
        apply_publish(place, record, std::span(&messages, 1));
        set_clock(record.steady_ms, record.wall_ms);
        if (check) {
            prepared.asked(*kept, record.wall_ms, record.next_check);
        } else {
            prepared.decide(record.prepared, true, record.steady_ms, record.wall_ms);
        }
        return true;
    }
    Reader in(bytes);
    in.u8();
    if (type == RecordType::prepared) {
        const auto steady = in.bounded<std::uint64_t>(steady_ms_max);
        Prepared p = get_prepared(in);
        if (!in.ok() || !in.at_end() || prepared.find(p.id) != nullptr ||
            prepared.decision(p.id) != nullptr || !prepared.has_room(p.message.size())) {
            return false;
        }
        p.next_check = steady + p.check_after_ms;
        set_clock(steady, p.prepared_ms);
        prepared.add(std::move(p));
        return true;
    }
    if (type != RecordType::prepared_park && type != RecordType::prepared_resume &&
        type != RecordType::prepared_drop) {
        return false;  // of a later version
    }
    PreparedMessages::Kept* kept = prepared.find(in.text());
    if (!in.ok() || kept == nullptr) return false;
    if (type == RecordType::prepared_park) {
        prepared.park(*kept);
        return in.at_end();
    }
    const auto steady = in.bounded<std::uint64_t>(steady_ms_max);
    const std::uint64_t wall_ms = in.varint();
    if (!in.ok() || !in.at_end()) return false;
    set_clock(steady, wall_ms);
    if (type == RecordType::prepared_resume) {
        prepared.resume(*kept, steady);
    } else {
        prepared.decide(kept->prepared.id, false, steady, wall_ms);
    }
    return true;
}

}  // namespace ferry::engine
