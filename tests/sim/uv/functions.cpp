// What the client library uses of libuv, by the names that libuv has for it. The linker takes these
// instead of the shared library's; a test sees to it that nothing is left that needs the library.

#include <arpa/inet.h>
#include <uv.h>

#include <cstring>

#include "ferry/platform/assert.hpp"
#include "loop.hpp"

using ferry::simulation::uv::Loop;

namespace {

Loop& loop_of(const uv_loop_t* loop) {
    return *static_cast<Loop*>(loop->data);
}

template <class Handle>
Loop& loop_of(const Handle* handle) {
    return loop_of(handle->loop);
}

}  // namespace

extern "C" {

// ---- loops ----

int uv_loop_init(uv_loop_t* loop) {
    loop->data = Loop::newest();
    FERRY_ASSERT(loop->data != nullptr, "whoever begins a client has made its loop");
    return 0;
}
int uv_loop_close(uv_loop_t* loop) {
    loop->data = nullptr;
    return 0;
}
int uv_run(uv_loop_t* loop, uv_run_mode) {
    loop_of(loop).finish();
    return 0;
}
uint64_t uv_now(const uv_loop_t* loop) {
    return loop_of(loop).now_ms();
}
void uv_update_time(uv_loop_t*) {}

// ---- handles ----

int uv_async_init(uv_loop_t* loop, uv_async_t* async, uv_async_cb call) {
    async->loop = loop;
    async->async_cb = call;
    return 0;
}
int uv_async_send(uv_async_t* async) {
    loop_of(async).send(async);
    return 0;
}
int uv_timer_init(uv_loop_t* loop, uv_timer_t* timer) {
    timer->loop = loop;
    return 0;
}
int uv_timer_start(uv_timer_t* timer, uv_timer_cb call, uint64_t timeout, uint64_t repeat) {
    loop_of(timer).start(timer, call, timeout, repeat);
    return 0;
}
int uv_timer_stop(uv_timer_t* timer) {
    loop_of(timer).stop(timer);
    return 0;
}
int uv_is_active(const uv_handle_t* handle) {
    return loop_of(handle).is_active(reinterpret_cast<const uv_timer_t*>(handle)) ? 1 : 0;
}
int uv_is_closing(const uv_handle_t* handle) {
    return loop_of(handle).is_closing(handle) ? 1 : 0;
}
void uv_close(uv_handle_t* handle, uv_close_cb done) {
    loop_of(handle).close(handle, done);
}

// ---- connections ----

int uv_tcp_init(uv_loop_t* loop, uv_tcp_t* tcp) {
    tcp->loop = loop;
    loop_of(loop).open(tcp);
    return 0;
}
int uv_tcp_nodelay(uv_tcp_t*, int) {
    return 0;
}
int uv_tcp_keepalive(uv_tcp_t*, int, unsigned int) {
    return 0;
}
int uv_tcp_connect(uv_connect_t* request, uv_tcp_t* tcp, const sockaddr* address,
                   uv_connect_cb done) {
    loop_of(tcp).connect(request, tcp, address, done);
    return 0;
}
int uv_read_start(uv_stream_t* stream, uv_alloc_cb alloc, uv_read_cb call) {
    loop_of(stream).read(stream, alloc, call);
    return 0;
}
int uv_read_stop(uv_stream_t* stream) {
    loop_of(stream).stop_reading(stream);
    return 0;
}
int uv_try_write(uv_stream_t* stream, const uv_buf_t buffers[], unsigned int count) {
    return loop_of(stream).try_write(stream, {buffers, count});
}
int uv_write(uv_write_t* request, uv_stream_t* stream, const uv_buf_t buffers[], unsigned int count,
             uv_write_cb done) {
    loop_of(stream).write(request, stream, {buffers, count}, done);
    return 0;
}

// ---- names ----

int uv_getaddrinfo(uv_loop_t* loop, uv_getaddrinfo_t* request, uv_getaddrinfo_cb done, const char*,
                   const char*, const addrinfo*) {
    request->loop = loop;
    loop_of(loop).look_up(request, done);
    return 0;
}
void uv_freeaddrinfo(addrinfo* info) {
    while (info != nullptr) {
        addrinfo* const next = info->ai_next;
        delete reinterpret_cast<sockaddr_in*>(info->ai_addr);
        delete info;
        info = next;
    }
}
int uv_cancel(uv_req_t* request) {
    auto* const lookup = reinterpret_cast<uv_getaddrinfo_t*>(request);
    return loop_of(lookup).cancel(lookup);
}
int uv_ip4_addr(const char* text, int port, sockaddr_in* out) {
    std::memset(out, 0, sizeof *out);
    out->sin_family = AF_INET;
    out->sin_port = htons(static_cast<uint16_t>(port));
    return inet_pton(AF_INET, text, &out->sin_addr) == 1 ? 0 : int{UV_EINVAL};
}
int uv_ip6_addr(const char*, int, sockaddr_in6*) {
    return UV_EINVAL;  // the world has none
}

// ---- words ----

uv_buf_t uv_buf_init(char* base, unsigned int size) {
    uv_buf_t buffer;
    buffer.base = base;
    buffer.len = size;
    return buffer;
}
const char* uv_strerror(int status) {
    switch (status) {
        case UV_EOF:
            return "end of file";
        case UV_ECONNREFUSED:
            return "connection refused";
        case UV_ECONNRESET:
            return "connection reset by peer";
        case UV_EPIPE:
            return "broken pipe";
        case UV_EAI_AGAIN:
            return "temporary failure";
        default:
            return "some other error";
    }
}

}  // extern "C"
