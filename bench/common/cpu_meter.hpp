#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

namespace ferry::bench {

/// Processor time that a part of a benchmark takes of a broker and of this process. On a machine
/// that others use as well it says more than the wall clock.
class CpuMeter {
public:
    /// `broker_pid` 0: only this process is measured.
    explicit CpuMeter(int broker_pid)
        : pid_(broker_pid), broker_(broker_seconds()), own_(own_seconds()) {}

    /// Since the beginning, in microseconds for each of `messages`.
    [[nodiscard]] double broker_us(std::uint64_t messages) const {
        return (broker_seconds() - broker_) * 1e6 / static_cast<double>(messages);
    }
    [[nodiscard]] double own_us(std::uint64_t messages) const {
        return (own_seconds() - own_) * 1e6 / static_cast<double>(messages);
    }

private:
    [[nodiscard]] double broker_seconds() const {
        if (pid_ == 0) return 0;
        std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
        std::string line;
        std::getline(file, line);
        // The name may contain anything; the fields behind its bracket do not.
        std::istringstream fields(line.substr(line.rfind(')') + 1));
        std::string skipped;
        for (int i = 0; i < 11; ++i) fields >> skipped;
        double user = 0;
        double system = 0;
        fields >> user >> system;
        return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    [[nodiscard]] static double own_seconds() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        const auto seconds = [](const timeval& t) {
            return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
        };
        return seconds(usage.ru_utime) + seconds(usage.ru_stime);
    }

    int pid_;
    double broker_;
    double own_;
};

}  // namespace ferry::bench
