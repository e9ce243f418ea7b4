#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ferry/platform/random.hpp"
#include "ferry/saga/definition.hpp"
#include "ferry/saga/status.hpp"

/// The saga state machine: apply(definition, instance, event, now) changes the instance and says
/// what has to be done. No I/O, no clock, no dice of its own; the same events give the same
/// actions.
namespace ferry::saga {

struct StepRecord {
    StepState state = StepState::waiting;
    /// An attempt ended without an answer: it may have happened, whatever later attempts say.
    bool uncertain = false;
    std::uint32_t attempt = 0;   // of what is, or was last, on its way; counts from 1
    std::uint32_t attempts = 0;  // all commands and compensations sent
    std::uint64_t due_ms = 0;    // when something has to be done; 0: nothing
    std::uint64_t began_ms = 0;  // first sent
    std::uint64_t ended_ms = 0;  // settled
    std::uint64_t undo_ms = 0;   // the compensation's first sending
    std::string result;          // JSON; empty: none
    std::string error;           // what was said last
};

struct Instance {
    std::string id;
    SagaState state = SagaState::running;
    /// Counts the changes. It is the fencing token of what is sent: a command with a lower one than
    /// a participant has seen for this step comes from an older state.
    std::uint64_t revision = 0;
    std::uint64_t started_ms = 0;
    std::uint64_t ended_ms = 0;
    std::uint64_t deadline_ms = 0;  // 0: it has passed, or does not matter any more
    bool overdue = false;           // it passed when there was no way back
    bool forced = false;            // an operator ended it
    std::string input = "{}";       // JSON
    std::string reason;             // why it is undone, or parked
    std::string result;             // JSON, when completed
    std::string trace;              // W3C trace id, 32 hex digits
    std::string parent;             // id of the saga that this is a step of; empty: none
    std::uint32_t parent_step = 0;
    std::uint32_t depth = 0;
    std::vector<StepRecord> steps;
    std::map<std::string, std::string> signals;  // name to JSON, also of those not waited for yet
};

/// When the instance wants a Tick; 0: never.
[[nodiscard]] std::uint64_t due_ms(const Instance& instance);
[[nodiscard]] std::size_t data_bytes(const Instance& instance);
/// Index of a step that holds a parked saga.
[[nodiscard]] std::size_t stuck_step(const Instance& instance);

enum class Op : std::uint8_t { act, undo };
enum class Answer : std::uint8_t {
    done,
    failed,   // for good: it has no effect. Of a compensation: it did not work
    again,    // it had no effect this time; another attempt may work
    unknown,  // this attempt is over, and nobody knows whether it had an effect
};

struct Begin {};
struct Tick {};
struct Reply {
    std::uint32_t step = 0;
    Op op = Op::act;
    Answer answer = Answer::done;
    std::uint32_t attempt = 0;  // that it answers; 0: the participant did not say
    std::string result;         // JSON or empty
    std::string reason;
    std::uint64_t wait_ms = 0;  // asked for before the next attempt; the policy's cap bounds it
};
struct Signal {
    std::string name;
    std::string payload;  // JSON
};
struct Cancel {
    std::string reason;
};
/// Of a completed sub-saga, by its parent.
struct UndoAll {
    std::string reason;
};
// An operator's, of a parked saga.
struct Retry {};
struct Skip {
    std::string result;  // JSON or empty
};
struct Force {
    SagaState end = SagaState::completed;  // or compensated
    std::string reason;
};
using Event = std::variant<Begin, Tick, Reply, Signal, Cancel, UndoAll, Retry, Skip, Force>;

struct Send {
    std::uint32_t step = 0;
    Op op = Op::act;
    std::uint32_t attempt = 0;
    std::string payload;
};
struct StartChild {
    std::uint32_t step = 0;
    std::string input;
};
struct CancelChild {
    std::uint32_t step = 0;
    Op op = Op::act;  // undo: it has completed
    std::string reason;
};
/// The saga has ended.
struct Ended {};
struct Parked {
    std::uint32_t step = 0;
};
using Action = std::variant<Send, StartChild, CancelChild, Ended, Parked>;

struct Outcome {
    bool changed = false;
    std::vector<Action> actions;
    /// Why an event changed nothing: a duplicate, too late, not possible. One sentence.
    std::string refused;
};

/// Requires  instance.steps.size() == definition.steps.size(); Begin comes first and once.
[[nodiscard]] Outcome apply(const Definition& definition, Instance& instance, const Event& event,
                            std::uint64_t now_ms, Random& random);

/// How long to wait after the attempt with this number.
[[nodiscard]] std::uint64_t backoff_ms(std::uint64_t first_ms, std::uint64_t cap_ms,
                                       std::uint32_t attempt, Random& random);

/// Id of the sub-saga of a step.
[[nodiscard]] std::string child_id(const Instance& instance, const Step& step,
                                   const StepRecord& record);

}  // namespace ferry::saga
