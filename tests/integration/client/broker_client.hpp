#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "broker_process.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::test {

/// For a client that comes back quickly when its broker does.
inline transport::ClientOptions options_for(const BrokerProcess& broker) {
    transport::ClientOptions options;
    options.url = broker.url();
    options.backoff_min_ms = 5;
    options.backoff_max_ms = 100;
    return options;
}

inline std::unique_ptr<transport::Client> connect(const transport::ClientOptions& options) {
    auto connected = transport::Client::connect(options);
    EXPECT_TRUE(connected.ok()) << connected.error().text;
    return std::move(connected).value();
}

/// False: the condition was not so within half a minute.
template <class Condition>
bool soon(Condition&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return true;
}

}  // namespace ferry::test
