#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/server/config.hpp"

namespace ferry::telemetry {
class Metrics;
}

namespace ferry::server {

/// One line for the operator. Called on the thread that runs the server, and by create().
using LogLine = std::function<void(LogLevel, std::string_view)>;

/// What create() found in the data directory.
struct RecoverySummary {
    bool created = false;  // there was no log
    bool clean = false;    // the last run ended with a clean stop
    std::uint64_t queues = 0;
    std::uint64_t messages = 0;  // waiting, counted once per queue
    std::uint64_t records = 0;   // replayed
    std::uint64_t torn_bytes = 0;
    std::uint64_t milliseconds = 0;
};

enum class ExitReason : std::uint8_t {
    stopped,         // asked to; everything is on disk and the checkpoint is clean
    storage_failed,  // a write or sync failed: nothing was confirmed that is in doubt
};

/// The broker: listener, sessions, engine and log on one libuv loop.
///
/// Threads   create(), run() and the destructor on one thread; stop() and ready() on any. run()
/// handles
///           SIGTERM and SIGINT as stop() (a second one hurries). The log runs two threads of its
///           own, and libuv's pool reads from disk.
/// Lifetime  `metrics` outlives the server.
/// Memory    Bounded by the configuration, not by the backlog.
class Server {
public:
    /// Opens the data directory, recovers and listens. Null: *error_text is one sentence for the
    /// operator, naming what is wrong and where; nothing runs, and a directory that could not be
    /// opened is as it was.
    static std::unique_ptr<Server> create(const BrokerConfig& config, telemetry::Metrics& metrics,
                                          LogLine log_line, std::string* error_text);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Serves until stopped or until the disk fails. Call once.
    ExitReason run();
    /// Drains and makes run() return.
    void stop();

    /// Called on the loop's thread when the files of BrokerConfig::tls were read again and taken.
    /// Before run().
    void on_certificate(std::function<void()> called);

    /// Where clients connect; with the port that the system chose if 0 was asked for.
    [[nodiscard]] const Address& address() const;
    [[nodiscard]] const RecoverySummary& recovery() const;
    /// Accepting clients now. `reason` (one word or a few) says why not.
    [[nodiscard]] bool ready(std::string* reason = nullptr) const;

private:
    struct State;
    explicit Server(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace ferry::server
