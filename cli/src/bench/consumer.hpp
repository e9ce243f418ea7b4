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

/// Takes and acks everything from the queues, and measures how old it is on arrival.
class Consumer {
public:
    /// `received` counts what this and the other consumers have received.
    Consumer(const Settings& settings, std::span<const std::string> queues, Signal& signal,
             std::atomic<std::uint64_t>& received);
    ~Consumer();
    Consumer(const Consumer&) = delete;
    Consumer& operator=(const Consumer&) = delete;

    transport::Answer<Done> connect(const Context& context);
    transport::Answer<Done> subscribe();
    /// Waits until the last ack of every queue is on the broker's disk.
    transport::Answer<Done> settle();
    /// Requires  nothing more arrives.
    [[nodiscard]] const Histogram& age() const { return age_; }

private:
    struct Lane {
        std::shared_ptr<transport::Subscription> subscription;
        std::atomic<transport::Subscription*> ready{nullptr};
        // The newest delivery is acked with the next ones, so that settle() always has an ack to
        // wait for.
        transport::DeliveryTag held;
    };
    Status ack(Lane& lane, std::span<const transport::Delivery> deliveries);
    void on_deliveries(Lane& lane, std::span<const transport::Delivery> deliveries);
    void measure(std::span<const transport::Delivery> deliveries);

    const Settings& settings_;
    std::span<const std::string> queues_;
    Signal& signal_;
    std::unique_ptr<transport::Client> client_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    Histogram age_;  // only the I/O thread adds
    std::atomic<std::uint64_t>& received_;
};

}  // namespace ferry::cli::bench
