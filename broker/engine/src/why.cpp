// Why messages of a queue are not delivered.

#include "why.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::size_t consumers_named_max = 16;

}  // namespace

void Engine::State::Explainer::explain_queue(bool of_message) {
    if (q.owner != 0) add("exclusive_queue", {{"session", number(q.owner)}});
    if (q.ready.messages() != 0) {
        add("ready",
            {{"messages", number(q.ready.messages())}, {"bytes", number(q.ready.bytes())}});
    } else {
        add("nothing_ready");
    }
    explain_consumers();
    explain_order(of_message);
    explain_times();
    explain_leaving();
    explain_limits();
    if (s.disk_full) add("disk_full");
}

void Engine::State::Explainer::explain_limits() {
    const QueuePolicy& policy = q.options.policy;
    if (q.extras != nullptr && q.extras->dropped != 0)
        add("dropped", {{"messages", number(q.extras->dropped)}});
    if (q.extras != nullptr && q.extras->repeated != 0)
        add("repeated", {{"messages", number(q.extras->repeated)}});
    if (!policy.rejects_publish()) return;
    s.measure_room(q);
    if (q.room.messages != 0 && q.room.bytes != 0) return;
    add("full",
        {{"max_length", number(policy.max_messages)}, {"max_bytes", number(policy.max_bytes)}});
}

void Engine::State::Explainer::explain_consumer(const Subscription& c) {
    const std::uint64_t oldest =
        c.chunks.empty() ? 0 : since(now.mono.ns, c.chunks.begin()->chunk.taken.ns) / ns_per_ms;
    Arguments details{{"session", number(c.session)},
                      {"subscription", number(c.id)},
                      {"unacked", number(c.unacked)},
                      {"window_messages", number(c.options.window_messages)}};
    if (s.passed_over(q, c)) {
        details.emplace_back("silent_ms", number(since(now.mono.ns, c.heard_at.ns) / ns_per_ms));
        return add("stuck", std::move(details));
    }
    if (c.options.window_messages == 0) return add("paused", std::move(details));
    if (c.credit_messages() != 0) return add("takes_more", std::move(details));
    if (c.unacked >= c.options.window_messages) {
        details.emplace_back("oldest_ms", number(oldest));
        return add("window_full", std::move(details));
    }
    details.emplace_back("unacked_bytes", number(c.unacked_bytes));
    details.emplace_back("window_bytes", number(c.options.window_bytes));
    details.emplace_back("oldest_ms", number(oldest));
    add("window_bytes_full", std::move(details));
}

void Engine::State::Explainer::explain_consumers() {
    if (q.unacked != 0) add("unacked", {{"messages", number(q.unacked)}});
    if (q.subscriptions.empty()) {
        return q.waiting_pulls.empty() ? add("no_consumers") : explain_delivery();
    }
    const std::size_t active = q.active_subscriptions();
    if (q.options.single_active) {
        const Subscription& chosen = *q.subscriptions.front();
        add("single_active", {{"session", number(chosen.session)},
                              {"subscription", number(chosen.id)},
                              {"waiting", number(q.subscriptions.size() - active)}});
    }
    const auto end = q.subscriptions.begin() + static_cast<std::ptrdiff_t>(active);
    const bool credit = std::any_of(q.subscriptions.begin(), end, [](const Subscription* c) {
        return c->credit_messages() != 0;
    });
    if (!credit) add("no_credit", {{"consumers", number(active)}});
    for (std::size_t i = 0; i < active && i < consumers_named_max; ++i)
        explain_consumer(*q.subscriptions[i]);
    if (active > consumers_named_max)
        add("more_consumers", {{"consumers", number(active - consumers_named_max)}});
    if (credit) explain_delivery();
}

// Somebody would take messages.
void Engine::State::Explainer::explain_delivery() {
    if (q.ready.messages() == 0) return;
    if (q.ready.damaged()) return add("index_damaged");
    const ReadyList::Front front = q.ready.front(s.durable);
    // All of them lie aside: explain_order() says why.
    if (q.gate != nullptr && front == ReadyList::Front::empty) return;
    if (front == ReadyList::Front::waits_for_index) return add("reads_index");
    const bool horizon = front == ReadyList::Front::ready && !q.ready.front_was_returned() &&
                         q.ready.front_position() >= q.horizon_durable;
    if (front == ReadyList::Front::waits_for_log || horizon || s.token_floor >= s.durable)
        return add("waits_for_disk");
    if (!looks_no_further()) add("being_delivered");
}

void Engine::State::Explainer::explain_times() {
    if (q.extras == nullptr) return;
    const Extras& x = *q.extras;
    if (const TimerList::Entry* next = x.scheduled.front()) {
        add("delayed", {{"messages", number(x.scheduled.messages())},
                        {"next_at_ms", number(next->due)},
                        {"next_in_ms", number(since(next->due, now.wall_ms))}});
    }
    if (const TimerList::Entry* next = x.retries.front()) {
        add("waits_for_retry", {{"messages", number(x.retries.messages())},
                                {"next_in_ms", number(since(next->due, s.steady_ms(now.mono)))}});
    }
    if (x.expired != 0) add("expired", {{"messages", number(x.expired)}});
    if (x.dead_lettered != 0) {
        add("dead_lettered", {{"messages", number(x.dead_lettered)},
                              {"exchange", text(q.options.policy.dead_letter_exchange)},
                              {"key", text(q.options.policy.dead_letter_key)}});
    }
}

// Where dead letters of this queue would go, and what is wrong with that.
void Engine::State::Explainer::add_way(Arguments& details, const Leaving& leaving) const {
    details.emplace_back("reason", text(name_of(leaving.reason)));
    if (leaving.reason == LeaveReason::moved) {
        details.emplace_back("target", text(leaving.target));
        return;
    }
    const QueuePolicy& policy = q.options.policy;
    if (!policy.dead_letters()) {
        details.emplace_back("no_dead_letters", true);
        return;
    }
    details.emplace_back("exchange", text(policy.dead_letter_exchange));
    details.emplace_back("key", text(policy.dead_letter_key));
    const bool there = policy.dead_letter_exchange.empty()
                           ? s.queue_named(policy.dead_letter_key) != nullptr
                           : s.topology.find(policy.dead_letter_exchange) != nullptr;
    if (!there) details.emplace_back("missing", true);
}

void Engine::State::Explainer::explain_leaving() {
    if (q.extras == nullptr) return;
    const Extras& x = *q.extras;
    if (x.leaving_messages > x.parked)
        add("leaving", {{"messages", number(x.leaving_messages - x.parked)}});
    if (x.parked == 0) return;
    Arguments details{{"messages", number(x.parked)}};
    for (const auto& [first, leaving] : x.leaving) {
        if (!leaving.parked) continue;
        add_way(details, leaving);
        break;
    }
    add("parked", std::move(details));
}

void Engine::why(SessionId session, std::uint64_t request, std::string_view name, Position position,
                 std::string_view id, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_named(name);
    if (queue == nullptr) {
        return s.fail(session, request, Code::no_such_queue,
                      "there is no queue '" + std::string(name) + "'");
    }
    s.flush_acks();
    State::Explainer explainer{s, *queue, now, {}};
    if (!id.empty()) {
        explainer.explain_id(id);
    } else if (position != 0) {
        explainer.explain_position(position);
    } else {
        explainer.explain_queue();
    }
    s.effects.push_back(Reply{session, request, WhyAnswer{std::move(explainer.facts)}});
}

}  // namespace ferry::engine
