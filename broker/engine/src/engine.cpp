#include "ferry/engine/engine.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "state.hpp"

namespace ferry::engine {

void Engine::State::see(Instant now) {
    FERRY_ASSERT(now >= last_now, "the driver let time run backwards");
    last_now = now;
}

Queue* Engine::State::queue_named(std::string_view name) {
    const auto at = queue_ids.find(name);
    return at == queue_ids.end() ? nullptr : queue_of(at->second);
}

Session* Engine::State::session_of(SessionId id) {
    const auto at = sessions.find(id);
    return at == sessions.end() ? nullptr : &at->second;
}

Journal::Place Engine::State::append(std::span<const Bytes> record_parts) {
    const Journal::Place place = journal.append(record_parts);
    FERRY_ASSERT(place.position >= last_gate, "records get growing positions");
    live.note_place(place);
    last_gate = place.position;
    return place;
}

Journal::Place Engine::State::append(Bytes body_bytes) {
    return append(std::span(&body_bytes, 1));
}

void Engine::State::after(Position gate, Effect effect) {
    FERRY_ASSERT(gated.empty() || gated.back().gate <= gate, "effects wait in order");
    gated.push_back({gate, std::move(effect)});
    awaited = std::max(awaited, gate);
}

void Engine::State::fail(SessionId session, std::uint64_t request, Code code, std::string text) {
    effects.push_back(Reply{session, request, Failure{code, std::move(text)}});
}

std::string no_queue(std::string_view name) {
    return "there is no queue '" + std::string(name) + "'";
}

Queue* Engine::State::queue_for(SessionId session, std::uint64_t request, std::string_view name) {
    Queue* queue = queue_named(name);
    if (queue == nullptr) {
        fail(session, request, Code::no_such_queue, no_queue(name));
    } else if (queue->owner != 0 && queue->owner != session) {
        fail(session, request, Code::exclusive_elsewhere,
             "queue '" + std::string(name) + "' belongs to another connection");
        return nullptr;
    }
    return queue;
}

void Engine::State::reply(Position gate, SessionId session, std::uint64_t request, Answer answer) {
    if (gate < durable) {
        effects.push_back(Reply{session, request, std::move(answer)});
        return;
    }
    after(last_gate, Reply{session, request, std::move(answer)});
}

void Engine::State::mark_dirty(Queue& queue) {
    if (queue.dirty) return;
    queue.dirty = true;
    dirty.push_back(queue.id);
}

void Engine::State::await_log(Queue& queue, Position position) {
    if (queue.awaited) return;
    queue.awaited = true;
    awaited = std::max(awaited, position);
    auto at = awaiting_log.end();
    while (at != awaiting_log.begin() && std::prev(at)->first > position) --at;
    awaiting_log.insert(at, {position, queue.id});
}

Engine::Engine(Journal& journal, Effects& effects, Settings settings)
    : state_(std::make_unique<State>(journal, effects, settings)) {}
Engine::~Engine() = default;

namespace {
// Joins a confirm to the one before it, so that a turn sends one frame instead of many.
bool merge_confirm(Effects& effects, const Effect& effect) {
    const auto* next = std::get_if<Confirm>(&effect);
    if (next == nullptr || effects.empty()) return false;
    auto* last = std::get_if<Confirm>(&effects.back());
    if (last == nullptr || last->session != next->session || last->producer != next->producer ||
        last->duplicate != next->duplicate || last->repeated != next->repeated ||
        last->transactions != next->transactions ||
        last->sequences.last + 1 != next->sequences.first) {
        return false;
    }
    last->sequences.last = next->sequences.last;
    last->messages += next->messages;
    return true;
}
}  // namespace

void Engine::durable(Position upto) {
    State& s = *state_;
    FERRY_ASSERT(upto >= s.durable, "durable records stay durable");
    s.durable = upto;
    while (!s.gated.empty() && s.gated.front().gate < upto) {
        Effect& effect = s.gated.front().effect;
        if (const auto* confirm = std::get_if<Confirm>(&effect)) {
            s.totals.confirmed += confirm->transactions
                                      ? confirm->messages
                                      : confirm->sequences.last - confirm->sequences.first + 1;
        }
        if (const auto* reply = std::get_if<Reply>(&effect)) {
            const auto* done = std::get_if<TransactionAnswer>(&reply->answer);
            if (done != nullptr) s.totals.confirmed += done->messages;
        }
        if (!merge_confirm(s.effects, effect)) s.effects.push_back(std::move(effect));
        s.gated.pop_front();
    }
    while (!s.awaiting_log.empty() && s.awaiting_log.front().first < upto) {
        Queue* queue = s.queue_of(s.awaiting_log.front().second);
        s.awaiting_log.pop_front();
        if (queue == nullptr) continue;
        queue->awaited = false;
        s.mark_dirty(*queue);
    }
}

Position Engine::awaited() const {
    return state_->awaited;
}

void Engine::set_disk_full(bool full) {
    state_->disk_full = full;
    if (full) return;
    for (const QueueId id : state_->timed) state_->mark_dirty(*state_->queue_of(id));
}

void Engine::open_session(SessionId session, std::shared_ptr<const Rights> rights) {
    const auto [at, fresh] = state_->sessions.try_emplace(session);
    FERRY_ASSERT(fresh, "session ids are never used twice");
    at->second.rights = std::move(rights);
}
void Engine::close_session(SessionId session, Now now) {
    state_->close_session(session, now);
}

bool Engine::publish(const PublishCommand& command, Now now) {
    return state_->publish(command, now);
}

void Engine::dispatch(Now now) {
    State& s = *state_;
    s.see(now);
    s.flush_acks();
    // What becomes dirty meanwhile waits for the next call, so that a turn ends.
    std::vector<QueueId> now_dirty;
    now_dirty.swap(s.dirty);
    for (const QueueId id : now_dirty) {
        Queue* queue = s.queue_of(id);
        if (queue == nullptr) continue;
        queue->dirty = false;
        s.dispatch_queue(*queue, now);
    }
}

Status Engine::replay(const Journal::Place& place, Bytes body) {
    return state_->replay(place, body);
}

std::vector<SegmentLoad> Engine::segment_loads() const {
    return state_->live.segments();
}
void Engine::forget_segment(Position base) {
    std::erase_if(state_->used_blocks, [&](Position record) {
        return !state_->live.knows(record) || state_->live.segment_of(record) == base;
    });
    state_->live.forget(base);
}

LiveSet Engine::live_in(Position base, Position end) const {
    LiveSet out;
    for (const auto& [id, queue] : state_->queues) {
        queue->ready.live_in(base, end, out);
        if (queue->extras != nullptr) {
            const auto add = [&](const Extent& e) {
                if (e.record() >= base && e.record() < end) out.extents.push_back(e);
            };
            queue->extras->retries.visit([&](const TimerList::Entry& e) { add(e.extent); });
            queue->extras->scheduled.visit([&](const TimerList::Entry& e) { add(e.extent); });
            for (const auto& [first, leaving] : queue->extras->leaving) add(leaving.extent);
        }
        for (const auto* list : {&queue->subscriptions, &queue->pullers}) {
            for (const Subscription* subscription : *list) {
                for (const auto& [tag, chunk] : subscription->chunks) {
                    const Position record = chunk.extent.record();
                    if (record >= base && record < end) out.extents.push_back(chunk.extent);
                }
            }
        }
    }
    for (const Position record : state_->used_blocks) {
        if (record >= base && record < end) out.blocks.push_back(record);
    }
    // Several queues may hold the same messages; a keeper wants each once.
    std::sort(out.extents.begin(), out.extents.end(),
              [](const Extent& a, const Extent& b) { return a.first < b.first; });
    std::vector<Extent> merged;
    for (const Extent& e : out.extents) {
        if (merged.empty() || merged.back().end() <= e.first) {
            merged.push_back(e);
        } else if (e.end() > merged.back().end()) {
            const auto skip = static_cast<std::uint32_t>(merged.back().end() - e.first);
            Extent rest = e;
            rest.first += skip;
            rest.index = static_cast<std::uint16_t>(e.index + skip);
            rest.set_count(e.count - skip);
            rest.set_offset(0);
            rest.exact = false;
            merged.push_back(rest);
        }
    }
    out.extents.swap(merged);
    return out;
}

void Engine::index_loaded(QueueId id, Position record, Bytes body) {
    Queue* queue = state_->queue_of(id);
    if (queue == nullptr) return;
    Result<std::vector<Extent>> extents = extents_of_block(body);
    if (!extents.ok()) {
        queue->ready.load_failed(record);
        return;
    }
    const bool used = state_->account(
        *queue, [&](ReadyQueue& ready) { return ready.loaded(record, extents.value()); });
    if (used) state_->used_blocks.push_back(record);
    if (used && queue->extras != nullptr) {
        for (const Extent& e : extents.value()) queue->extras->expiry.wake(e.first, e.end());
    }
    state_->mark_dirty(*queue);
}

void Engine::index_unreadable(QueueId id, Position record) {
    if (Queue* queue = state_->queue_of(id)) queue->ready.load_failed(record);
}

std::uint64_t Engine::confirmed() const {
    return state_->totals.confirmed;
}

Totals Engine::totals() const {
    Totals totals = state_->totals;
    totals.queues = state_->queues.size();
    totals.exchanges = state_->topology.exchanges().size();
    totals.producers = state_->producers.size();
    totals.policies = state_->policies.size();
    totals.schedules = state_->schedules.size();
    totals.prepared = state_->prepared.all().size();
    totals.prepared_bytes = state_->prepared.bytes();
    totals.prepared_parked = state_->prepared.parked();
    totals.locks = state_->locks.all().size();
    totals.lock_holders = state_->locks.holders();
    totals.lock_waiters = state_->locks.waiters();
    totals.sessions = state_->sessions.size();
    for (const auto& [id, queue] : state_->queues) {
        totals.ready += queue->ready.messages();
        totals.unacked += queue->unacked;
        if (queue->gate != nullptr) {
            totals.held_keys += queue->gate->held_keys();
            totals.blocked += queue->ready.base().aside_messages();
        }
        if (queue->extras == nullptr) continue;
        const Extras& x = *queue->extras;
        totals.delayed += x.retries.messages() + x.scheduled.messages();
        totals.leaving += x.leaving_messages;
        totals.parked += x.parked;
    }
    totals.live_bytes = state_->live.live_bytes();
    totals.extents_in_memory = state_->extents_in_memory;
    return totals;
}

}  // namespace ferry::engine
