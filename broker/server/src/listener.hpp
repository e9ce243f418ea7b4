#pragma once

#include <uv.h>

#include <functional>
#include <string>

#include "accept_pace.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/server/config.hpp"

namespace ferry::server {

/// The listening socket.
///
/// Threads   The loop's. Lifetime: close() and a run of the loop before it is destroyed.
class Listener {
public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Takes the address; clients that come before accept_with() wait.
    /// Errors: false, with a sentence.
    [[nodiscard]] bool open(uv_loop_t* loop, const Address& address, std::string* error_text);
    /// `on_connection` must take each one from stream(); it is called at most so often.
    /// `on_trouble` gets an errno when a connection could not be accepted.
    void accept_with(std::function<void()> on_connection, std::function<void(int)> on_trouble,
                     std::uint32_t per_second);
    void close();
    [[nodiscard]] const Address& address() const { return address_; }
    [[nodiscard]] uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp_); }

private:
    static void on_connection(uv_stream_t* stream, int status);
    void offer();

    uv_tcp_t tcp_{};
    uv_timer_t later_{};
    AcceptPace pace_{1, 1};
    bool open_ = false;
    bool waiting_ =
        false;  // a connection came that was not offered yet; libuv holds the others back
    Address address_;
    std::function<void()> on_connection_;
    std::function<void(int)> on_trouble_;
};

}  // namespace ferry::server
