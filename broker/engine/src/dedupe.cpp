// A queue's window of message ids: what was published to it lately is not stored a second time.
//
// Ids are remembered when a publish is planned, and taken back if the command turns out malformed
// or its transaction is refused. The log has no records of it: replay reads the ids from the
// messages, and a checkpoint holds the window. Only publishes are looked at: dead letters, what an
// operator moves and what comes back always get in.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

std::uint64_t ids_max(const QueuePolicy& policy) {
    return policy.dedupe_max_ids != 0 ? policy.dedupe_max_ids : limits::dedupe_ids_default;
}

}  // namespace

void Engine::State::expect_id(const Route& route, const IdHash& id) {
    for (const QueueId queue_id : route.queues) {
        const Queue& queue = *queue_of(queue_id);
        if (queue.extras != nullptr) queue.extras->seen.expect(id);
    }
}

// Takes the queues that have seen the id out of the plan's route.
void Engine::State::leave_out_repeats(PublishPlan& plan, const IdHash& id) {
    std::size_t seen = 0;
    const auto has_seen = [&](QueueId queue_id) {
        Queue& queue = *queue_of(queue_id);
        const QueuePolicy& policy = queue.options.policy;
        const IdWindow* const window = policy.dedupe_window_ms == 0 ? nullptr : window_of(queue);
        if (window == nullptr || !window->contains(id)) return false;
        Extras& x = *queue.extras;
        ++x.repeated;
        ++totals.repeated;
        return true;
    };
    std::vector<QueueId> others;
    for (const QueueId queue_id : plan.route->queues) {
        if (has_seen(queue_id)) {
            ++seen;
        } else if (seen > 0 || plan.route->queues.size() > 1) {
            others.push_back(queue_id);
        }
    }
    if (seen == 0) return;
    plan.repeated = true;
    Route& rest = uncached_routes.emplace_back(*plan.route);
    rest.queues = std::move(others);
    plan.route = &rest;
}

// The ids that the queue remembers, without those whose time is over. Null: none yet.
IdWindow* Engine::State::window_of(Queue& queue) {
    if (queue.extras == nullptr) return nullptr;
    Extras& x = *queue.extras;
    if (x.seen_trimmed != plan_number) {
        const QueuePolicy& policy = queue.options.policy;
        x.seen_trimmed = plan_number;
        x.seen.trim(steady_ms(last_now), policy.dedupe_window_ms, ids_max(policy));
    }
    return &x.seen;
}

// `only`: the window of the route's only queue, if it is at hand.
void Engine::State::remember_id(const PublishPlan& plan, const IdHash& id, IdWindow* only) {
    if (only != nullptr && plan.route->queues.size() == 1) {
        only->add(id, steady_ms(last_now));
        planned_ids.push_back(plan.route->queues.front());
        return;
    }
    for (const QueueId queue_id : plan.route->queues) {
        Queue& queue = *queue_of(queue_id);
        if (queue.options.policy.dedupe_window_ms == 0) continue;
        extras_of(queue).seen.add(id, steady_ms(last_now));
        planned_ids.push_back(queue_id);
    }
}

void Engine::State::forget_planned_ids() {
    for (const QueueId queue_id : planned_ids) queue_of(queue_id)->extras->seen.take_back();
    planned_ids.clear();
}

void Engine::State::replay_ids(Queue& queue, const Run& run, std::uint32_t offset) {
    Extras& x = extras_of(queue);
    wire::Cursor cursor(replay_body.subspan(offset, run.bytes));
    wire::MessageView message;
    for (std::uint32_t i = 0; i < run.count && wire::read_message(cursor, message); ++i) {
        const std::string_view id = id_of(message.properties);
        if (id.empty()) continue;
        const IdHash hash = hash_id(settings.id_key_low, settings.id_key_high, id);
        // A window that was shorter when this was published may have let it in twice.
        if (!x.seen.contains(hash)) x.seen.add(hash, clock.steady_ms);
    }
    const QueuePolicy& policy = queue.options.policy;
    x.seen.trim(clock.steady_ms, policy.dedupe_window_ms,
                ids_max(policy) + limits::messages_per_frame_max);
}

}  // namespace ferry::engine
