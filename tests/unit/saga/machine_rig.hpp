#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "machine.hpp"

namespace ferry::saga {

/// One instance, driven by hand.
struct Rig {
    explicit Rig(Definition d) : definition(std::move(d)) {
        instance.id = "s1";
        instance.steps.resize(definition.steps.size());
    }
    static Definition must(const Builder& builder) {
        auto built = builder.build();
        EXPECT_TRUE(built.ok()) << built.error().text;
        return built.ok() ? std::move(built).value() : Definition{};
    }
    Outcome feed(const Event& event) {
        Outcome outcome = apply(definition, instance, event, now, random);
        last = outcome.actions;
        for (const Action& action : outcome.actions) {
            if (const auto* send = std::get_if<Send>(&action)) sent.push_back(label(*send));
            if (std::holds_alternative<Ended>(action)) ++ended_times;
        }
        return outcome;
    }
    void begin(std::string input = "{}") {
        instance.input = std::move(input);
        feed(Begin{});
    }
    Outcome answer(const std::string& step, Answer what, Op op = Op::act, std::string result = {}) {
        Reply reply;
        reply.step = index(step);
        reply.op = op;
        reply.answer = what;
        reply.result = std::move(result);
        reply.reason = what == Answer::done ? "" : "no luck";
        return feed(reply);
    }
    Outcome done(const std::string& step, std::string result = {}) {
        return answer(step, Answer::done, Op::act, std::move(result));
    }
    Outcome failed(const std::string& step) { return answer(step, Answer::failed); }
    Outcome undone(const std::string& step) { return answer(step, Answer::done, Op::undo); }
    /// To the next moment at which something is due.
    Outcome wait() {
        now = due_ms(instance);
        EXPECT_NE(now, 0U) << "nothing is due";
        return feed(Tick{});
    }
    [[nodiscard]] std::uint32_t index(const std::string& step) const {
        for (std::uint32_t i = 0; i < definition.steps.size(); ++i) {
            if (definition.steps[i].name == step) return i;
        }
        ADD_FAILURE() << "no step " << step;
        return 0;
    }
    [[nodiscard]] StepState state_of(const std::string& step) const {
        return instance.steps[index(step)].state;
    }
    [[nodiscard]] std::string label(const Send& send) const {
        return (send.op == Op::undo ? "undo " : "") + definition.steps[send.step].name;
    }
    [[nodiscard]] std::string payload() const {
        for (const Action& action : last) {
            if (const auto* send = std::get_if<Send>(&action)) return send->payload;
        }
        return "nothing was sent";
    }

    Definition definition;
    Instance instance;
    SeededRandom random{7};
    std::uint64_t now = 1'000'000;
    std::vector<Action> last;
    std::vector<std::string> sent;
    int ended_times = 0;
};

inline Builder order() {
    using namespace std::chrono_literals;
    Builder b("order");
    b.deadline(1h)
        .step("reserve")
        .command("stock.reserve")
        .compensation("stock.release")
        .timeout(10s)
        .step("charge")
        .command("pay.charge")
        .compensation("pay.refund")
        .timeout(10s)
        .step("ship")
        .command("ship.ship")
        .pivot()
        .timeout(10s)
        .step("mail")
        .command("mail.send")
        .timeout(10s);
    return b;
}

using Sent = std::vector<std::string>;

}  // namespace ferry::saga
