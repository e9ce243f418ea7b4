#pragma once

#include <array>
#include <cstdint>

#include "ferry/platform/clock.hpp"

namespace ferry::telemetry {
class Metrics;
}

namespace ferry::server {

/// When which part of the log was written, one entry a turn: tells how long a message waited.
class Arrivals {
public:
    /// Everything below `end` and at or above the previous note's end arrived at `at`.
    void note(std::uint64_t end, Instant at);
    /// When the record at `position` arrived; 0 ns if that is too long ago to know.
    [[nodiscard]] Instant of(std::uint64_t position) const;

private:
    struct Entry {
        std::uint64_t end = 0;
        Instant at;
    };
    static constexpr std::size_t size = 4096;
    std::array<Entry, size> ring_{};
    std::uint64_t count_ = 0;
};

/// What the loop counts itself; totals since start.
struct Figures {
    explicit Figures(telemetry::Metrics& metrics_in) : metrics(metrics_in) {}
    telemetry::Metrics& metrics;
    Instant started;
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_refused = 0;
    std::uint64_t protocol_errors = 0;
    std::uint64_t sign_ins = 0;
    std::uint64_t sign_ins_failed = 0;
    std::uint64_t permissions_denied = 0;
    std::uint64_t handshakes_failed = 0;
    std::uint64_t audit_dropped = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t read_errors = 0;
    std::uint64_t replies = 0;
    std::uint64_t replies_dropped = 0;
    std::uint64_t publishers_blocked = 0;  // now
    std::uint64_t greeting = 0;            // connections that have not said hello yet, now
    Arrivals arrivals;
};

}  // namespace ferry::server
