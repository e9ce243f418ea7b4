#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "machine_rig.hpp"

// Every interleaving of small sagas: commands and answers arrive in any order, late or twice;
// participants do, fail or put off what they are asked; timers fire early; somebody cancels. At
// each end the participants must agree with the saga.
//
// I6: it ends once, as completed, compensated or parked. I7: what is undone ran or may have run,
// in reverse order, once.

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

enum class Effect : std::uint8_t { none, done, failed, undone };

struct Message {
    bool reply = false;
    std::uint32_t step = 0;
    Op op = Op::act;
    std::uint32_t attempt = 0;
    std::uint32_t token = 0;  // grows with every message for this step
    Answer answer = Answer::done;
    auto operator<=>(const Message&) const = default;
};

/// The orchestrator's instance, what is on its way, and the participants with their barriers.
struct World {
    Instance instance;
    std::vector<Message> messages;  // sorted
    std::vector<Effect> effects;
    std::vector<std::uint32_t> sent;  // tokens given, by step
    std::vector<std::uint32_t> seen;  // tokens seen by the participant's barrier
    std::vector<std::uint32_t> undone_order;
    std::uint64_t now = 1'000'000;
    int duplicates = 1;  // how many messages may still come twice
    int cancels = 1;
    int retries = 1;
    int ends = 0;
};

class Explorer {
public:
    explicit Explorer(Definition d) : definition_(std::move(d)) {}

    [[nodiscard]] World first(int duplicates) {
        World world;
        world.instance.id = "s";
        world.instance.steps.resize(definition_.steps.size());
        world.effects.resize(definition_.steps.size());
        world.sent.resize(definition_.steps.size());
        world.seen.resize(definition_.steps.size());
        world.duplicates = duplicates;
        feed(world, Begin{});
        return world;
    }
    /// Every interleaving, without messages that come twice.
    void all() {
        World begun = first(0);
        begun.retries = 0;
        std::vector<World> open{begun};
        while (!open.empty() && !::testing::Test::HasFailure()) {
            World at = std::move(open.back());
            open.pop_back();
            if (!seen_.insert(key(at)).second) continue;
            const std::size_t before = open.size();
            expand(at, open);
            if (open.size() == before) final(at);
        }
    }
    /// Some of them, with messages that come twice.
    void walks(int count) {
        for (int seed = 1; seed <= count && !::testing::Test::HasFailure(); ++seed) {
            SeededRandom random(static_cast<std::uint64_t>(seed));
            World at = first(3);
            for (std::vector<World> open;; open.clear()) {
                expand(at, open);
                if (open.empty()) break;
                at = std::move(open[random.below(open.size())]);
            }
            final(at);
        }
    }
    std::size_t states() const { return seen_.size(); }
    std::map<SagaState, int> ends;

private:
    /// All but the times: which of them are due is decided by tick(), in any order.
    std::string key(const World& w) const {
        std::string out;
        const auto put = [&](auto value) {
            out += static_cast<char>('0' + static_cast<int>(value));
        };
        put(w.instance.state);
        put(w.instance.deadline_ms != 0);
        put(w.duplicates);
        put(w.cancels);
        put(w.retries);
        for (const StepRecord& step : w.instance.steps) {
            put(step.state);
            put(step.uncertain);
            put(std::min<std::uint32_t>(step.attempt, 3));
        }
        for (const Effect effect : w.effects) put(effect);
        for (std::size_t i = 0; i < w.seen.size(); ++i) put(w.sent[i] - w.seen[i]);
        out += '/';
        for (const std::uint32_t step : w.undone_order) put(step);
        for (const Message& m : w.messages) {
            out += '|';
            put(m.reply);
            put(m.step);
            put(m.op);
            put(std::min<std::uint32_t>(m.attempt, 3));
            put(m.token <= w.seen[m.step] ? (m.token == w.seen[m.step] ? 1 : 0)
                                          : 2 + w.sent[m.step] - m.token);
            put(m.answer);
        }
        return out;
    }

    void feed(World& world, const Event& event) {
        SeededRandom random(1);
        const bool was_ended = ended(world.instance.state);
        const std::uint64_t revision = world.instance.revision;
        const Outcome outcome = apply(definition_, world.instance, event, world.now, random);
        EXPECT_EQ(outcome.changed, world.instance.revision == revision + 1);
        EXPECT_FALSE(was_ended && outcome.changed) << "an ended saga changed";
        for (const Action& action : outcome.actions) {
            if (const auto* send = std::get_if<Send>(&action)) {
                insert(world, {false, send->step, send->op, send->attempt, ++world.sent[send->step],
                               Answer::done});
            }
            if (std::holds_alternative<Ended>(action)) {
                EXPECT_EQ(++world.ends, 1);
            }
        }
    }
    static void insert(World& world, const Message& message) {
        world.messages.insert(
            std::upper_bound(world.messages.begin(), world.messages.end(), message), message);
    }

    void expand(const World& world, std::vector<World>& open) {
        for (std::size_t i = 0; i < world.messages.size(); ++i) {
            if (i > 0 && world.messages[i] == world.messages[i - 1]) continue;
            for (const bool twice : {false, true}) {
                if (twice && world.duplicates == 0) continue;
                World next = world;
                const Message message = next.messages[i];
                if (twice) {
                    --next.duplicates;
                } else {
                    next.messages.erase(next.messages.begin() + static_cast<std::ptrdiff_t>(i));
                }
                deliver(next, message, open);
            }
        }
        if (due_ms(world.instance) != 0) {
            World next = world;
            next.now = std::max(next.now, due_ms(next.instance));
            feed(next, Tick{});
            open.push_back(std::move(next));
        }
        if (world.cancels > 0 && !ended(world.instance.state)) {
            World next = world;
            --next.cancels;
            feed(next, Cancel{"model"});
            open.push_back(std::move(next));
        }
        if (world.retries > 0 && world.instance.state == SagaState::parked) {
            World next = world;
            --next.retries;
            feed(next, Retry{});
            open.push_back(std::move(next));
        }
    }

    void deliver(World& world, const Message& m, std::vector<World>& open) {
        if (m.reply) {
            Reply reply;
            reply.step = m.step;
            reply.op = m.op;
            reply.answer = m.answer;
            reply.attempt = m.attempt;
            feed(world, reply);
            open.push_back(std::move(world));
            return;
        }
        const Effect effect = world.effects[m.step];
        const bool known = m.token <= world.seen[m.step];
        if (m.token < world.seen[m.step] || (known && m.op == Op::act && effect == Effect::none)) {
            open.push_back(std::move(world));  // from an older state, or answered already
            return;
        }
        world.seen[m.step] = m.token;
        if (m.op == Op::undo) {
            if (effect == Effect::undone || effect == Effect::none || effect == Effect::failed) {
                answer(world, m, Answer::done, Effect::undone, open);
                return;
            }
            World refuses = world;
            answer(refuses, m, Answer::again, effect, open);
            EXPECT_EQ(effect, Effect::done);
            world.undone_order.push_back(m.step);
            answer(world, m, Answer::done, Effect::undone, open);
            return;
        }
        if (effect == Effect::undone || effect == Effect::failed) {
            answer(world, m, Answer::failed, effect, open);
            return;
        }
        if (effect == Effect::done) {
            answer(world, m, Answer::done, effect, open);
            return;
        }
        const auto pivot = pivot_of(definition_);
        const bool final = !(pivot && m.step > *pivot);  // behind it a failure is not remembered
        World fails = world;
        answer(fails, m, Answer::failed, final ? Effect::failed : Effect::none, open);
        World later = world;
        answer(later, m, Answer::again, Effect::none, open);
        answer(world, m, Answer::done, Effect::done, open);
    }

    void answer(World& world, const Message& to, Answer what, Effect effect,
                std::vector<World>& open) {
        world.effects[to.step] = effect;
        insert(world, {true, to.step, to.op, to.attempt, 0, what});
        open.push_back(world);
    }

    /// Nothing is on its way and nothing is due.
    void final(const World& world) {
        ++ends[world.instance.state];
        const SagaState state = world.instance.state;
        ASSERT_TRUE(ended(state) || state == SagaState::parked)
            << "it hangs as " << name_of(state) << " " << key(world);
        if (state == SagaState::completed) {
            for (std::size_t i = 0; i < world.effects.size(); ++i) {
                const bool sends = definition_.steps[i].kind == StepKind::command;
                if (sends) {
                    EXPECT_EQ(world.effects[i], Effect::done) << key(world);
                }
            }
            EXPECT_TRUE(world.undone_order.empty());
        }
        if (state == SagaState::compensated) {
            for (const Effect effect : world.effects) EXPECT_NE(effect, Effect::done) << key(world);
        }
        // Once each, the last one first.
        for (std::size_t i = 1; i < world.undone_order.size(); ++i) {
            EXPECT_GT(world.undone_order[i - 1], world.undone_order[i]);
        }
    }

    const Definition definition_;
    std::set<std::string> seen_;
};

Definition small(Builder builder, std::uint32_t attempts) {
    Definition d = Rig::must(builder);
    for (Step& step : d.steps) {
        step.retry.attempts = attempts;
        step.undo = {10, 10, 15};
        step.timeout_ms = step.kind == StepKind::command ? 10 : 0;
    }
    return d;
}

void explore_all(const Definition& definition) {
    Explorer explorer(definition);
    explorer.all();
    EXPECT_GT(explorer.states(), 100U);
    EXPECT_GT(explorer.ends[SagaState::completed], 0);
    EXPECT_GT(explorer.ends[SagaState::compensated], 0);
    EXPECT_GT(explorer.ends[SagaState::parked], 0);
}

void walk(const Definition& definition) {
    Explorer explorer(definition);
    explorer.walks(400);
    EXPECT_GT(explorer.ends[SagaState::completed] + explorer.ends[SagaState::compensated], 100);
}

Builder row(const std::vector<const char*>& names) {
    Builder b("row");
    b.deadline(1h);
    for (const char* name : names) b.step(name).command("q").compensation("u");
    return b;
}

// G80, G81
TEST(SagaModel, TwoStepsAgreeWithTheirParticipantsInEveryInterleaving) {
    explore_all(small(row({"a", "b"}), 1));
}

TEST(SagaModel, APivotAgreesWithItsParticipantInEveryInterleaving) {
    Builder b("pivot");
    b.deadline(1h).step("a").command("q").compensation("u").step("p").command("q").pivot();
    explore_all(small(b, 1));
}

TEST(SagaModel, ThreeRetriedStepsAgreeWithTheirParticipants) {
    walk(small(row({"a", "b", "c"}), 2));
}

TEST(SagaModel, StepsBehindAPivotAgreeWithTheirParticipants) {
    Builder b = row({"a"});
    b.step("p").command("q").pivot().step("z").command("q");
    walk(small(b, 2));
}

TEST(SagaModel, ParallelStepsAgreeWithTheirParticipants) {
    Builder b("parallel");
    b.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .parallel("g")
        .step("b")
        .command("q")
        .compensation("u")
        .parallel("g")
        .step("c")
        .command("q")
        .compensation("u");
    walk(small(b, 2));
}

TEST(SagaModel, TryConfirmCancelIsAllOrNothing) {
    Builder b("tcc");
    b.deadline(1h)
        .try_confirm_cancel("a", "a", "a", "a")
        .try_confirm_cancel("b", "b", "b", "b")
        .decided();
    walk(small(b, 2));
}

}  // namespace
}  // namespace ferry::saga
