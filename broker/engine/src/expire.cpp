// What has its time: messages that expire, delayed publishes, queues that nobody uses.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t expiry_ranges_pruned_at = 1024;
constexpr std::size_t expired_per_turn_max = 16'384;  // ranges
constexpr std::uint64_t ttl_granules = 256;           // a queue's TTL is exact to 1/256

}  // namespace

// The steady time at which a run of this queue expires; UINT64_MAX: never.
std::uint64_t Engine::State::expiry_of(const Queue& queue, const Run& run,
                                       std::uint64_t wall_ms) const {
    const std::uint64_t now_ms = replaying ? clock.steady_ms : steady_ms(last_now);
    std::uint64_t due = UINT64_MAX;
    if (run.expires_at != 0) {
        const std::uint64_t left = run.expires_at > wall_ms ? run.expires_at - wall_ms : 0;
        if (left <= deliver_ahead_ms_max) due = now_ms + left;  // others live for ever
    }
    const std::uint64_t ttl = queue.options.policy.message_ttl_ms;
    if (ttl != 0) {
        const std::uint64_t wait = run.deliver_at > wall_ms ? run.deliver_at - wall_ms : 0;
        // Rounded up, so that messages that come one after another are one range.
        const std::uint64_t granule = ttl / ttl_granules + 1;
        const std::uint64_t exact = now_ms + wait + ttl;
        due = std::min(due, (exact + granule - 1) / granule * granule);
        if (FERRY_PLANTED("engine-life-too-short")) due -= ttl / 2;
    }
    return due;
}

void Engine::State::note_expiry(Queue& queue, const Run& run, const Extent& extent,
                                std::uint64_t wall_ms) {
    const std::uint64_t due = expiry_of(queue, run, wall_ms);
    if (due == UINT64_MAX) return;
    if (replaying && FERRY_PLANTED("engine-life-forgotten-by-a-restart")) return;
    Extras& x = extras_of(queue);
    x.expiry.add(extent.first, extent.end(), due);
    if (x.expiry.size() >= x.expiry_prune_at) {
        if (!replaying) x.expiry.forget_below(floor_of(queue));
        x.expiry_prune_at = std::max(expiry_ranges_pruned_at, 2 * x.expiry.size());
    }
    if (!replaying) set_alarm(queue);
}

// Takes what has expired off the queue. What somebody holds is left to him until it comes back;
// what lies in an index block on disk waits for it to be read.
void Engine::State::expire_messages(Queue& queue, Now now) {
    Extras& x = *queue.extras;
    const std::uint64_t now_ms = steady_ms(now.mono);
    std::vector<std::pair<Extent, std::uint32_t>> gone;
    for (std::size_t i = 0; i < expired_per_turn_max; ++i) {
        const ExpiryIndex::Range* range = x.expiry.front();
        if (range == nullptr || range->due > now_ms) break;
        account(queue,
                [&](ReadyQueue& ready) { ready.take_range(range->first, range->end, gone); });
        x.expiry.put_front_to_sleep();
        if (gone.size() >= extents_per_record_max) break;
    }
    if (gone.empty()) return;
    for (const auto& [extent, attempts] : gone) {
        x.expired += extent.count;
        totals.expired += extent.count;
    }
    if (queue.options.policy.dead_letters()) {
        leave(queue, gone, LeaveReason::expired, "");
        return;
    }
    for (const auto& [extent, attempts] : gone) book_gone(queue, extent);
    flush_acks();
    mark_dirty(queue);
}

// ---- delayed publishes ----

void Engine::State::schedule(Queue& queue, const Run& run, const Extent& extent) {
    Extras& x = extras_of(queue);
    if (!x.scheduled.add(run.deliver_at, 0, extent)) {
        replay_broken = true;  // live: checked when the publish was planned
        return;
    }
    if (run.id_hash != 0) x.ids.emplace(run.id_hash, TimerList::Key{run.deliver_at, extent.first});
    // Of messages that were delivered meanwhile the id stays a while.
    if (x.ids.size() > 2 * x.scheduled.entries() + 1024) {
        const TimerList::Entry* first = x.scheduled.front();
        const std::uint64_t over = first == nullptr ? UINT64_MAX : first->due;
        std::erase_if(x.ids, [&](const auto& id) { return id.second.due < over; });
    }
    // Only the first one is waited for.
    if (!replaying && x.scheduled.front()->key() == TimerList::Key{run.deliver_at, extent.first})
        set_alarm(queue);
}

bool Engine::State::apply_cancel(Queue& queue, TimerList::Key key) {
    if (queue.extras == nullptr) return false;
    const auto taken = queue.extras->scheduled.take(key.due, key.first);
    if (!taken) return false;
    live.remove(taken->extent.record(), taken->extent.count, taken->extent.bytes);
    return true;
}

void Engine::cancel(SessionId session, std::uint64_t request, std::string_view name,
                    std::string_view id, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_for(session, request, name);
    if (queue == nullptr) return;
    if (id.empty())
        return s.fail(session, request, Code::bad_option, "name the id of the message to cancel");
    std::uint64_t cancelled = 0;
    if (queue->extras != nullptr) {
        auto& ids = queue->extras->ids;
        auto [at, end] = ids.equal_range(hash_of_id(id));
        while (at != end) {
            const TimerList::Key key = at->second;
            at = ids.erase(at);
            if (!s.apply_cancel(*queue, key)) continue;  // delivered before
            s.body.clear();
            put_u8(s.body, static_cast<std::uint8_t>(RecordType::cancel));
            put_varint(s.body, queue->id);
            put_varint(s.body, key.due);
            put_varint(s.body, key.first);
            s.append(s.body);
            ++cancelled;
        }
        s.set_alarm(*queue);
    }
    s.reply(s.last_gate, session, request, CountAnswer{cancelled});
}

// ---- queues that nobody uses ----

void Engine::State::use(Queue& queue) {
    if (queue.options.policy.expires_ms == 0) return;
    extras_of(queue).used_ms = steady_ms(last_now);
    set_alarm(queue);
}

bool Engine::State::expire_queue(Queue& queue, Now now) {
    const std::uint64_t expires = queue.options.policy.expires_ms;
    if (expires == 0 || !queue.subscriptions.empty() || !queue.waiting_pulls.empty()) return false;
    const bool held = std::any_of(queue.pullers.begin(), queue.pullers.end(),
                                  [](const Subscription* s) { return s->unacked > 0; });
    if (held || steady_ms(now.mono) < queue.extras->used_ms + expires) return false;
    delete_queue_now(queue, Code::no_such_queue, "nobody used it for as long as it was to live");
    return true;
}

std::uint64_t hash_of_id(std::string_view id) {
    std::uint64_t hash = 14695981039346656037ULL;
    for (const char c : id) hash = (hash ^ static_cast<std::uint8_t>(c)) * 1099511628211ULL;
    hash ^= hash >> 32;
    hash *= 0xff51afd7ed558ccdULL;
    hash ^= hash >> 29;
    return hash == 0 ? 1 : hash;
}

}  // namespace ferry::engine
