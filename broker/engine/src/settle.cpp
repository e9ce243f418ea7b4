// Acks, nacks, leases: how deliveries end.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"
#include "take_parts.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t ack_spans_per_record_max = 65'536;
constexpr std::uint64_t ns_per_ms = 1'000'000;

// Brings spans of one level together; returns how many levels there are.
std::size_t sort_by_level(std::vector<Span>& spans) {
    std::stable_sort(spans.begin(), spans.end(),
                     [](const Span& a, const Span& b) { return a.level < b.level; });
    std::size_t levels = 0;
    for (std::size_t i = 0; i < spans.size(); ++i)
        levels += i == 0 || spans[i].level != spans[i - 1].level ? 1U : 0U;
    return levels;
}

}  // namespace

Subscription* Engine::State::subscription_of(SessionId session, std::uint64_t id) {
    Session* found = session_of(session);
    if (found == nullptr) return nullptr;
    const auto at = found->subscriptions.find(id);
    return at == found->subscriptions.end() ? nullptr : at->second.get();
}

void Engine::State::book_ack(Queue& queue, const Extent& extent, KeyHint hint) {
    queue.acked += extent.count;
    totals.acked += extent.count;
    book_gone(queue, extent, hint);
}

void Engine::State::book_gone(Queue& queue, const Extent& extent, KeyHint hint) {
    if (queue.gate != nullptr) queue.gate->gone(extent, hint);
    live.remove(extent.record(), extent.count, extent.bytes);
    std::vector<Span>& spans = queue.acks;
    if (spans.empty()) acked_queues.push_back(queue.id);
    if (!spans.empty() && spans.back().first + spans.back().count == extent.first &&
        spans.back().level == extent.level) {
        spans.back().count += extent.count;
        return;
    }
    Span& span = spans.emplace_back();
    span.first = extent.first;
    span.count = extent.count;
    span.level = extent.level;
    if (++ack_spans >= ack_spans_per_record_max) flush_acks();
}

void Engine::State::flush_acks() {
    Position gate = last_gate;
    if (ack_spans > 0) {
        std::erase_if(acked_queues, [&](QueueId id) { return queue_of(id) == nullptr; });
        // One group for each queue, or for each level of it.
        std::size_t groups = 0;
        for (const QueueId id : acked_queues) {
            std::vector<Span>& spans = queue_of(id)->acks;
            groups += queue_of(id)->ready.has_levels() ? sort_by_level(spans) : 1;
        }
        body.clear();
        begin_ack(body, groups);
        for (const QueueId id : acked_queues) {
            std::vector<Span>& spans = queue_of(id)->acks;
            for (std::span<const Span> rest = spans; !rest.empty();) {
                const auto same = std::find_if(rest.begin(), rest.end(), [&](const Span& span) {
                    return span.level != rest.front().level;
                });
                const auto n = static_cast<std::size_t>(same - rest.begin());
                put_ack_group(body, id, rest.first(n));
                rest = rest.subspan(n);
            }
            spans.clear();
        }
        ack_spans = 0;
        acked_queues.clear();
        if (!FERRY_PLANTED("engine-ack-not-logged")) gate = append(body).position;
    }
    for (Settled& answer : settled) {
        if (gate < durable || FERRY_PLANTED("engine-ack-told-before-it-is-durable")) {
            effects.push_back(std::move(answer));
        } else {
            after(gate, std::move(answer));
        }
    }
    settled.clear();
}

void Engine::State::settle(SessionId session, std::uint64_t request, std::vector<Range<Tag>> lost,
                           bool waits) {
    if (request == 0) return;
    if (waits) {
        settled.push_back({session, request, std::move(lost)});
    } else {
        effects.push_back(Settled{session, request, std::move(lost)});
    }
}

void Engine::State::return_extents(
    Queue& queue, std::span<const std::pair<Extent, std::uint32_t>> parts_to_return) {
    std::vector<Extent> extents;
    while (!parts_to_return.empty()) {
        const auto now =
            parts_to_return.first(std::min(parts_to_return.size(), extents_per_record_max));
        parts_to_return = parts_to_return.subspan(now.size());
        extents.clear();
        for (const auto& [extent, attempts] : now) extents.push_back(extent);
        body.clear();
        encode_extents(body, RecordType::returned, queue.id, extents);
        const Journal::Place place = append(body);
        for (const auto& part : now) {
            const Extent& extent = part.first;
            account(queue, [&](ReadyQueue& ready) {
                ready.give_back(extent, part.second, place.position);
            });
            queue.returned += extent.count;
            totals.returned += extent.count;
            if (queue.extras != nullptr) queue.extras->expiry.wake(extent.first, extent.end());
        }
        await_log(queue, place.position);
    }
    mark_dirty(queue);
}

void Engine::State::return_chunks(Subscription& s) {
    std::vector<std::pair<Extent, std::uint32_t>> back;
    for (const auto& [tag, chunk] : s.chunks) {
        back.emplace_back(chunk.extent, chunk.attempts);
        s.let_go(chunk.extent);
    }
    s.chunks.clear();
    // At once, but for those that had their last attempt.
    if (!back.empty()) retry_extents(*s.queue, back, 0, Now{last_now, last_wall_ms});
}

void Engine::State::arm_lease(Subscription& s, Instant deadline) {
    if (deadline >= s.earliest_deadline) return;
    lease_timers.erase({s.earliest_deadline.ns, {s.session, s.id}});
    s.earliest_deadline = deadline;
    lease_timers.insert({deadline.ns, {s.session, s.id}});
}

void Engine::State::expire_leases(Subscription& s, Now now) {
    std::vector<std::pair<Extent, std::uint32_t>> back;
    Instant earliest{UINT64_MAX};
    std::uint64_t ended = 0;
    s.chunks.take_if([&](const Chunk& chunk) {
        if (chunk.deadline > now.mono) {
            earliest = std::min(earliest, chunk.deadline);
            return false;
        }
        back.emplace_back(chunk.extent, chunk.attempts);
        s.let_go(chunk.extent);
        ended += chunk.extent.count;
        return true;
    });
    s.earliest_deadline = Instant{UINT64_MAX};
    if (earliest.ns != UINT64_MAX) arm_lease(s, earliest);
    if (back.empty()) return;
    lost_lease(s, ended);
    retry_extents(*s.queue, back, std::nullopt, now);
}

namespace {
bool well_formed(std::span<const Range<Tag>> tags) {
    return std::all_of(tags.begin(), tags.end(), [](const Range<Tag>& r) {
        return r.first > 0 && r.first <= r.last && r.last != UINT64_MAX;
    });
}

// Each message that is settled lets the next of its key out, which lies anywhere.
void expect_next_of_keys(const Subscription& s, Range<Tag> tags) {
    const KeyGate& gate = *s.queue->gate;
    s.chunks.visit(tags, [&](const ChunkList::Item& item) {
        if (const KeyNumber key = item.chunk.extent.key; key != 0)
            gate.expect_aside(key, item.chunk.key_hint);
    });
}
constexpr const char* unknown_subscription = "there is no such subscription on this connection";
constexpr const char* bad_ranges = "tags begin at 1 and a range's first is not above its last";
}  // namespace

void Engine::ack(SessionId session, std::uint64_t request, std::uint64_t subscription,
                 std::span<const Range<Tag>> tags, Now now) {
    State& st = *state_;
    st.see(now);
    Subscription* s = st.subscription_of(session, subscription);
    if (s == nullptr) {
        // Without a request nobody waits for an answer, and an error without one ends a connection.
        if (request == 0) return;
        return st.fail(session, request, Code::no_such_subscription, unknown_subscription);
    }
    if (!well_formed(tags)) return st.fail(session, request, Code::bad_option, bad_ranges);
    st.heard(*s, now);
    std::vector<Range<Tag>> lost;
    for (const Range<Tag>& range : tags) {
        if (s->queue->gate != nullptr) expect_next_of_keys(*s, range);
        take_parts(*s, range, lost, [&](Tag, const Chunk& part) {
            st.book_ack(*s->queue, part.extent, part.key_hint);
        });
    }
    if (FERRY_PLANTED("engine-late-ack-accepted")) lost.clear();
    st.settle(session, request, std::move(lost), true);
    st.mark_dirty(*s->queue);
}

void Engine::nack(SessionId session, std::uint64_t request, std::uint64_t subscription,
                  std::span<const Range<Tag>> tags, bool requeue, Now now,
                  std::optional<std::uint64_t> delay_ms) {
    State& st = *state_;
    Subscription* s = st.subscription_of(session, subscription);
    if (!requeue && (s == nullptr || !s->queue->options.policy.dead_letters()))
        return ack(session, request, subscription, tags, now);  // rejected: gone for this queue
    st.see(now);
    if (s == nullptr) {
        if (request == 0) return;
        return st.fail(session, request, Code::no_such_subscription, unknown_subscription);
    }
    if (!well_formed(tags)) return st.fail(session, request, Code::bad_option, bad_ranges);
    if (delay_ms && *delay_ms > limits::retry_delay_ms_max) {
        return st.fail(session, request, Code::bad_option, "a delay is 0 to 604800000 ms (7 days)");
    }
    st.heard(*s, now);
    std::vector<Range<Tag>> lost;
    std::vector<std::pair<Extent, std::uint32_t>> back;
    for (const Range<Tag>& range : tags) {
        take_parts(*s, range, lost,
                   [&](Tag, const Chunk& part) { back.emplace_back(part.extent, part.attempts); });
    }
    if (!back.empty() && requeue) st.retry_extents(*s->queue, back, delay_ms, now);
    if (!back.empty() && !requeue) st.leave(*s->queue, back, LeaveReason::rejected, "");
    st.mark_dirty(*s->queue);
    st.settle(session, request, std::move(lost), true);
}

void Engine::extend(SessionId session, std::uint64_t request, std::uint64_t subscription,
                    std::span<const Range<Tag>> tags, std::uint64_t lease_ms, Now now) {
    State& st = *state_;
    st.see(now);
    Subscription* s = st.subscription_of(session, subscription);
    if (s == nullptr)
        return st.fail(session, request, Code::no_such_subscription, unknown_subscription);
    if (!well_formed(tags)) return st.fail(session, request, Code::bad_option, bad_ranges);
    if (lease_ms < limits::lease_ms_min || lease_ms > limits::lease_ms_max) {
        return st.fail(session, request, Code::bad_option,
                       "a lease is 1000 ms to 604800000 ms (7 days)");
    }
    st.heard(*s, now);
    const Instant deadline{now.mono.ns + lease_ms * ns_per_ms};
    std::vector<Range<Tag>> lost;
    std::vector<std::pair<Tag, Chunk>> extended;
    for (const Range<Tag>& range : tags) {
        take_parts(*s, range, lost,
                   [&](Tag first, const Chunk& part) { extended.emplace_back(first, part); });
    }
    for (auto& [first, chunk] : extended) {
        chunk.deadline = deadline;
        s->hold(chunk.extent);
        s->chunks.add(first, chunk);
    }
    if (!extended.empty()) st.arm_lease(*s, deadline);
    st.settle(session, request, std::move(lost), false);
}

void Engine::tick(Now now) {
    State& st = *state_;
    st.see(now);
    Now lease_now = now;
    if (FERRY_PLANTED("engine-leases-by-the-wall-clock"))
        lease_now.mono.ns = st.clock.mono.ns + (now.wall_ms - st.clock.wall_ms) * ns_per_ms;
    while (!st.lease_timers.empty() && st.lease_timers.begin()->first <= lease_now.mono.ns) {
        const auto [session, id] = st.lease_timers.begin()->second;
        st.lease_timers.erase(st.lease_timers.begin());
        Subscription* s = st.subscription_of(session, id);
        FERRY_ASSERT(s != nullptr, "a timer goes with its subscription");
        st.expire_leases(*s, lease_now);
    }
    st.look_at_locks(now);
    st.look_at_prepared(now);  // before the alarms, which its checks may set
    st.ring_alarms(now);
    st.ask_due_schedules(now);
    st.retry_parked();
    constexpr std::uint64_t check_every_ms = 10'000;
    const std::uint64_t now_ms = now.mono.ns / 1'000'000;
    if (now_ms < st.producers_checked_ms + check_every_ms) return;
    st.producers_checked_ms = now_ms;
    std::vector<std::uint64_t> idle;
    for (const auto& [number, p] : st.producers.all()) {
        const bool old = p.idle_since_ms + st.settings.temporary_producer_ms <= now_ms;
        if (p.temporary && p.sessions == 0 && old) idle.push_back(number);
    }
    for (const std::uint64_t number : idle) {
        st.body.clear();
        put_u8(st.body, static_cast<std::uint8_t>(RecordType::producer_forget));
        put_varint(st.body, number);
        st.append(st.body);
        st.producers.forget(number);
    }
}

std::optional<Instant> Engine::next_timer() const {
    std::uint64_t next = UINT64_MAX;
    if (!state_->lease_timers.empty()) next = state_->lease_timers.begin()->first;
    if (!state_->alarms.empty()) next = std::min(next, state_->alarms.begin()->first);
    next = std::min({next, state_->next_schedule_ns(), state_->next_prepared_ns(),
                     state_->locks.next_alarm_ns()});
    if (next == UINT64_MAX) return std::nullopt;
    return Instant{next};
}

}  // namespace ferry::engine
