#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ferry/secure/tls.hpp"
#include "ferry/transport/url.hpp"
#include "ferry/wire/encoder.hpp"
#include "native/batch.hpp"

namespace ferry::transport::native {

/// One TCP connection at a time, cut into frames. Knows nothing of what frames mean.
///
/// Threads   The loop's only.
/// Lifetime  drop() before the loop is closed; the loop must run once more after it.
class Link {
public:
    class Owner {
    public:
        virtual ~Owner() = default;
        virtual void on_connected() = 0;
        /// `body` is valid during the call. The owner may drop() the link in it.
        virtual void on_frame(Bytes body) = 0;
        /// All frames of one read were handed over.
        virtual void on_read_done() = 0;
        /// A write that had to wait has ended.
        virtual void on_writable() = 0;
        /// The connection failed or ended. Comes at most once per connect(), never after drop().
        virtual void on_gone(const std::string& why) = 0;
    };
    /// Appends batches, about so many bytes of them; false: there are none.
    using Take = std::function<bool(std::vector<BatchPtr>&, std::size_t bytes_max)>;

    Link(uv_loop_t* loop, Owner& owner) : loop_(loop), owner_(owner) {}
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    /// `tls`: null for a plain connection. Connected is after the handshake.
    void connect(const Url& url, std::shared_ptr<secure::TlsContext> tls);
    /// Of the connection; null: it is plain, or there is none.
    [[nodiscard]] const secure::TlsChannel* tls() const { return channel_.get(); }
    /// Ends the connection at once, without a word to the owner.
    void drop();
    [[nodiscard]] bool connected() const { return connected_; }

    /// Bytes put here go out with the next pump(), before any batch.
    wire::Buffer& control() { return control_; }
    /// Writes until nothing is left or the socket is full. True: stopped half-way to let others
    /// have their turn.
    bool pump(const Take& take);

    /// Frames longer than this end the connection.
    void set_frame_bytes_max(std::uint32_t bytes) { frame_bytes_max_ = bytes; }
    void pause_reading();
    void resume_reading();

    [[nodiscard]] std::uint64_t last_heard_ms() const { return last_heard_ms_; }
    /// Since it was asked before.
    [[nodiscard]] std::size_t take_bytes_read() { return std::exchange(bytes_read_, 0); }
    [[nodiscard]] std::uint64_t last_sent_ms() const { return last_sent_ms_; }

private:
    struct Socket;
    struct Lookup;

    void try_next_address();
    void read_some(Socket& socket, std::size_t bytes);
    void reached(Socket& socket);
    void decrypt(Socket& socket, std::size_t bytes);
    void now_connected();
    bool seal_all(Socket& socket);
    bool send_sealed(Socket& socket);
    void fail(const std::string& why);
    void start_write(std::size_t skip);
    [[nodiscard]] bool writing() const;
    void make_room();

    uv_loop_t* const loop_;
    Owner& owner_;
    Socket* socket_ = nullptr;  // owns itself: libuv decides when it may go
    Lookup* lookup_ = nullptr;  // likewise
    std::vector<sockaddr_storage> addresses_;
    std::size_t next_address_ = 0;
    std::string last_failure_;
    std::shared_ptr<secure::TlsContext> context_;
    std::string host_;  // whose certificate it must be
    std::unique_ptr<secure::TlsChannel> channel_;
    std::vector<std::byte> cipher_;  // as it comes from the socket
    bool connected_ = false;
    bool paused_ = false;

    wire::Buffer control_;
    std::unique_ptr<std::byte[]> in_;
    std::size_t in_capacity_ = 0;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;
    std::uint32_t frame_bytes_max_ = 0;
    std::uint64_t last_heard_ms_ = 0;
    std::size_t bytes_read_ = 0;
    std::uint64_t last_sent_ms_ = 0;
};

}  // namespace ferry::transport::native
