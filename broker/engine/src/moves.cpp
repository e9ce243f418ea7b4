// What an operator does with single messages and selections: move, redrive, drop.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

std::string no_message(std::string_view queue, Position position) {
    return "no ready message near the head of '" + std::string(queue) + "' has position " +
           std::to_string(position);
}

}  // namespace

// Takes the ready message at `position`, if it lies in memory.
std::optional<std::pair<Extent, std::uint32_t>> Engine::State::take_ready(Queue& queue,
                                                                          Position position) {
    std::optional<std::pair<Extent, std::uint32_t>> found;
    queue.ready.visit_memory([&](const Extent& e, std::uint32_t attempts) {
        if (position < e.first || position >= e.end()) return true;
        found.emplace(part_of(e, static_cast<std::uint32_t>(position - e.first), 1), attempts);
        return false;
    });
    if (!found) return found;
    account(queue,
            [&](ReadyQueue& ready) { return ready.cut(position, 1, false, found->first.level); });
    return found;
}

bool Engine::State::serve_move(Queue& queue, WaitingMove& move) {
    std::vector<std::pair<Extent, std::uint32_t>> taken;
    while (move.left > 0 && taken.size() < extents_per_record_max) {
        const auto aside = account(
            queue, [&](ReadyQueue& ready) { return ready.base().take_any_aside(move.left); });
        if (aside) {
            taken.emplace_back(aside->extent, aside->attempts);
            move.left -= aside->extent.count;
            move.moved += aside->extent.count;
            continue;
        }
        const ReadyList::Front front = queue.ready.front(durable);
        if (front == ReadyList::Front::waits_for_index) load_index_if_needed(queue);
        if (front == ReadyList::Front::waits_for_log) await_log(queue, last_gate);
        if (front != ReadyList::Front::ready) break;
        const ReadyList::Taken part =
            account(queue, [&](ReadyQueue& ready) { return ready.take(move.left, UINT64_MAX); });
        taken.emplace_back(part.extent, part.attempts);
        move.left -= part.extent.count;
        move.moved += part.extent.count;
    }
    if (!taken.empty()) leave(queue, taken, LeaveReason::moved, move.target);
    const bool over = move.left == 0 || queue.ready.messages() == 0 || queue.ready.damaged();
    if (over) reply(last_gate, move.session, move.request, CountAnswer{move.moved});
    return over;
}

void Engine::State::move_parked(Queue& queue, std::string_view target, std::uint64_t most,
                                std::uint64_t& moved) {
    if (queue.extras == nullptr) return;
    std::vector<std::pair<Extent, std::uint32_t>> chosen;
    for (const auto& [first, leaving] : queue.extras->leaving) {
        if (!leaving.parked) continue;
        if (moved >= most || chosen.size() >= extents_per_record_max) break;
        chosen.emplace_back(leaving.extent, leaving.attempts);
        moved += leaving.extent.count;
    }
    for (const auto& [extent, attempts] : chosen) {
        queue.extras->parked -= extent.count;
        const bool there = pick_leaving(queue, extent);
        FERRY_ASSERT(there, "what was chosen is leaving");
    }
    if (!chosen.empty()) leave(queue, chosen, LeaveReason::moved, target);
}

void Engine::move_messages(SessionId session, std::uint64_t request, std::string_view name,
                           std::string_view target, Position position, std::uint64_t most,
                           bool parked, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_for(session, request, name);
    if (queue == nullptr) return;
    if (!target.empty() && s.queue_named(target) == nullptr)
        return s.fail(session, request, Code::no_such_queue, no_queue(target));
    if (position == 0 && (most == 0 || most > limits::move_messages_max)) {
        return s.fail(session, request, Code::bad_option, "move 1 to 1000000 messages at a time");
    }
    if (parked) {
        std::uint64_t moved = 0;
        s.move_parked(*queue, target, most, moved);
        return s.reply(s.last_gate, session, request, CountAnswer{moved});
    }
    if (position == 0) {
        s.extras_of(*queue).moves.push_back({session, request, most, 0, std::string(target)});
        return s.mark_dirty(*queue);
    }
    const auto found = s.take_ready(*queue, position);
    if (!found) return s.fail(session, request, Code::no_such_message, no_message(name, position));
    s.leave(*queue, std::span(&*found, 1), LeaveReason::moved, target);
    s.reply(s.last_gate, session, request, CountAnswer{1});
}

void Engine::drop_message(SessionId session, std::uint64_t request, std::string_view name,
                          Position position, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_for(session, request, name);
    if (queue == nullptr) return;
    const auto found = s.take_ready(*queue, position);
    if (!found) return s.fail(session, request, Code::no_such_message, no_message(name, position));
    s.book_ack(*queue, found->first);
    s.flush_acks();
    s.reply(s.last_gate, session, request, CountAnswer{1});
}

}  // namespace ferry::engine
