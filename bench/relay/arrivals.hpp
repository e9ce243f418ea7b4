#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ferry::bench {

/// What the other process saw: the number that stands first in the payload, and when.
struct Arrival {
    std::uint64_t number = 0;
    std::int64_t at_ns = 0;  // steady clock, the same for all processes of a machine
};

inline std::int64_t steady_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

/// A process of its own that takes the queue "bench" and notes when each message was handled.
class OtherProcess {
public:
    /// With a database: when the effect of the message was committed there, through an inbox.
    OtherProcess(const std::string& url, const std::string& database);
    ~OtherProcess();
    OtherProcess(const OtherProcess&) = delete;
    OtherProcess& operator=(const OtherProcess&) = delete;

    /// Waits for so many; fewer if it dies.
    std::vector<Arrival> arrivals(std::uint64_t count);

private:
    pid_t process_ = -1;
    int from_ = -1;
};

}  // namespace ferry::bench
