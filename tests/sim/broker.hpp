#pragma once

#include <map>
#include <memory>
#include <string>

#include "disk.hpp"
#include "ferry/server/config.hpp"
#include "network.hpp"
#include "recorder.hpp"
#include "swarm.hpp"

namespace ferry::simulation {

struct Process;

/// Hears what the broker says to one connection, at the moment when it leaves the broker.
class Tap {
public:
    virtual ~Tap() = default;
    virtual void said(Bytes frames) = 0;
    /// The broker regards the conversation as over: it holds nothing for it any more.
    virtual void session_over() = 0;
};

/// What the broker has of all its queues together.
struct Backlog {
    std::uint64_t ready = 0, unacked = 0, delayed = 0, leaving = 0;
    [[nodiscard]] std::uint64_t all() const { return ready + unacked + delayed + leaving; }
};

/// The machine with the broker on it: the real log, recovery, engine and native sessions, over a
/// simulated disk, network and clock. It is started, stopped, killed and loses its power.
class Broker {
public:
    Broker(World& world, const Swarm& swarm, Recorder& recorder);
    ~Broker();

    void start();
    /// The process is gone; it starts again after a while.
    void kill(std::uint64_t down_ns);
    void cut_power(std::uint64_t down_ns);
    void stop_cleanly(std::uint64_t down_ns);
    [[nodiscard]] bool serving() const;
    /// Null: nobody listens. The tap lives until session_over().
    ConnectionRef connect(std::shared_ptr<Tap> tap);
    /// One that is open now; null: there is none.
    ConnectionRef any_connection();
    [[nodiscard]] Disk& disk() { return disk_; }
    [[nodiscard]] VirtualClock& clock() { return clock_; }
    /// Requires  serving().
    [[nodiscard]] Backlog backlog() const;
    [[nodiscard]] std::uint64_t starts() const { return starts_; }
    /// The log failed (that is what a failed fsync does), and the process ends.
    void storage_failed();
    void heal();

private:
    class Run;
    void open();
    void gone(std::uint64_t down_ns, bool power);

    World& world_;
    const Swarm& swarm_;
    Recorder& recorder_;
    VirtualClock clock_;
    Disk disk_;
    SeededRandom log_random_;
    server::BrokerConfig config_;
    std::unique_ptr<Run> run_;
    std::unique_ptr<Process> recovering_;
    Life machine_;
    bool starting_ = false;
    bool healed_ = false;
    std::uint64_t starts_ = 0;
    std::uint64_t refused_starts_ = 0;
};

}  // namespace ferry::simulation
