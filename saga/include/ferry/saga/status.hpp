#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

/// The two life cycles of the room, as tables that the compiler checks. Everything that changes a
/// state goes through next(); what is not in a table can not happen.
namespace ferry::saga {

/// Of one saga.
///
///     running ──last step──────────────────────────► completed ─┐ (a sub-saga whose parent
///      │  ▲ │                                                   │  is undone)
///      │  │ └─a step is stuck behind the pivot─┐                ▼
///      │  └───────retry, skip, late answer──parked ──force──► ended by an operator
///      ▼                                    ▲  │
///     aborting ──nothing in flight──► compensating ──all undone──► compensated
enum class SagaState : std::uint8_t {
    running,
    aborting,      // it will be undone; what is in flight is waited for
    compensating,  // steps are undone, the last one first
    parked,        // it cannot go on by itself: an operator must retry, skip or force
    completed,
    compensated,
};
enum class SagaEvent : std::uint8_t {
    abort,
    undo,      // nothing is in flight any more; or a parent undoes a completed sub-saga
    complete,  // no step is left
    undone,    // no compensation is left
    park,
    resume_forward,
    resume_undo,
    force_completed,
    force_compensated,
};

/// Of one step of a saga.
enum class StepState : std::uint8_t {
    waiting,      // its turn has not come
    running,      // its command is out
    backing_off,  // an attempt failed or was not answered; the next one has a time
    done,
    failed,   // for good, without an effect
    unknown,  // never answered: it may have happened, and is undone as if it had
    skipped,  // its condition did not hold, or an operator said so
    stuck,    // behind the pivot, out of attempts
    undoing,  // its compensation is out
    undo_backing_off,
    undone,
    undo_stuck,  // its compensation is out of time
};
enum class StepEvent : std::uint8_t {
    send,     // a command, or a compensation, goes out
    succeed,  // the answer, or an operator: it is done
    fail,     // the answer: it did not happen
    again,    // this attempt came to nothing
    lose,     // out of attempts, and nobody knows
    skip,
    stick,
    undo,
};

namespace detail {
template <class State, class Event>
struct Move {
    State from;
    Event event;
    State to;
};
using SagaMove = Move<SagaState, SagaEvent>;
using StepMove = Move<StepState, StepEvent>;

inline constexpr std::array saga_moves{
    SagaMove{SagaState::running, SagaEvent::abort, SagaState::aborting},
    SagaMove{SagaState::running, SagaEvent::complete, SagaState::completed},
    SagaMove{SagaState::running, SagaEvent::park, SagaState::parked},
    SagaMove{SagaState::aborting, SagaEvent::undo, SagaState::compensating},
    SagaMove{SagaState::compensating, SagaEvent::undone, SagaState::compensated},
    SagaMove{SagaState::compensating, SagaEvent::park, SagaState::parked},
    SagaMove{SagaState::parked, SagaEvent::resume_forward, SagaState::running},
    SagaMove{SagaState::parked, SagaEvent::resume_undo, SagaState::compensating},
    SagaMove{SagaState::parked, SagaEvent::force_completed, SagaState::completed},
    SagaMove{SagaState::parked, SagaEvent::force_compensated, SagaState::compensated},
    SagaMove{SagaState::completed, SagaEvent::undo, SagaState::compensating},
};

inline constexpr std::array step_moves{
    StepMove{StepState::waiting, StepEvent::send, StepState::running},
    StepMove{StepState::waiting, StepEvent::skip, StepState::skipped},
    StepMove{StepState::waiting, StepEvent::fail, StepState::failed},  // no command can be made
    StepMove{StepState::waiting, StepEvent::stick, StepState::stuck},  // the same, too late to fail
    StepMove{StepState::running, StepEvent::succeed, StepState::done},
    StepMove{StepState::running, StepEvent::fail, StepState::failed},
    StepMove{StepState::running, StepEvent::again, StepState::backing_off},
    StepMove{StepState::running, StepEvent::lose, StepState::unknown},
    StepMove{StepState::running, StepEvent::stick, StepState::stuck},
    StepMove{StepState::backing_off, StepEvent::send, StepState::running},
    StepMove{StepState::backing_off, StepEvent::succeed, StepState::done},  // a late answer
    StepMove{StepState::backing_off, StepEvent::fail, StepState::failed},
    StepMove{StepState::backing_off, StepEvent::lose, StepState::unknown},
    StepMove{StepState::backing_off, StepEvent::stick, StepState::stuck},
    StepMove{StepState::unknown, StepEvent::succeed, StepState::done},
    StepMove{StepState::unknown, StepEvent::fail, StepState::failed},
    StepMove{StepState::unknown, StepEvent::undo, StepState::undoing},
    StepMove{StepState::stuck, StepEvent::send, StepState::running},
    StepMove{StepState::stuck, StepEvent::succeed, StepState::done},
    StepMove{StepState::stuck, StepEvent::fail, StepState::failed},  // only the pivot
    StepMove{StepState::stuck, StepEvent::skip, StepState::skipped},
    StepMove{StepState::done, StepEvent::undo, StepState::undoing},
    StepMove{StepState::undoing, StepEvent::succeed, StepState::undone},
    StepMove{StepState::undoing, StepEvent::again, StepState::undo_backing_off},
    StepMove{StepState::undoing, StepEvent::stick, StepState::undo_stuck},
    StepMove{StepState::undo_backing_off, StepEvent::send, StepState::undoing},
    StepMove{StepState::undo_backing_off, StepEvent::succeed, StepState::undone},
    StepMove{StepState::undo_backing_off, StepEvent::stick, StepState::undo_stuck},
    StepMove{StepState::undo_stuck, StepEvent::send, StepState::undoing},
    StepMove{StepState::undo_stuck, StepEvent::succeed, StepState::undone},
};
}  // namespace detail

/// Nothing: this cannot happen in this state.
[[nodiscard]] constexpr std::optional<SagaState> next(SagaState state, SagaEvent event) {
    for (const auto& move : detail::saga_moves) {
        if (move.from == state && move.event == event) return move.to;
    }
    return std::nullopt;
}
[[nodiscard]] constexpr std::optional<StepState> next(StepState state, StepEvent event) {
    for (const auto& move : detail::step_moves) {
        if (move.from == state && move.event == event) return move.to;
    }
    return std::nullopt;
}

[[nodiscard]] constexpr bool ended(SagaState state) {
    return state == SagaState::completed || state == SagaState::compensated;
}
/// Something is, or will be, on its way to a participant.
[[nodiscard]] constexpr bool in_flight(StepState state) {
    return state == StepState::running || state == StepState::backing_off;
}
[[nodiscard]] constexpr bool being_undone(StepState state) {
    return state == StepState::undoing || state == StepState::undo_backing_off ||
           state == StepState::undo_stuck;
}

[[nodiscard]] std::string_view name_of(SagaState state);
[[nodiscard]] std::string_view name_of(StepState state);
[[nodiscard]] std::optional<SagaState> saga_state_of(std::string_view name);

namespace detail {
inline constexpr std::size_t saga_states = 6;
inline constexpr std::size_t step_states = 12;

template <class Moves>
consteval bool one_way_out(const Moves& moves) {
    for (std::size_t i = 0; i < moves.size(); ++i) {
        for (std::size_t j = i + 1; j < moves.size(); ++j) {
            if (moves[i].from == moves[j].from && moves[i].event == moves[j].event) return false;
        }
    }
    return true;
}
/// From every state one of `goals` can be reached.
template <class State, std::size_t states, class Moves, class Goal>
consteval bool all_reach(const Moves& moves, Goal goal) {
    std::array<bool, states> reaches{};
    for (std::size_t i = 0; i < states; ++i) reaches[i] = goal(static_cast<State>(i));
    for (std::size_t round = 0; round < states; ++round) {
        for (const auto& move : moves) {
            if (reaches[static_cast<std::size_t>(move.to)]) {
                reaches[static_cast<std::size_t>(move.from)] = true;
            }
        }
    }
    for (const bool one : reaches) {
        if (!one) return false;
    }
    return true;
}
/// What is being undone, or was, never becomes anything else.
consteval bool undoing_is_final() {
    for (const auto& move : step_moves) {
        const bool from = being_undone(move.from) || move.from == StepState::undone;
        const bool to = being_undone(move.to) || move.to == StepState::undone;
        if (from && !to) return false;
    }
    return true;
}
/// A compensation goes out only for what is done or may be.
consteval bool only_effects_are_undone() {
    for (const auto& move : step_moves) {
        if (move.event == StepEvent::undo && move.from != StepState::done &&
            move.from != StepState::unknown) {
            return false;
        }
    }
    return true;
}
}  // namespace detail

static_assert(detail::one_way_out(detail::saga_moves) && detail::one_way_out(detail::step_moves));
static_assert(detail::all_reach<SagaState, detail::saga_states>(detail::saga_moves, ended),
              "every saga can end");
static_assert(detail::all_reach<StepState, detail::step_states>(detail::step_moves,
                                                                [](StepState s) {
                                                                    return s == StepState::done ||
                                                                           s == StepState::failed ||
                                                                           s ==
                                                                               StepState::skipped ||
                                                                           s == StepState::undone;
                                                                }),
              "every step can be settled");
static_assert(detail::undoing_is_final(), "a late reply must not revive a step that is undone");
static_assert(detail::only_effects_are_undone());
static_assert(!next(SagaState::compensated, SagaEvent::undo) &&
              !next(SagaState::compensating, SagaEvent::complete));

}  // namespace ferry::saga
