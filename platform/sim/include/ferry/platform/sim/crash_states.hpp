#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "ferry/platform/sim/journal.hpp"

namespace ferry::sim {

/// What a power cut may do to what was not synced.
enum class Profile : std::uint8_t {
    weakest,  // any subset survives, torn at sectors; extended areas may hold zeros or old garbage;
              // a new, renamed or removed name may or may not have reached the disk
    ext4_ordered,  // names survive in the order they were changed, a file grows only with its data,
                   // and syncing a new or grown file also keeps every change of names before it
    prefix_only,   // all that happened up to some moment, nothing after it; any sync keeps all
                   // before it
};

struct CrashLimits {
    std::size_t exhaustive_max = 10;  // up to so many unsynced operations every subset is tried
    std::size_t samples = 512;        // random states beyond the systematic ones, if there are more
    std::size_t states_max = 8192;    // per crash point, counted before equal ones are dropped
    std::uint64_t seed = 1;
};

/// Tells which disks may be found after a power cut.
///
/// A write or truncation is durable once its file was synced after it; a change of names once the
/// directory was. What a failed sync was to make durable never becomes so by a later one, but may
/// survive: Linux marks such pages clean. Only writing them again helps; in a directory, which is
/// written in whole blocks, any change does.
///
/// Lifetime  The journal outlives it and may grow in between.
class CrashStates {
public:
    CrashStates(const Journal& journal, Profile profile, CrashLimits limits = {});
    ~CrashStates();

    /// Calls `visit` for the disks that a power cut after the first `point` operations may leave,
    /// each once per crash point. Returns how many. Requires  `point` never goes back.
    using Visit = std::function<void(const DiskImage&, std::uint64_t hash)>;
    std::uint64_t at(std::size_t point, const Visit& visit);

    /// Unsynced operations at the last crash point.
    [[nodiscard]] std::size_t pending() const;
    /// States that were not tried at the last crash point because of states_max.
    [[nodiscard]] bool sampled() const;
    /// How the state now being visited came about, for a failing test's message.
    [[nodiscard]] std::string description() const;

private:
    class Model;
    std::unique_ptr<Model> model_;
};

}  // namespace ferry::sim
