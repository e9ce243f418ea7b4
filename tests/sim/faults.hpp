#pragma once

#include <vector>

#include "client.hpp"
#include "operator.hpp"

namespace ferry::simulation {

/// Makes things go wrong, as often and in the ways that the run's seed has chosen.
class Faults {
public:
    Faults(Stage& stage, std::vector<Mortal*> clients, Operator& administrator);
    void begin();
    /// No more faults, and what still hurts is healed.
    void end();
    /// What to do when an application's machine loses its power.
    std::function<void()> cut_application;
    std::function<void()> kill_application;
    std::function<void()> stop_relay;
    std::vector<VirtualClock*> clocks;  // of machines
    std::set<std::uint32_t> skipped;    // by number: these do not strike
    [[nodiscard]] std::uint32_t struck() const { return struck_; }

private:
    void next();
    void strike(Fault fault);
    void fill_disk();
    void jump();
    void hurt_connection(Fault fault);

    Stage& stage_;
    World& world_;
    std::vector<Mortal*> clients_;
    Operator& administrator_;
    std::vector<Fault> kinds_;
    std::uint32_t struck_ = 0;
    Life life_;
};

}  // namespace ferry::simulation
