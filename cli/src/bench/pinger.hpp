#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/bench.hpp"
#include "bench/signal.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::cli::bench {

/// One message in flight: the next is published by the I/O thread when the one before was
/// confirmed, or with `deliveries` when it was delivered.
class Pinger {
public:
    Pinger(const Settings& settings, std::string queue, bool deliveries, Signal& signal);
    ~Pinger();
    Pinger(const Pinger&) = delete;
    Pinger& operator=(const Pinger&) = delete;

    transport::Answer<Done> run(const Context& context);
    /// Requires  run() has returned.
    [[nodiscard]] const Histogram& latency() const { return latency_; }

private:
    void send();
    void came_back();
    void on_deliveries(std::span<const transport::Delivery> deliveries);

    const Settings& settings_;
    std::string queue_;
    bool deliveries_;
    Signal& signal_;
    std::vector<std::byte> payload_;
    std::unique_ptr<transport::Client> client_;
    std::shared_ptr<transport::Subscription> subscription_;
    std::uint64_t sent_ns_ = 0;
    Histogram latency_;
    std::atomic<std::uint64_t> rounds_{0};
};

}  // namespace ferry::cli::bench
