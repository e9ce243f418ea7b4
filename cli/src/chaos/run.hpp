#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chaos/plan.hpp"
#include "context.hpp"
#include "ferry/history/checker.hpp"

namespace ferry::cli::chaos {

struct Tally {
    std::string name;
    std::uint64_t kills = 0;
    std::uint64_t pauses = 0;
    std::uint64_t ended_by_itself = 0;
};

/// What came of a run.
struct Outcome {
    std::uint64_t cycles = 0;
    double seconds = 0;
    std::uint64_t committed = 0;
    std::uint64_t rolled_back = 0;
    std::vector<Tally> programs;
    history::History history;
    history::Report report;
    std::string not_drained;  ///< why, if it did not come to rest
};

/// Runs the plan: starts everything, kills and pauses, lets it come to rest, and checks. Progress
/// goes to stderr; Ctrl-C ends the killing early and checks what there is.
///
/// Errors    a sentence: a program cannot be started, the check fails or prints what is no id.
ResultOr<Outcome, std::string> run(const Plan& plan);

}  // namespace ferry::cli::chaos
