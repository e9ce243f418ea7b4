#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "ferry/platform/sim/sim_file_system.hpp"
#include "world.hpp"

namespace ferry::simulation {

/// The disk of one machine: what was written and not synced may be lost with the power.
class Disk {
public:
    explicit Disk(World& world);

    [[nodiscard]] sim::SimFileSystem& files() { return *files_; }
    /// Somebody outside may know by now what was done up to here: a power cut comes no earlier.
    void seen() { seen(files_->operations()); }
    void seen(std::size_t operations) { seen_ = std::max(seen_, operations); }
    /// The power goes: at any of the operations since seen(), in any way that the model allows.
    /// Every file must be closed. What follows is another file system.
    void cut_power();
    /// How long the next sync takes.
    [[nodiscard]] std::uint64_t sync_ns();

    bool slow = false;  // syncs take up to `slow_ns_max`
    std::uint64_t slow_ns_max = 0;
    std::uint64_t sync_ns_max = 2 * ms;

private:
    World& world_;
    std::unique_ptr<sim::SimFileSystem> files_;
    std::size_t seen_ = 0;
};

}  // namespace ferry::simulation
