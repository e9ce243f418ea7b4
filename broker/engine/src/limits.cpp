// What a full queue does.
//
// reject_publish  counts everything the queue holds for somebody: ready, unacked and delayed. It is
//                 decided before anything of a message is stored, so a message that reaches several
//                 queues is stored in all of them or in none.
// the others      count what is ready, and take it from the head: an ack or leave record of their
//                 own, right behind what went over the limit.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t dropped_per_turn_max = 4096;  // runs

/// How much of what is ready has to go.
struct Excess {
    std::uint64_t messages = 0;  // by max_length
    std::uint64_t bytes = 0;     // by max_bytes
    [[nodiscard]] bool any() const { return messages != 0 || bytes != 0; }
};

std::uint64_t beyond(std::uint64_t there, std::uint64_t limit, std::uint64_t wanted) {
    if (limit == 0 || there <= limit || there - limit <= wanted) return 0;
    return there - limit - wanted;
}

// What consumers have room for is as good as delivered: it only waits for its sync.
Excess excess_of(const Queue& queue) {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    // Of consumers that get messages: the others of a single active one only wait.
    for (std::size_t i = 0; i < queue.active_subscriptions(); ++i) {
        const Subscription& s = *queue.subscriptions[i];
        const std::uint64_t credit = s.credit_messages();
        messages += credit;
        bytes += credit != 0 ? s.credit_bytes() : 0;
    }
    for (const WaitingPull& pull : queue.waiting_pulls) {
        messages += pull.messages_max;
        bytes += pull.bytes_max;
    }
    // But not what was looked at and waits for its key.
    if (queue.gate != nullptr) {
        const std::uint64_t aside = queue.ready.base().aside_messages();
        messages = std::min(messages, queue.ready.messages() - aside);
        if (aside != 0) bytes = 0;
    }
    const QueuePolicy& p = queue.options.policy;
    return {beyond(queue.ready.messages(), p.max_messages, messages),
            beyond(queue.ready.bytes(), p.max_bytes, bytes)};
}

}  // namespace

void Engine::State::measure_room(Queue& queue) const {
    std::uint64_t messages = queue.ready.messages() + queue.unacked;
    std::uint64_t bytes = queue.ready.bytes();
    for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
        for (const Subscription* s : *list) bytes += s->unacked_bytes;
    }
    if (queue.extras != nullptr) {
        for (const TimerList* list : {&queue.extras->retries, &queue.extras->scheduled}) {
            messages += list->messages();
            bytes += list->bytes();
        }
    }
    const auto left = [](std::uint64_t limit, std::uint64_t used) {
        if (limit == 0) return UINT64_MAX;
        return limit > used ? limit - used : 0;
    };
    queue.room.plan = plan_number;
    queue.room.messages = left(queue.options.policy.max_messages, messages);
    queue.room.bytes = left(queue.options.policy.max_bytes, bytes);
}

// Takes the message's room in every queue of the route that has a limit, or refuses the plan.
void Engine::State::take_room(const Route& route, PublishPlan& plan) {
    for (const QueueId id : route.queues) {
        Queue& queue = *queue_of(id);
        if (!queue.options.policy.rejects_publish()) continue;
        if (queue.room.plan != plan_number) measure_room(queue);
        if (queue.room.messages > 0 && queue.room.bytes >= plan.bytes) continue;
        plan.code = Code::queue_full;
        plan.full = id;
        return;
    }
    for (const QueueId id : route.queues) {
        Queue& queue = *queue_of(id);
        if (!queue.options.policy.rejects_publish()) continue;
        if (queue.room.messages != UINT64_MAX) --queue.room.messages;
        if (queue.room.bytes != UINT64_MAX) queue.room.bytes -= plan.bytes;
    }
}

std::string Engine::State::text_of_full(QueueId id) {
    const Queue* queue = queue_of(id);
    const QueuePolicy& p = queue->options.policy;
    std::string text = "queue '" + queue->name + "' is full:";
    if (p.max_messages != 0) text += " max_length " + std::to_string(p.max_messages);
    if (p.max_bytes != 0) text += " max_bytes " + std::to_string(p.max_bytes);
    return text + "; publish again when there is room";
}

void Engine::State::drop_over_limit(Queue& queue) {
    std::vector<std::pair<Extent, std::uint32_t>> gone;
    std::uint64_t messages = 0;
    Excess excess = excess_of(queue);
    for (; excess.any() && gone.size() < dropped_per_turn_max; excess = excess_of(queue)) {
        const bool by_length = excess.messages != 0;
        const auto aside = account(queue, [&](ReadyQueue& ready) {
            return ready.base().take_any_aside(by_length ? excess.messages : 1);
        });
        if (aside) {
            messages += aside->extent.count;
            gone.emplace_back(aside->extent, aside->attempts);
            continue;
        }
        const ReadyList::Front front = queue.ready.front_to_drop(durable);
        if (front == ReadyList::Front::waits_for_index) load_index_if_needed(queue);
        // What is not durable yet may go as well: the record that says so comes behind it.
        if (front == ReadyList::Front::empty || front == ReadyList::Front::waits_for_index) break;
        const ReadyList::Taken taken = account(queue, [&](ReadyQueue& ready) {
            return ready.take_to_drop(by_length ? excess.messages : ready.messages(),
                                      by_length ? UINT64_MAX : excess.bytes);
        });
        messages += taken.extent.count;
        gone.emplace_back(taken.extent, taken.attempts);
    }
    if (gone.empty()) return;
    extras_of(queue).dropped += messages;
    totals.dropped += messages;
    if (queue.options.policy.overflow == Overflow::dead_letter_head &&
        queue.options.policy.dead_letters()) {
        leave(queue, gone, LeaveReason::length_limit, "");
    } else {
        for (const auto& [extent, attempts] : gone) book_gone(queue, extent);
        flush_acks();
    }
    if (excess.any()) mark_dirty(queue);
}

}  // namespace ferry::engine
