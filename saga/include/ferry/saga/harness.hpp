#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/saga/definition.hpp"
#include "ferry/saga/status.hpp"

namespace ferry::saga {

/// How a scripted participant meets one command or compensation.
struct Play {
    enum class Kind : std::uint8_t {
        done,
        failed,
        again,
        lost,         // the command never arrives
        lost_answer,  // it is carried out, and the answer never arrives
    };
    Kind kind = Kind::done;
    std::string text;  // done, lost_answer: the result, JSON or empty; else the reason

    static Play done(std::string result_json = {}) { return {Kind::done, std::move(result_json)}; }
    static Play failed(std::string reason) { return {Kind::failed, std::move(reason)}; }
    static Play again(std::string reason) { return {Kind::again, std::move(reason)}; }
    static Play lost() { return {Kind::lost, {}}; }
    static Play lost_answer(std::string result_json = {}) {
        return {Kind::lost_answer, std::move(result_json)};
    }
};

/// Runs one saga of a definition in memory, against scripted participants with a barrier, on a
/// clock of its own: for tests of definitions. No database, no broker, no waiting.
///
///     Harness harness(order);
///     harness.act("charge", {Play::lost(), Play::failed("no money")});
///     harness.start(R"({"cents": 990})").run();
///     EXPECT_EQ(harness.state(), SagaState::compensated);
///     EXPECT_EQ(harness.effects("reserve"), 0);
///
/// Threads   one.
class Harness {
public:
    /// Requires  check(definition) has no complaints. Sub-sagas are answered like participants.
    explicit Harness(Definition definition);
    ~Harness();
    Harness(const Harness&) = delete;
    Harness& operator=(const Harness&) = delete;

    /// How the commands of a step are met, one after another; then, and without a script: done.
    Harness& act(std::string_view step, std::vector<Play> plays);
    Harness& undo(std::string_view step, std::vector<Play> plays);

    Harness& start(std::string_view input_json = "{}");
    /// Until the saga has ended, is parked, or only waits for a signal. Time passes by itself.
    Harness& run();
    Harness& signal(std::string_view name, std::string_view json = "{}");
    Harness& cancel(std::string_view reason);
    Harness& retry();
    Harness& skip(std::string_view result_json = {});
    Harness& force(SagaState end);

    [[nodiscard]] SagaState state() const;
    [[nodiscard]] StepState step(std::string_view name) const;
    [[nodiscard]] const std::string& reason() const;
    [[nodiscard]] const std::string& result() const;
    /// What the participant holds in the end: 1 it is done, 0 it is not, or was undone.
    [[nodiscard]] int effects(std::string_view step) const;
    /// What was sent last to a step; empty: nothing.
    [[nodiscard]] const std::string& payload(std::string_view step) const;
    /// One line for everything that happened, with the time since the start.
    [[nodiscard]] const std::vector<std::string>& story() const;
    [[nodiscard]] Duration elapsed() const;
    /// Empty: the end agrees with the participants (all of it, or nothing but what was skipped).
    [[nodiscard]] std::string disagreement() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Runs the definition once for every step and every way to fail, and returns what did not end
/// well: the failing step, the way, and why. Empty: nothing.
[[nodiscard]] std::vector<std::string> sweep_failures(const Definition& definition,
                                                      std::string_view input_json);

}  // namespace ferry::saga
