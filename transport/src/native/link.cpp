#include "native/link.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/frame.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::size_t read_bytes = 256U << 10;
constexpr std::size_t write_bytes = 512U << 10;
constexpr int writes_per_turn = 16;

uv_buf_t buffer_of(Bytes bytes) {
    // libuv's buffers are not const, but a write does not change them.
    return uv_buf_init(const_cast<char*>(as_text(bytes).data()),
                       static_cast<unsigned int>(bytes.size()));
}

uv_stream_t* as_stream(uv_tcp_t* tcp) {
    return reinterpret_cast<uv_stream_t*>(tcp);
}
uv_handle_t* as_handle(uv_tcp_t* tcp) {
    return reinterpret_cast<uv_handle_t*>(tcp);
}

}  // namespace

// What libuv may still touch after the link has let go of it. `link` is null from then on.
struct Link::Socket {
    explicit Socket(Link* owner) : link(owner) {
        tcp.data = this;
        connecting.data = this;
        write.data = this;
    }
    Link* link;
    uv_tcp_t tcp{};
    uv_connect_t connecting{};
    uv_write_t write{};
    bool writing = false;
    wire::Buffer control;
    std::vector<BatchPtr> batches;
    std::vector<uv_buf_t> buffers;
    wire::Buffer sealed;  // what is written of an encrypted connection

    static void on_close(uv_handle_t* handle) { delete static_cast<Socket*>(handle->data); }
    static void on_connect(uv_connect_t* request, int status) {
        auto* const self = static_cast<Socket*>(request->data);
        if (self->link == nullptr) return;
        Link& link = *self->link;
        if (status != 0) {
            link.last_failure_ = uv_strerror(status);
            link.try_next_address();
            return;
        }
        uv_tcp_nodelay(&self->tcp, 1);
        uv_tcp_keepalive(&self->tcp, 1, 60);
        link.reached(*self);
    }
    static void on_alloc(uv_handle_t* handle, std::size_t, uv_buf_t* out) {
        auto* const self = static_cast<Socket*>(handle->data);
        if (self->link == nullptr) {
            *out = uv_buf_init(nullptr, 0);
            return;
        }
        Link& link = *self->link;
        if (link.channel_ != nullptr) {
            *out = uv_buf_init(reinterpret_cast<char*>(link.cipher_.data()),
                               static_cast<unsigned int>(link.cipher_.size()));
            return;
        }
        link.make_room();
        *out = uv_buf_init(reinterpret_cast<char*>(link.in_.get() + link.in_end_),
                           static_cast<unsigned int>(link.in_capacity_ - link.in_end_));
    }
    static void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t*) {
        auto* const self = static_cast<Socket*>(stream->data);
        if (self->link == nullptr || count == 0) return;
        Link& link = *self->link;
        if (count < 0) {
            link.fail(count == UV_EOF ? "the broker closed the connection"
                                      : uv_strerror(static_cast<int>(count)));
            return;
        }
        if (link.channel_ != nullptr) {
            link.decrypt(*self, static_cast<std::size_t>(count));
        } else {
            link.read_some(*self, static_cast<std::size_t>(count));
        }
    }
    static void on_write(uv_write_t* request, int status) {
        auto* const self = static_cast<Socket*>(request->data);
        self->writing = false;
        self->batches.clear();
        if (self->link == nullptr) return;
        if (status != 0) {
            self->link->fail(uv_strerror(status));
            return;
        }
        self->link->last_sent_ms_ = uv_now(self->link->loop_);
        self->link->owner_.on_writable();
    }
};

struct Link::Lookup {
    explicit Lookup(Link* owner) : link(owner) { request.data = this; }
    Link* link;
    uv_getaddrinfo_t request{};

    static void on_done(uv_getaddrinfo_t* request, int status, addrinfo* found) {
        const std::unique_ptr<Lookup> self(static_cast<Lookup*>(request->data));
        Link* const link = self->link;
        if (link != nullptr) {
            link->lookup_ = nullptr;
            for (const addrinfo* at = found; status == 0 && at != nullptr; at = at->ai_next) {
                sockaddr_storage address{};
                if (at->ai_addrlen > sizeof address) continue;
                std::memcpy(&address, at->ai_addr, at->ai_addrlen);
                link->addresses_.push_back(address);
            }
        }
        uv_freeaddrinfo(found);
        if (link == nullptr) return;
        if (status != 0) link->last_failure_ = uv_strerror(status);
        link->try_next_address();
    }
};

Link::~Link() {
    drop();
}

void Link::connect(const Url& url, std::shared_ptr<secure::TlsContext> tls) {
    FERRY_ASSERT(socket_ == nullptr && lookup_ == nullptr, "one connection at a time");
    context_ = std::move(tls);
    host_ = url.host;
    addresses_.clear();
    next_address_ = 0;
    last_failure_ = "the host has no address";
    control_.clear();
    in_begin_ = in_end_ = 0;
    sockaddr_storage address{};
    if (uv_ip4_addr(url.host.c_str(), url.port, reinterpret_cast<sockaddr_in*>(&address)) == 0 ||
        uv_ip6_addr(url.host.c_str(), url.port, reinterpret_cast<sockaddr_in6*>(&address)) == 0) {
        addresses_.push_back(address);
        try_next_address();
        return;
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    lookup_ = new Lookup(this);
    const std::string port = std::to_string(url.port);
    const int status = uv_getaddrinfo(loop_, &lookup_->request, Lookup::on_done, url.host.c_str(),
                                      port.c_str(), &hints);
    if (status != 0) {
        delete lookup_;
        lookup_ = nullptr;
        fail(uv_strerror(status));
    }
}

void Link::try_next_address() {
    if (socket_ != nullptr) {
        socket_->link = nullptr;
        uv_close(as_handle(&socket_->tcp), Socket::on_close);
        socket_ = nullptr;
    }
    while (next_address_ < addresses_.size()) {
        const sockaddr_storage& address = addresses_[next_address_++];
        auto* const socket = new Socket(this);
        int status = uv_tcp_init(loop_, &socket->tcp);
        FERRY_ASSERT(status == 0, "a handle without a socket needs no resource");
        status = uv_tcp_connect(&socket->connecting, &socket->tcp,
                                reinterpret_cast<const sockaddr*>(&address), Socket::on_connect);
        if (status == 0) {
            socket_ = socket;
            return;
        }
        last_failure_ = uv_strerror(status);
        socket->link = nullptr;
        uv_close(as_handle(&socket->tcp), Socket::on_close);
    }
    fail(last_failure_);
}

void Link::drop() {
    connected_ = false;
    if (lookup_ != nullptr) {
        lookup_->link = nullptr;
        uv_cancel(reinterpret_cast<uv_req_t*>(&lookup_->request));
        lookup_ = nullptr;
    }
    if (socket_ != nullptr) {
        socket_->link = nullptr;
        uv_close(as_handle(&socket_->tcp), Socket::on_close);
        socket_ = nullptr;
    }
    control_.clear();
    channel_.reset();
}

void Link::fail(const std::string& why) {
    drop();
    owner_.on_gone(why);
}

// ---- TLS ----

void Link::reached(Socket& socket) {
    last_heard_ms_ = last_sent_ms_ = uv_now(loop_);
    if (context_ != nullptr) {
        channel_ = secure::TlsChannel::connect(context_, host_);
        if (cipher_.empty()) cipher_.resize(read_bytes);
        channel_->begin();
        if (!send_sealed(socket)) return;
    }
    paused_ = true;
    resume_reading();
    if (context_ == nullptr) now_connected();
}

void Link::now_connected() {
    connected_ = true;
    owner_.on_connected();
}

void Link::decrypt(Socket& socket, std::size_t bytes) {
    last_heard_ms_ = uv_now(loop_);
    channel_->put(Bytes(cipher_.data(), bytes));
    for (;;) {
        make_room();
        const std::size_t size =
            channel_->take(MutableBytes(in_.get() + in_end_, in_capacity_ - in_end_));
        if (channel_->failed()) {
            const std::string why = channel_->error();
            if (send_sealed(socket)) fail(why);  // the alert tells the broker
            return;
        }
        if (!channel_->output().empty() && !send_sealed(socket)) return;
        if (!connected_ && channel_->open()) {
            now_connected();
            if (socket_ != &socket) return;
        }
        if (size == 0) break;
        read_some(socket, size);
        if (socket_ != &socket) return;
    }
    if (channel_->ended()) fail("the broker closed the connection");
}

// Puts what is in `buffers` into `sealed`, which is all that is written then.
bool Link::seal_all(Socket& socket) {
    for (const uv_buf_t& buffer : socket.buffers) {
        if (channel_->seal(Bytes(reinterpret_cast<const std::byte*>(buffer.base), buffer.len)))
            continue;
        const std::string why = channel_->error();
        fail(why);
        return false;
    }
    socket.batches.clear();
    socket.buffers.clear();
    socket.sealed.clear();
    socket.sealed.swap(channel_->output());
    if (!socket.sealed.empty()) socket.buffers.push_back(buffer_of(socket.sealed));
    return true;
}

// What a handshake says by itself. False: the connection is gone.
bool Link::send_sealed(Socket& socket) {
    if (socket.writing || channel_->output().empty()) return true;  // it goes with the next
    socket.buffers.clear();
    if (!seal_all(socket)) return false;
    const int written = uv_try_write(as_stream(&socket.tcp), socket.buffers.data(), 1);
    if (written < 0 && written != UV_EAGAIN) {
        fail(uv_strerror(written));
        return false;
    }
    const std::size_t done = written < 0 ? 0 : static_cast<std::size_t>(written);
    if (done < socket.sealed.size()) start_write(done);
    return socket_ == &socket;
}

// ---- reading ----

void Link::make_room() {
    if (in_begin_ == in_end_) in_begin_ = in_end_ = 0;
    std::size_t wanted = read_bytes;
    const wire::FrameSlice next =
        wire::next_frame(Bytes(in_.get() + in_begin_, in_end_ - in_begin_), frame_bytes_max_);
    wanted = std::max(wanted, next.needed);  // bounded: too large a frame was refused before
    if (wanted > in_capacity_) {
        auto larger = std::unique_ptr<std::byte[]>(new std::byte[wanted]);
        if (in_end_ > in_begin_) {
            std::memcpy(larger.get(), in_.get() + in_begin_, in_end_ - in_begin_);
        }
        in_ = std::move(larger);
        in_capacity_ = wanted;
        in_end_ -= in_begin_;
        in_begin_ = 0;
    } else if (in_begin_ + wanted > in_capacity_ && in_begin_ > 0) {
        std::memmove(in_.get(), in_.get() + in_begin_, in_end_ - in_begin_);
        in_end_ -= in_begin_;
        in_begin_ = 0;
    }
}

void Link::read_some(Socket& socket, std::size_t bytes) {
    last_heard_ms_ = uv_now(loop_);
    in_end_ += bytes;
    bytes_read_ += bytes;
    while (true) {
        const wire::FrameSlice slice =
            wire::next_frame(Bytes(in_.get() + in_begin_, in_end_ - in_begin_), frame_bytes_max_);
        if (slice.state == wire::FrameSlice::State::too_large) {
            fail("the broker sent a frame over the limit");
            return;
        }
        if (slice.state == wire::FrameSlice::State::incomplete) break;
        in_begin_ += slice.used;
        owner_.on_frame(slice.body);
        if (socket_ != &socket) return;  // dropped by the owner; `socket` may be gone
    }
    owner_.on_read_done();
}

void Link::pause_reading() {
    if (paused_ || socket_ == nullptr) return;
    paused_ = true;
    uv_read_stop(as_stream(&socket_->tcp));
}

void Link::resume_reading() {
    if (!paused_ || socket_ == nullptr) return;
    paused_ = false;
    last_heard_ms_ = uv_now(loop_);
    const int status = uv_read_start(as_stream(&socket_->tcp), Socket::on_alloc, Socket::on_read);
    FERRY_ASSERT(status == 0, "the socket is connected");
}

// ---- writing ----

bool Link::writing() const {
    return socket_->writing;
}

bool Link::pump(const Take& take) {
    for (int round = 0; round < writes_per_turn; ++round) {
        if (!connected_ || writing()) return false;
        Socket& socket = *socket_;
        socket.control.clear();
        socket.batches.clear();
        socket.buffers.clear();
        std::swap(socket.control, control_);
        std::size_t total = socket.control.size();
        if (total > 0) socket.buffers.push_back(buffer_of(socket.control));
        take(socket.batches, write_bytes);
        for (const BatchPtr& batch : socket.batches) {
            socket.buffers.push_back(buffer_of(batch->frame()));
            total += batch->frame().size();
        }
        if (channel_ != nullptr) {
            if (!seal_all(socket)) return false;
            total = socket.sealed.size();
        }
        if (total == 0) return false;
        const int written = uv_try_write(as_stream(&socket.tcp), socket.buffers.data(),
                                         static_cast<unsigned int>(socket.buffers.size()));
        if (written < 0 && written != UV_EAGAIN) {
            fail(uv_strerror(written));
            return false;
        }
        const std::size_t done = written < 0 ? 0 : static_cast<std::size_t>(written);
        if (done == total) {
            last_sent_ms_ = uv_now(loop_);
            socket.batches.clear();
        } else {
            start_write(done);
        }
    }
    return true;
}

void Link::start_write(std::size_t skip) {
    Socket& socket = *socket_;
    auto& buffers = socket.buffers;
    std::size_t at = 0;
    while (skip >= buffers[at].len) skip -= buffers[at++].len;
    buffers[at].base += skip;
    buffers[at].len -= skip;
    buffers.erase(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(at));
    socket.writing = true;
    const int status = uv_write(&socket.write, as_stream(&socket.tcp), buffers.data(),
                                static_cast<unsigned int>(buffers.size()), Socket::on_write);
    if (status != 0) {
        socket.writing = false;
        fail(uv_strerror(status));
    }
}

}  // namespace ferry::transport::native
