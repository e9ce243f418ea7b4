// Ordered queues: messages of one key one after another, many keys at a time, each key with the
// consumer that the ring says; and queues with a single active consumer.
//
// Messages are looked at once, in the order of the queue. Those that may go out go; the others lie
// aside, and the gate (key_gate.hpp) says when the turn of which of them has come.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

// Runs that are passed while every consumer that takes more holds at least so many messages.
constexpr std::size_t ordered_ahead_busy = 4'096;
constexpr std::uint64_t ordered_busy_messages = 64;
// How often it is asked whether an index block is needed soon; "soon" is a thousand looks.
constexpr std::uint32_t looks_per_load = 64;
// Others want their turn too.
constexpr std::uint32_t looks_per_turn_max = 65'536;

bool someone_has_credit(Queue& queue) {
    const std::size_t n = queue.active_subscriptions();
    for (std::size_t i = 0; i < n; ++i) {
        std::size_t at = queue.next_subscription + i;
        if (at >= n) at %= n;  // seldom, and this is asked for each message
        if (queue.subscriptions[at]->credit_messages() == 0) continue;
        queue.next_subscription = at;
        return true;
    }
    return false;
}

}  // namespace

// After a restart, or a purge: the keys of what waits for its retry or is delivered.
void Engine::State::hold_keys_of_waiting(Queue& queue) {
    if (queue.gate == nullptr) return;
    const auto hold = [&](const Extent& extent) {
        // Not the first of its key: its turn comes when it is due and the other one is settled.
        if (extent.key != 0) static_cast<void>(queue.gate->claim(extent.key, extent.first));
    };
    if (queue.extras != nullptr)
        queue.extras->retries.visit([&](const TimerList::Entry& e) { hold(e.extent); });
    for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
        for (const Subscription* s : *list) {
            for (const auto& [tag, chunk] : s->chunks) hold(chunk.extent);
        }
    }
}

// ---- what they get ----

// The next message whose turn has come: one of the consumer's keys, or (`any`) of whatever key.
bool Engine::State::deliver_offered(Queue& queue, Subscription& s, bool any, Now now) {
    while (const auto offer = queue.gate->next_offer(any ? nullptr : &s)) {
        const auto taken = account(queue, [&](ReadyQueue& ready) {
            return ready.base().take_aside(offer->first, offer->place);
        });
        FERRY_ASSERT(taken.has_value(), "what is offered lies aside");
        if (worn_out(queue, *taken)) continue;
        hand_out(queue, s, *taken, now, offer->hint);
        return true;
    }
    return false;
}

// How many runs may lie aside. Looking far costs: what is found late is cold by then. So it is done
// only for a consumer that has little to do, to find it another key behind a long run of one.
std::size_t Engine::State::runs_passed_max(const Queue& queue, const Subscription* puller) const {
    const auto idle = [](const Subscription& s) { return s.unacked < ordered_busy_messages; };
    if (puller != nullptr) return idle(*puller) ? limits::ordered_ahead_max : ordered_ahead_busy;
    for (std::size_t i = 0; i < queue.active_subscriptions(); ++i) {
        const Subscription& s = *queue.subscriptions[i];
        if (s.credit_messages() > 0 && idle(s)) return limits::ordered_ahead_max;
    }
    return ordered_ahead_busy;
}

// Of messages without a key several may go at once, as in other queues.
bool Engine::State::hand_out_keyless(Queue& queue, Subscription* puller, const Credit& credit,
                                     std::uint64_t most, Now now) {
    Subscription* s = puller != nullptr ? puller : next_with_credit(queue);
    if (s == nullptr) return false;
    const std::uint64_t share =
        queue.ready.messages() / std::max<std::size_t>(1, queue.active_subscriptions());
    const std::uint64_t wanted =
        puller != nullptr ? credit.messages
                          : std::min(s->credit_messages(), std::max<std::uint64_t>(1, share));
    const std::uint64_t bytes = puller != nullptr ? credit.bytes : s->credit_bytes();
    const ReadyList::Taken taken = account(
        queue, [&](ReadyQueue& ready) { return ready.take(std::min(wanted, most), bytes); });
    // Only this one: what comes behind it may have a key.
    if (worn_out(queue, taken)) return true;
    hand_out(queue, *s, taken, now);
    if (puller == nullptr) ++queue.next_subscription;
    return true;
}

// Looks at the message at the front of the queue: it goes out, or lies aside until its turn comes.
// False: nothing can be looked at now. `puller`: takes whatever may go out, of any key.
bool Engine::State::look_at_front(Queue& queue, Subscription* puller, const Credit& credit,
                                  Now now) {
    std::uint64_t most = UINT64_MAX;
    if (!front_ready(queue, most)) return false;
    const Extent front = queue.ready.base().front_extent();
    const KeyNumber key = front.key;
    if (key == 0) return hand_out_keyless(queue, puller, credit, most, now);
    // What came back is in memory anyway, so it never has to wait for room.
    const std::size_t aside = queue.ready.base().aside_extents();
    const bool no_room = aside >= ordered_ahead_busy && !queue.ready.front_was_returned() &&
                         aside >= runs_passed_max(queue, puller);
    Subscription* s = puller != nullptr ? puller : queue.gate->owner_of(key);
    const bool can_take = puller != nullptr || (s != nullptr && s->credit_messages() > 0);
    if (no_room && !can_take) return false;
    const KeyGate::Claim claim = queue.gate->claim(key, front.first);
    if (!claim.granted) {
        if (no_room) return false;
        const ReadyList::Aside waiting =
            account(queue, [&](ReadyQueue& ready) { return ready.base().front_to_aside(most); });
        queue.gate->park(claim.hint, waiting.extent, waiting.place);
        return true;
    }
    const ReadyList::Taken taken =
        account(queue, [&](ReadyQueue& ready) { return ready.take(1, UINT64_MAX); });
    if (worn_out(queue, taken)) return true;
    if (can_take) {
        hand_out(queue, *s, taken, now, claim.hint);
        return true;
    }
    account(queue, [&](ReadyQueue& ready) {
        queue.gate->offer(claim.hint, ready.base().set_aside(taken));
    });
    return true;
}

// As looking at each of them, for what most often lies at the front of a queue with a backlog:
// messages whose key another one has, while there is room for them.
std::uint32_t Engine::State::pass_held_keys(Queue& queue, std::uint32_t most) {
    const Position below =
        queue.options.durable ? std::min(visible(queue), queue.horizon_durable) : UINT64_MAX;
    ReadyList& ready = queue.ready.base();
    std::uint32_t passed = 0;
    KeyHint hint = no_key_hint;
    const auto wanted = [&](const Extent& extent) {
        const KeyNumber key = extent.key;
        if (passed == most || ready.aside_extents() >= ordered_ahead_busy || key == 0 ||
            extent.end() > below)
            return false;
        hint = queue.gate->held_before(key, extent.first);
        return hint != no_key_hint;
    };
    ready.fronts_to_aside(wanted, [&](const Extent& extent, AsideList::Place place) {
        queue.gate->park(hint, extent, place);
        ++passed;
    });
    return passed;
}

void Engine::State::dispatch_ordered(Queue& queue, Now now) {
    if (!someone_has_credit(queue)) return;
    if (token_floor >= durable) return await_log(queue, token_floor);
    const std::size_t n = queue.active_subscriptions();
    for (std::size_t i = 0; i < n; ++i) {
        Subscription& s = *queue.subscriptions[i];
        while (s.credit_messages() > 0 && deliver_offered(queue, s, false, now)) {
        }
    }
    std::uint32_t looks = 0;
    std::uint32_t look_again = 0;  // for an index block
    for (; someone_has_credit(queue) && looks < looks_per_turn_max; ++looks) {
        looks += pass_held_keys(queue, std::min(looks_per_load, looks_per_turn_max - looks - 1));
        if (!look_at_front(queue, nullptr, {}, now)) break;
        if (looks >= look_again) {
            load_index_if_needed(queue);
            look_again = looks + looks_per_load;
        }
    }
    // What lies aside now counts for the queue's limits.
    const bool trims = looks > 0 && queue.options.policy.trims();
    if (looks == looks_per_turn_max || trims) mark_dirty(queue);
}

bool Engine::State::serve_pull_ordered(Queue& queue, Subscription& s, const WaitingPull& pull,
                                       Now now) {
    if (token_floor >= durable) {
        await_log(queue, token_floor);
        return false;
    }
    const std::uint64_t before = s.unacked;
    const std::uint64_t bytes_before = s.unacked_bytes;
    const auto credit = [&] {
        Credit left;
        const std::uint64_t used = s.unacked_bytes - bytes_before;
        left.messages = pull.messages_max - (s.unacked - before);
        left.bytes = pull.bytes_max > used ? pull.bytes_max - used : 0;
        // One message is always allowed, whatever its size.
        if (left.bytes == 0 && s.unacked != before) left.messages = 0;
        return left;
    };
    while (credit().messages > 0 && deliver_offered(queue, s, true, now)) {
    }
    for (std::uint32_t looks = 0; credit().messages > 0 && looks < looks_per_turn_max; ++looks) {
        Credit left = credit();
        left.bytes = std::max<std::uint64_t>(1, left.bytes);
        if (!look_at_front(queue, &s, left, now)) break;
    }
    const std::uint64_t got = s.unacked - before;
    std::uint64_t most = 1;
    // What waits for the log or an index block is not "none"; what waits for its key is.
    if (got == 0 && queue.ready.front(visible(queue)) != ReadyList::Front::empty &&
        !queue.ready.damaged() && !front_ready(queue, most)) {
        return false;
    }
    effects.push_back(Reply{pull.session, pull.request, PullAnswer{got, queue.ready.messages()}});
    return true;
}

}  // namespace ferry::engine
