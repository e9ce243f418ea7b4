// Looking at the messages of a queue.

#include <algorithm>

#include "state.hpp"

namespace ferry::engine {

namespace {

/// Leaves out the first `skip` messages and stops behind `most`.
struct Page {
    std::uint64_t skip;
    std::size_t most;
    std::vector<PeekItem> items;

    /// False: enough.
    bool take(const Extent& e, std::uint32_t attempt) {
        if (skip >= e.count) {
            skip -= e.count;
            return true;
        }
        const auto from = static_cast<std::uint32_t>(skip);
        const auto n = static_cast<std::uint32_t>(std::min<std::uint64_t>(e.count - from, most));
        skip = 0;
        if (n != 0) items.push_back({part_of(e, from, n), attempt});
        most -= n;
        return most > 0;
    }
};

void take_unacked(const Queue& queue, Page& page) {
    for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
        for (const Subscription* subscription : *list) {
            for (const auto& [tag, chunk] : subscription->chunks) {
                if (!page.take(chunk.extent, chunk.attempts)) return;
            }
        }
    }
}

}  // namespace

std::vector<PeekItem> Engine::peek(std::string_view name, std::uint64_t skip, std::size_t most,
                                   Where where) const {
    Page page{skip, most, {}};
    const Queue* queue = state_->queue_named(name);
    if (queue == nullptr || most == 0) return {};
    if (where == Where::ready) {
        queue->ready.visit_memory(
            [&](const Extent& e, std::uint32_t attempts) { return page.take(e, attempts + 1); });
    }
    if (where == Where::unacked) take_unacked(*queue, page);
    if (queue->extras == nullptr) return std::move(page.items);
    if (where == Where::delayed) {
        const auto take = [&](const TimerList::Entry& e) {
            page.take(e.extent, static_cast<std::uint32_t>(e.attempts) + 1);
        };
        queue->extras->retries.visit(take);
        queue->extras->scheduled.visit(take);
    }
    if (where == Where::leaving) {
        for (const auto& [first, leaving] : queue->extras->leaving) {
            if (!page.take(leaving.extent, leaving.attempts)) break;
        }
    }
    return std::move(page.items);
}

}  // namespace ferry::engine
