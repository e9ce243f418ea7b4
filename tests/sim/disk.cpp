#include "disk.hpp"

#include "crash_model.hpp"

namespace ferry::simulation {

Disk::Disk(World& world) : world_(world), files_(std::make_unique<sim::SimFileSystem>()) {}

void Disk::cut_power() {
    const std::size_t last = files_->operations();
    const std::size_t point = seen_ + world_.below(last - seen_ + 1);
    const std::uint64_t kind = world_.below(5);
    const auto profile = kind == 0 ? sim::Profile::ext4_ordered : sim::Profile::weakest;
    sim::CrashModel model(files_->journal(), profile, world_.random.next());
    model.advance(point);
    sim::Outcome outcome;
    const std::size_t pending = model.pending().size();
    outcome.survives.resize(pending);
    // Nothing, everything, most, few: the extremes find what the middle does not.
    const std::uint64_t kept = kind == 1 ? 0 : kind == 2 ? 1000 : kind == 3 ? 800 : 400;
    bool names_lost = false;
    for (std::size_t i = 0; i < pending; ++i) {
        bool survives = world_.chance(kept);
        if (profile == sim::Profile::ext4_ordered && model.pending()[i].of_names) {
            names_lost = names_lost || !survives;
            survives = !names_lost;
        }
        outcome.survives[i] = survives;
    }
    if (pending > 0 && world_.chance(600)) {
        const std::size_t torn = world_.below(pending);
        const auto& tears = model.pending()[torn].tears;
        if (!tears.empty() && outcome.survives[torn]) {
            outcome.torn = torn;
            outcome.tear = tears[world_.below(tears.size())];
        }
    }
    const sim::DiskImage image = model.build(outcome);
    world_.trace("power cut: operation", point, last, pending);
    files_ = std::make_unique<sim::SimFileSystem>(image, true);
    seen_ = 0;
}

std::uint64_t Disk::sync_ns() {
    if (slow) return world_.spread(ms, std::max<std::uint64_t>(slow_ns_max, 2 * ms));
    return world_.spread(20 * us, sync_ns_max);
}

}  // namespace ferry::simulation
