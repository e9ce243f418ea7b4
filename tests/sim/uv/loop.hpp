#pragma once

#include <uv.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <tuple>
#include <vector>

#include "network.hpp"
#include "world.hpp"

namespace ferry::simulation::uv {

/// What a process has around it: where its connections lead to, and who listens in on them.
class Surroundings {
public:
    virtual ~Surroundings() = default;
    /// Null: nobody listens there.
    virtual ConnectionRef connect() = 0;
    /// The process has handed these bytes to its kernel.
    virtual void said(Bytes bytes) = 0;
    /// The process has let go of its connection.
    virtual void hung_up() = 0;
};

/// A loop of libuv as one process has it, over the simulated world: its callbacks are called by
/// the world's events. functions.cpp has the functions of libuv that lead here; they are
/// ferry_sim's own and take the place of the library's.
///
/// Lifetime  Of the process: uv_loop_init() takes the one that was made last.
class Loop {
public:
    Loop(World& world, const Weather& weather, Surroundings& surroundings);
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// The process stands still; what happens meanwhile it finds afterwards.
    void stop_for(std::uint64_t ns);
    [[nodiscard]] bool stopped() const { return world_.now_ns() < stopped_until_; }
    /// The process is gone: nothing of what it still does is seen by anybody.
    void die() { dead_ = true; }
    /// The loop that uv_loop_init() is to take.
    [[nodiscard]] static Loop* newest();

    // ---- functions of libuv ----
    [[nodiscard]] std::uint64_t now_ms() const { return world_.now_ns() / ms; }
    void send(uv_async_t* async);
    void start(uv_timer_t* timer, uv_timer_cb call, std::uint64_t ms_from_now,
               std::uint64_t repeat_ms);
    void stop(uv_timer_t* timer);
    [[nodiscard]] bool is_active(const uv_timer_t* timer) const { return timers_.count(timer) > 0; }
    void open(uv_tcp_t* tcp);
    void connect(uv_connect_t* request, uv_tcp_t* tcp, const sockaddr* address, uv_connect_cb done);
    void read(uv_stream_t* stream, uv_alloc_cb alloc, uv_read_cb call);
    void stop_reading(uv_stream_t* stream);
    /// Bytes taken, or an error.
    int try_write(uv_stream_t* stream, std::span<const uv_buf_t> buffers);
    void write(uv_write_t* request, uv_stream_t* stream, std::span<const uv_buf_t> buffers,
               uv_write_cb done);
    void look_up(uv_getaddrinfo_t* request, uv_getaddrinfo_cb done);
    int cancel(uv_getaddrinfo_t* request);
    void close(uv_handle_t* handle, uv_close_cb done);
    [[nodiscard]] bool is_closing(const uv_handle_t* handle) const {
        return closing_.count(handle) > 0;
    }
    /// uv_run of a loop whose handles are all closed or closing.
    void finish();

private:
    struct Socket;
    using SocketRef = std::shared_ptr<Socket>;
    struct Timer {
        std::uint64_t due_ms = 0;
        std::uint64_t number = 0;
        std::uint64_t repeat_ms = 0;
        uv_timer_cb call = nullptr;
    };

    void happens(std::function<void()> what);
    void soon(std::function<void()> what);
    void drain();
    void wake_up();
    void arm(uv_timer_t* timer, Timer entry);
    void run_timers();
    SocketRef socket(const uv_stream_t* stream) const;
    void connected(const SocketRef& socket, bool dead_address);
    void hear(const SocketRef& socket);
    void feed(const SocketRef& socket);
    void flush(const SocketRef& socket);
    void close_socket(const SocketRef& socket);
    void found(uv_getaddrinfo_t* request, int status);

    World& world_;
    const Weather& weather_;
    Surroundings& surroundings_;
    Life life_;
    bool dead_ = false;
    std::uint64_t stopped_until_ = 0;
    std::vector<std::function<void()>> missed_;  // while it stood still
    std::deque<std::function<void()>> soon_;     // the rest of this turn of the loop
    bool draining_planned_ = false;
    std::map<const uv_timer_t*, Timer> timers_;
    std::set<std::tuple<std::uint64_t, std::uint64_t, uv_timer_t*>> due_;  // number: no two alike
    std::uint64_t last_number_ = 0;
    std::map<const void*, SocketRef> sockets_;
    std::set<const void*> awake_;  // asyncs that were sent
    std::map<uv_getaddrinfo_t*, uv_getaddrinfo_cb> lookups_;
    std::set<const void*> closing_;
};

}  // namespace ferry::simulation::uv
