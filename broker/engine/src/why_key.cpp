// Why messages of an ordered queue wait: for another one of their key, or for the consumer that
// has the key.

#include "why.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t moves_named_max = 16;

}  // namespace

bool Engine::State::Explainer::looks_no_further() const {
    return q.gate != nullptr && q.ready.base().aside_extents() >= s.runs_passed_max(q, nullptr);
}

void Engine::State::Explainer::explain_order(bool of_message) {
    if (q.gate == nullptr) return;
    const ReadyList& ready = q.ready.base();
    if (ready.aside_messages() != 0) {
        add("waits_for_keys",
            {{"messages", number(ready.aside_messages())}, {"keys", number(q.gate->held_keys())}});
        if (!of_message) explain_key(ready.first_aside().first);
    }
    if (looks_no_further()) add("looks_no_further", {{"runs", number(ready.aside_extents())}});
    explain_moving_slots();
}

void Engine::State::Explainer::explain_moving_slots() {
    const std::vector<KeyGate::Move> moves = q.gate->moves();
    for (std::size_t i = 0; i < moves.size() && i < moves_named_max; ++i) {
        Arguments details{{"slots", number(moves[i].slots)},
                          {"unacked", number(moves[i].in_flight)}};
        add_way(details, moves[i].from, moves[i].to);
        add("slots_move", std::move(details));
    }
}

// Nothing where there is nobody: what was pulled keeps its slot from moving too.
void Engine::State::Explainer::add_way(Arguments& details, const Subscription* from,
                                       const Subscription* to) {
    if (from != nullptr) {
        details.emplace_back("session", number(from->session));
        details.emplace_back("subscription", number(from->id));
    }
    if (to != nullptr) {
        details.emplace_back("to_session", number(to->session));
        details.emplace_back("to_subscription", number(to->id));
    }
}

void Engine::State::Explainer::explain_key(Position at) {
    const std::optional<Place> place = q.gate != nullptr ? find_ready(at) : std::nullopt;
    if (!place || place->key == 0) return;
    const KeyGate::Standing standing = q.gate->standing_of(place->key);
    if (!standing.held || standing.by == at) return explain_consumer_of_key(standing);
    add("waits_for_key", {{"position", number(at)},
                          {"ahead", number(place->ahead)},
                          {"behind", number(standing.by)}});
    // The message that has the key: where it is, and what that one waits for.
    constexpr std::string_view about = "holder_";
    if (explain_ready(standing.by, about)) return explain_consumer_of_key(standing);
    if (!explain_unacked(standing.by, about)) explain_waiting(standing.by, about);
}

// Whose turn it is to take the key, and what keeps it from doing so.
void Engine::State::Explainer::explain_consumer_of_key(const KeyGate::Standing& standing) {
    if (standing.owner != standing.wanted) {
        Arguments details{{"slot", number(standing.slot)}, {"unacked", number(standing.in_flight)}};
        add_way(details, standing.owner, standing.wanted);
        return add("slot_drains", std::move(details));
    }
    if (standing.owner == nullptr) return;  // nobody consumes, which the queue's facts say
    const Subscription& owner = *standing.owner;
    add("key_comes_to", {{"slot", number(standing.slot)},
                         {"session", number(owner.session)},
                         {"subscription", number(owner.id)},
                         {"takes_more", owner.credit_messages() != 0}});
}

}  // namespace ferry::engine
