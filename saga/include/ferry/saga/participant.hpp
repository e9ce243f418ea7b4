#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/sqlite/problem.hpp"

namespace ferry::saga {

/// A command of a saga, within the participant's own transaction.
///
/// Threads, Lifetime   of the call that hands it out.
struct Call {
    std::string saga;
    std::string step;
    std::string definition;  // NAME/VERSION
    std::uint32_t attempt = 1;
    /// The saga's revision: grows with every command, for effects outside of this database.
    std::uint64_t token = 0;
    std::string_view payload;    // JSON
    std::string result;          // of a compensation: what the step's action answered; JSON
    consumer::Effects& effects;  // statements and messages of the same transaction
};

/// What an action or a compensation says.
struct Said {
    enum class Kind : std::uint8_t { done, failed, again };
    Kind kind = Kind::done;
    std::string text;  // done: the result, JSON or empty; else the reason

    static Said done(std::string result_json = {}) { return {Kind::done, std::move(result_json)}; }
    /// No, for good: what the call wrote is rolled back, and so is the saga (before its pivot).
    static Said failed(std::string reason) { return {Kind::failed, std::move(reason)}; }
    /// Not now: what the call wrote is rolled back, and the orchestrator asks again later.
    static Said again(std::string reason) { return {Kind::again, std::move(reason)}; }
};

/// What it throws counts as Said::again.
using CallHandler = std::function<Said(Call& call)>;

struct ParticipantOptions {
    std::string database;  // made by Participant::init, or with its tables in the application's
    std::string name;      // as consumer::InboxOptions::consumer
    /// How long the barrier remembers a step after its last change. A command that is later than
    /// that would be taken for a new one.
    consumer::Duration remember{30LL * 24 * 3600 * 1000};
    std::function<void(std::string_view)> on_event;
};

struct ParticipantFigures {
    std::uint64_t acted = 0;
    std::uint64_t undone = 0;
    std::uint64_t repeats = 0;  // answered from memory
    std::uint64_t empty = 0;    // compensations of what had never come
    std::uint64_t hanging = 0;  // commands that came after their compensation
    std::uint64_t stale = 0;    // with a token older than one seen
};

/// What a try reserved and nobody has confirmed or cancelled yet: only its saga's decision can say
/// what becomes of it.
struct Doubt {
    std::string saga;
    std::string step;
    std::uint64_t token = 0;
    std::string result;  // JSON, what the try answered
    std::uint64_t since_ms = 0;
};
/// Those of a participant's database, the oldest first.
///
/// Errors    schema: it is none. Those of reading.
[[nodiscard]] sqlite::Answer<std::vector<Doubt>> doubts(const std::string& path,
                                                        std::uint32_t at_most);

/// Carries out the steps of sagas in an application's own database: the action's writes, the
/// barrier and the answer are one transaction.
///
///     participant->act("stock.reserve", [](Call& call) {
///         call.effects.run("UPDATE stock SET free = free - 1 WHERE item = ?1", ...);
///         return Said::done(R"({"reservation": 17})");
///     });
///     participant->undo("stock.release", ...);
///     participant->run(source of the queue stock.reserve);
///     participant->run(source of the queue stock.release);
///
/// The barrier keeps, per saga and step, whether it acted and was undone. So a repeated command is
/// answered again and not done again; a compensation whose action never came is nothing, and the
/// action is refused when it comes afterwards; a command with an older token is dropped.
///
/// Threads   act() and undo() before the first run(); the rest from any thread. Handlers run one
///           at a time.
class Participant {
public:
    /// Makes inbox, outbox and barrier in a new or existing database.
    static sqlite::Status init(const std::string& path);
    static sqlite::Answer<std::unique_ptr<Participant>> open(ParticipantOptions options);
    ~Participant();
    Participant(const Participant&) = delete;
    Participant& operator=(const Participant&) = delete;

    /// By routing key. Command and compensation may have the same one.
    void act(std::string routing_key, CallHandler handler);
    void undo(std::string routing_key, CallHandler handler);

    /// Takes commands of one queue. May be called for several.
    ///
    /// Errors    as consumer::Runtime::start.
    Status run(std::unique_ptr<consumer::Source> source, std::string_view queue);
    Status stop(consumer::Duration timeout);
    /// One command, within the inbox's transaction: for those who run a runtime of their own.
    consumer::Handled handle(consumer::Effects& effects);

    [[nodiscard]] ParticipantFigures figures() const;
    [[nodiscard]] bool ended() const;

private:
    struct Impl;
    explicit Participant(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::saga
