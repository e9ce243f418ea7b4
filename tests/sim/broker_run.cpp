#include "broker_run.hpp"

#include <algorithm>

#include "ferry/telemetry/metrics.hpp"
#include "native/frames.hpp"
#include "recovery.hpp"

namespace ferry::simulation {
namespace {

constexpr std::uint64_t tick_ns = 250 * ms;
constexpr std::uint64_t ticks_per_second = second / tick_ns;
constexpr int rounds_max = 64;
constexpr std::uint64_t finish_within_ns = 10 * second;

telemetry::Metrics& metrics() {
    static telemetry::Metrics all{10};
    return all;
}

}  // namespace

// ---- bodies ----

Bytes ColdBodies::find(engine::Position record) {
    if (const Bytes hot = log_.hot(record); !hot.empty()) return hot;
    const auto at = cached_.find(record);
    return at == cached_.end() ? Bytes{} : Bytes(at->second);
}

void ColdBodies::fetch(engine::Position record, Done done) {
    world_.after(world_.between(10 * us, 5 * ms), life_, [this, record, done = std::move(done)] {
        const auto block = log_.read_block(record, 1 + world_.below(4096));
        if (cached_.size() > cached_max) cached_.clear();
        if (block.ok()) {
            for (const log::StoredRecord& stored : block.value().records)
                cached_[stored.position].assign(stored.body.begin(), stored.body.end());
            done(nullptr);
        } else {
            world_.trace("read failed", record);
            done(&block.error());
        }
        after_read();
    });
}

// ---- a process ----

Process::Process(World& world_in, Disk& disk_in, const VirtualClock& clock_in,
                 SeededRandom& random_in, const server::BrokerConfig& config_in,
                 const engine::Settings& settings_in)
    : world(world_in),
      disk(disk_in),
      clock(clock_in),
      random(random_in),
      config(config_in),
      settings(settings_in) {}

std::string Process::open() {
    std::string text;
    auto opened =
        log::CommitLog::open(disk.files(), random, clock, config.data_dir, config.log, &text);
    if (!opened.ok()) return text.empty() ? "the log does not open" : text;
    log = std::move(opened).value();
    journal = std::make_unique<server::LogJournal>(*log);
    settings.id_key_low = log->recovered().log_id;
    engine = std::make_unique<engine::Engine>(*journal, effects, settings);
    server::RecoverySummary summary;
    if (!server::recover(*log, *engine, clock.now(), summary, &text)) return text;
    bodies = std::make_unique<ColdBodies>(world, life, *log);
    figures = std::make_unique<server::Figures>(metrics());
    gate = std::make_unique<server::Gate>(config);
    world.trace("broker recovered", summary.messages, summary.records, summary.torn_bytes);
    return {};
}

// ---- a connection ----

class Broker::Run::Peer final : public server::Link {
public:
    Peer(Run& run, engine::SessionId id, ConnectionRef connection, std::shared_ptr<Tap> tap)
        : run_(run),
          id_(id),
          connection_(std::move(connection)),
          tap_(std::move(tap)),
          said_at_(run.now().mono),
          session_(run, *this, id) {}

    [[nodiscard]] server::native::NativeSession& session() { return session_; }
    [[nodiscard]] const ConnectionRef& connection() const { return connection_; }
    [[nodiscard]] bool over() const { return over_; }

    void received(Bytes bytes) {
        run_.figures.received_bytes += bytes.size();
        if (finishing_ || over_) return;
        partial_.insert(partial_.end(), bytes.begin(), bytes.end());
        if (partial_.size() < session_.wanted()) return;
        const std::size_t used = session_.consume(partial_);
        partial_.erase(partial_.begin(), partial_.begin() + static_cast<std::ptrdiff_t>(used));
    }
    void connection_ended() {
        if (over_) return;
        over_ = true;
        run_.over_.push_back(id_);
        session_.on_closed();
        tap_->session_over();
    }
    void on_tick(const Now& now) {
        if (over_) return;
        if (finishing_) {
            if (now.mono.ns - finished_at_.ns > finish_within_ns) reset();
            return;
        }
        session_.on_tick(now);
    }
    void writable() {
        if (over_) return;
        flush();
        if (was_choked_ && buffer_.size() <= run_.config.output_bytes_max / 2) {
            was_choked_ = false;
            if (!finishing_) session_.on_writable();
        }
    }
    void reset() {
        connection_->reset(Connection::broker);
        connection_ended();
    }
    /// The process is gone.
    void abandon(bool with_kernel) {
        over_ = true;
        if (with_kernel) {
            connection_->stall(Connection::broker, UINT64_MAX);
            connection_->stall(Connection::client, UINT64_MAX);
            connection_->detach(Connection::broker);
        } else {
            connection_->reset(Connection::broker);
        }
        tap_->session_over();
    }

    wire::Buffer& out() override { return buffer_; }
    void sent() override {
        if (flush_wanted_ || over_) return;
        flush_wanted_ = true;
        run_.flush_.push_back(id_);
    }
    void flush() override {
        flush_wanted_ = false;
        if (over_) return;
        if (!buffer_.empty()) {
            // Noted when it is said, not when there is room to send it: until then leases end.
            tap_->said(Bytes(buffer_).subspan(noted_));
            noted_ = buffer_.size();
            if (!connection_->has_room(Connection::broker)) {
                if (buffer_.size() >= run_.config.output_bytes_max) was_choked_ = true;
                if (buffer_.size() >= 2 * run_.config.output_bytes_max + (2U << 20)) reset();
                return;
            }
            said_at_ = run_.now().mono;
            connection_->send(Connection::broker, buffer_);
            buffer_.clear();
            noted_ = 0;
        }
        if (!finishing_) return;
        over_ = true;
        run_.over_.push_back(id_);
        connection_->close(Connection::broker);
    }
    [[nodiscard]] bool choked() const override {
        return was_choked_ || buffer_.size() >= run_.config.output_bytes_max;
    }
    [[nodiscard]] bool idle() const override { return buffer_.empty(); }
    [[nodiscard]] Instant said_at() const override { return said_at_; }
    [[nodiscard]] bool paused() const override { return pauses_ != 0; }
    void pause(server::Pause reason) override {
        if (reason == server::Pause::behind && (pauses_ & bit(reason)) == 0)
            run_.behind_.push_back(id_);
        pauses_ |= bit(reason);
        if (!finishing_) connection_->read(Connection::broker, false);
    }
    void resume(server::Pause reason) override {
        pauses_ &= ~bit(reason);
        if (pauses_ == 0 || finishing_) connection_->read(Connection::broker, true);
    }
    void finish() override {
        if (finishing_ || over_) return;
        finishing_ = true;
        finished_at_ = run_.now().mono;
        connection_->read(Connection::broker, true);
        tap_->session_over();
        sent();
    }
    [[nodiscard]] const secure::TlsChannel* tls() const override { return nullptr; }
    [[nodiscard]] const std::string& peer() const override { return address_; }

private:
    static unsigned bit(server::Pause reason) { return static_cast<unsigned>(reason); }

    Run& run_;
    const engine::SessionId id_;
    ConnectionRef connection_;
    std::shared_ptr<Tap> tap_;
    std::string address_ = "192.0.2.1:1000";
    wire::Buffer buffer_;
    std::size_t noted_ = 0;  // bytes of it that the tap has heard
    wire::Buffer partial_;
    Instant said_at_;
    Instant finished_at_;
    unsigned pauses_ = 0;
    bool flush_wanted_ = false;
    bool was_choked_ = false;
    bool finishing_ = false;
    bool over_ = false;
    server::native::NativeSession session_;
};

// ---- a run ----

Broker::Run::Run(std::unique_ptr<Process> process, const Swarm& swarm, std::function<void()> failed)
    : Turn({process->config, process->clock, *process->engine, process->effects, *process->log,
            *process->bodies, *process->figures, *process->gate}),
      process_(std::move(process)),
      world_(process_->world),
      disk_(process_->disk),
      failed_(std::move(failed)),
      housekeeping_ns_max_(swarm.housekeeping_ns_max),
      next_session_((process_->log->recovered().epoch & 0xffffff) << 40 | 1) {
    process_->bodies->after_read = [this] { end_turn(); };
}

Broker::Run::~Run() = default;

void Broker::Run::begin() {
    go_into_service();
    disk_.seen();
    world_.after(tick_ns, process_->life, [this] { tick(); });
    world_.after(ms, process_->life, [this] { housekeep(); });
    end_turn();
}

void Broker::Run::accept(ConnectionRef connection, std::shared_ptr<Tap> tap) {
    const engine::SessionId id = next_session_++;
    if (drained_) {
        connection->reset(Connection::broker);
        tap->session_over();
        return;
    }
    auto peer = std::make_unique<Peer>(*this, id, connection, std::move(tap));
    Peer* const raw = peer.get();
    peers_[id] = std::move(peer);
    const std::weak_ptr<char> life = process_->life.token();
    const auto with = [this, life, raw](auto&& act) {
        if (life.expired()) return;
        act(*raw);
        end_turn();
    };
    connection->attach(Connection::broker,
                       {[with](Bytes bytes) { with([&](Peer& p) { p.received(bytes); }); },
                        [with] { with([](Peer& p) { p.connection_ended(); }); },
                        [with] { with([](Peer& p) { p.writable(); }); }});
    end_turn();
}

void Broker::Run::die(bool with_kernel) {
    ended_ = true;
    process_->life.end();
    for (auto& entry : peers_) {
        if (!entry.second->over()) entry.second->abandon(with_kernel);
    }
}

ConnectionRef Broker::Run::any_connection() {
    if (peers_.empty()) return nullptr;
    auto at = peers_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(world_.below(peers_.size())));
    return at->second->over() ? nullptr : at->second->connection();
}

server::ProtocolSession* Broker::Run::session(engine::SessionId id) {
    const auto at = peers_.find(id);
    return at == peers_.end() || at->second->over() ? nullptr : &at->second->session();
}

void Broker::Run::for_each_session(const std::function<void(server::ProtocolSession&)>& with) {
    for (auto& entry : peers_) {
        if (!entry.second->over()) with(entry.second->session());
    }
}

void Broker::Run::note(server::LogLevel level, std::string_view line) {
    world_.say("broker", line);
    if (level >= server::LogLevel::error) world_.trace("broker notes an error", line.size());
}

void Broker::Run::in_background(std::function<void()> work, std::function<void()> done) {
    world_.after(world_.between(us, ms), process_->life,
                 [this, work = std::move(work), done = std::move(done)] {
                     work();
                     done();
                     end_turn();
                 });
}

void Broker::Run::linger() {
    world_.after(linger_ms * ms, process_->life, [this] {
        lingered();
        end_turn();
    });
}

void Broker::Run::end_turn() {
    if (ended_) return;
    for (int i = 0; touched_ && i < rounds_max; ++i) round();
    if (touched_) world_.after(us, process_->life, [this] { end_turn(); });
    keeper_.on_turn();
    flush_all();
    bury();
    arm_timer();
    poke_writer();
    if (drained_) look_at_drain();
    now_.reset();
}

void Broker::Run::flush_all() {
    std::vector<engine::SessionId> flushing;
    while (!flush_.empty()) {
        flushing.swap(flush_);
        for (const engine::SessionId id : flushing) {
            const auto at = peers_.find(id);
            if (at != peers_.end()) at->second->flush();
        }
        flushing.clear();
    }
}

void Broker::Run::bury() {
    for (const engine::SessionId id : over_) peers_.erase(id);
    over_.clear();
}

void Broker::Run::arm_timer() {
    const std::optional<Instant> next = engine.next_timer();
    if (next == timer_at_) return;
    timer_at_ = next;
    const std::uint64_t number = ++timer_number_;
    if (!next) return;
    const std::uint64_t current = world_.now_ns();
    const std::uint64_t wait = next->ns > current ? next->ns - current : 0;
    world_.after((wait / ms + 1) * ms, process_->life, [this, number] {
        if (number != timer_number_) return;
        timer_at_.reset();
        engine.tick(now());
        touch();
        end_turn();
    });
}

// ---- the log's threads ----

void Broker::Run::poke_writer() {
    if (writing_ || log.pending_bytes() == 0) return;
    writing_ = true;
    world_.after(world_.between(us, 50 * us), process_->life, [this] { write(); });
}

// What the writer does to the disk happens now; when it is done, is known later. A power cut
// meanwhile may come before any of it.
void Broker::Run::write() {
    const log::Position before = log.durable();
    sim::SimFileSystem& files = disk_.files();
    // The loop may look at any moment: before a sync nothing may count as durable by it.
    files.on_call([&](sim::Call call, const std::string&) {
        if (call == sim::Call::sync_data && log.durable() != before)
            world_.fail("the log calls durable what it has not synced yet");
    });
    const bool did = log.write_once();
    files.on_call({});
    if (!did && !log.failed() && log.durable() == before) {
        writing_ = false;  // nothing was submitted, or there is no room: housekeeping goes on
        note_space();
        return;
    }
    const std::size_t operations = files.operations();
    world_.after(disk_.sync_ns(), process_->life, [this, operations] { written(operations); });
}

void Broker::Run::written(std::size_t operations) {
    writing_ = false;
    if (log.failed()) {
        world_.trace("storage failed");
        for_each_session([](server::ProtocolSession& one) { one.abandon(); });
        flush_all();
        ended_ = true;
        process_->life.end();
        failed_();
        return;
    }
    disk_.seen(operations);
    space_ = log.space();
    log_moved();
    if (!behind_.empty() && log.pending_bytes() <= config.pending_bytes_max / 2) {
        std::vector<engine::SessionId> waiting;
        waiting.swap(behind_);
        for (const engine::SessionId id : waiting) {
            const auto at = peers_.find(id);
            if (at != peers_.end()) at->second->resume(server::Pause::behind);
        }
    }
    end_turn();
}

void Broker::Run::note_space() {
    // A write that is not known to be done yet must not confirm anything: written() looks again.
    if (writing_ || log.space() == space_) return;
    space_ = log.space();
    log_moved();
    end_turn();
}

void Broker::Run::housekeep() {
    const bool did = log.housekeep_once();
    // The writer, too, has things to do when nobody asks: it seals, and tries again after a full
    // disk.
    if (!writing_) {
        writing_ = true;
        write();
    }
    note_space();
    const std::uint64_t wait = did ? world_.between(us, ms) : world_.between(ms, 300 * ms);
    world_.after(world_.chance(100) ? world_.between(ms, housekeeping_ns_max_) : wait,
                 process_->life, [this] { housekeep(); });
}

void Broker::Run::tick() {
    for (auto& entry : peers_) entry.second->on_tick(now());
    if (registry.expire(now().mono)) touch();
    keeper_.on_tick();
    if (++ticks_ % ticks_per_second == 0) {
        engine.tick(now());
        touch();
        keeper_.on_second();
    }
    world_.after(tick_ns, process_->life, [this] { tick(); });
    end_turn();
}

// ---- a clean end ----

void Broker::Run::begin_drain(std::function<void()> over) {
    if (drained_) return;
    drained_ = std::move(over);
    for_each_session([](server::ProtocolSession& one) { one.drain(); });
    world_.after(config.drain_ms * ms, process_->life, [this] {
        for (auto& entry : peers_) {
            if (!entry.second->over()) entry.second->reset();
        }
        end_turn();
    });
    touch();
    end_turn();
}

void Broker::Run::look_at_drain() {
    if (!peers_.empty() || ended_) return;
    ended_ = true;
    engine.return_all(now());
    engine.dispatch(now());
    log.submit();
    effects_.clear();
    keeper_.checkpoint_clean();
    log.close();
    process_->life.end();
    world_.trace("broker stopped cleanly", log.failed() ? 1 : 0);
    disk_.seen();
    const auto over = drained_;
    over();
}

}  // namespace ferry::simulation
