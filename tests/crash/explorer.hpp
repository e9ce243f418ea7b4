#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "ferry/platform/sim/crash_states.hpp"
#include "log_driver.hpp"

namespace ferry::crash {

struct ExplorerOptions {
    sim::Profile profile = sim::Profile::weakest;
    sim::CrashLimits limits = {};
    std::uint64_t deeper_one_in =
        0;  // crashes again during the recovery of one state in so many; 0: never
    sim::CrashLimits deeper_limits = limits;
};

/// Opens a log on every disk that a power cut may leave, and checks every promise.
class Explorer {
public:
    explicit Explorer(ExplorerOptions options) : options_(options) {}

    /// Crash points after `from` up to and including `to`, or one in `every` of them.
    void explore(const std::string& name, const sim::Journal& journal, const History& history,
                 std::size_t from, std::size_t to, std::size_t every = 1);
    /// Runs `steps` on a copy of `start` and crashes during the last one (or, for `all`, during
    /// any).
    void run(const Aged& start, const std::vector<Step>& steps, bool all);

    struct Counts {
        std::uint64_t workloads = 0;
        std::uint64_t points = 0;
        std::uint64_t visited = 0;         // states, with repetitions
        std::uint64_t checked = 0;         // different states or different expectations
        std::uint64_t deeper = 0;          // of these, after a crash during recovery
        std::uint64_t sampled_points = 0;  // where not every outcome was tried
        std::uint64_t failures = 0;
    };
    [[nodiscard]] const Counts& counts() const { return counts_; }
    [[nodiscard]] std::uint64_t distinct() const { return distinct_.size(); }
    /// Hashes of all disks that were opened.
    [[nodiscard]] const std::unordered_set<std::uint64_t>& states() const { return distinct_; }
    /// The first few, with all that is needed to understand them.
    [[nodiscard]] const std::string& failures() const { return failures_; }
    /// The line that goes into the test's output.
    [[nodiscard]] std::string summary() const;

private:
    void check(const std::string& name, const sim::DiskImage& image, const History& expected,
               std::uint64_t hash, const std::string& description);
    void fail(const std::string& text);

    ExplorerOptions options_;
    Counts counts_;
    bool deeper_ = false;  // now exploring a recovery
    std::unordered_set<std::uint64_t> distinct_;
    std::unordered_set<std::uint64_t> done_;
    std::string failures_;
};

[[nodiscard]] std::string name_of(const std::vector<Step>& steps);

}  // namespace ferry::crash
