#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/platform/sim/crash_states.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::crash {

/// A record that the engine gave to the log.
struct Appended {
    engine::Journal::Place place;
    std::vector<std::byte> body;
    std::size_t from = 0;  // operations of the disk before it
};
/// What clients were told, or did, and when: `from` operations of the disk before it.
struct Told {
    std::size_t from = 0;
    std::string what;
};
/// All that matters of an engine's life to judge what a power cut leaves of it.
struct EngineHistory {
    std::vector<Appended> records;
    std::vector<Told> told;
    std::vector<std::pair<std::size_t, engine::Position>> durable;  // from when, up to where
    std::vector<std::pair<std::size_t, Now>> times;

    [[nodiscard]] std::set<std::string> told_at(std::size_t point) const;
    [[nodiscard]] engine::Position durable_at(std::size_t point) const;
    [[nodiscard]] Now time_at(std::size_t point) const;
};

/// A message as a client got it.
struct Got {
    engine::Tag tag = 0;
    std::uint32_t attempt = 0;
    std::string payload;
};

/// One client, an engine, a log and a simulated disk, all on the calling thread. After every call
/// the engine's turn is taken until nothing moves, so that every record is a write of its own.
class EngineDriver {
public:
    static constexpr engine::SessionId session = 1;
    static constexpr std::uint64_t minute_ms = 60'000;
    static constexpr std::uint64_t begin_ms = 1'700'000'040'000;  // a whole minute

    explicit EngineDriver(sim::SimFileSystem& files);
    ~EngineDriver();
    EngineDriver(const EngineDriver&) = delete;
    EngineDriver& operator=(const EngineDriver&) = delete;

    /// Opens and replays. Empty, or what is wrong. The engine is not in service before serve().
    [[nodiscard]] std::string open(const Now& now);
    void serve();

    /// Until nothing moves.
    void turn();
    void pass_ms(std::uint64_t ms);
    void checkpoint();
    /// A message is "KEY:TEXT", or only a text; its id is the text.
    std::vector<std::byte> message(std::string_view queue, const std::string& text) const;
    std::uint64_t producer(std::string_view name);
    /// The next of its producer.
    void publish(std::uint64_t handle, std::string_view queue,
                 const std::vector<std::string>& texts);
    void declare(std::string_view queue, const engine::QueueOptions& options = {});
    void subscribe(std::uint64_t subscription, std::string_view queue, std::uint64_t window = 100);
    /// Told as "acked TEXT" when it is settled, and "may TEXT" before.
    void ack(std::uint64_t subscription, const Got& message);
    void nack(std::uint64_t subscription, const Got& message, std::uint64_t delay_ms);

    /// What was delivered since the last call.
    [[nodiscard]] std::vector<Got> deliveries() { return std::exchange(got_, {}); }
    [[nodiscard]] std::vector<std::string> texts(std::string_view queue,
                                                 engine::Where where = engine::Where::ready);
    [[nodiscard]] engine::QueueView view(std::string_view queue);
    template <class T>
    [[nodiscard]] std::optional<T> answer() const {
        const T* found = std::get_if<T>(&answer_);
        return found != nullptr ? std::optional(*found) : std::nullopt;
    }
    void tell(std::string what);

    engine::Engine& engine() { return *engine_; }
    [[nodiscard]] Now now() const { return clock_.now(); }
    [[nodiscard]] std::uint64_t next_request() { return ++last_request_; }
    [[nodiscard]] const EngineHistory& history() const { return history_; }
    /// Positions of the records that the last open() found.
    [[nodiscard]] const std::vector<engine::Position>& found() const { return found_; }
    [[nodiscard]] engine::Position checkpoint_at() const;
    [[nodiscard]] bool broken() const { return log_->failed(); }
    /// When the rig's schedules are due: at whole minutes.
    [[nodiscard]] static std::uint64_t next_minute(std::uint64_t ms) {
        return (ms / minute_ms + 1) * minute_ms;
    }

private:
    class RecordingJournal;
    void carry_out(const engine::Effect& effect);
    std::string text_of(const engine::Extent& extent, std::uint32_t skip);
    std::vector<std::byte> body_of(engine::Position record);

    sim::SimFileSystem& files_;
    sim::SimClock clock_;
    SeededRandom random_{17};
    EngineHistory history_;
    std::unique_ptr<log::CommitLog> log_;
    std::unique_ptr<RecordingJournal> journal_;
    engine::Effects effects_;
    std::unique_ptr<engine::Engine> engine_;
    std::vector<engine::Position> found_;
    std::vector<Got> got_;
    engine::Answer answer_;
    std::map<std::uint64_t, std::string> settling_;   // by request
    std::map<std::uint64_t, engine::Sequence> next_;  // by producer
    std::uint64_t last_request_ = 100;
};

/// Everything durable that a client could find out, as text: two engines with the same records give
/// the same.
[[nodiscard]] std::string picture_of(const engine::Engine& engine, const Now& now);

/// What is done with an engine, and what must hold of what a power cut leaves of it.
struct EngineWorkload {
    std::string name;
    std::function<void(EngineDriver&)> run;
    /// With an engine in service again, and what clients knew. Empty, or what is wrong.
    std::function<std::string(EngineDriver&, const std::set<std::string>& told)> check;
};

struct EngineCounts {
    std::uint64_t points = 0, checked = 0, failures = 0;
    std::string failed;  // the first few
};
/// Cuts the power after every operation of the disk, in every way that the limits allow; the engine
/// that comes back must be what a prefix of its records makes, with all that was durable in it.
[[nodiscard]] EngineCounts explore(const EngineWorkload& workload, const sim::CrashLimits& limits);

}  // namespace ferry::crash
