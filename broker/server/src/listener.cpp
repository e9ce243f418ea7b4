#include "listener.hpp"

#include <arpa/inet.h>

#include <algorithm>

namespace ferry::server {

namespace {

constexpr int backlog = 4096;  // the kernel cuts it to net.core.somaxconn

bool parse(const Address& address, sockaddr_storage& out) {
    if (uv_ip4_addr(address.host.c_str(), address.port, reinterpret_cast<sockaddr_in*>(&out)) ==
        0) {
        return true;
    }
    return uv_ip6_addr(address.host.c_str(), address.port, reinterpret_cast<sockaddr_in6*>(&out)) ==
           0;
}

std::uint16_t port_of(const uv_tcp_t& tcp) {
    sockaddr_storage name{};
    int size = sizeof name;
    if (uv_tcp_getsockname(&tcp, reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
    if (name.ss_family == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&name)->sin6_port);
    }
    return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
}

}  // namespace

bool Listener::open(uv_loop_t* loop, const Address& address, std::string* error_text) {
    const std::string where = address.host + " port " + std::to_string(address.port);
    sockaddr_storage name{};
    if (!parse(address, name)) {
        *error_text = "cannot listen on " + where + ": not a numeric address";
        return false;
    }
    int status = uv_tcp_init(loop, &tcp_);
    if (status == 0) {
        open_ = true;
        tcp_.data = this;
        uv_timer_init(loop, &later_);
        later_.data = this;
        status = uv_tcp_bind(&tcp_, reinterpret_cast<const sockaddr*>(&name), 0);
    }
    // An address in use shows only here.
    if (status == 0) status = uv_listen(stream(), backlog, &Listener::on_connection);
    if (status != 0) {
        *error_text = "cannot listen on " + where + ": " + uv_strerror(status);
        return false;
    }
    address_ = address;
    address_.port = port_of(tcp_);
    return true;
}

void Listener::accept_with(std::function<void()> on_connection, std::function<void(int)> on_trouble,
                           std::uint32_t per_second) {
    on_connection_ = std::move(on_connection);
    on_trouble_ = std::move(on_trouble);
    pace_ = AcceptPace(per_second, std::max(1U, per_second / 20));
    if (waiting_) offer();
}

void Listener::on_connection(uv_stream_t* stream, int status) {
    auto& self = *static_cast<Listener*>(stream->data);
    if (status < 0) {
        // Out of descriptors: libuv has accepted and closed what waited, with a spare one.
        if (self.on_trouble_) self.on_trouble_(-status);
        return;
    }
    self.waiting_ = true;
    if (self.on_connection_) self.offer();
}

// libuv accepts no further connection while one that it announced is not taken.
void Listener::offer() {
    if (pace_.take(uv_now(tcp_.loop))) {
        waiting_ = false;
        on_connection_();
        return;
    }
    uv_timer_start(
        &later_, [](uv_timer_t* timer) { static_cast<Listener*>(timer->data)->offer(); },
        AcceptPace::wait_ms, 0);
}

void Listener::close() {
    if (!open_) return;
    open_ = false;
    uv_close(reinterpret_cast<uv_handle_t*>(&later_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&tcp_), nullptr);
}

}  // namespace ferry::server
