// Messages that wait for their time: retries with a delay, and delayed publishes.
//
// A message goes into its queue's timer list by one record and comes out of it by another (`due`),
// so the list is the same in replay, wherever the clocks stand then. Retries are timed by the
// steady clock, which jumps of the wall clock do not touch; what people gave a date is timed by
// the wall clock.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::int64_t jump_ms = 1'000;  // the clocks differ by so much more than before
// More do not become ready at a time, so that what is due and not wanted yet stays small.
constexpr std::size_t due_extents_max = 65'536;
constexpr std::size_t due_per_turn_max = 16'384;
// Nobody waits longer for an alarm; whoever is due later is asked again then.
constexpr std::uint64_t alarm_ahead_ms_max = 24ULL * 3600 * 1000;
constexpr std::uint64_t crowded_wait_ns = 20 * ns_per_ms;

std::int64_t offset_of(Now now) {
    return static_cast<std::int64_t>(now.wall_ms) -
           static_cast<std::int64_t>(now.mono.ns / ns_per_ms);
}

}  // namespace

// ---- clocks ----

std::uint64_t Engine::State::steady_ms(Instant now) const {
    return clock.steady_ms + (now.ns - clock.mono.ns) / ns_per_ms;
}

void Engine::State::see(Now now) {
    see(now.mono);
    last_wall_ms = now.wall_ms;
    const std::int64_t offset = offset_of(now);
    const std::int64_t moved = offset > wall_offset ? offset - wall_offset : wall_offset - offset;
    if (moved <= 1) return;
    wall_offset = offset;
    // Dates come earlier or later now.
    for (const QueueId id : timed) {
        if (Queue* queue = queue_of(id)) set_alarm(*queue);
    }
    if (moved <= jump_ms) return;
    replan_schedules(now.wall_ms);
    // Without this a restart would take the jump for time that has passed.
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::clock));
    put_varint(body, steady_ms(now.mono));
    put_varint(body, now.wall_ms);
    append(body);
}

void Engine::State::replay_clock(std::uint64_t wall_ms) {
    wall_ms = std::min(wall_ms, steady_ms_max);
    if (clock.wall_ms == 0) {
        clock.steady_ms = wall_ms;
    } else if (wall_ms > clock.wall_ms) {
        clock.steady_ms += wall_ms - clock.wall_ms;
    }
    clock.steady_ms = std::min(clock.steady_ms, steady_ms_max);
    clock.wall_ms = wall_ms;
}

void Engine::State::start_clock(Now now) {
    replay_clock(now.wall_ms);
    clock.mono = now.mono;
    last_now = now.mono;
    last_wall_ms = now.wall_ms;
    wall_offset = offset_of(now);
}

// ---- alarms ----

Extras& Engine::State::extras_of(Queue& queue) {
    if (queue.extras == nullptr) {
        queue.extras = std::make_unique<Extras>();
        timed.insert(queue.id);
    }
    return *queue.extras;
}

void Engine::State::set_alarm(Queue& queue, Instant not_before) {
    Extras& x = extras_of(queue);
    const std::uint64_t now_ms = last_now.ns / ns_per_ms;
    std::uint64_t at = UINT64_MAX;
    if (const TimerList::Entry* next = x.scheduled.front()) {
        const std::int64_t mono_ms = static_cast<std::int64_t>(next->due) - wall_offset;
        const auto due = static_cast<std::uint64_t>(std::max<std::int64_t>(mono_ms, 0));
        at = std::min(at, std::min(due, now_ms + alarm_ahead_ms_max) * ns_per_ms);
    }
    const auto at_steady = [&](std::uint64_t due) {
        const std::uint64_t wait = due > clock.steady_ms ? due - clock.steady_ms : 0;
        at = std::min(at, clock.mono.ns + std::min(wait, alarm_ahead_ms_max) * ns_per_ms);
    };
    if (const TimerList::Entry* retry = x.retries.front()) at_steady(retry->due);
    if (const ExpiryIndex::Range* range = x.expiry.front()) at_steady(range->due);
    const std::uint64_t expires = queue.options.policy.expires_ms;
    if (expires != 0 && queue.subscriptions.empty()) at_steady(x.used_ms + expires);
    if (at != UINT64_MAX) at = std::max<std::uint64_t>({at, not_before.ns, 1});
    const std::uint64_t wanted = at == UINT64_MAX ? 0 : at;
    if (wanted == x.alarm_ns) return;
    if (x.alarm_ns != 0) alarms.erase({x.alarm_ns, queue.id});
    x.alarm_ns = wanted;
    if (wanted != 0) alarms.insert({wanted, queue.id});
}

void Engine::State::ring_alarms(Now now) {
    while (!alarms.empty() && alarms.begin()->first <= now.mono.ns) {
        Queue* queue = queue_of(alarms.begin()->second);
        FERRY_ASSERT(queue != nullptr && queue->extras != nullptr, "an alarm goes with its queue");
        release_due(*queue, due_retries, steady_ms(now.mono));
        release_due(*queue, due_scheduled, now.wall_ms);
        expire_messages(*queue, now);
        if (expire_queue(*queue, now)) continue;
        // Whoever is still due waits for room, and lets others have their turn.
        set_alarm(*queue, Instant{now.mono.ns + 1});
        if (queue->extras->alarm_ns != 0 && queue->extras->alarm_ns <= now.mono.ns + 1)
            set_alarm(*queue, Instant{now.mono.ns + crowded_wait_ns});
    }
}

// ---- into the list and out of it ----

void Engine::State::apply_due(Queue& queue, std::uint8_t list, TimerList::Key upto, Position gate) {
    Extras& x = *queue.extras;
    TimerList& timers = list == due_retries ? x.retries : x.scheduled;
    while (const TimerList::Entry* front = timers.front()) {
        if (upto < front->key()) break;
        const TimerList::Entry entry = timers.pop_front();
        if (replaying && queue.ready.holds_returned(entry.extent.first)) {
            replay_broken = true;
            return;
        }
        account(queue, [&](ReadyQueue& ready) {
            ready.give_back(entry.extent, static_cast<std::uint32_t>(entry.attempts), gate);
        });
        if (!replaying) x.expiry.wake(entry.extent.first, entry.extent.end());
    }
}

void Engine::State::release_due(Queue& queue, std::uint8_t list, std::uint64_t now_ms) {
    Extras& x = *queue.extras;
    const TimerList& timers = list == due_retries ? x.retries : x.scheduled;
    const std::size_t ready = queue.ready.returned_extents();
    if (timers.empty() || timers.front()->due > now_ms || ready >= due_extents_max) return;
    const std::size_t most = std::min(due_per_turn_max, due_extents_max - ready);
    const TimerList::Key upto = timers.last_due(now_ms, most);
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::due));
    put_varint(body, queue.id);
    put_u8(body, list);
    put_varint(body, upto.due);
    put_varint(body, upto.first);
    const Position gate = append(body).position;
    apply_due(queue, list, upto, gate);
    await_log(queue, gate);
    mark_dirty(queue);
}

void Engine::State::delay_extents(Queue& queue, std::span<const DelayedPart> parts_to_delay,
                                  Now now) {
    const std::uint64_t steady = steady_ms(now.mono);
    while (!parts_to_delay.empty()) {
        const auto some =
            parts_to_delay.first(std::min(parts_to_delay.size(), extents_per_record_max));
        parts_to_delay = parts_to_delay.subspan(some.size());
        body.clear();
        put_u8(body, static_cast<std::uint8_t>(RecordType::delayed));
        put_varint(body, queue.id);
        put_varint(body, steady);
        put_varint(body, now.wall_ms);
        put_varint(body, some.size());
        Position end = 0;
        for (const DelayedPart& part : some) {
            put_varint(body, part.delay_ms);
            put_extent(body, part.extent, end);
            end = part.extent.end();
        }
        append(body);
        for (const DelayedPart& part : some) {
            const bool added =
                extras_of(queue).retries.add(steady + part.delay_ms, part.attempts, part.extent);
            FERRY_ASSERT(added, "a message waits once");
            queue.returned += part.extent.count;
            totals.returned += part.extent.count;
        }
    }
    set_alarm(queue);
    mark_dirty(queue);
}

// Failed deliveries: those that had their last attempt leave, others wait, the rest is ready at
// once.
void Engine::State::retry_extents(Queue& queue,
                                  std::span<const std::pair<Extent, std::uint32_t>> failed,
                                  std::optional<std::uint64_t> delay_ms, Now now) {
    const QueuePolicy& policy = queue.options.policy;
    std::vector<std::pair<Extent, std::uint32_t>> at_once;
    std::vector<std::pair<Extent, std::uint32_t>> worn_out;
    std::vector<DelayedPart> later;
    for (const auto& [extent, attempts] : failed) {
        if (policy.max_deliveries != 0 && attempts >= policy.max_deliveries) {
            worn_out.emplace_back(extent, attempts);
            continue;
        }
        const bool apart = !delay_ms && policy.retry_jitter_percent != 0;
        const std::uint32_t each = apart ? 1 : extent.count;
        for (std::uint32_t skip = 0; skip < extent.count; skip += each) {
            const Extent part = part_of(extent, skip, each);
            const std::uint64_t wait =
                delay_ms ? *delay_ms : retry_delay_ms(policy, attempts, part.first);
            if (wait == 0) {
                at_once.emplace_back(part, attempts);
            } else {
                later.push_back({part, attempts, wait});
            }
        }
    }
    if (!at_once.empty()) return_extents(queue, at_once);
    if (!later.empty()) delay_extents(queue, later, now);
    if (!worn_out.empty()) leave(queue, worn_out, LeaveReason::max_deliveries, "");
}

bool Engine::State::replay_later(RecordType type, const Journal::Place& place, Bytes bytes) {
    Reader in(bytes);
    in.u8();
    if (type == RecordType::clock) {
        clock.steady_ms = in.varint();
        clock.wall_ms = in.varint();
        return in.ok() && in.at_end() && clock.steady_ms <= steady_ms_max;
    }
    Queue* queue = queue_of(in.bounded<QueueId>(UINT32_MAX));
    if (type == RecordType::cancel) {
        const std::uint64_t due = in.varint();
        const Position first = in.varint();
        return in.ok() && (queue == nullptr || apply_cancel(*queue, {due, first}));
    }
    if (type == RecordType::due) {
        const std::uint8_t list = in.u8();
        const std::uint64_t due = in.varint();
        const Position first = in.varint();
        if (!in.ok() || list > due_scheduled) return false;
        if (queue != nullptr && queue->extras != nullptr)
            apply_due(*queue, list, {due, first}, place.position);
        return true;
    }
    const auto steady = in.bounded<std::uint64_t>(steady_ms_max);
    clock.steady_ms = steady;
    clock.wall_ms = in.varint();
    const std::size_t count = in.count(6);
    Position end = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::uint64_t delay = in.varint();
        const Extent extent = get_extent(in, end);
        end = extent.end();
        if (!in.ok() || !plausible(extent) || delay > TimerList::due_max) return false;
        if (queue == nullptr) continue;
        std::uint32_t attempts = 0;
        if (!pick(*queue, extent, &attempts) ||
            !extras_of(*queue).retries.add(steady + delay, attempts + 1, extent)) {
            return false;
        }
    }
    return in.ok() && in.at_end();
}

// Replay: takes messages off the queue wherever they lie. False: they are not all there.
bool Engine::State::pick(Queue& queue, const Extent& extent, std::uint32_t* attempts) {
    if (!live.knows(extent.record()) ||
        live.segment_of(extent.record()) != live.segment_of(extent.first)) {
        return false;
    }
    const std::uint64_t found = account(queue, [&](ReadyQueue& ready) {
        return ready.cut(extent.first, extent.count, false, extent.level, attempts);
    });
    return found == extent.count;
}

}  // namespace ferry::engine
