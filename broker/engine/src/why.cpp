// Looking into a queue: what lies where, and why it is not delivered.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::size_t consumers_named_max = 16;
constexpr std::size_t found_max = 16;

Argument number(std::uint64_t value) {
    return static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX));
}
Argument text(std::string_view value) {
    return std::string(value);
}
std::uint64_t since(std::uint64_t now, std::uint64_t then) {
    return now > then ? now - then : 0;
}
bool holds(const Extent& e, Position at) {
    return at >= e.first && at < e.end();
}

}  // namespace

/// Gathers facts about one queue, most telling first.
struct Engine::State::Explainer {
    State& s;
    Queue& q;  // to ask for its front is not to change it, but may choose a level
    Now now;
    std::vector<Fact> facts;

    void add(std::string name, Arguments details = {}) {
        facts.push_back({std::move(name), std::move(details)});
    }

    // -- the queue --

    void explain_queue() {
        if (q.owner != 0) add("exclusive_queue", {{"session", number(q.owner)}});
        if (q.ready.messages() != 0) {
            add("ready",
                {{"messages", number(q.ready.messages())}, {"bytes", number(q.ready.bytes())}});
        } else {
            add("nothing_ready");
        }
        explain_consumers();
        explain_times();
        explain_leaving();
        explain_limits();
        if (s.disk_full) add("disk_full");
    }

    void explain_limits() {
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

    void explain_consumer(const Subscription& c) {
        const std::uint64_t oldest =
            c.chunks.empty() ? 0
                             : since(now.mono.ns, c.chunks.begin()->second.taken.ns) / ns_per_ms;
        Arguments details{{"session", number(c.session)},
                          {"subscription", number(c.id)},
                          {"unacked", number(c.unacked)},
                          {"window_messages", number(c.options.window_messages)}};
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

    void explain_consumers() {
        if (q.unacked != 0) add("unacked", {{"messages", number(q.unacked)}});
        if (q.subscriptions.empty()) {
            return q.waiting_pulls.empty() ? add("no_consumers") : explain_delivery();
        }
        const bool credit =
            std::any_of(q.subscriptions.begin(), q.subscriptions.end(),
                        [](const Subscription* c) { return c->credit_messages() != 0; });
        if (!credit) add("no_credit", {{"consumers", number(q.subscriptions.size())}});
        for (std::size_t i = 0; i < q.subscriptions.size() && i < consumers_named_max; ++i)
            explain_consumer(*q.subscriptions[i]);
        if (q.subscriptions.size() > consumers_named_max) {
            add("more_consumers",
                {{"consumers", number(q.subscriptions.size() - consumers_named_max)}});
        }
        if (credit) explain_delivery();
    }

    // Somebody would take messages.
    void explain_delivery() {
        if (q.ready.messages() == 0) return;
        if (q.ready.damaged()) return add("index_damaged");
        const ReadyList::Front front = q.ready.front(s.durable);
        if (front == ReadyList::Front::waits_for_index) return add("reads_index");
        const bool horizon = front == ReadyList::Front::ready && !q.ready.front_was_returned() &&
                             q.ready.front_position() >= q.horizon_durable;
        if (front == ReadyList::Front::waits_for_log || horizon || s.token_floor >= s.durable)
            return add("waits_for_disk");
        add("being_delivered");
    }

    void explain_times() {
        if (q.extras == nullptr) return;
        const Extras& x = *q.extras;
        if (const TimerList::Entry* next = x.scheduled.front()) {
            add("delayed", {{"messages", number(x.scheduled.messages())},
                            {"next_at_ms", number(next->due)},
                            {"next_in_ms", number(since(next->due, now.wall_ms))}});
        }
        if (const TimerList::Entry* next = x.retries.front()) {
            add("waits_for_retry",
                {{"messages", number(x.retries.messages())},
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
    void add_way(Arguments& details, const Leaving& leaving) const {
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

    void explain_leaving() {
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

    // -- one message --

    bool explain_ready(Position at) {
        bool found = false;
        std::uint64_t ahead = 0;
        std::uint32_t deliveries = 0;
        q.ready.visit_memory([&](const Extent& e, std::uint32_t attempts) {
            found = holds(e, at);
            deliveries = attempts;
            ahead += found ? at - e.first : e.count;
            return !found;
        });
        if (!found) return false;
        add("is_ready", {{"position", number(at)},
                         {"ahead", number(ahead)},
                         {"deliveries", number(deliveries)}});
        return true;
    }

    bool explain_unacked(Position at) {
        for (const auto* list : {&q.subscriptions, &q.pullers}) {
            for (const Subscription* c : *list) {
                for (const auto& [tag, chunk] : c->chunks) {
                    if (!holds(chunk.extent, at)) continue;
                    add("is_with_consumer",
                        {{"position", number(at)},
                         {"session", number(c->session)},
                         {"subscription", number(c->id)},
                         {"tag", number(tag + (at - chunk.extent.first))},
                         {"attempt", number(chunk.attempts)},
                         {"token", number(chunk.token)},
                         {"since_ms", number(since(now.mono.ns, chunk.taken.ns) / ns_per_ms)},
                         {"lease_left_ms",
                          number(since(chunk.deadline.ns, now.mono.ns) / ns_per_ms)}});
                    return true;
                }
            }
        }
        return false;
    }

    bool explain_waiting(Position at) {
        if (q.extras == nullptr) return false;
        const std::size_t before = facts.size();
        q.extras->retries.visit([&](const TimerList::Entry& e) {
            if (!holds(e.extent, at)) return;
            add("is_waiting_for_retry", {{"position", number(at)},
                                         {"deliveries", number(e.attempts)},
                                         {"in_ms", number(since(e.due, s.steady_ms(now.mono)))}});
        });
        q.extras->scheduled.visit([&](const TimerList::Entry& e) {
            if (holds(e.extent, at)) add_delayed(at, e.due);
        });
        return facts.size() != before;
    }

    void add_delayed(Position at, std::uint64_t due) {
        add("is_delayed", {{"position", number(at)},
                           {"at_ms", number(due)},
                           {"in_ms", number(since(due, now.wall_ms))}});
    }

    bool explain_gone_elsewhere(Position at) {
        if (q.extras == nullptr) return false;
        const auto& leaving = q.extras->leaving;
        auto found = leaving.upper_bound(at);
        if (found == leaving.begin() || !holds(std::prev(found)->second.extent, at)) return false;
        const Leaving& one = std::prev(found)->second;
        Arguments details{{"position", number(at)},
                          {"deliveries", number(one.attempts)},
                          {"since_ms", number(since(now.wall_ms, one.wall_ms))}};
        add_way(details, one);
        add(one.parked ? "is_parked" : "is_leaving", std::move(details));
        return true;
    }

    void explain_position(Position at) {
        if (explain_ready(at)) return explain_queue();
        if (explain_unacked(at) || explain_waiting(at) || explain_gone_elsewhere(at)) return;
        const Position floor = s.floor_of(q);
        if (at > s.last_gate + limits::messages_per_frame_max) {
            return add("not_written_yet", {{"position", number(at)}, {"end", number(s.last_gate)}});
        }
        if (at < floor) return add("is_gone", {{"position", number(at)}, {"floor", number(floor)}});
        std::uint64_t in_memory = 0;
        q.ready.visit_memory([&](const Extent& e, std::uint32_t) {
            in_memory += e.count;
            return true;
        });
        if (in_memory < q.ready.messages()) {
            add("may_be_deep", {{"position", number(at)}, {"ahead", number(in_memory)}});
            return explain_queue();
        }
        add("is_not_here", {{"position", number(at)}});
    }

    // Delayed messages are found by their id; the others only by looking at them all.
    void explain_id(std::string_view id) {
        if (q.extras != nullptr) {
            auto [at, end] = q.extras->ids.equal_range(hash_of_id(id));
            for (; at != end && facts.size() < found_max; ++at) {
                if (q.extras->scheduled.contains(at->second))
                    add_delayed(at->second.first, at->second.due);
            }
        }
        if (facts.empty()) add("no_delayed_message_has_this_id");
    }
};

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
