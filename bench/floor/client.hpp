#pragma once

#include <cstdint>
#include <vector>

namespace ferry::floor {

struct Load {
    bool deliver = false;
    std::uint64_t count = 0;
    std::uint64_t size = 0;
    std::uint64_t window = 1;
    std::uint64_t batch = 1;
};

struct ClientReport {
    double seconds = 0;
    std::vector<double> confirm_us;  // one per publish frame, sorted
};

/// Publishes the whole load, waits for every confirm and, with `deliver`, until every message was
/// consumed.
ClientReport drive(std::uint16_t port, const Load& load);

}  // namespace ferry::floor
