#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state.hpp"

namespace ferry::engine {

/// Gathers facts about one queue or one of its messages, most telling first, as an answer to
/// Engine::why(). Changes nothing but which priority level the queue looks at next.
///
/// Threads   The engine's.
struct Engine::State::Explainer {
    State& s;
    Queue& q;
    Now now;
    std::vector<Fact> facts;

    /// `of_message`: what the first message waits for is not of interest.
    void explain_queue(bool of_message = false);
    void explain_position(Position at);
    /// Delayed messages are found by their id; the others only by looking at them all.
    void explain_id(std::string_view id);

private:
    void add(std::string name, Arguments details = {}) {
        facts.push_back({std::move(name), std::move(details)});
    }
    static Argument number(std::uint64_t value) {
        return static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX));
    }
    static Argument text(std::string_view value) { return std::string(value); }
    static std::uint64_t since(std::uint64_t now, std::uint64_t then) {
        return now > then ? now - then : 0;
    }
    static bool holds(const Extent& e, Position at) { return at >= e.first && at < e.end(); }

    // -- why.cpp: the queue --
    void explain_limits();
    void explain_consumer(const Subscription& c);
    void explain_consumers();
    void explain_delivery();
    void explain_times();
    void add_way(Arguments& details, const Leaving& leaving) const;
    void explain_leaving();

    // -- why_message.cpp --
    // `about` stands before the fact's name: nothing, or what the message is to the one asked for.
    static std::string named(std::string_view about, std::string_view fact);
    struct Place {
        std::uint64_t ahead = 0;
        std::uint32_t deliveries = 0;
        KeyNumber key = 0;
    };
    [[nodiscard]] std::optional<Place> find_ready(Position at) const;
    bool explain_ready(Position at, std::string_view about);
    bool explain_unacked(Position at, std::string_view about);
    bool explain_waiting(Position at, std::string_view about);
    bool explain_gone_elsewhere(Position at);
    void add_delayed(Position at, std::uint64_t due, std::string_view about);

    // -- why_key.cpp: ordered queues --
    void explain_order(bool of_message);
    [[nodiscard]] bool looks_no_further() const;
    void explain_moving_slots();
    static void add_way(Arguments& details, const Subscription* from, const Subscription* to);
    void explain_key(Position at);
    void explain_consumer_of_key(const KeyGate::Standing& standing);
};

}  // namespace ferry::engine
