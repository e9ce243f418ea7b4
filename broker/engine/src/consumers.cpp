// Who consumes a queue, who of them gets the next message, and who has stopped answering.
//
// A consumer whose lease ended is *stuck* until it says something: settles, extends, asks for more.
// Its connection lives, so heartbeats do not tell; what it holds comes back lease by lease. While
// anybody else consumes, it gets nothing new, or each message that comes back would wait another
// lease with it.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;

std::uint64_t ms_since(Instant then, Now now) {
    return (now.mono.ns - std::min(now.mono.ns, then.ns)) / ns_per_ms;
}

}  // namespace

void Engine::State::join_consumers(Queue& queue, Subscription& s) {
    const bool active = !queue.options.single_active || queue.subscriptions.front() == &s;
    if (queue.options.single_active) effects.push_back(Activated{s.session, s.id, active});
    if (active && queue.gate != nullptr) {
        queue.gate->add_member(s, s.options.member, static_cast<std::uint32_t>(s.options.weight));
    }
}

// Called before it is off the list, and after it gave back what it held.
void Engine::State::leave_consumers(Queue& queue, Subscription& s) {
    if (queue.gate != nullptr) queue.gate->remove_member(s);
    const bool takes_over = queue.options.single_active && queue.subscriptions.size() > 1 &&
                            queue.subscriptions.front() == &s;
    if (!takes_over) return;
    Subscription& next = *queue.subscriptions[1];
    effects.push_back(Activated{next.session, next.id, true});
    if (queue.gate != nullptr) {
        queue.gate->add_member(next, next.options.member,
                               static_cast<std::uint32_t>(next.options.weight));
    }
}

// ---- who is stuck ----

// Somebody else is to get the messages instead. With a single active consumer nobody else may.
bool Engine::State::passed_over(const Queue& queue, const Subscription& s) {
    return s.stuck && queue.stuck < queue.subscriptions.size() && !queue.options.single_active;
}

void Engine::State::heard(Subscription& s, Now now) {
    s.heard_at = now.mono;
    if (!s.stuck) return;
    s.stuck = false;
    if (s.pull_only) return;
    --s.queue->stuck;
    share_keys_among_living(*s.queue);
    mark_dirty(*s.queue);
}

void Engine::State::lost_lease(Subscription& s, std::uint64_t messages) {
    s.leases_ended += messages;
    totals.leases_expired += messages;
    if (s.stuck) return;
    s.stuck = true;
    if (s.pull_only) return;
    ++s.queue->stuck;
    share_keys_among_living(*s.queue);
}

// The keys of who is passed over go to the others; a slot of which it still holds a message follows
// when that one is settled, or its lease ends as well.
void Engine::State::share_keys_among_living(Queue& queue) {
    if (queue.gate == nullptr) return;
    for (std::size_t i = 0; i < queue.active_subscriptions(); ++i) {
        Subscription& s = *queue.subscriptions[i];
        const bool there = s.gate_member != KeyGate::none;
        if (passed_over(queue, s) == !there) continue;
        if (there) {
            queue.gate->remove_member(s);
        } else {
            queue.gate->add_member(s, s.options.member,
                                   static_cast<std::uint32_t>(s.options.weight));
        }
    }
}

// ---- who gets the next message ----

// The one that holds the least of those that take more; those that hold the same take turns.
Subscription* Engine::State::next_with_credit(Queue& queue) {
    const std::size_t n = queue.active_subscriptions();
    Subscription* least = nullptr;
    std::size_t least_at = 0;
    std::size_t compared = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = (queue.next_subscription + i) % n;
        Subscription* s = queue.subscriptions[at];
        if (s->credit_messages() == 0 || passed_over(queue, *s)) continue;
        if (least == nullptr || s->unacked < least->unacked) {
            least = s;
            least_at = at;
        }
        if (least->unacked == 0 || ++compared == limits::consumers_compared_max) break;
    }
    // Whose turn it is changes when it has got something.
    if (least != nullptr) queue.next_subscription = least_at;
    return least;
}

// ---- to look at ----

ConsumerView Engine::State::consumer_view(const Queue& queue, const Subscription& s, Now now) {
    ConsumerView view;
    view.queue = queue.name;
    view.session = s.session;
    view.subscription = s.id;
    view.pulls = s.pull_only;
    view.active = s.pull_only || !queue.options.single_active || queue.subscriptions.front() == &s;
    view.stuck = s.stuck;
    view.unacked = s.unacked;
    view.unacked_bytes = s.unacked_bytes;
    view.window_messages = s.pull_only ? 0 : s.options.window_messages;
    if (!s.chunks.empty()) view.oldest_ms = ms_since(s.chunks.begin()->chunk.taken, now);
    view.lease_ms = s.options.lease_ms;
    view.silent_ms = ms_since(s.heard_at, now);
    view.leases_ended = s.leases_ended;
    if (queue.gate == nullptr) return view;
    const KeyGate::Share share = queue.gate->share_of(s);
    view.member = queue.gate->member_name(s);
    view.slots = share.slots;
    view.draining = share.draining;
    return view;
}

std::vector<ConsumerView> Engine::consumers(std::string_view only, const ConsumerPlace& after,
                                            std::size_t most, Now now) const {
    std::vector<ConsumerView> views;
    const auto add = [&](const Queue& queue, std::size_t skip) {
        for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
            for (std::size_t i = std::min(skip, list->size()); i < list->size(); ++i) {
                if (views.size() == most) return;
                views.push_back(State::consumer_view(queue, *(*list)[i], now));
            }
            skip -= std::min(skip, list->size());
        }
    };
    State& s = *state_;
    auto at = s.queue_ids.lower_bound(only.empty() ? after.queue : only);
    for (; at != s.queue_ids.end() && views.size() < most; ++at) {
        if (!only.empty() && at->first != only) break;
        add(*s.queue_of(at->second), at->first == after.queue ? after.skip : 0);
    }
    return views;
}

}  // namespace ferry::engine
