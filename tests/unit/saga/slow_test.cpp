#include "saga_rig.hpp"
#include "shifted_clock.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

/// Looks at the lease all the time, as other orchestrators do.
class LeaseWatch {
public:
    LeaseWatch(const std::string& path, const Clock& clock)
        : database_(
              std::move(sqlite::Database::open(path, sqlite::Database::Access::read_only)).value()),
          clock_(clock),
          thread_([this] { watch(); }) {}
    ~LeaseWatch() {
        ending_ = true;
        thread_.join();
    }
    LeaseWatch(const LeaseWatch&) = delete;
    LeaseWatch& operator=(const LeaseWatch&) = delete;

    [[nodiscard]] std::uint64_t looks() const { return looks_; }
    [[nodiscard]] std::uint64_t ended() const { return ended_; }
    [[nodiscard]] std::int64_t least_left_ms() const { return least_; }

private:
    void watch() {
        while (!ending_) {
            const auto until = database_.integer("SELECT min(until_ms) FROM ferry_saga_member");
            const auto now = static_cast<std::int64_t>(clock_.now().wall_ms);
            if (until.ok() && until.value()) {
                ++looks_;
                const std::int64_t left = *until.value() - now;
                if (left < least_) least_ = left;
                if (left <= 0) ++ended_;
            }
            std::this_thread::sleep_for(5ms);
        }
    }
    sqlite::Database database_;
    const Clock& clock_;
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> looks_{0}, ended_{0};
    std::atomic<std::int64_t> least_{1'000'000'000};
    std::thread thread_;
};

// S27: the lease is renewed in time while a hundred thousand sagas want something at once.
TEST_F(SagaRig, S27_AHundredThousandTimersDueAtOnceDoNotCostTheLease) {
    constexpr std::uint64_t sagas = 100'000;
    test::ShiftedClock clock;
    Definition d = three();
    d.deadline_ms = 1000ULL * 3600 * 1000;
    for (Step& step : d.steps) step.timeout_ms = 3600ULL * 1000;
    OrchestratorOptions options;
    options.clock = &clock;
    options.lease = 3s;
    start_orchestrator(options);
    must(orchestrator->add(d));
    for (std::uint64_t i = 0; i < sagas; ++i) {
        orchestrator->start_async("three", "s" + std::to_string(i), "{}", {});
    }
    const auto eventually = [](const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + 120s;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            std::this_thread::sleep_for(10ms);
        }
        return true;
    };
    ASSERT_TRUE(eventually([&] { return orchestrator->figures().started == sagas; }));
    clock.pass(2h);
    // It did not run for two hours, as far as it can see: it takes its lease again first.
    ASSERT_TRUE(eventually([&] { return orchestrator->figures().timers > 0; }));
    const auto begin = std::chrono::steady_clock::now();
    {
        const LeaseWatch watch(path("saga.db"), clock);
        ASSERT_TRUE(eventually([&] { return orchestrator->figures().timers >= sagas; }));
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        std::printf("%llu timers in %.1f s; %llu looks at the lease, at least %lld ms were left\n",
                    static_cast<unsigned long long>(sagas), took.count(),
                    static_cast<unsigned long long>(watch.looks()),
                    static_cast<long long>(watch.least_left_ms()));
        EXPECT_EQ(watch.ended(), 0U);
        EXPECT_GT(watch.looks(), 0U);
    }
    EXPECT_EQ(orchestrator->figures().lease_losses, 0U);
    orchestrator.reset();
}

}  // namespace
}  // namespace ferry::saga
