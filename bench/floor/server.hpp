#pragma once

#include <cstdint>
#include <string>

namespace ferry::floor {

/// What the server process tells at its end.
struct ServerReport {
    double cpu_seconds = 0;
    std::uint64_t syncs = 0;
    std::uint64_t messages = 0;
};

/// Serves on a loopback port, which it writes to `pipe` as one u16, until every client has left;
/// then writes a ServerReport there. `path` is its scratch file. With `deliver`, what is durable
/// goes to the consumer.
void serve(const std::string& path, bool deliver, int pipe);

}  // namespace ferry::floor
