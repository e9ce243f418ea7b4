#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ferry/consumer/runtime.hpp"

namespace ferry::consumer {

struct InboxFigures;

/// What a consumer tells Prometheus.
///
/// Threads   Any.
class Metrics {
public:
    explicit Metrics(const std::string& consumer);
    ~Metrics();
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    void observe_handler(double seconds);
    /// From the publisher's commit (the message's published-at) to the effect, of those that are
    /// done.
    void observe_commit_to_effect(std::span<const Incoming> messages,
                                  std::span<const Handled> handled, std::uint64_t now_ms);
    [[nodiscard]] std::string render(const Figures& figures, const Health& health,
                                     const InboxFigures* inbox);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::consumer
