#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "consumer.hpp"
#include "disk.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/outbox/outbox.hpp"
#include "relay_link.hpp"
#include "sqlite_disk.hpp"
#include "worker.hpp"

namespace ferry::simulation {

/// A machine with an application on it: a database with an outbox and an inbox, relays, and a
/// consumer whose messages go through the inbox. The outbox, the relay, the inbox and SQLite are
/// the real ones; the disk under them loses power.
class Machine {
public:
    struct Place {
        std::uint32_t process = 0;
        std::uint32_t number = 0;  // of all machines
        std::uint32_t queue = 0;   // that it consumes
        std::string host;
        bool noted = true;  // what it is given stands in the history
    };
    Machine(Stage& stage, SqliteDisks& disks, const Place& place);
    virtual ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    void start();
    /// The process dies; with `power`, the machine too.
    void go_down(bool power);
    /// At once, or in the middle of the next transaction.
    void lose_power();
    /// One of its relays stands still, maybe for longer than its lease.
    void stop_relay();
    [[nodiscard]] std::vector<Client*> clients();
    [[nodiscard]] VirtualClock& clock() { return clock_; }
    /// The process that takes messages.
    [[nodiscard]] std::uint32_t handler() const { return handler_->process(); }
    /// Faults are over.
    virtual void heal() = 0;
    /// Empty, or what it still waits for.
    [[nodiscard]] virtual std::string unrest() = 0;
    /// When all is at rest: empty, or what is wrong.
    [[nodiscard]] virtual std::string verify() = 0;

protected:
    /// What is in memory.
    struct Process {
        sqlite::Database database;
        std::unique_ptr<outbox::Outbox> outbox;
        std::unique_ptr<consumer::Inbox> inbox;
        explicit Process(sqlite::Database opened) : database(std::move(opened)) {}
    };

    // ---- what an application is ----
    /// Statements that make its tables, if they are not there.
    [[nodiscard]] virtual const char* tables() const = 0;
    /// The rest that has to be there before its inbox opens. Empty, or what is wrong.
    virtual std::string prepare(const sqlite::Database& /*database*/) { return {}; }
    [[nodiscard]] virtual consumer::InboxOptions inbox() const = 0;
    /// It is up again: what a crash left undecided is decided by what the database has.
    virtual void look_back() = 0;
    /// Plans what it does by itself.
    virtual void go_on() = 0;
    /// What it has in memory goes, before the database does.
    virtual void closing() {}
    /// False: give it back.
    virtual bool handle(const Received& message) = 0;

    // ---- what it can do ----
    /// One message through the inbox.
    consumer::Handled apply(const Received& message,
                            const std::function<consumer::Handled(consumer::Effects&)>& what);
    /// Something was committed that relays may send.
    void announce();
    /// Empty, or that it is down or has something in its outbox.
    [[nodiscard]] std::string unsent();

    Stage& stage_;
    World& world_;
    SqliteDisks& disks_;
    const std::uint32_t process_;
    const std::uint32_t queue_;
    const std::string host_;
    const std::string path_;
    Disk disk_;
    VirtualClock clock_;
    std::unique_ptr<Process> app_;
    Life life_;
    bool cut_soon_ = false;  // the power goes while the next transaction is written
    bool down_ = true;

private:
    class Handler;
    /// A relay: its way to the broker stays, the rest is in memory.
    struct Relay {
        std::unique_ptr<RelayLink> link;
        std::unique_ptr<outbox::relay::Waker> waker;
        std::unique_ptr<outbox::relay::Meter> meter;
        std::unique_ptr<outbox::relay::Worker> worker;
        std::uint64_t plan = 0;
        std::uint64_t stopped_until = 0;
        bool announced = false;
    };

    void open();
    [[nodiscard]] std::string try_open();
    void open_relay(Relay& relay);
    void end_relays();
    void step_relay(Relay& relay);
    void plan_relay(Relay& relay, std::uint64_t ns, bool announced);
    void settled(const std::string& id, bool durable);
    /// Lets the inbox forget what cannot come again.
    void tend(std::uint64_t log_id, std::uint64_t floor, bool first);

    SeededRandom relay_random_;
    std::vector<std::unique_ptr<Relay>> relays_;  // one leads, the others wait for its lease
    std::unique_ptr<Consumer> handler_;
};

}  // namespace ferry::simulation
