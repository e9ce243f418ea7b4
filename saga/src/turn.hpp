#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "machine.hpp"
#include "values.hpp"

namespace ferry::saga {

/// One call of apply().
class Turn final : public Known {
public:
    Turn(const Definition& d, Instance& i, std::uint64_t now_ms, Random& dice)
        : definition(d), instance(i), now(now_ms), random(dice) {}

    void on(const Begin&);
    void on(const Tick&);
    void on(const Reply& reply);
    void on(const Signal& signal);
    void on(const Cancel& cancel);
    void on(const UndoAll& undo);
    void on(const Retry&);
    void on(const Skip& skip);
    void on(const Force& force);
    /// Does what follows from the states, until nothing does.
    void settle();

    Outcome outcome;

private:
    void move(SagaEvent event);
    void move(StepRecord& step, StepEvent event);
    void refuse(std::string why);
    static void note_error(StepRecord& step, std::string_view text);

    // ---- forward ----
    bool go_forward();
    void begin_step(std::uint32_t at);
    void send_command(std::uint32_t at);
    /// This attempt came to nothing.
    void attempt_failed(std::uint32_t at, bool answered, std::uint64_t wait_ms = 0);
    void out_of_attempts(std::uint32_t at);
    [[nodiscard]] bool behind_pivot(std::uint32_t at) const;
    void complete();

    // ---- back ----
    [[nodiscard]] bool no_way_back() const;
    void abort(std::string_view reason);
    bool go_back();
    void send_compensation(std::uint32_t at);
    void compensation_failed(std::uint32_t at, std::uint64_t wait_ms = 0);

    void park(std::uint32_t step);
    void finish();
    void answered_act(std::uint32_t at, const Reply& reply);
    void answered_undo(std::uint32_t at, const Reply& reply);
    void keep_result(StepRecord& step, const std::string& result);
    void tick(std::uint32_t at);
    void deadline();
    [[nodiscard]] bool too_much(std::string_view more) const;

    // ---- what pointers see ----
    [[nodiscard]] std::optional<std::string_view> input() const override;
    [[nodiscard]] std::optional<std::string_view> result_of(std::string_view name) const override;
    [[nodiscard]] std::string_view id() const override { return instance.id; }

    const Definition& definition;
    Instance& instance;
    const std::uint64_t now;
    Random& random;
};

}  // namespace ferry::saga
