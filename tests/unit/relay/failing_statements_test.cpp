// A relay one of whose statements fails, whichever: it tells, goes on, and sends everything once.

#include "failing_statements.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "meter.hpp"
#include "relay_fixture.hpp"
#include "waker.hpp"
#include "worker.hpp"

namespace ferry::outbox::relay {
namespace {

using test::FailingStatements;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int turns_max = 5'000;
constexpr std::uint64_t turn_ms_max = 250;

class RelayFailingStatements : public RelayFixture,
                               public ::testing::WithParamInterface<FailingStatements::When> {
protected:
    /// What is in the outbox before a relay begins: two keys, one of them with a message that the
    /// broker refuses at first, and one without key.
    void fill(const std::string& path) {
        broker_.refuse([left = 2](const test::MemoryBroker::Stored& message) mutable {
            if (message.payload != "refused" || left == 0) return wire::Code::ok;
            --left;
            return wire::Code::no_route;
        });
        app_.emplace(open_app(path, false));
        commit(*app_, {"a1"}, "a");
        commit(*app_, {"refused", "behind it"}, "b");
        commit(*app_, {"alone"});
    }
    Options steady_options(const std::string& path) {
        Options options = options_for(path);
        options.clock = &clock_;
        options.random = &random_;
        options.retain_ms = 1'000;
        options.fallback_ms = 500;
        return options;
    }
    /// Turns until everything is marked and old messages are forgotten.
    bool work(Worker& worker, const Meter& meter) {
        for (int turn = 0; turn < turns_max && worker.failure().empty(); ++turn) {
            clock_.advance_ms(std::clamp<std::uint64_t>(worker.step(turn == 0), 1, turn_ms_max));
            if (meter.figures().leading && pending() == 0 && meter.figures().unmarked == 0 &&
                number("SELECT count(*) FROM ferry_outbox_sent") == 0) {
                return true;
            }
        }
        return false;
    }
    /// A whole life of a relay. It ends as a program does: what it cannot open it does not serve.
    void live(const std::string& path) {
        auto store = Store::open(path);
        if (!store.ok()) return;
        Waker waker;
        Meter meter;
        Worker worker(steady_options(path), std::move(store).value(), waker, meter);
        EXPECT_TRUE(work(worker, meter))
            << pending() << " waiting, " << number("SELECT count(*) FROM ferry_outbox_sent")
            << " kept, " << meter.figures().unmarked << " not marked, leading "
            << meter.figures().leading << "\n"
            << log();
        EXPECT_EQ(worker.failure(), "");
        worker.stop_gracefully(0);
        worker.run();
    }

    sim::SimClock clock_;
    SeededRandom random_{1};
    FailingStatements statements_;
};

TEST_P(RelayFailingStatements, one_that_fails_loses_and_doubles_nothing) {
    std::uint32_t reached = 0;
    for (std::uint32_t nth = 1;; ++nth) {
        SCOPED_TRACE(std::string("statement ") + std::to_string(nth) + ", when " +
                     name_of(GetParam()));
        const std::string path = file("app" + std::to_string(nth) + ".db");
        fill(path);
        statements_.watch_new();
        statements_.fail(GetParam(), nth);
        live(path);
        statements_.watch_no_more();
        const bool failed = statements_.failed();
        statements_.pass();
        live(path);  // the next one finds nothing that is left undone
        std::vector<std::string> of_b;
        std::vector<std::string> others;
        for (const auto& payload : broker_.payloads()) {
            const bool b = payload == "refused" || payload == "behind it";
            (b ? of_b : others).push_back(payload);
        }
        ASSERT_THAT(of_b, ElementsAre("refused", "behind it")) << log();
        ASSERT_THAT(others, ElementsAre("a1", "alone")) << log();
        ASSERT_EQ(pending(), 0);
        broker_.forget_messages();
        app_.reset();
        forget_log();
        if (HasFailure() || !failed) break;
        ++reached;
    }
    EXPECT_GT(reached, 30U);
    RecordProperty("statements", std::to_string(reached));
}

INSTANTIATE_TEST_SUITE_P(, RelayFailingStatements,
                         ::testing::Values(FailingStatements::When::prepared,
                                           FailingStatements::When::run),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace ferry::outbox::relay
