#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "ferry/outbox/wake.hpp"

namespace ferry::outbox {

/// What a relay does: waits at the address of a database.
class WakeListener {
public:
    explicit WakeListener(const std::string& path) : address_(WakeAddress::of(path)) {
        socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        EXPECT_TRUE(address_.has_value());
        EXPECT_EQ(::bind(socket_, address_->address(), address_->length()), 0)
            << std::strerror(errno);
    }
    ~WakeListener() {
        ::unlink(address_->path());
        ::close(socket_);
    }
    WakeListener(const WakeListener&) = delete;
    WakeListener& operator=(const WakeListener&) = delete;
    /// How many signals are waiting; takes them.
    int taken() {
        int count = 0;
        char byte = 0;
        while (::recv(socket_, &byte, 1, 0) == 1) ++count;
        return count;
    }

private:
    std::optional<WakeAddress> address_;
    int socket_;
};

}  // namespace ferry::outbox
