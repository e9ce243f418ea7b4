#pragma once

#include <cstdint>
#include <functional>

#include "hub.hpp"
#include "keeper.hpp"

namespace ferry::server {

/// The part of a turn that knows neither sockets nor threads: the engine hands out, the log is
/// given what was appended, effects are carried out, and the log's progress is passed on. Driver
/// puts libuv around it; the simulator puts itself around it.
///
/// Threads   The loop's.
class Turn : public Hub {
public:
    static constexpr std::uint64_t linger_ms = 5;

protected:
    struct Parts {
        const BrokerConfig& config;
        const Clock& clock;
        engine::Engine& engine;
        engine::Effects& effects;
        log::CommitLog& log;
        Bodies& bodies;
        Figures& figures;
        Gate& gate;
    };
    explicit Turn(const Parts& parts);

    /// Calls its argument with the session of every connection that has one. None of them may be
    /// destroyed meanwhile.
    virtual void for_each_session(const std::function<void(ProtocolSession&)>& with) = 0;
    /// Calls lingered() in linger_ms.
    virtual void linger() = 0;

    /// Dispatches, submits to the log and carries out effects, until there are none. touched_ tells
    /// whether another round is due in the same turn.
    void round();
    void lingered();
    /// The log went on, without having failed: what is durable and whether there is room.
    void log_moved();
    void set_memory_short(bool is_short);
    /// From the first record of this run on nobody waits for what was before.
    void go_into_service();

    Keeper keeper_;
    engine::Effects& effects_;
    bool memory_short_ = false;

private:
    void submit();
    void write_out();
    void tell_watchers();
    void carry_out(engine::Effect& effect);
    void plan(const engine::ScheduleDue& due);
    void load_index(const engine::LoadIndex& load);
    void index_read(const engine::LoadIndex& load, const Error* error);
    void load_body(const engine::LoadBody& load);
    void body_read(const engine::LoadBody& load, const Error* error);
    void block_publishers();

    engine::Effects work_;            // being carried out
    engine::Position submitted_ = 0;  // where the log ended at the last submit
    bool lingers_ = false;
    bool handed_out_ = false;  // this round delivered something
    bool disk_full_ = false;
};

}  // namespace ferry::server
