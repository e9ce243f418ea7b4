#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace ferry::test {

/// The real ferryd (environment FERRYD, or the one of this build) on a directory and a port of its
/// own.
class BrokerProcess {
public:
    BrokerProcess();
    ~BrokerProcess();
    BrokerProcess(const BrokerProcess&) = delete;
    BrokerProcess& operator=(const BrokerProcess&) = delete;

    /// Starts it, the second time on the same directory and port, and waits until it says that it
    /// is ready.
    void start();
    /// SIGKILL, and waits for the end.
    void kill();
    /// SIGTERM, and gives the exit status.
    int stop();
    [[nodiscard]] std::string url() const { return "ferry://127.0.0.1:" + std::to_string(port_); }
    [[nodiscard]] const std::string& directory() const { return directory_; }

private:
    int end_with(int signal);

    std::string directory_;
    std::uint16_t port_ = 0;
    pid_t pid_ = -1;
};

}  // namespace ferry::test
