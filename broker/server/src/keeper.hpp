#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "hub.hpp"

namespace ferry::server {

/// Keeps restarts short and the disk in proportion to what is alive: writes checkpoints, and after
/// each drops segments in which nothing lives and compacts those in which little does.
///
/// Threads   The loop's. Blocking: never; save() takes time in proportion to the indexes in memory.
class Keeper {
public:
    /// Calls its argument with every record that a session still has to send.
    using Pins = std::function<void(const std::function<void(engine::Position)>&)>;

    Keeper(Hub& hub, Pins pins) : hub_(hub), pins_(std::move(pins)) {}
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;

    /// After every turn; cheap.
    void on_turn();
    /// Several times a second: one compaction after another.
    void on_tick();
    void on_second();
    /// The last checkpoint of a clean stop. Nothing may be appended afterwards.
    void checkpoint_clean();

private:
    struct Compaction;

    void checkpoint();
    [[nodiscard]] bool space_is_waiting() const;
    void reclaim();
    void next_compaction();
    void gather(const std::shared_ptr<Compaction>& job);
    void compact(Compaction& job);

    Hub& hub_;
    Pins pins_;
    engine::Position last_at_ = 0;  // of the last checkpoint asked for
    Instant last_time_;
    bool checkpoint_asked_ = false;
    bool gathering_ = false;             // a compaction waits for index blocks
    std::shared_ptr<Compaction> ready_;  // a compaction waits for the log
    std::vector<log::SegmentInfo> candidates_;
};

}  // namespace ferry::server
