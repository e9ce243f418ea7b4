#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker.hpp"
#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/server/config.hpp"
#include "journal.hpp"
#include "native/native_session.hpp"
#include "turn.hpp"

namespace ferry::simulation {

/// Bodies of records: the newest from the log's memory, others by reads that take their time.
class ColdBodies final : public server::Bodies {
public:
    ColdBodies(World& world, const Life& life, const log::CommitLog& log)
        : world_(world), life_(life), log_(log) {}
    Bytes find(engine::Position record) override;
    void fetch(engine::Position record, Done done) override;
    std::function<void()> after_read;

private:
    static constexpr std::size_t cached_max = 64;
    World& world_;
    const Life& life_;
    const log::CommitLog& log_;
    std::map<engine::Position, std::vector<std::byte>> cached_;
};

/// What a process of the broker is made of, before its sessions.
struct Process {
    Process(World& world, Disk& disk, const VirtualClock& clock, SeededRandom& random,
            const server::BrokerConfig& config_in, const engine::Settings& settings);
    /// Empty, or why it does not start.
    [[nodiscard]] std::string open();

    World& world;
    Disk& disk;
    const VirtualClock& clock;
    SeededRandom& random;
    const server::BrokerConfig& config;
    engine::Settings settings;
    Life life;
    std::unique_ptr<log::CommitLog> log;
    std::unique_ptr<server::LogJournal> journal;
    engine::Effects effects;
    std::unique_ptr<engine::Engine> engine;
    std::unique_ptr<ColdBodies> bodies;
    std::unique_ptr<server::Figures> figures;
    std::unique_ptr<server::Gate> gate;
};

/// One process of the broker: Driver's part without libuv.
class Broker::Run final : public server::Turn {
public:
    /// `failed`: the log has failed, destroy it soon.
    Run(std::unique_ptr<Process> process, const Swarm& swarm, std::function<void()> failed);
    ~Run() override;

    void begin();
    void accept(ConnectionRef connection, std::shared_ptr<Tap> tap);
    /// Nobody is told anything any more. The kernel resets the connections, unless it is gone too.
    void die(bool with_kernel);
    void begin_drain(std::function<void()> over);
    [[nodiscard]] ConnectionRef any_connection();
    void heal() { housekeeping_ns_max_ = ms; }

    server::ProtocolSession* session(engine::SessionId id) override;
    void backup(std::string,
                std::function<void(Result<log::CommitLog::BackupResult>)> done) override {
        done(Error{Errc::rejected, 0, 0, "not here"});
    }
    void note(server::LogLevel level, std::string_view line) override;
    void audit(const server::AuditEvent&) override {}
    void in_background(std::function<void()> work, std::function<void()> done) override;
    [[nodiscard]] std::uint64_t connections() const override { return peers_.size(); }

private:
    class Peer;
    void for_each_session(const std::function<void(server::ProtocolSession&)>& with) override;
    void linger() override;
    void end_turn();
    void flush_all();
    void bury();
    void arm_timer();
    void poke_writer();
    void write();
    void written(std::size_t operations);
    void note_space();
    void housekeep();
    void tick();
    void look_at_drain();

    std::unique_ptr<Process> process_;
    World& world_;
    Disk& disk_;
    std::function<void()> failed_;
    std::uint64_t housekeeping_ns_max_;
    std::map<engine::SessionId, std::unique_ptr<Peer>> peers_;
    engine::SessionId next_session_;
    std::vector<engine::SessionId> flush_;
    std::vector<engine::SessionId> behind_;
    std::vector<engine::SessionId> over_;
    std::function<void()> drained_;
    log::Space space_ = log::Space::ok;
    bool writing_ = false;
    bool ended_ = false;
    std::optional<Instant> timer_at_;
    std::uint64_t timer_number_ = 0;
    std::uint64_t ticks_ = 0;
};

}  // namespace ferry::simulation
