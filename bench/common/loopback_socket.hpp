#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "ferry/platform/assert.hpp"

namespace ferry::bench {

/// A blocking connection to a server on this machine, for the bare clients that brokers are
/// compared by. Whatever goes wrong ends the program.
class LoopbackSocket {
public:
    explicit LoopbackSocket(std::uint16_t port)
        : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        FERRY_ASSERT(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
                     "the server listens");
        const int one = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    ~LoopbackSocket() { ::close(fd_); }
    LoopbackSocket(const LoopbackSocket&) = delete;
    LoopbackSocket& operator=(const LoopbackSocket&) = delete;

    [[nodiscard]] int fd() const { return fd_; }

    void send(const std::string& bytes) const {
        for (std::size_t at = 0; at < bytes.size();) {
            const ssize_t sent = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
            FERRY_ASSERT(sent > 0, "the server takes what it is sent");
            at += static_cast<std::size_t>(sent);
        }
    }

private:
    int fd_;
};

}  // namespace ferry::bench
