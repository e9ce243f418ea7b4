#include "connection.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::server {
namespace {

constexpr std::size_t turn_bytes_max = 1U << 20;  // read from one connection before the turn ends
constexpr std::size_t spare_buffers_max = 16;
constexpr std::size_t spare_bytes_max = 1U << 20;  // larger buffers are not kept
constexpr std::uint64_t linger_ns = 2'000'000'000;
constexpr std::uint64_t linger_bytes_max = 8U << 20;  // read and dropped while lingering
// After the last bytes of a peer that takes nothing any more.
constexpr std::uint64_t finish_within_ns = 10'000'000'000;

std::uint8_t bit(Pause reason) {
    return static_cast<std::uint8_t>(reason);
}

uv_stream_t* stream_of(uv_tcp_t& tcp) {
    return reinterpret_cast<uv_stream_t*>(&tcp);
}

uv_handle_t* handle_of(uv_tcp_t& tcp) {
    return reinterpret_cast<uv_handle_t*>(&tcp);
}

uv_buf_t buffer_of(const std::byte* data, std::size_t size) {
    // libuv does not write to what it sends.
    return uv_buf_init(const_cast<char*>(reinterpret_cast<const char*>(data)),
                       static_cast<unsigned>(size));
}

}  // namespace

namespace {

std::string peer_of(const uv_tcp_t& tcp) {
    sockaddr_storage name{};
    int size = sizeof name;
    char text[INET6_ADDRSTRLEN] = "?";
    if (uv_tcp_getpeername(&tcp, reinterpret_cast<sockaddr*>(&name), &size) != 0) return "?";
    if (name.ss_family == AF_INET6) {
        const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(&name);
        uv_ip6_name(v6, text, sizeof text);
        return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
    }
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(&name);
    uv_ip4_name(v4, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
}

}  // namespace

wire::Buffer ConnectionOwner::take_buffer() {
    if (spare_.empty()) return {};
    wire::Buffer buffer = std::move(spare_.back());
    spare_.pop_back();
    return buffer;
}

void ConnectionOwner::give_back(wire::Buffer&& buffer) {
    wire::Buffer taken = std::move(buffer);
    buffer = wire::Buffer();
    if (taken.capacity() == 0 || taken.capacity() > spare_bytes_max) return;
    if (spare_.size() >= spare_buffers_max) return;
    taken.clear();
    spare_.push_back(std::move(taken));
}

Connection::Connection(Hub& hub, ConnectionOwner& owner, engine::SessionId id)
    : hub_(hub), owner_(owner), id_(id) {
    const int status = uv_tcp_init(owner.loop, &tcp_);
    FERRY_ASSERT(status == 0, "a handle without a socket cannot fail");
    tcp_.data = this;
    write_.data = this;
    shutdown_.data = this;
    said_at_ = hub.now().mono;
}

Connection::~Connection() = default;

Status Connection::accept(uv_stream_t* listener) {
    if (const int status = uv_accept(listener, stream_of(tcp_)); status != 0) {
        return Error{Errc::unreachable, -status, 0, "accept"};
    }
    uv_tcp_nodelay(&tcp_, 1);
    peer_ = peer_of(tcp_);
    return ok_status();
}

void Connection::encrypt(std::shared_ptr<secure::TlsContext> context) {
    tls_ = secure::TlsChannel::accept(std::move(context));
    if (owner_.plain_buffer.empty()) {
        owner_.plain_buffer.resize(ConnectionOwner::read_buffer_bytes);
    }
}

void Connection::set_user_timeout(unsigned milliseconds) {
    uv_os_fd_t fd = -1;
    if (uv_fileno(handle_of(tcp_), &fd) != 0) return;
    // Best effort: heartbeats find dead peers too.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

void Connection::start(std::unique_ptr<ProtocolSession> session) {
    session_ = std::move(session);
    start_reading();
}

// ---- in ----

void Connection::on_alloc(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    auto& self = *static_cast<Connection*>(handle->data);
    std::vector<std::byte>& shared = self.owner_.read_buffer;
    *buffer =
        uv_buf_init(reinterpret_cast<char*>(shared.data()), static_cast<unsigned>(shared.size()));
}

void Connection::on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
    auto& self = *static_cast<Connection*>(stream->data);
    if (size == 0) return;
    if (size < 0) {
        self.close();
        return;
    }
    const Bytes bytes(reinterpret_cast<const std::byte*>(buffer->base),
                      static_cast<std::size_t>(size));
    if (self.tls_ == nullptr) {
        self.received(bytes);
    } else {
        self.decrypt(bytes);
    }
}

// All of what came, also when the session wants no more: it is no more than one read.
void Connection::decrypt(Bytes cipher) {
    if (finishing_) {  // nobody looks at it any more
        received(cipher);
        return;
    }
    tls_->put(cipher);
    std::vector<std::byte>& plain = owner_.plain_buffer;
    while (const std::size_t size = tls_->take(plain)) {
        received(Bytes(plain.data(), size));
        if (closing_) return;
    }
    if (tls_->failed()) {
        tls_failed();
    } else if (tls_->ended()) {
        close();
    } else if (!tls_->output().empty()) {
        sent();  // of the handshake
    }
}

// The peer is told by an alert, which is in output() already.
void Connection::tls_failed() {
    ++hub_.figures.handshakes_failed;
    hub_.note(LogLevel::warn, peer_ + ": " + tls_->error());
    hub_.audit(
        {.user = {}, .from = peer_, .action = "tls", .result = "failed", .detail = tls_->error()});
    out_.clear();
    session_->on_closed();
    finish();
}

void Connection::received(Bytes bytes) {
    hub_.figures.received_bytes += bytes.size();
    if (finishing_) {  // the peer may still be sending what it began; closing now would reset it
        dropped_bytes_ += bytes.size();
        if (dropped_bytes_ > linger_bytes_max) close();
        return;
    }
    turn_bytes_ += bytes.size();
    if (!partial_.empty()) bytes = complete_partial(bytes);
    if (!bytes.empty() && !finishing_ && !closing_) {
        const std::size_t used = session_->consume(bytes);
        keep(bytes.subspan(used));
    }
    if (finishing_ || closing_) {
        owner_.give_back(std::move(partial_));
        return;
    }
    if (turn_bytes_ >= turn_bytes_max && reading_) {
        pause(Pause::resting);
        owner_.rests(id_);
    }
}

// Adds no more than the frame needs, so that what follows is again taken where it lies.
Bytes Connection::complete_partial(Bytes bytes) {
    while (!partial_.empty() && !bytes.empty() && !finishing_) {
        const std::size_t wanted = std::max(session_->wanted(), partial_.size() + 1);
        const std::size_t more = std::min(wanted - partial_.size(), bytes.size());
        partial_.insert(partial_.end(), bytes.begin(),
                        bytes.begin() + static_cast<std::ptrdiff_t>(more));
        bytes = bytes.subspan(more);
        const std::size_t used = session_->consume(partial_);
        if (finishing_ || closing_) break;  // the session ended in there
        if (used == partial_.size()) {
            owner_.give_back(std::move(partial_));
        } else if (used != 0) {
            partial_.erase(partial_.begin(), partial_.begin() + static_cast<std::ptrdiff_t>(used));
        }
    }
    return bytes;
}

void Connection::keep(Bytes rest) {
    if (rest.empty()) return;
    partial_ = owner_.take_buffer();
    partial_.assign(rest.begin(), rest.end());
}

void Connection::start_reading() {
    turn_bytes_ = 0;
    if (reading_ || closing_) return;
    if (pauses_ != 0 && !finishing_) return;
    if (uv_read_start(stream_of(tcp_), &Connection::on_alloc, &Connection::on_read) != 0) {
        close();
        return;
    }
    reading_ = true;
}

void Connection::stop_reading() {
    if (!reading_) return;
    uv_read_stop(stream_of(tcp_));
    reading_ = false;
}

void Connection::pause(Pause reason) {
    const bool new_block = reason == Pause::behind && (pauses_ & bit(reason)) == 0;
    pauses_ = static_cast<std::uint8_t>(pauses_ | bit(reason));
    if (finishing_) return;
    if (new_block) owner_.blocked(id_);
    stop_reading();
}

void Connection::resume(Pause reason) {
    if ((pauses_ & bit(reason)) == 0) return;
    pauses_ = static_cast<std::uint8_t>(pauses_ & ~bit(reason));
    if (pauses_ == 0 && !finishing_) start_reading();
}

// ---- out ----

wire::Buffer& Connection::out() {
    if (out_.capacity() == 0) out_ = owner_.take_buffer();
    return out_;
}

void Connection::sent() {
    if (flush_wanted_ || closing_) return;
    flush_wanted_ = true;
    owner_.wants_flush(id_);
}

bool Connection::choked() const {
    return was_choked_ || out_.size() + writing_.size() >= hub_.config.output_bytes_max;
}

void Connection::note_choke() {
    const std::size_t waiting = out_.size() + writing_.size();
    if (waiting >= hub_.config.output_bytes_max) was_choked_ = true;
    // Deliveries stop at the limit. What else can grow comes from the peer's own requests.
    if (waiting >= 2 * hub_.config.output_bytes_max + (2U << 20)) close();
}

void Connection::flush() {
    flush_wanted_ = false;
    if (closing_) return;
    if (!writing_.empty()) {  // one write at a time; written() goes on
        note_choke();
        return;
    }
    if (tls_ != nullptr && !encrypt_out()) return;
    if (out_.empty()) {
        if (finishing_) shut_down_when_written();
        return;
    }
    const uv_buf_t buffer = buffer_of(out_.data(), out_.size());
    const int done = uv_try_write(stream_of(tcp_), &buffer, 1);
    if (done < 0 && done != UV_EAGAIN) {
        close();
        return;
    }
    const auto size = static_cast<std::size_t>(std::max(done, 0));
    if (size != 0) said_at_ = hub_.now().mono;
    hub_.figures.sent_bytes += size;
    if (size == out_.size()) {
        owner_.give_back(std::move(out_));
        if (finishing_) shut_down_when_written();
        return;
    }
    write_rest(size);
}

// Puts ciphertext into out_'s place. What lies there afterwards is written at once or waits in
// writing_, so nothing is encrypted twice. False: that is the end.
bool Connection::encrypt_out() {
    wire::Buffer& sealed = tls_->output();
    if (out_.empty() && sealed.empty()) return true;
    if (sealed.capacity() == 0) sealed = owner_.take_buffer();
    if (!out_.empty() && !tls_->failed() && !tls_->seal(out_) && tls_->failed()) {
        tls_failed();
        return false;
    }
    out_.clear();
    out_.swap(sealed);
    owner_.give_back(std::move(sealed));
    return true;
}

void Connection::write_rest(std::size_t done) {
    writing_ = std::move(out_);
    out_ = wire::Buffer();
    const uv_buf_t buffer = buffer_of(writing_.data() + done, writing_.size() - done);
    hub_.figures.sent_bytes += buffer.len;
    const int status = uv_write(&write_, stream_of(tcp_), &buffer, 1, [](uv_write_t* write, int s) {
        static_cast<Connection*>(write->data)->written(s);
    });
    if (status != 0) {
        writing_.clear();
        close();
        return;
    }
    note_choke();
}

void Connection::written(int status) {
    owner_.give_back(std::move(writing_));
    if (closing_) return;
    if (status != 0) {
        close();
        return;
    }
    said_at_ = hub_.now().mono;
    flush();
    if (closing_) return;
    if (was_choked_ && out_.size() + writing_.size() <= hub_.config.output_bytes_max / 2) {
        was_choked_ = false;
        if (!finishing_) session_->on_writable();
    }
    if (finishing_) shut_down_when_written();
}

// ---- the end ----

void Connection::finish() {
    if (finishing_ || closing_) return;
    finishing_ = true;
    finished_at_ = hub_.now().mono;
    start_reading();  // to see the peer close, and not to reset what it has not read yet
    sent();
}

void Connection::shut_down_when_written() {
    if (shut_down_ || closing_ || !idle()) return;
    shut_down_ = true;
    finished_at_ = hub_.now().mono;
    const int status = uv_shutdown(&shutdown_, stream_of(tcp_), [](uv_shutdown_t*, int) {});
    if (status != 0) close();
}

void Connection::on_tick(Now now) {
    if (closing_) return;
    if (finishing_) {
        const std::uint64_t patience = shut_down_ ? linger_ns : finish_within_ns;
        if (now.mono.ns - finished_at_.ns > patience) close();
        return;
    }
    if (session_) session_->on_tick(now);
}

void Connection::close() {
    if (closing_) return;
    closing_ = true;
    reading_ = false;
    if (session_) session_->on_closed();
    uv_close(handle_of(tcp_), [](uv_handle_t* handle) {
        auto* self = static_cast<Connection*>(handle->data);
        self->owner_.closed(self->id_);
    });
}

}  // namespace ferry::server
