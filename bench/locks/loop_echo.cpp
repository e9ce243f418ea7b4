#include "loop_echo.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "ferry/platform/assert.hpp"

namespace ferry::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t payload_bytes = 100;

/// One connection of either side. Whatever goes wrong ends the program: nothing is measured then.
struct Peer {
    uv_tcp_t tcp{};
    std::array<char, 4096> in{};
    std::array<char, payload_bytes> out{};
    std::size_t got = 0;
    void (*on_message)(Peer&) = nullptr;
    void* owner = nullptr;

    void begin() {
        tcp.data = this;
        uv_tcp_nodelay(&tcp, 1);
        uv_read_start(
            reinterpret_cast<uv_stream_t*>(&tcp),
            [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
                auto& self = *static_cast<Peer*>(handle->data);
                *buffer = uv_buf_init(self.in.data(), static_cast<unsigned>(self.in.size()));
            },
            [](uv_stream_t* stream, ssize_t bytes, const uv_buf_t*) {
                auto& self = *static_cast<Peer*>(stream->data);
                if (bytes < 0) std::_Exit(0);
                self.got += static_cast<std::size_t>(bytes);
                for (; self.got >= payload_bytes; self.got -= payload_bytes) self.on_message(self);
            });
    }
    void send() {
        uv_buf_t buffer = uv_buf_init(out.data(), static_cast<unsigned>(out.size()));
        const int sent = uv_try_write(reinterpret_cast<uv_stream_t*>(&tcp), &buffer, 1);
        FERRY_ASSERT(sent == static_cast<int>(payload_bytes), "100 bytes fit into a socket");
    }
};

[[noreturn]] void serve(uv_loop_t* loop, uv_tcp_t* listener) {
    static Peer peer;
    listener->data = loop;
    uv_listen(reinterpret_cast<uv_stream_t*>(listener), 1, [](uv_stream_t* from, int) {
        uv_tcp_init(static_cast<uv_loop_t*>(from->data), &peer.tcp);
        uv_accept(from, reinterpret_cast<uv_stream_t*>(&peer.tcp));
        peer.on_message = [](Peer& self) { self.send(); };
        peer.begin();
    });
    uv_run(loop, UV_RUN_DEFAULT);
    std::_Exit(0);
}

}  // namespace

struct LoopEcho::Impl {
    uv_loop_t loop{};
    Peer peer;
    pid_t child = -1;
    std::vector<double> us;
    int left = 0;
    Clock::time_point from;

    void next() {
        from = Clock::now();
        peer.send();
    }
    void answered() {
        us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - from).count());
        if (--left > 0) return next();
        uv_stop(&loop);
    }
};

LoopEcho::LoopEcho() : impl_(std::make_unique<Impl>()) {
    uv_loop_t loop;
    uv_tcp_t listener;
    sockaddr_in address{};
    int size = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_loop_init(&loop);
    uv_tcp_init(&loop, &listener);
    uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0);
    uv_tcp_getsockname(&listener, reinterpret_cast<sockaddr*>(&address), &size);
    impl_->child = ::fork();
    if (impl_->child == 0) {
        uv_loop_fork(&loop);
        serve(&loop, &listener);
    }
    uv_close(reinterpret_cast<uv_handle_t*>(&listener), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    uv_loop_init(&impl_->loop);
    impl_->peer.owner = impl_.get();
    impl_->peer.on_message = [](Peer& self) { static_cast<Impl*>(self.owner)->answered(); };
    for (bool connected = false; !connected;) {
        uv_tcp_init(&impl_->loop, &impl_->peer.tcp);
        uv_connect_t request{};
        request.data = &connected;
        uv_tcp_connect(
            &request, &impl_->peer.tcp, reinterpret_cast<const sockaddr*>(&address),
            [](uv_connect_t* done, int status) { *static_cast<bool*>(done->data) = status == 0; });
        uv_run(&impl_->loop, UV_RUN_DEFAULT);
        if (connected) break;
        // The child does not listen yet.
        uv_close(reinterpret_cast<uv_handle_t*>(&impl_->peer.tcp), nullptr);
        uv_run(&impl_->loop, UV_RUN_DEFAULT);
    }
    impl_->peer.begin();
}

LoopEcho::~LoopEcho() {
    ::kill(impl_->child, SIGKILL);
    ::waitpid(impl_->child, nullptr, 0);
    uv_close(reinterpret_cast<uv_handle_t*>(&impl_->peer.tcp), nullptr);
    uv_run(&impl_->loop, UV_RUN_DEFAULT);
    uv_loop_close(&impl_->loop);
}

std::vector<double> LoopEcho::round_trips(int count) {
    impl_->us.clear();
    impl_->left = count;
    impl_->next();
    uv_run(&impl_->loop, UV_RUN_DEFAULT);
    return impl_->us;
}

}  // namespace ferry::bench
