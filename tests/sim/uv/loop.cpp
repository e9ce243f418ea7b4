#include "loop.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "ferry/platform/assert.hpp"

namespace ferry::simulation::uv {
namespace {

Loop* newest_loop = nullptr;

constexpr std::uint64_t wake_ns_max = 20 * us;
constexpr std::uint64_t lookup_ns_max = 20 * ms;
constexpr std::size_t read_bytes = 64U << 10;
// 127.0.0.2: the host's other address, where nobody listens.
constexpr std::uint32_t dead_address = 0x7F000002;

addrinfo* address_of(std::uint32_t host) {
    auto* const place = new sockaddr_in{};
    place->sin_family = AF_INET;
    place->sin_addr.s_addr = htonl(host);
    auto* const info = new addrinfo{};
    info->ai_family = AF_INET;
    info->ai_socktype = SOCK_STREAM;
    info->ai_addrlen = sizeof *place;
    info->ai_addr = reinterpret_cast<sockaddr*>(place);
    return info;
}

}  // namespace

struct Loop::Socket {
    explicit Socket(uv_tcp_t* of) : tcp(of) {}
    [[nodiscard]] uv_stream_t* stream() const { return reinterpret_cast<uv_stream_t*>(tcp); }

    uv_tcp_t* const tcp;
    ConnectionRef connection;
    uv_connect_t* connecting = nullptr;
    uv_connect_cb on_connect = nullptr;
    bool reading = false;
    uv_alloc_cb alloc = nullptr;
    uv_read_cb on_read = nullptr;
    std::vector<std::byte> arrived;  // and not read
    int ended = 0;                   // as what the end is told, behind what has arrived
    uv_write_t* writing = nullptr;
    uv_write_cb on_write = nullptr;
    std::vector<std::byte> unsent;
    bool closed = false;
};

Loop::Loop(World& world, const Weather& weather, Surroundings& surroundings)
    : world_(world), weather_(weather), surroundings_(surroundings) {
    newest_loop = this;
}

Loop::~Loop() {
    if (newest_loop == this) newest_loop = nullptr;
}

Loop* Loop::newest() {
    return newest_loop;
}

// ---- what happens when ----

void Loop::happens(std::function<void()> what) {
    if (stopped()) return missed_.push_back(std::move(what));
    what();
}

void Loop::soon(std::function<void()> what) {
    soon_.push_back(std::move(what));
    if (std::exchange(draining_planned_, true)) return;
    world_.after(0, life_, [this] { happens([this] { drain(); }); });
}

void Loop::drain() {
    draining_planned_ = false;
    for (std::size_t left = soon_.size(); left > 0 && !soon_.empty(); --left) {
        const auto call = std::move(soon_.front());
        soon_.pop_front();
        call();
    }
}

void Loop::stop_for(std::uint64_t ns) {
    stopped_until_ = std::max(stopped_until_, world_.now_ns() + ns);
    for (const auto& entry : sockets_) {
        if (entry.second->connection != nullptr)
            entry.second->connection->read(Connection::client, false);
    }
    world_.after(ns, life_, [this] { wake_up(); });
}

// As a turn of libuv's loop: timers first.
void Loop::wake_up() {
    if (stopped()) return;
    run_timers();
    std::vector<std::function<void()>> missed;
    missed.swap(missed_);
    for (const auto& what : missed) what();
    for (const auto& entry : sockets_) {
        if (entry.second->connection != nullptr && entry.second->reading)
            entry.second->connection->read(Connection::client, true);
    }
}

void Loop::send(uv_async_t* async) {
    if (!awake_.insert(async).second) return;
    world_.after(world_.below(wake_ns_max), life_, [this, async] {
        happens([this, async] {
            if (awake_.erase(async) > 0) async->async_cb(async);
        });
    });
}

void Loop::arm(uv_timer_t* timer, Timer entry) {
    entry.number = ++last_number_;
    due_.insert({entry.due_ms, entry.number, timer});
    timers_[timer] = entry;
    const std::uint64_t due_ns = entry.due_ms * ms;
    world_.after(due_ns - std::min(due_ns, world_.now_ns()), life_, [this] {
        if (!stopped()) run_timers();
    });
}

void Loop::start(uv_timer_t* timer, uv_timer_cb call, std::uint64_t ms_from_now,
                 std::uint64_t repeat_ms) {
    stop(timer);
    Timer entry;
    entry.due_ms = now_ms() + ms_from_now;
    entry.repeat_ms = repeat_ms;
    entry.call = call;
    arm(timer, entry);
}

void Loop::stop(uv_timer_t* timer) {
    const auto at = timers_.find(timer);
    if (at == timers_.end()) return;
    due_.erase({at->second.due_ms, at->second.number, timer});
    timers_.erase(at);
}

void Loop::run_timers() {
    const std::uint64_t newest_number = last_number_;
    while (!due_.empty()) {
        const auto [due_ms, number, timer] = *due_.begin();
        if (due_ms > now_ms() || number > newest_number) return;
        Timer entry = timers_.at(timer);
        stop(timer);
        if (entry.repeat_ms != 0) {
            entry.due_ms = now_ms() + entry.repeat_ms;
            arm(timer, entry);
        }
        entry.call(timer);
    }
}

// ---- sockets ----

Loop::SocketRef Loop::socket(const uv_stream_t* stream) const {
    const auto at = sockets_.find(stream);
    FERRY_ASSERT(at != sockets_.end(), "a stream is used that is closed or was never opened");
    return at->second;
}

void Loop::open(uv_tcp_t* tcp) {
    sockets_[tcp] = std::make_shared<Socket>(tcp);
}

void Loop::connect(uv_connect_t* request, uv_tcp_t* tcp, const sockaddr* address,
                   uv_connect_cb done) {
    const SocketRef of = socket(reinterpret_cast<const uv_stream_t*>(tcp));
    of->connecting = request;
    of->on_connect = done;
    const auto* const to = reinterpret_cast<const sockaddr_in*>(address);
    const bool dead = ntohl(to->sin_addr.s_addr) == dead_address;
    world_.after(world_.between(us, weather_.delay_ns_max), life_,
                 [this, of, dead] { happens([this, of, dead] { connected(of, dead); }); });
}

void Loop::connected(const SocketRef& of, bool dead) {
    if (of->closed) return;
    if (!dead) of->connection = surroundings_.connect();
    // A machine that is down says nothing at all.
    if (of->connection == nullptr && world_.chance(100)) return;
    uv_connect_t* const request = std::exchange(of->connecting, nullptr);
    if (of->connection == nullptr) return of->on_connect(request, UV_ECONNREFUSED);
    hear(of);
    of->on_connect(request, 0);
}

void Loop::hear(const SocketRef& of) {
    const std::weak_ptr<Socket> weak = of;
    const auto with = [this, weak](auto what) {
        happens([weak, what] {
            if (const SocketRef there = weak.lock(); there != nullptr && !there->closed)
                what(there);
        });
    };
    of->connection->read(Connection::client, false);
    of->connection->attach(
        Connection::client,
        {[this, with](Bytes bytes) {
             with([this, kept = std::vector<std::byte>(bytes.begin(), bytes.end())](
                      const SocketRef& there) {
                 there->arrived.insert(there->arrived.end(), kept.begin(), kept.end());
                 feed(there);
             });
         },
         [this, with] {
             const int how = world_.chance(500) ? int{UV_EOF} : int{UV_ECONNRESET};
             with([this, how](const SocketRef& there) {
                 there->ended = how;
                 flush(there);
                 if (!there->closed) feed(there);
             });
         },
         [this, with] { with([this](const SocketRef& there) { flush(there); }); }});
}

void Loop::read(uv_stream_t* stream, uv_alloc_cb alloc, uv_read_cb call) {
    const SocketRef of = socket(stream);
    of->reading = true;
    of->alloc = alloc;
    of->on_read = call;
    of->connection->read(Connection::client, true);
    if (!of->arrived.empty() || of->ended != 0) soon([this, of] { feed(of); });
}

void Loop::stop_reading(uv_stream_t* stream) {
    const SocketRef of = socket(stream);
    of->reading = false;
    of->connection->read(Connection::client, false);
}

void Loop::feed(const SocketRef& of) {
    auto* const handle = reinterpret_cast<uv_handle_t*>(of->tcp);
    while (of->reading && !of->closed && !of->arrived.empty()) {
        uv_buf_t buffer = uv_buf_init(nullptr, 0);
        of->alloc(handle, read_bytes, &buffer);
        const std::size_t size = std::min<std::size_t>(buffer.len, of->arrived.size());
        if (size == 0) return of->on_read(of->stream(), UV_ENOBUFS, &buffer);
        std::memcpy(buffer.base, of->arrived.data(), size);
        of->arrived.erase(of->arrived.begin(),
                          of->arrived.begin() + static_cast<std::ptrdiff_t>(size));
        of->on_read(of->stream(), static_cast<ssize_t>(size), &buffer);
    }
    if (!of->reading || of->closed || of->ended == 0) return;
    of->reading = false;
    const uv_buf_t none = uv_buf_init(nullptr, 0);
    of->on_read(of->stream(), of->ended, &none);
}

int Loop::try_write(uv_stream_t* stream, std::span<const uv_buf_t> buffers) {
    const SocketRef of = socket(stream);
    if (of->ended != 0) return UV_EPIPE;
    if (of->writing != nullptr) return UV_EAGAIN;
    std::size_t room = of->connection->room(Connection::client);
    std::vector<std::byte> taken;
    for (const uv_buf_t& buffer : buffers) {
        const std::size_t size = std::min<std::size_t>(buffer.len, room - taken.size());
        const auto* const from = reinterpret_cast<const std::byte*>(buffer.base);
        taken.insert(taken.end(), from, from + size);
    }
    if (taken.empty()) return UV_EAGAIN;
    if (!dead_) {
        surroundings_.said(taken);
        of->connection->send(Connection::client, taken);
    }
    return static_cast<int>(taken.size());
}

void Loop::write(uv_write_t* request, uv_stream_t* stream, std::span<const uv_buf_t> buffers,
                 uv_write_cb done) {
    const SocketRef of = socket(stream);
    FERRY_ASSERT(of->writing == nullptr, "the client has one write under way at a time");
    for (const uv_buf_t& buffer : buffers) {
        const auto* const from = reinterpret_cast<const std::byte*>(buffer.base);
        of->unsent.insert(of->unsent.end(), from, from + buffer.len);
    }
    of->writing = request;
    of->on_write = done;
    soon([this, of] { flush(of); });
}

void Loop::flush(const SocketRef& of) {
    if (of->closed || of->writing == nullptr) return;
    const std::size_t room = of->connection->room(Connection::client);
    const std::size_t size = of->ended != 0 ? 0 : std::min(room, of->unsent.size());
    if (size > 0) {
        const auto first = of->unsent.begin();
        const std::vector<std::byte> part(first, first + static_cast<std::ptrdiff_t>(size));
        of->unsent.erase(first, first + static_cast<std::ptrdiff_t>(size));
        surroundings_.said(part);
        of->connection->send(Connection::client, part);
    }
    if (of->ended == 0 && !of->unsent.empty()) return;
    of->on_write(std::exchange(of->writing, nullptr), of->ended != 0 ? int{UV_ECONNRESET} : 0);
}

void Loop::close_socket(const SocketRef& of) {
    of->closed = true;
    if (of->connection != nullptr) {
        // Unread bytes make the kernel reset a connection; otherwise what was sent still arrives.
        if (of->arrived.empty() && world_.chance(800)) {
            of->connection->close(Connection::client);
        } else {
            of->connection->reset(Connection::client);
        }
        if (!dead_) surroundings_.hung_up();
    }
    if (of->connecting != nullptr)
        soon([of] { of->on_connect(std::exchange(of->connecting, nullptr), UV_ECANCELED); });
    if (of->writing != nullptr)
        soon([of] { of->on_write(std::exchange(of->writing, nullptr), UV_ECANCELED); });
}

// ---- names ----

void Loop::look_up(uv_getaddrinfo_t* request, uv_getaddrinfo_cb done) {
    lookups_[request] = done;
    world_.after(world_.between(us, lookup_ns_max), life_, [this, request] {
        happens([this, request] { found(request, world_.chance(50) ? int{UV_EAI_AGAIN} : 0); });
    });
}

void Loop::found(uv_getaddrinfo_t* request, int status) {
    const auto at = lookups_.find(request);
    if (at == lookups_.end()) return;
    const uv_getaddrinfo_cb done = at->second;
    lookups_.erase(at);
    if (status != 0) return done(request, status, nullptr);
    addrinfo* const good = address_of(INADDR_LOOPBACK);
    if (!world_.chance(200)) return done(request, 0, good);
    addrinfo* const dead = address_of(dead_address);
    dead->ai_next = good;
    done(request, 0, dead);
}

int Loop::cancel(uv_getaddrinfo_t* request) {
    if (world_.chance(500)) return UV_EBUSY;  // a thread of libuv is at it already
    soon([this, request] { found(request, UV_EAI_CANCELED); });
    return 0;
}

// ---- the end ----

void Loop::close(uv_handle_t* handle, uv_close_cb done) {
    FERRY_ASSERT(closing_.insert(handle).second, "a handle is closed twice");
    stop(reinterpret_cast<uv_timer_t*>(handle));
    awake_.erase(handle);
    if (const auto at = sockets_.find(handle); at != sockets_.end()) {
        close_socket(at->second);
        sockets_.erase(at);
    }
    soon([this, handle, done] {
        closing_.erase(handle);
        if (done != nullptr) done(handle);
    });
}

void Loop::finish() {
    while (!lookups_.empty()) found(lookups_.begin()->first, UV_EAI_CANCELED);
    while (!soon_.empty()) drain();
    FERRY_ASSERT(timers_.empty() && sockets_.empty(), "a loop ends when its handles are closed");
}

}  // namespace ferry::simulation::uv
