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

bool over_limit(const Queue& queue) {
    const QueuePolicy& p = queue.options.policy;
    return (p.max_messages != 0 && queue.ready.messages() > p.max_messages) ||
           (p.max_bytes != 0 && queue.ready.bytes() > p.max_bytes);
}

// How many of so many messages have to go for the limits' sake; at least one.
std::uint64_t messages_over(const Queue& queue) {
    const QueuePolicy& p = queue.options.policy;
    const std::uint64_t messages = queue.ready.messages();
    if (p.max_messages != 0 && messages > p.max_messages) return messages - p.max_messages;
    return messages;
}

std::uint64_t bytes_over(const Queue& queue) {
    const QueuePolicy& p = queue.options.policy;
    const bool by_length = p.max_messages != 0 && queue.ready.messages() > p.max_messages;
    return by_length ? UINT64_MAX : queue.ready.bytes() - p.max_bytes;
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
    while (over_limit(queue) && gone.size() < dropped_per_turn_max) {
        const ReadyList::Front front = queue.ready.front_to_drop(durable);
        if (front == ReadyList::Front::waits_for_index) load_index_if_needed(queue);
        // What is not durable yet may go as well: the record that says so comes behind it.
        if (front == ReadyList::Front::empty || front == ReadyList::Front::waits_for_index) break;
        const ReadyList::Taken taken = account(queue, [&](ReadyQueue& ready) {
            return ready.take_to_drop(messages_over(queue), bytes_over(queue));
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
    if (over_limit(queue)) mark_dirty(queue);
}

}  // namespace ferry::engine
