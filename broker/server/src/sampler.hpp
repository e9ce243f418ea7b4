#pragma once

#include "hub.hpp"

namespace ferry::server {

/// Tells telemetry once a second how the broker is.
class Sampler {
public:
    explicit Sampler(Hub& hub) : hub_(hub) {}
    void on_second();
    /// After the log's progress: one observation per sync.
    void on_progress();

private:
    Hub& hub_;
    std::uint64_t seconds_ = 0;
    std::uint64_t syncs_ = 0;
    std::uint64_t confirmed_ = 0;
    std::vector<engine::QueueView> queues_;
};

}  // namespace ferry::server
