// Why one message is not delivered, or what became of it.

#include "ferry/wire/limits.hpp"
#include "why.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::size_t found_max = 16;

}  // namespace

std::string Engine::State::Explainer::named(std::string_view about, std::string_view fact) {
    return std::string(about) + std::string(fact);
}

// As far as the index is in memory, in the order in which peek() shows messages.
std::optional<Engine::State::Explainer::Place> Engine::State::Explainer::find_ready(
    Position at) const {
    Place place;
    bool found = false;
    q.ready.visit_memory([&](const Extent& e, std::uint32_t attempts) {
        found = holds(e, at);
        place.deliveries = attempts;
        place.key = e.key;
        place.ahead += found ? at - e.first : e.count;
        return !found;
    });
    return found ? std::optional(place) : std::nullopt;
}

bool Engine::State::Explainer::explain_ready(Position at, std::string_view about) {
    const std::optional<Place> place = find_ready(at);
    if (!place) return false;
    add(named(about, "is_ready"), {{"position", number(at)},
                                   {"ahead", number(place->ahead)},
                                   {"deliveries", number(place->deliveries)}});
    return true;
}

bool Engine::State::Explainer::explain_unacked(Position at, std::string_view about) {
    for (const auto* list : {&q.subscriptions, &q.pullers}) {
        for (const Subscription* c : *list) {
            for (const auto& [tag, chunk] : c->chunks) {
                if (!holds(chunk.extent, at)) continue;
                add(named(about, "is_with_consumer"),
                    {{"position", number(at)},
                     {"session", number(c->session)},
                     {"subscription", number(c->id)},
                     {"tag", number(tag + (at - chunk.extent.first))},
                     {"attempt", number(chunk.attempts)},
                     {"token", number(chunk.token)},
                     {"since_ms", number(since(now.mono.ns, chunk.taken.ns) / ns_per_ms)},
                     {"lease_left_ms", number(since(chunk.deadline.ns, now.mono.ns) / ns_per_ms)}});
                return true;
            }
        }
    }
    return false;
}

bool Engine::State::Explainer::explain_waiting(Position at, std::string_view about) {
    if (q.extras == nullptr) return false;
    const std::size_t before = facts.size();
    q.extras->retries.visit([&](const TimerList::Entry& e) {
        if (!holds(e.extent, at)) return;
        add(named(about, "is_waiting_for_retry"),
            {{"position", number(at)},
             {"deliveries", number(e.attempts)},
             {"in_ms", number(since(e.due, s.steady_ms(now.mono)))}});
    });
    q.extras->scheduled.visit([&](const TimerList::Entry& e) {
        if (holds(e.extent, at)) add_delayed(at, e.due, about);
    });
    return facts.size() != before;
}

void Engine::State::Explainer::add_delayed(Position at, std::uint64_t due, std::string_view about) {
    add(named(about, "is_delayed"), {{"position", number(at)},
                                     {"at_ms", number(due)},
                                     {"in_ms", number(since(due, now.wall_ms))}});
}

bool Engine::State::Explainer::explain_gone_elsewhere(Position at) {
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

void Engine::State::Explainer::explain_position(Position at) {
    if (explain_ready(at, {})) {
        explain_key(at);
        return explain_queue(true);
    }
    if (explain_unacked(at, {}) || explain_waiting(at, {}) || explain_gone_elsewhere(at)) return;
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
        return explain_queue(true);
    }
    add("is_not_here", {{"position", number(at)}});
}

void Engine::State::Explainer::explain_id(std::string_view id) {
    if (q.extras != nullptr) {
        auto [at, end] = q.extras->ids.equal_range(hash_of_id(id));
        for (; at != end && facts.size() < found_max; ++at) {
            if (q.extras->scheduled.contains(at->second))
                add_delayed(at->second.first, at->second.due, {});
        }
    }
    if (facts.empty()) add("no_delayed_message_has_this_id");
}

}  // namespace ferry::engine
