#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace ferry::bench {

/// A process with an event loop that sends back what it gets, and an event loop here that asks it:
/// what a round trip between two programs like ours costs without anything of ours in it.
class LoopEcho {
public:
    LoopEcho();
    ~LoopEcho();
    LoopEcho(const LoopEcho&) = delete;
    LoopEcho& operator=(const LoopEcho&) = delete;

    /// Microseconds of each of `count` round trips of 100 bytes, one after the other.
    [[nodiscard]] std::vector<double> round_trips(int count);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::bench
