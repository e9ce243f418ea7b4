#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "bench/bench.hpp"
#include "bench/signal.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::cli::bench {

[[nodiscard]] std::uint64_t now_ns();

/// Keeps `window` messages under way until `count` are confirmed. A confirm makes room and the I/O
/// thread itself fills it, so that no thread has to be woken between a confirm and the next
/// publish.
///
/// The first eight bytes of each payload (if it has so many) are the time when it was given to the
/// client.
class Publisher {
public:
    Publisher(const Settings& settings, std::span<const std::string> queues, Signal& signal);

    ~Publisher();
    Publisher(const Publisher&) = delete;
    Publisher& operator=(const Publisher&) = delete;

    /// Connects with this publisher's callbacks.
    transport::Answer<Done> connect(const Context& context);
    [[nodiscard]] transport::Client& client() { return *client_; }

    /// Publishes the first window; the rest follows by itself.
    void start();
    [[nodiscard]] std::uint64_t confirmed() const {
        return confirmed_.load(std::memory_order_acquire);
    }
    /// Requires  everything is confirmed.
    [[nodiscard]] const Histogram& latency() const { return latency_; }

private:
    struct Chunk {
        std::uint64_t last = 0;  // sequence
        std::uint64_t sent_ns = 0;
        std::uint32_t messages = 0;
    };

    void on_confirm(std::uint64_t first, std::uint64_t last, const transport::Outcome& outcome);
    void pump();
    bool give(std::uint32_t messages);

    const Settings& settings_;
    std::span<const std::string> queues_;
    Signal& signal_;
    std::vector<std::byte> payload_;
    std::vector<Bytes> payloads_;     // all of them the same
    std::vector<wire::Buffer> keys_;  // properties with each ordering key
    SeededRandom random_{1};
    std::unique_ptr<transport::Client> client_;

    std::mutex mutex_;  // start() runs beside the first confirms
    std::deque<Chunk> under_way_;
    std::uint64_t taken_ = 0;
    std::size_t next_queue_ = 0;
    Histogram latency_;
    std::atomic<std::uint64_t> confirmed_{0};
};

}  // namespace ferry::cli::bench
