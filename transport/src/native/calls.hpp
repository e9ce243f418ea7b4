#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ferry/transport/call.hpp"

namespace ferry::transport::native {

class Core;

/// Requests that wait for their reply.
///
/// A request is a message with the connection's reply address and a correlation id that nobody else
/// uses; the reply comes straight to the connection. When the connection breaks the address is
/// gone, and with it every reply: the calls end then, and whoever called decides whether to ask
/// again.
///
/// Threads   begin() and stats(): any. The rest: the I/O thread.
class Calls {
public:
    explicit Calls(Core& core);

    /// Ok: `done` will be called. Blocks while the window of unconfirmed messages is full.
    Status begin(const Message& request, const CallOptions& options, CallCallback done);
    [[nodiscard]] CallStats stats() const;

    /// On this connection replies come to `address`; the broker's clock stands at `broker_ms`.
    void connected(std::string address, std::uint64_t broker_ms);
    /// Sets the timer for what is to be given up next.
    void pump();
    void on_reply(const wire::MessageView& view);
    /// Gives up what was not answered in time. Called when the timer rings.
    void look();
    void lost(const std::string& why);
    void abandon(const ClientError& because);

private:
    struct Open {
        CallCallback done;
        std::uint64_t deadline_ns = 0;
    };
    [[nodiscard]] CallCallback take(std::uint64_t number, std::uint64_t CallStats::*how);
    void fail(std::uint64_t number, std::uint64_t CallStats::*how, const ClientError& error);
    void fail_all(const ClientError& error);
    [[nodiscard]] std::uint64_t number_of(std::string_view correlation) const;

    Core& core_;
    const std::string prefix_;  // of this client's correlation ids

    mutable std::mutex mutex_;
    std::string address_;           // empty: no connection
    std::int64_t clock_ahead_ = 0;  // of the broker's clock, ms
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, Open> open_;                        // by number
    std::set<std::pair<std::uint64_t, std::uint64_t>> alarms_;  // deadline, number
    CallStats stats_;

    std::uint64_t armed_ns_ = 0;  // the I/O thread's; 0: not
};

}  // namespace ferry::transport::native
