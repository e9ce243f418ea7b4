#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bench/histogram.hpp"
#include "context.hpp"

namespace ferry::cli::bench {

struct Settings {
    std::string mode = "produce";
    std::uint64_t count = 1'000'000;
    std::uint32_t size = 100;       // payload bytes
    std::uint32_t window = 4096;    // unconfirmed messages
    std::uint32_t batch = 512;      // messages in one PUBLISH at most
    std::uint32_t prefetch = 4096;  // unacked messages of each subscription
    std::uint32_t queues = 1;
    std::uint32_t keys = 0;       // messages have one of so many ordering keys, by chance
    bool ordered = false;         // ordered queues
    std::uint32_t consumers = 1;  // connections that consume, each from every queue
    std::string prefix = "ferry-bench";
    bool keep = false;  // leave the queues behind
};

struct Outcome {
    double seconds = 0;
    std::uint64_t messages = 0;
    std::optional<Histogram> confirm;
    std::optional<Histogram> deliver;
    double client_cpu_s = 0;
    std::optional<double> server_cpu_s;
    std::uint64_t fsyncs = 0;
};

/// Runs one measurement. Not ok: the text says why.
transport::Answer<Outcome> run(const Context& context, const Settings& settings);

}  // namespace ferry::cli::bench
