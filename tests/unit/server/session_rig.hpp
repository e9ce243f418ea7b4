#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "ferry/wire/encoder.hpp"
#include "ferry/wire/frame.hpp"
#include "hub.hpp"
#include "journal.hpp"
#include "native/native_session.hpp"

// Sessions with a real engine and a real log, but neither sockets nor disk nor clock: everything
// happens in turn(), in one thread, the same every time.
namespace ferry::server {

/// A connection that only remembers.
class FakeLink final : public Link {
public:
    wire::Buffer& out() override { return buffer; }
    void sent() override {}
    void flush() override {
        if (room == SIZE_MAX) return;
        taken.insert(taken.end(), buffer.begin(), buffer.end());
        buffer.clear();
    }
    [[nodiscard]] bool choked() const override { return is_choked || buffer.size() >= room; }
    [[nodiscard]] bool idle() const override { return buffer.empty(); }
    [[nodiscard]] Instant said_at() const override { return {}; }
    [[nodiscard]] bool paused() const override { return pauses != 0; }
    void pause(Pause reason) override { pauses |= static_cast<unsigned>(reason); }
    void resume(Pause reason) override { pauses &= ~static_cast<unsigned>(reason); }
    void finish() override { finished = true; }
    [[nodiscard]] const secure::TlsChannel* tls() const override { return nullptr; }
    [[nodiscard]] const std::string& peer() const override { return address; }

    wire::Buffer buffer;
    std::string address = "192.0.2.1:1000";
    wire::Buffer taken;           // by flush(), if there is a limit
    std::size_t room = SIZE_MAX;  // with so much in `buffer` it is choked
    bool is_choked = false;
    bool finished = false;
    unsigned pauses = 0;
};

/// Bodies from the log's memory, or read at once when the rig's turn comes.
class FakeBodies final : public Bodies {
public:
    explicit FakeBodies(log::CommitLog& log) : log_(log) {}
    Bytes find(engine::Position record) override {
        if (forget_memory == false) {
            if (const Bytes hot = log_.hot(record); !hot.empty()) return hot;
        }
        const auto at = read_.find(record);
        return at == read_.end() ? Bytes{} : Bytes(at->second);
    }
    void fetch(engine::Position record, Done done) override {
        asked.emplace_back(record, std::move(done));
    }
    bool answer() {
        auto work = std::move(asked);
        asked.clear();
        for (auto& [record, done] : work) {
            const auto block = log_.read_block(record, 1);
            if (block.ok()) {
                const Bytes body = block.value().records.front().body;
                read_[record].assign(body.begin(), body.end());
                done(nullptr);
            } else {
                done(&block.error());
            }
        }
        return !work.empty();
    }
    std::vector<std::pair<engine::Position, Done>> asked;
    bool forget_memory = false;  // as if nothing were cached

private:
    log::CommitLog& log_;
    std::map<engine::Position, std::vector<std::byte>> read_;
};

class SessionRig final : public Hub {
    struct Base {
        BrokerConfig config;
        sim::SimClock clock;
        sim::SimFileSystem simulated{{}, false};
        SeededRandom random{7};
        std::unique_ptr<log::CommitLog> log;
        std::unique_ptr<LogJournal> journal;
        engine::Effects effects;
        std::unique_ptr<engine::Engine> engine;
        std::unique_ptr<FakeBodies> bodies;
        telemetry::Metrics metrics{10};
        std::unique_ptr<Figures> figures;
        std::unique_ptr<Gate> gate;

        /// `own`: a disk that outlives this one and may have a log; null: a simulated, empty one.
        explicit Base(FileSystem* own, const std::string& directory) {
            FileSystem& files = own != nullptr ? *own : simulated;
            config.log.segment_bytes = 1U << 20;
            config.log.batch_bytes_max = 256U << 10;
            config.log.spare_segments = 1;
            config.log.cache_bytes = 256U << 10;
            config.frame_bytes_max = 128U << 10;
            auto opened = log::CommitLog::open(files, random, clock, directory, config.log);
            FERRY_ASSERT(opened.ok(), "a sound disk takes a log");
            log = std::move(opened).value();
            journal = std::make_unique<LogJournal>(*log);
            engine = std::make_unique<engine::Engine>(*journal, effects, engine::Settings{});
            const std::vector<std::byte>& state = log->recovered().checkpoint;
            FERRY_ASSERT(state.empty() || engine->load(state).ok(), "a checkpoint loads");
            const Status replayed = log->replay([this](const log::Place& place, Bytes body) {
                return engine->replay({place.position, place.segment}, body);
            });
            FERRY_ASSERT(replayed.ok(), "what was written is replayed");
            engine->recovered(!log->recovered().created && !log->recovered().clean, clock.now());
            bodies = std::make_unique<FakeBodies>(*log);
            figures = std::make_unique<Figures>(metrics);
            gate = std::make_unique<Gate>(config);
        }
    };

public:
    struct Peer {
        explicit Peer(SessionRig& rig, engine::SessionId id) : session(rig, link, id) {}
        FakeLink link;
        native::NativeSession session;
        wire::Buffer partial;

        /// Hands over bytes as a connection does: whole frames go, the rest waits.
        void feed(Bytes bytes) {
            partial.insert(partial.end(), bytes.begin(), bytes.end());
            if (link.finished) return;
            const std::size_t used = session.consume(partial);
            FERRY_ASSERT(used <= partial.size(), "no more can be used than there is");
            partial.erase(partial.begin(), partial.begin() + static_cast<std::ptrdiff_t>(used));
        }
    };

    SessionRig() : SessionRig(nullptr, "data") {}
    SessionRig(FileSystem* files, const std::string& directory)
        : SessionRig(std::make_unique<Base>(files, directory)) {}

    Peer& connect() {
        const engine::SessionId id = ++last_id_;
        auto& peer = peers_[id];
        peer = std::make_unique<Peer>(*this, id);
        return *peer;
    }
    /// Goes on until nothing moves: effects, the log's writer, reads.
    void turn() {
        bool moved = true;
        for (int i = 0; moved && i < 10'000; ++i) {
            moved = std::exchange(touched_, false);
            engine.dispatch(now());
            log.submit();
            while (log.write_once() || log.housekeep_once()) {
            }
            moved = log.durable() != durable_ || moved;
            durable_ = log.durable();
            engine.durable(durable_);
            moved = carry_out() || moved;
            moved = base_->bodies->answer() || moved;
        }
        now_.reset();
    }
    /// The engine's part of a turn; the disk is slow and has not done its part yet.
    void turn_without_disk() {
        engine.dispatch(now());
        log.submit();
        carry_out();
        now_.reset();
    }
    FakeBodies& bodies_fake() { return *base_->bodies; }
    sim::SimClock& sim_clock() { return base_->clock; }

    ProtocolSession* session(engine::SessionId id) override {
        const auto at = peers_.find(id);
        return at == peers_.end() ? nullptr : &at->second->session;
    }
    void backup(std::string,
                std::function<void(Result<log::CommitLog::BackupResult>)> done) override {
        done(Error{Errc::rejected, 0, 0, "not here"});
    }
    void note(LogLevel, std::string_view) override {}
    void audit(const AuditEvent& event) override { audited.emplace_back(event.action); }
    void in_background(std::function<void()> work, std::function<void()> done) override {
        work();
        done();
    }
    /// As the driver does when memory gets short, or is there again.
    void set_blocked(Blocked blocked) {
        blocked_ = blocked;
        for (auto& entry : peers_) entry.second->session.on_blocked();
    }
    std::vector<std::string> audited;
    [[nodiscard]] std::uint64_t connections() const override { return peers_.size(); }

private:
    explicit SessionRig(std::unique_ptr<Base> base)
        : Hub(base->config, base->clock, *base->engine, *base->log, *base->bodies, *base->figures,
              *base->gate),
          base_(std::move(base)) {}

    bool carry_out() {
        engine::Effects work;
        work.swap(base_->effects);
        for (engine::Effect& effect : work) {
            if (const auto* load = std::get_if<engine::LoadIndex>(&effect)) {
                const auto block = log.read_block(load->record, 1);
                FERRY_ASSERT(block.ok(), "the simulated disk is whole");
                engine.index_loaded(load->queue, load->record, block.value().records.front().body);
                continue;
            }
            if (const auto* wanted = std::get_if<engine::LoadBody>(&effect)) {
                const auto block = log.read_block(wanted->record, 1);
                FERRY_ASSERT(block.ok(), "the simulated disk is whole");
                engine.body_loaded(wanted->queue, wanted->record,
                                   block.value().records.front().body, now());
                touched_ = true;
                continue;
            }
            std::visit(
                [&](auto& one) {
                    if constexpr (requires { one.session; }) {
                        if (ProtocolSession* found = session(one.session)) found->carry_out(effect);
                    }
                },
                effect);
        }
        return !work.empty();
    }

    std::unique_ptr<Base> base_;
    std::map<engine::SessionId, std::unique_ptr<Peer>> peers_;
    engine::SessionId last_id_ = 0;
    engine::Position durable_ = 0;
};

// ---- frames as a client writes them ----

/// Appends one frame: verb, request id and what `fields` encodes.
template <class F>
void put_frame(wire::Buffer& out, wire::Verb verb, std::uint64_t request, std::uint32_t count,
               F&& fields) {
    const std::size_t mark = wire::begin_frame(out, verb, 2 + count);
    wire::Encoder encoder(out);
    encoder.uint(request);
    fields(encoder);
    wire::end_frame(out, mark);
}

inline void put_hello(wire::Buffer& out) {
    put_frame(out, wire::Verb::hello, 1, 2, [](wire::Encoder& e) { e.uint(1).map(0); });
}
inline void put_declare(wire::Buffer& out, std::uint64_t request, std::string_view queue) {
    put_frame(out, wire::Verb::queue_declare, request, 2,
              [&](wire::Encoder& e) { e.str(queue).map(0); });
}
inline void put_producer(wire::Buffer& out, std::uint64_t request, std::string_view name) {
    put_frame(out, wire::Verb::producer, request, 2, [&](wire::Encoder& e) { e.str(name).map(0); });
}
inline void put_publish(wire::Buffer& out, std::uint64_t first, std::uint64_t producer,
                        std::string_view queue, const std::vector<std::string>& payloads) {
    put_frame(out, wire::Verb::publish, first, 4, [&](wire::Encoder& e) {
        e.uint(producer).uint(0).uint(0).array(static_cast<std::uint32_t>(payloads.size()));
        for (const std::string& payload : payloads) {
            e.array(4).str("").str(queue).nil().bin(as_bytes(payload));
        }
    });
}
inline void put_subscribe(wire::Buffer& out, std::uint64_t request, std::string_view queue,
                          std::uint64_t window, bool no_ack = false) {
    put_frame(out, wire::Verb::subscribe, request, 5, [&](wire::Encoder& e) {
        e.uint(1).str(queue).uint(window).uint(1U << 20).map(no_ack ? 1 : 0);
        if (no_ack) e.str("no_ack").boolean(true);
    });
}
inline void put_ack(wire::Buffer& out, std::uint64_t request, std::uint64_t first,
                    std::uint64_t last) {
    put_frame(out, wire::Verb::ack, request, 2,
              [&](wire::Encoder& e) { e.uint(1).array(2).uint(first).uint(last); });
}

// ---- and as it reads them ----

struct Said {
    wire::Verb verb{};
    std::uint64_t request = 0;
    std::uint64_t third = 0;  // the third field, if it is a number
};
inline std::vector<Said> frames_in(const wire::Buffer& buffer) {
    std::vector<Said> frames;
    Bytes rest = buffer;
    for (;;) {
        const wire::FrameSlice slice = wire::next_frame(rest, limits::frame_bytes_cap);
        if (slice.state != wire::FrameSlice::State::complete) return frames;
        wire::Cursor cursor(slice.body);
        wire::FrameHead head;
        if (!wire::read_head(cursor, head)) return frames;
        Said said{head.verb, head.request, 0};
        if (!cursor.read_uint(said.third)) said.third = 0;
        frames.push_back(said);
        rest = rest.subspan(slice.used);
    }
}
inline std::size_t count_of(const wire::Buffer& buffer, wire::Verb verb) {
    std::size_t count = 0;
    for (const Said& said : frames_in(buffer)) count += said.verb == verb ? 1U : 0U;
    return count;
}

}  // namespace ferry::server
