// Handing out messages, and keeping a queue's index small.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

// How far the horizon moves ahead of deliveries, and when it is moved again. Positions are bytes of
// log.
constexpr Position horizon_step = 16ULL << 20;
constexpr Position horizon_low = 8ULL << 20;
// A queue with a consumer and no more than this waiting: its new messages count as delivered at
// once.
constexpr std::uint64_t immediate_bytes_max = 4ULL << 20;
// The same where a consumer was given a message of the newest so many bytes before older ones.
constexpr Position overtaking_bytes_max = 16ULL << 20;
constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::size_t delivery_runs_max = 511;  // that go out together
constexpr std::size_t delivery_runs_few = 8;

}  // namespace

// How much of one queue's index may be in memory.
std::size_t Engine::State::extents_allowed() const {
    constexpr std::size_t comfortable = 8192;
    const std::uint64_t most = settings.extents_in_memory_max;
    // While there is plenty, a queue may have much of it: what need not be written and read again
    // costs an ordered queue a tenth less.
    if (extents_in_memory < most / 2) return std::max<std::uint64_t>(comfortable, most / 4);
    if (extents_in_memory < most / 4 * 3) return comfortable;
    return extents_in_memory < most ? 1024 : 32;
}

void Engine::State::spill(Queue& queue) {
    if (replaying) return;
    // One block is enough for one more extent; in an ordered queue a publish brings many.
    for (;;) {
        const std::size_t allowed = extents_allowed();
        if (queue.ready.extents_in_memory() < allowed) return;
        const std::vector<Extent> extents = queue.ready.to_spill(allowed);
        if (extents.empty()) return;
        body.clear();
        encode_extents(body, RecordType::index_block, queue.id, extents);
        const auto size = static_cast<std::uint32_t>(body.size());
        const Journal::Place place = append(body);
        const bool spilled = account(
            queue, [&](ReadyQueue& ready) { return ready.spilled(extents, place.position, size); });
        FERRY_ASSERT(spilled, "what to_spill() names lies in memory");
        if (queue.gate == nullptr) return;
    }
}

void Engine::State::load_index_if_needed(Queue& queue) {
    const std::optional<Position> block = queue.ready.block_to_load();
    if (!block) return;
    if (*block >= durable) return await_log(queue, *block);  // nobody could read it yet
    queue.ready.loading(*block);
    effects.push_back(LoadIndex{queue.id, *block});
}

bool Engine::State::extend_horizon(Queue& queue) {
    if (queue.horizon_gate < durable) queue.horizon_durable = queue.horizon;
    if (queue.horizon_durable < queue.horizon) return false;  // a step is under way
    const Position back = queue.ready.back_end();
    if (queue.horizon >= back) return false;
    const Position from =
        queue.ready.front_was_returned() ? queue.horizon : queue.ready.front_position();
    const Position to = std::min(back, std::max(from, queue.horizon) + horizon_step);
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::horizon));
    put_varint(body, queue.id);
    put_varint(body, to);
    queue.horizon_gate = append(body).position;
    queue.horizon = to;
    return true;
}

bool Engine::State::counts_as_delivered(const Queue& queue) const {
    if (queue.subscriptions.empty()) return false;
    if (queue.ready.messages() == 0) return true;
    const Position back = queue.ready.back_end();
    if (back > queue.horizon) return false;
    if (queue.ready.bytes() <= immediate_bytes_max) return true;
    // Of a backlog with several priorities the newest messages may well be the next ones, and none
    // of them should have to wait for a record that moves the horizon.
    return queue.ready.has_levels() && back <= queue.handed_out_end + overtaking_bytes_max;
}

// Whether the front may be delivered now; if not, what it waits for is under way. Lowers
// `messages_max` to what the horizon allows.
bool Engine::State::front_ready(Queue& queue, std::uint64_t& messages_max) {
    switch (queue.ready.front(visible(queue))) {
        case ReadyList::Front::empty:
            return false;
        case ReadyList::Front::waits_for_index:
            load_index_if_needed(queue);
            return false;
        case ReadyList::Front::waits_for_log:
            await_log(queue, last_gate);
            return false;
        case ReadyList::Front::ready:
            break;
    }
    // No crash brings messages of a queue back that does not outlive the broker: nothing has to
    // remember that they were delivered.
    if (queue.ready.front_was_returned() || !queue.options.durable) return true;
    const Position at = queue.ready.front_position();
    if (queue.horizon_gate < durable) queue.horizon_durable = queue.horizon;
    if (at + horizon_low > queue.horizon_durable) extend_horizon(queue);
    if (at >= queue.horizon_durable) {
        await_log(queue, queue.horizon_gate);
        return false;
    }
    messages_max = std::min<std::uint64_t>(messages_max, queue.horizon_durable - at);
    return true;
}

std::optional<ReadyList::Taken> Engine::State::take_front(Queue& queue, std::uint64_t messages_max,
                                                          std::uint64_t bytes_max) {
    if (!front_ready(queue, messages_max)) return std::nullopt;
    return account(queue, [&](ReadyQueue& ready) { return ready.take(messages_max, bytes_max); });
}

std::uint64_t Engine::State::deliver(Queue& queue, Subscription& s, std::uint64_t messages_max,
                                     std::uint64_t bytes_max, Now now) {
    if (token_floor >= durable) {
        await_log(queue, token_floor);
        return 0;
    }
    std::optional<ReadyList::Taken> front;
    while ((front = take_front(queue, messages_max, bytes_max))) {
        if (!worn_out(queue, *front)) break;
    }
    if (!front) return 0;
    hand_out(queue, s, *front, now);
    return front->extent.count;
}

// A message that had its last attempt where connections were lost with it, or the broker crashed,
// leaves instead of being delivered.
bool Engine::State::worn_out(Queue& queue, const ReadyList::Taken& taken) {
    const std::uint32_t most = queue.options.policy.max_deliveries;
    if (most == 0 || taken.attempts < most) return false;
    if (FERRY_PLANTED("engine-deliveries-off-by-one") && taken.attempts == most) return false;
    const std::pair<Extent, std::uint32_t> worn{taken.extent, taken.attempts};
    leave(queue, std::span(&worn, 1), LeaveReason::max_deliveries, "");
    return true;
}

namespace {
// To whom it is delivered the key means nothing.
Extent without_key(const Extent& extent) {
    Extent one = extent;
    one.key = 0;
    return one;
}
}  // namespace

// Single messages of many keys go out together, or every one of them would be a frame.
bool Engine::State::join_delivery(Subscription& s, const Extent& extent) {
    if (!s.options.some_at_a_time || s.open_delivery >= effects.size()) return false;
    auto* open = std::get_if<Deliver>(&effects[s.open_delivery]);
    if (open == nullptr || open->session != s.session || open->subscription != s.id ||
        open->attempt != 1 || open->token != open->extent.first ||
        open->first_tag + open->messages() != s.next_tag ||
        open->more.size() >= delivery_runs_max) {
        return false;
    }
    Extent& last = open->more.empty() ? open->extent : open->more.back();
    const bool joined = last.end() == extent.first && join(last, without_key(extent));
    if (!joined) {
        // Where there are a few there will be many: it grows once.
        if (open->more.size() == delivery_runs_few) open->more.reserve(delivery_runs_max);
        open->more.emplace_back(extent).key = 0;
    } else if (open->more.empty()) {
        return true;
    }
    open->more_messages += extent.count;
    return true;
}

void Engine::State::hand_out(Queue& queue, Subscription& s, const ReadyList::Taken& taken, Now now,
                             KeyHint key_hint) {
    const Extent& extent = taken.extent;
    // Tokens of one message grow: its position, then the record that returned it, or, where a crash
    // or a restart returned it, a record written after that start.
    const bool unfenced = FERRY_PLANTED("engine-lease-without-fencing");
    const Position token =
        taken.attempts == 0 || unfenced ? extent.first : std::max(taken.gate, token_floor);
    if (extent.key == 0 || taken.attempts != 0 || !join_delivery(s, extent)) {
        s.open_delivery = effects.size();
        Deliver& deliver = std::get<Deliver>(effects.emplace_back(Deliver{}));
        deliver.session = s.session;
        deliver.subscription = s.id;
        deliver.first_tag = s.next_tag;
        deliver.extent = without_key(extent);
        deliver.attempt = taken.attempts + 1;
        deliver.token = token;
        deliver.no_ack = s.options.no_ack;
    }
    queue.handed_out_end = std::max(queue.handed_out_end, extent.end());
    queue.delivered += extent.count;
    totals.delivered += extent.count;
    // Without acks the driver settles a delivery when it has sent it: until then the window holds
    // for it too.
    const Instant deadline{now.mono.ns + s.options.lease_ms * ns_per_ms};
    Chunk& chunk = s.chunks.add(s.next_tag, extent);
    chunk.attempts = taken.attempts + 1;
    chunk.key_hint = key_hint;
    chunk.token = token;
    chunk.taken = now.mono;
    chunk.deadline = deadline;
    s.hold(extent);
    arm_lease(s, deadline);
    s.next_tag += extent.count;
}

bool Engine::State::serve_pull(Queue& queue, const WaitingPull& pull, Now now) {
    Subscription* s = subscription_of(pull.session, pull.subscription);
    if (s == nullptr) return true;
    if (queue.gate != nullptr) return serve_pull_ordered(queue, *s, pull, now);
    std::uint64_t got = 0;
    std::uint64_t bytes_left = std::max<std::uint64_t>(1, pull.bytes_max);
    while (got < pull.messages_max) {
        const std::uint64_t before = s->unacked_bytes;
        const std::uint64_t n = deliver(queue, *s, pull.messages_max - got, bytes_left, now);
        if (n == 0) break;
        got += n;
        const std::uint64_t used = s->unacked_bytes - before;
        if (used >= bytes_left) break;
        bytes_left -= used;
    }
    // Messages that wait for the log or an index block are not "none": the answer waits with them.
    if (got == 0 && queue.ready.messages() > 0 && !queue.ready.damaged()) return false;
    effects.push_back(Reply{pull.session, pull.request, PullAnswer{got, queue.ready.messages()}});
    return true;
}

void Engine::State::dispatch_queue(Queue& queue, Now now) {
    load_index_if_needed(queue);
    if (queue.options.policy.trims()) drop_over_limit(queue);
    if (queue.extras != nullptr) {
        while (!queue.extras->moves.empty() && serve_move(queue, queue.extras->moves.front()))
            queue.extras->moves.pop_front();
        const ExpiryIndex::Range* range = queue.extras->expiry.front();
        if (range != nullptr && range->due <= steady_ms(now.mono)) expire_messages(queue, now);
        if (!queue.extras->outbound.empty()) pump_leaving(queue);
    }
    while (!queue.waiting_pulls.empty()) {
        const WaitingPull pull = queue.waiting_pulls.front();
        if (!serve_pull(queue, pull, now)) break;
        queue.waiting_pulls.pop_front();
    }
    if (queue.gate != nullptr) return dispatch_ordered(queue, now);
    while (Subscription* s = next_with_credit(queue)) {
        std::uint64_t most = s->credit_messages();
        if (queue.active_subscriptions() > 1) {
            // A short queue is shared out, not given to whoever comes first.
            const std::uint64_t share = queue.ready.messages() / queue.active_subscriptions();
            most = std::min(most, std::max<std::uint64_t>(1, share));
        }
        if (deliver(queue, *s, most, s->credit_bytes(), now) == 0) break;
        ++queue.next_subscription;
        load_index_if_needed(queue);
    }
}

void Engine::credit(SessionId session, std::uint64_t request, std::uint64_t subscription,
                    std::uint64_t window_messages, std::uint64_t window_bytes) {
    Subscription* s = state_->subscription_of(session, subscription);
    if (s == nullptr) {
        return state_->fail(session, request, Code::no_such_subscription,
                            "there is no such subscription on this connection");
    }
    if (window_messages > limits::window_messages_max || window_bytes > limits::window_bytes_max) {
        return state_->fail(session, request, Code::bad_option,
                            "a window has at most 100000 messages and 268435456 bytes");
    }
    s->options.window_messages = window_messages;
    s->options.window_bytes = window_bytes;
    state_->heard(*s, Now{state_->last_now, state_->last_wall_ms});
    state_->effects.push_back(Reply{session, request, Plain{}});
    state_->mark_dirty(*s->queue);
}

void Engine::pull(SessionId session, std::uint64_t request, std::uint64_t subscription,
                  std::string_view name, std::uint64_t messages_max, std::uint64_t bytes_max,
                  bool no_ack, Now now) {
    State& st = *state_;
    st.see(now);
    Session* owner = st.session_of(session);
    FERRY_ASSERT(owner != nullptr, "the driver opened the session");
    Queue* queue = st.queue_for(session, request, name);
    if (queue == nullptr) return;
    if (queue->options.single_active) {
        return st.fail(session, request, Code::exclusive_elsewhere,
                       "the queue has a single active consumer; subscribe instead of pulling");
    }
    if (messages_max == 0 || messages_max > limits::window_messages_max ||
        bytes_max > limits::window_bytes_max) {
        return st.fail(session, request, Code::bad_option,
                       "pull 1 to 100000 messages and at most 268435456 bytes");
    }
    std::unique_ptr<Subscription>& slot = owner->subscriptions[subscription];
    if (slot == nullptr) {
        if (owner->subscriptions.size() > limits::subscriptions_per_connection_max) {
            owner->subscriptions.erase(subscription);
            return st.fail(session, request, Code::limit_reached,
                           "a connection has at most 4096 subscriptions");
        }
        slot = std::make_unique<Subscription>();
        slot->session = session;
        slot->id = subscription;
        slot->queue = queue;
        slot->pull_only = true;
        slot->options.lease_ms = queue->lease_ms;
        queue->pullers.push_back(slot.get());
    }
    Subscription& s = *slot;
    if (!s.pull_only || s.queue != queue) {
        return st.fail(session, request, Code::already_exists,
                       "this subscription number is in use for something else");
    }
    if (s.unacked + messages_max > limits::window_messages_max) {
        return st.fail(session, request, Code::limit_reached,
                       "more than 100000 messages are unacked; ack some first");
    }
    s.options.no_ack = no_ack;
    st.heard(s, now);
    st.use(*queue);
    queue->waiting_pulls.push_back({session, request, subscription, messages_max, bytes_max});
    st.mark_dirty(*queue);
}

}  // namespace ferry::engine
