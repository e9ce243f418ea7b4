#pragma once

#include <uv.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "connection.hpp"
#include "listener.hpp"
#include "sampler.hpp"
#include "turn.hpp"

namespace ferry::server {

/// Everything that happens on the loop, in turns.
///
///   poll    sockets are read, frames become commands; the log's progress and finished reads come
///   in check   dispatch, submit to the log, carry out effects, until there are none; then
///   everything
///           that was said in this turn leaves, one write per connection
///
/// Threads   The loop's, but for stop() and ready().
/// Lifetime  Everything given to the constructor outlives it; run() must have returned.
class Driver final : public Turn, public ConnectionOwner {
public:
    struct Parts {
        uv_loop_t* loop;
        const BrokerConfig& config;
        const Clock& clock;
        engine::Engine& engine;
        engine::Effects& effects;
        log::CommitLog& log;
        Bodies& bodies;
        Figures& figures;
        Listener& listener;
        Gate& gate;
        AuditLog* audit_log;  // null: none
    };
    Driver(const Parts& parts, LogLine log_line);
    ~Driver() override;

    ExitReason run();
    void stop();
    /// Instead of run(): releases what the loop holds.
    void close();
    [[nodiscard]] bool ready(std::string* reason) const;

    ProtocolSession* session(engine::SessionId id) override;
    void backup(std::string target,
                std::function<void(Result<log::CommitLog::BackupResult>)> done) override;
    void note(LogLevel level, std::string_view line) override;
    void audit(const AuditEvent& event) override;
    void in_background(std::function<void()> work, std::function<void()> done) override;
    [[nodiscard]] std::uint64_t connections() const override { return connections_.size(); }

    void wants_flush(engine::SessionId id) override { flush_.push_back(id); }
    void rests(engine::SessionId id) override { resting_.push_back(id); }
    void blocked(engine::SessionId id) override { behind_.push_back(id); }
    void closed(engine::SessionId id) override;

private:
    enum class Stage : std::uint8_t { starting, serving, draining, ending, failed, over };

    void start_handles();
    void for_each_session(const std::function<void(ProtocolSession&)>& with) override;
    void linger() override;
    void run_loop();
    void end_turn();
    void flush_all();
    void arm_engine_timer();

    void on_connection();
    void refuse_connection(std::unique_ptr<Connection> connection, std::string_view text);
    void on_progress();
    void on_tick();
    void unblock();
    void look_at_memory();
    void note_damage();
    void take_posted();
    void reload(bool even_if_unchanged);

    void begin_drain();
    void hurry();
    void finish_if_drained();
    void end();
    void storage_failed();
    void stop_loop();

    Listener& listener_;
    LogLine log_line_;
    AuditLog* const audit_log_;
    Sampler sampler_;

    uv_prepare_t prepare_{};
    uv_check_t check_{};
    uv_async_t progress_{};  // the log's threads woke us
    uv_async_t posted_{};    // stop(), or an answer of the log's housekeeper
    uv_timer_t tick_{};
    uv_timer_t engine_timer_{};
    uv_timer_t linger_{};  // records that nobody waits for are not submitted yet
    uv_timer_t deadline_{};
    uv_signal_t terminate_{};
    uv_signal_t interrupt_{};
    uv_signal_t hangup_{};  // read certificates and users again

    std::unordered_map<engine::SessionId, std::unique_ptr<Connection>> connections_;
    engine::SessionId next_session_;
    std::uint64_t connections_max_;
    std::vector<engine::SessionId> flush_;
    std::vector<engine::SessionId> flushing_;
    std::vector<engine::SessionId> resting_;
    std::vector<engine::SessionId> behind_;
    std::uint64_t memory_max_ = 0;
    std::size_t damage_noted_ = 0;
    Instant last_tick_;
    std::uint64_t ticks_ = 0;
    std::optional<Instant> engine_timer_at_;
    Instant trouble_noted_;

    std::atomic<Stage> stage_{Stage::starting};
    bool left_ = false;  // the loop is to end
    std::mutex mutex_;
    std::vector<std::function<void()>> posts_;  // under mutex_
    bool stop_asked_ = false;                   // under mutex_
};

}  // namespace ferry::server
