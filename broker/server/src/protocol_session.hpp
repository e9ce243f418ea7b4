#pragma once

#include <functional>

#include "ferry/engine/types.hpp"
#include "ferry/platform/bytes.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/secure/tls.hpp"
#include "ferry/wire/encoder.hpp"
#include "registry.hpp"

namespace ferry::server {

/// Why a connection is not read from; it is read when nothing forbids it.
enum class Pause : std::uint8_t {
    behind = 1,       // the log is behind
    unconfirmed = 2,  // this connection has too much unconfirmed
    leaving = 4,      // nothing more is wanted from it
    resting = 8,      // it had its share of this turn
    memory = 16,      // it publishes, and memory is short
    rate = 32,        // its user publishes faster than it may
};

/// What a protocol session sees of its connection.
class Link {
public:
    virtual ~Link() = default;
    /// Append whole frames here, then call sent(). Invalidated by flush().
    virtual wire::Buffer& out() = 0;
    /// Something was appended; it leaves at the end of this turn.
    virtual void sent() = 0;
    /// Lets what is in out() leave now: called now and then while much is being appended.
    virtual void flush() = 0;
    /// More waits to leave than the limit: no deliveries until ProtocolSession::on_writable().
    [[nodiscard]] virtual bool choked() const = 0;
    /// Nothing waits to leave.
    [[nodiscard]] virtual bool idle() const = 0;
    /// When bytes left last.
    [[nodiscard]] virtual Instant said_at() const = 0;
    [[nodiscard]] virtual bool paused() const = 0;
    /// Null: the connection is plain. Its handshake is over before the session hears anything.
    [[nodiscard]] virtual const secure::TlsChannel* tls() const = 0;
    /// Address and port of the peer.
    [[nodiscard]] virtual const std::string& peer() const = 0;
    virtual void pause(Pause reason) = 0;
    virtual void resume(Pause reason) = 0;
    /// Sends what is in out() and closes. Nothing is read any more. The session stays until then.
    virtual void finish() = 0;
};

/// A connection's conversation, in one protocol: turns its bytes into commands to the engine and
/// the engine's effects into bytes.
///
/// Threads   The loop's.
class ProtocolSession {
public:
    virtual ~ProtocolSession() = default;

    /// Takes whole frames from the beginning of `bytes` and says how many bytes they were.
    virtual std::size_t consume(Bytes bytes) = 0;
    /// How many bytes, from the first that was not consumed, make the next frame; at least what is
    /// needed to find that out.
    [[nodiscard]] virtual std::size_t wanted() const = 0;
    /// An effect that names this session.
    virtual void carry_out(engine::Effect& effect) = 0;
    /// An instance of a service that this connection watches has come, changed or gone.
    virtual void on_service(const ServiceKey& key) = 0;
    /// There is room again after Link::choked().
    virtual void on_writable() = 0;
    /// Several times a second: silence, heartbeats, deadlines.
    virtual void on_tick(Now now) = 0;
    /// The broker stops: finish what is under way, then say so and close.
    virtual void drain() = 0;
    /// The disk failed: say so and close, confirm nothing.
    virtual void abandon() = 0;
    /// The connection is gone. Called once; afterwards nothing else is.
    virtual void on_closed() = 0;
    /// The users were read again: a user that changed or went signs in anew.
    virtual void on_users_changed() = 0;
    /// Hub::blocked() changed.
    virtual void on_blocked() = 0;
    /// Calls `pinned` with the record of every delivery that was handed out and has not been sent.
    virtual void for_each_pinned(const std::function<void(engine::Position)>& pinned) const = 0;
};

}  // namespace ferry::server
