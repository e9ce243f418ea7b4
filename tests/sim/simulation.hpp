#pragma once

#include <cstdint>
#include <string>

#include "ferry/history/history.hpp"
#include "swarm.hpp"

namespace ferry::simulation {

/// How a run ended.
struct Outcome {
    std::string failure;  // empty: all is well
    std::string swarm;    // what was drawn
    std::string last_events;
    history::History history;
    std::uint64_t trace_hash = 0;
    std::uint64_t events = 0;
    std::uint64_t virtual_ns = 0;
    std::uint64_t operations = 0;  // publishes, deliveries, acks and effects
    std::uint64_t crashes = 0;
    std::uint32_t struck = 0;  // faults
};

/// One run, from its seed alone. `canary`: a message is lost in the notes, so that it must fail.
[[nodiscard]] Outcome simulate(std::uint64_t seed, const Diet& diet = {}, bool canary = false,
                               bool talkative = false);

/// Takes faults, actors and time away as long as the run still fails; says what is left.
[[nodiscard]] Diet shrink(std::uint64_t seed, const Diet& from);
[[nodiscard]] std::string text_of(const Diet& diet);

}  // namespace ferry::simulation
