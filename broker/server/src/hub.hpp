#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit.hpp"
#include "bodies.hpp"
#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/server/server.hpp"
#include "figures.hpp"
#include "gate.hpp"
#include "registry.hpp"

namespace ferry::server {

class ProtocolSession;

/// What holds publishers back, all of them.
enum class Blocked : std::uint8_t { no, memory, disk };

/// What a session may use of the broker around it.
///
/// Threads   The loop's. Lifetime: longer than every session.
class Hub {
public:
    Hub(const BrokerConfig& config_in, const Clock& clock, engine::Engine& engine_in,
        log::CommitLog& log_in, Bodies& bodies_in, Figures& figures_in, Gate& gate_in)
        : config(config_in),
          engine(engine_in),
          log(log_in),
          bodies(bodies_in),
          figures(figures_in),
          gate(gate_in),
          clock_(clock) {}
    virtual ~Hub() = default;
    Hub(const Hub&) = delete;
    Hub& operator=(const Hub&) = delete;

    const BrokerConfig& config;
    engine::Engine& engine;
    log::CommitLog& log;
    Bodies& bodies;
    Figures& figures;
    Gate& gate;

    /// The time of this turn: read once, so that everything in a turn happens at one moment.
    Now now() {
        if (!now_) now_ = clock_.now();
        return *now_;
    }
    /// The engine was given a command: its effects are due at the end of this turn.
    void touch() { touched_ = true; }

    /// Null when it ended.
    virtual ProtocolSession* session(engine::SessionId id) = 0;
    /// The log is too far behind to take more from publishers.
    [[nodiscard]] bool behind() const { return log.pending_bytes() > config.pending_bytes_max; }
    [[nodiscard]] Blocked blocked() const { return blocked_; }
    virtual void backup(std::string target,
                        std::function<void(Result<log::CommitLog::BackupResult>)> done) = 0;
    virtual void note(LogLevel level, std::string_view line) = 0;
    /// Writes it down where config.audit_file says; else only what was denied or failed, in the
    /// log.
    virtual void audit(const AuditEvent& event) = 0;
    /// Does `work` on another thread and calls `done` in a later turn.
    virtual void in_background(std::function<void()> work, std::function<void()> done) = 0;
    [[nodiscard]] virtual std::uint64_t connections() const = 0;

    // Reused by every session of the loop, so that idle ones cost nothing.
    Registry registry;
    std::vector<std::byte> scratch;
    engine::MessageOffsets offsets;
    std::vector<engine::Range<std::uint64_t>> ranges;
    std::vector<engine::TransactionPart> transaction_parts;
    std::vector<engine::TransactionItem> transaction_items;

protected:
    std::optional<Now> now_;
    bool touched_ = false;
    Blocked blocked_ = Blocked::no;

private:
    const Clock& clock_;
};

}  // namespace ferry::server
