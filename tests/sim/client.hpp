#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker.hpp"
#include "ferry/wire/codes.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"
#include "ferry/wire/frame.hpp"
#include "ferry/wire/message.hpp"
#include "recorder.hpp"
#include "swarm.hpp"

namespace ferry::simulation {

[[nodiscard]] std::string queue_name(std::uint32_t queue);

/// What all actors of a run share.
struct Stage {
    World& world;
    const Swarm& swarm;
    Recorder& recorder;
    Broker& broker;
    bool healed = false;
};

/// The fields of QUEUE_DECLARE for a queue of the run.
void write_declaration(wire::Encoder& out, const Swarm& swarm, std::uint32_t queue);

/// A process of an application, as faults see it.
class Mortal {
public:
    virtual ~Mortal() = default;
    /// It stands still; the kernel goes on.
    virtual void stop_for(std::uint64_t ns) = 0;
    /// Dies, with what it has in memory, and starts again after a while.
    virtual void kill(std::uint64_t down_ns) = 0;
};

/// Calls `with(head, cursor)` for each frame in `bytes`; returns how many bytes they were.
template <class F>
std::size_t each_frame(Bytes bytes, F&& with) {
    std::size_t used = 0;
    for (;;) {
        const wire::FrameSlice slice = wire::next_frame(bytes.subspan(used), 64U << 20);
        if (slice.state != wire::FrameSlice::State::complete) return used;
        wire::Cursor cursor(slice.body);
        wire::FrameHead head;
        if (!wire::read_head(cursor, head)) return used;
        used += slice.used;
        if (!with(head, cursor)) return used;
    }
}

/// A connection to the broker as docs/protocol.md wants it, and what a process does around it:
/// connecting again, heartbeats, standing still, dying.
class Client : public Mortal {
public:
    Client(Stage& stage, std::uint32_t process);
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void start(std::uint64_t after_ns = 0);
    void stop_for(std::uint64_t ns) override;
    void kill(std::uint64_t down_ns) override;
    /// The machine it runs on is gone; nobody tells the broker.
    void vanish();
    [[nodiscard]] std::uint32_t process() const { return process_; }
    [[nodiscard]] ConnectionRef connection() const { return connection_; }

protected:
    enum class Phase : std::uint8_t { down, greeting, setting_up, ready };

    // ---- what an actor is ----
    /// What it hears of at the broker's side; called once for each connection.
    virtual std::shared_ptr<Tap> make_tap() = 0;
    /// Hello was answered: declare, open, subscribe.
    virtual void set_up() = 0;
    virtual void on_frame(const wire::FrameHead& head, wire::Cursor& cursor) = 0;
    /// Nothing that was asked will be answered.
    virtual void on_lost() {}
    /// It connects again by itself.
    [[nodiscard]] virtual bool reconnects() const { return true; }
    /// What was in memory is gone.
    virtual void on_killed() {}

    // ---- what it can do ----
    void connect_in(std::uint64_t ns);
    void hang_up();
    template <class F>
    void ask(wire::Verb verb, std::uint64_t request, std::uint32_t count, F&& fields) {
        wire::Buffer out;
        const std::size_t mark = wire::begin_frame(out, verb, 2 + count);
        wire::Encoder encoder(out);
        encoder.uint(request);
        fields(encoder);
        wire::end_frame(out, mark);
        send(out);
    }
    void declare(std::uint32_t queue);
    [[nodiscard]] std::uint64_t next_request() { return ++last_request_; }
    /// After `ns`, but not while it stands still.
    void later(std::uint64_t ns, std::function<void()> what);
    /// The same, only if the connection is still the same one.
    void later_here(std::uint64_t ns, std::function<void()> what);
    [[nodiscard]] bool stopped() const { return stage_.world.now_ns() < stopped_until_; }

    Stage& stage_;
    World& world_;
    const std::uint32_t process_;
    Phase phase_ = Phase::down;
    Life life_;
    std::uint64_t log_id_ = 0;  // of the broker's data, as hello said

private:
    void connect();
    void send(const wire::Buffer& frame);
    void received(Bytes bytes);
    void lost();
    void tick();
    void frame(const wire::FrameHead& head, wire::Cursor& cursor);

    ConnectionRef connection_;
    Life here_;  // of the connection
    wire::Buffer partial_;
    std::uint64_t last_request_ = 0;
    std::uint64_t heard_at_ = 0;
    std::uint64_t said_at_ = 0;
    std::uint64_t stopped_until_ = 0;
    bool ticking_ = false;
};

/// Reads a map of an ok: `with(key, cursor)` returns true if it read the value.
template <class F>
bool each_entry(wire::Cursor& cursor, F&& with) {
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view key;
        if (!cursor.read_str(key)) return false;
        if (!with(key, cursor) && !cursor.skip()) return false;
    }
    return true;
}

/// Reads `[1, 4, 7, 7]`.
[[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> read_ranges(
    wire::Cursor& cursor);

}  // namespace ferry::simulation
