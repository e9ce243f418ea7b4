#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "world.hpp"

namespace ferry::simulation {

/// What the network does to bytes, the same for every connection of a run.
struct Weather {
    std::uint64_t chunk_max = 64U << 10;  // bytes that arrive together
    std::uint64_t delay_ns_max = ms;
    std::uint64_t window_bytes = 256U << 10;  // under way in one direction
};

/// One TCP connection as both ends see it: a stream of bytes each way, in order, in pieces. What
/// can happen to it: delay, stalls, silence in one direction, a cut behind any byte, an end that is
/// noticed by one side, by both or by none.
///
/// Lifetime  Shared by both ends.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    struct End {
        std::function<void(Bytes)> on_bytes;
        std::function<void()> on_closed;    // at most once, and not by close() of this end
        std::function<void()> on_writable;  // there is room again
    };
    enum Side : std::uint8_t { client = 0, broker = 1 };

    Connection(World& world, const Weather& weather) : world_(world), weather_(weather) {}

    void attach(Side side, End end);
    /// `side` is gone or does not care any more: it hears nothing from here on.
    void detach(Side side);
    void send(Side from, Bytes bytes);
    /// Bytes that `from` has handed over and the other side has not read.
    [[nodiscard]] std::size_t unread(Side from) const {
        return ways_[from].bytes.size() - ways_[from].at;
    }
    [[nodiscard]] bool has_room(Side from) const { return unread(from) < weather_.window_bytes; }
    [[nodiscard]] std::size_t room(Side from) const {
        return weather_.window_bytes - std::min<std::size_t>(weather_.window_bytes, unread(from));
    }
    /// Reads or does not read what arrives.
    void read(Side side, bool wanted);
    /// Ends it: what was sent before still arrives, then the other side hears of the end.
    void close(Side side);
    /// Ends it at once: the other side is told, unless nothing reaches it.
    void reset(Side side);
    /// The network ends it: behind any byte of what is under way; both sides hear of it.
    void cut();
    /// Nothing passes in this direction until then; UINT64_MAX: never again.
    void stall(Side from, std::uint64_t until_ns);
    [[nodiscard]] bool over() const { return over_; }

private:
    struct Way {
        std::vector<std::byte> bytes;
        std::size_t at = 0;             // read up to here
        std::size_t cut_at = SIZE_MAX;  // no byte behind this one arrives
        bool closing = false;           // the sender has closed: the end follows the bytes
        bool planned = false;           // an arrival is to come
        std::uint64_t stalled_until = 0;
    };
    static Side other(Side side) { return side == client ? broker : client; }
    void plan(Side from);
    void arrive(Side from);
    void tell_closed(Side side);

    World& world_;
    const Weather& weather_;
    Life life_;
    End ends_[2];
    bool attached_[2] = {false, false};
    bool reading_[2] = {true, true};
    bool was_full_[2] = {false, false};
    Way ways_[2];  // by sender
    bool over_ = false;
};

using ConnectionRef = std::shared_ptr<Connection>;

}  // namespace ferry::simulation
