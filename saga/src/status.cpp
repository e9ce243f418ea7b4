#include "ferry/saga/status.hpp"

namespace ferry::saga {
namespace {

constexpr std::array<std::string_view, detail::saga_states> saga_names{
    "running", "aborting", "compensating", "parked", "completed", "compensated"};
constexpr std::array<std::string_view, detail::step_states> step_names{
    "waiting", "running", "backing-off",      "done",   "failed",    "unknown", "skipped",
    "stuck",   "undoing", "undo-backing-off", "undone", "undo-stuck"};
static_assert(static_cast<std::size_t>(SagaState::compensated) + 1 == saga_names.size());
static_assert(static_cast<std::size_t>(StepState::undo_stuck) + 1 == step_names.size());

}  // namespace

std::string_view name_of(SagaState state) {
    return saga_names[static_cast<std::size_t>(state)];
}

std::string_view name_of(StepState state) {
    return step_names[static_cast<std::size_t>(state)];
}

std::optional<SagaState> saga_state_of(std::string_view name) {
    for (std::size_t i = 0; i < saga_names.size(); ++i) {
        if (saga_names[i] == name) return static_cast<SagaState>(i);
    }
    return std::nullopt;
}

}  // namespace ferry::saga
