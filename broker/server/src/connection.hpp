#pragma once

#include <uv.h>

#include <memory>

#include "hub.hpp"
#include "protocol_session.hpp"

namespace ferry::server {

class Connection;

/// What connections share on a loop, and whom they tell.
class ConnectionOwner {
public:
    static constexpr std::size_t read_buffer_bytes = 256U << 10;

    explicit ConnectionOwner(uv_loop_t* loop_in) : loop(loop_in), read_buffer(read_buffer_bytes) {}

    virtual ~ConnectionOwner() = default;
    ConnectionOwner(const ConnectionOwner&) = delete;
    ConnectionOwner& operator=(const ConnectionOwner&) = delete;

    uv_loop_t* const loop;
    std::vector<std::byte> read_buffer;   // one for all: what is not a whole frame moves elsewhere
    std::vector<std::byte> plain_buffer;  // likewise, for what was decrypted

    /// flush() is due at the end of this turn.
    virtual void wants_flush(engine::SessionId id) = 0;
    /// It had its share of reading; resume it at the end of this turn.
    virtual void rests(engine::SessionId id) = 0;
    /// It is paused because the log is behind; resume it when that is over.
    virtual void blocked(engine::SessionId id) = 0;
    /// The socket is closed: destroy it.
    virtual void closed(engine::SessionId id) = 0;

    wire::Buffer take_buffer();
    void give_back(wire::Buffer&& buffer);

private:
    std::vector<wire::Buffer> spare_;
};

/// A TCP connection: bytes in, bytes out, and the ways it ends.
///
///   open --finish()--> lingering --all written, peer closed or 2 s--> closed
///     +------------------- peer closed or error -----------------------^
///
/// Threads   The loop's. Lifetime: until ConnectionOwner::closed(); `hub` and `owner` outlive it.
/// Memory    Without traffic no buffers: what waits to be sent or completed is in buffers that are
///           given back when they are empty.
class Connection final : public Link {
public:
    Connection(Hub& hub, ConnectionOwner& owner, engine::SessionId id);
    ~Connection() override;

    /// Takes the connection that `listener` has.
    /// Errors: io_failed, unreachable (it went away already); destroy it through close().
    Status accept(uv_stream_t* listener);
    /// Speaks TLS; before start().
    void encrypt(std::shared_ptr<secure::TlsContext> context);
    void start(std::unique_ptr<ProtocolSession> session);
    /// Ends it now, whatever waits to be sent.
    void close();
    void on_tick(Now now);
    [[nodiscard]] ProtocolSession* session() { return session_.get(); }
    [[nodiscard]] engine::SessionId id() const { return id_; }
    /// How long the kernel tries to reach a peer that acknowledges nothing.
    void set_user_timeout(unsigned milliseconds);

    wire::Buffer& out() override;
    void sent() override;
    void flush() override;
    [[nodiscard]] bool choked() const override;
    [[nodiscard]] bool idle() const override {
        return out_.empty() && writing_.empty() && (tls_ == nullptr || tls_->output().empty());
    }
    [[nodiscard]] Instant said_at() const override { return said_at_; }
    [[nodiscard]] bool paused() const override { return pauses_ != 0; }
    void pause(Pause reason) override;
    void resume(Pause reason) override;
    void finish() override;
    [[nodiscard]] const secure::TlsChannel* tls() const override { return tls_.get(); }
    [[nodiscard]] const std::string& peer() const override { return peer_; }

private:
    static void on_alloc(uv_handle_t* handle, std::size_t suggested, uv_buf_t* buffer);
    static void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer);

    void received(Bytes bytes);
    void decrypt(Bytes cipher);
    void tls_failed();
    bool encrypt_out();
    Bytes complete_partial(Bytes bytes);
    void keep(Bytes rest);
    void written(int status);
    void write_rest(std::size_t done);
    void start_reading();
    void stop_reading();
    void shut_down_when_written();
    void note_choke();

    Hub& hub_;
    ConnectionOwner& owner_;
    const engine::SessionId id_;
    uv_tcp_t tcp_{};
    uv_write_t write_{};
    uv_shutdown_t shutdown_{};
    std::unique_ptr<ProtocolSession> session_;
    std::unique_ptr<secure::TlsChannel> tls_;
    std::string peer_;
    wire::Buffer out_;      // what was said since the last flush
    wire::Buffer writing_;  // what libuv is writing; not empty: a write is under way
    wire::Buffer partial_;  // the beginning of a frame that has not come whole
    std::size_t turn_bytes_ = 0;
    std::uint64_t dropped_bytes_ = 0;
    Instant said_at_;
    Instant finished_at_;
    std::uint8_t pauses_ = 0;
    bool reading_ = false;
    bool flush_wanted_ = false;
    bool was_choked_ = false;
    bool finishing_ = false;
    bool shut_down_ = false;
    bool closing_ = false;
};

}  // namespace ferry::server
