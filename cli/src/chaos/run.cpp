#include "chaos/run.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "chaos/effects.hpp"
#include "chaos/producer.hpp"
#include "chaos/stage.hpp"
#include "ferry/transport/client.hpp"
#include "output.hpp"

namespace ferry::cli::chaos {
namespace {

using history::Type;
using history::What;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint64_t cycles_per_line = 10;
constexpr std::uint64_t cycles_per_pause = 5;
/// A lease ends while somebody is paused for so much longer.
constexpr milliseconds beyond_lease{700};
constexpr milliseconds stop_patience{15'000};

void say(const std::string& text) {
    std::fprintf(stderr, "ferry chaos: %s\n", text.c_str());
}

class Run {
public:
    explicit Run(const Plan& plan) : plan_(plan), random_(plan.seed) {}

    ResultOr<Outcome, std::string> whole() {
        if (Went began = begin(); !began.ok()) return began.error().text;
        const auto start = steady_clock::now();
        std::uint64_t cycles = 0;
        while (!over(cycles, start)) {
            if (Went went = cycle(cycles); !went.ok()) return went.error().text;
            ++cycles;
            if (cycles % cycles_per_line == 0) tell(cycles);
        }
        const std::string not_drained = settle();
        if (Went ended = end(); !ended.ok()) return ended.error().text;
        Outcome outcome;
        outcome.cycles = cycles;
        outcome.not_drained = not_drained;
        const std::chrono::duration<double> took = steady_clock::now() - start;
        outcome.seconds = took.count();
        return judge(std::move(outcome));
    }

private:
    Went begin() {
        auto stage = Stage::make(plan_);
        if (!stage.ok()) return stage.error();
        stage_ = std::move(stage).value();
        if (Went started = stage_->start_broker(); !started.ok()) return started;
        if (Went declared = declare(); !declared.ok()) return declared;
        auto producer = Producer::open(plan_, stage_->path("outbox.db"), recorder_);
        if (!producer.ok()) return Trouble{producer.error()};
        producer_ = std::move(producer).value();
        for (Program& program : stage_->programs()) {
            if (&program == &stage_->broker()) continue;
            if (Went started = program.start(); !started.ok()) return started;
        }
        producer_->start();
        return Done{};
    }

    Went declare() {
        transport::ClientOptions options;
        options.url = stage_->url();
        options.name = "chaos";
        options.publisher = false;
        options.connect_retry = true;
        options.request_timeout_ms = 5000;
        auto client = transport::Client::connect(std::move(options));
        if (!client.ok()) return Trouble{"the broker does not answer: " + client.error().text};
        client_ = std::move(client).value();
        transport::QueueOptions queue;
        queue.lease_ms = static_cast<std::uint64_t>(plan_.lease.count());
        auto declared = client_->declare_queue(plan_.queue, queue);
        if (!declared.ok()) return Trouble{"the queue is refused: " + declared.error().text};
        return Done{};
    }

    [[nodiscard]] bool over(std::uint64_t cycles, steady_clock::time_point start) const {
        if (interrupted()) return true;
        return plan_.cycles != 0 ? cycles >= plan_.cycles
                                 : steady_clock::now() - start >= plan_.span;
    }

    void rest(std::uint64_t least_ms, std::uint64_t most_ms) {
        const auto until =
            steady_clock::now() + milliseconds(least_ms + random_.below(most_ms - least_ms + 1));
        while (!interrupted() && steady_clock::now() < until) {
            for (Program& program : stage_->programs()) program.wake(false);
            std::this_thread::sleep_for(milliseconds(5));
        }
    }

    std::vector<Program*> victims() {
        std::vector<Program*> all;
        for (Program& program : stage_->programs()) {
            const bool wanted = program.role() == Role::broker  ? plan_.kill_broker
                                : program.role() == Role::relay ? plan_.kill_relay
                                                                : plan_.kill_consumer;
            if (wanted) all.push_back(&program);
        }
        // Mostly one, sometimes two or three, now and then everybody.
        const std::uint64_t dice = random_.below(20);
        const std::size_t many = dice == 0 ? all.size() : dice < 4 ? 3 : dice < 9 ? 2 : 1;
        for (std::size_t i = 0; i < all.size(); ++i) {
            std::swap(all[i], all[i + random_.below(all.size() - i)]);
        }
        all.resize(std::min(many, all.size()));
        return all;
    }

    Went cycle(std::uint64_t number) {
        rest(20, 400);
        if (plan_.pause && number % cycles_per_pause == cycles_per_pause - 1) {
            auto& programs = stage_->programs();
            // Not the broker: that is everybody's pause.
            Program& sleeper = programs[1 + random_.below(programs.size() - 1)];
            sleeper.pause(steady_clock::now() + plan_.lease + beyond_lease);
        }
        const std::vector<Program*> chosen = victims();
        for (Program* const victim : chosen) victim->kill(recorder_);
        rest(0, 100);
        for (Program* const victim : chosen) {
            if (victim != &stage_->broker()) {
                if (Went started = victim->start(); !started.ok()) return started;
                continue;
            }
            // Also while it recovers.
            if (random_.below(3) == 0) {
                if (Went started = victim->start(); !started.ok()) return started;
                rest(2, 40);
                victim->kill(recorder_);
            }
            if (Went started = stage_->start_broker(); !started.ok()) return started;
        }
        const auto missing = stage_->start_missing();
        if (!missing.ok()) return missing.error();
        return Done{};
    }

    void tell(std::uint64_t cycles) {
        std::uint64_t kills = 0;
        for (const Program& program : stage_->programs()) kills += program.kills;
        const std::string of =
            plan_.cycles != 0 ? " of " + with_commas(plan_.cycles) : std::string();
        say("cycle " + with_commas(cycles) + of + ": " + with_commas(kills) + " kills, " +
            with_commas(producer_->committed()) + " transactions committed");
    }

    /// Empty: everything arrived and is settled. Otherwise what is left.
    std::string settle() {
        say("no more kills: waiting until everything has arrived");
        producer_->stop();
        for (Program& program : stage_->programs()) program.wake(true);
        const auto deadline = steady_clock::now() + plan_.patience;
        std::string left;
        int quiet = 0;
        while (quiet < 2) {
            if (steady_clock::now() > deadline) return left;
            const auto missing = stage_->start_missing();
            if (!missing.ok()) return missing.error().text;
            left = what_is_left();
            quiet = left.empty() ? quiet + 1 : 0;
            std::this_thread::sleep_for(milliseconds(50));
        }
        recorder_.add(broker_process, What::drained, Type::ok);
        return {};
    }

    std::string what_is_left() {
        const auto rows = producer_->left();
        if (!rows) return "the outbox cannot be read";
        if (*rows != 0) return std::to_string(*rows) + " rows are left in the outbox";
        const auto queue = client_->show_queue(plan_.queue);
        if (!queue.ok()) return "the broker does not tell: " + queue.error().text;
        const transport::QueueInfo& info = queue.value();
        if (info.ready + info.unacked + info.delayed + info.leaving == 0) return {};
        return std::to_string(info.ready) + " messages are ready, " + std::to_string(info.unacked) +
               " unacked, " + std::to_string(info.delayed) + " delayed, " +
               std::to_string(info.leaving) + " leaving";
    }

    Went end() {
        auto& programs = stage_->programs();
        // Whoever needs the broker first.
        for (auto program = programs.rbegin(); program != programs.rend(); ++program) {
            if (&*program == &stage_->broker()) client_.reset();
            program->stop(stop_patience);
        }
        auto ids = list_effects(plan_, stage_->environment(0), stage_->path("handler"));
        if (!ids.ok()) return Trouble{ids.error()};
        for (const std::uint64_t id : ids.value()) {
            recorder_.add(first_consumer_process, What::effect, Type::ok, id);
        }
        return Done{};
    }

    Outcome judge(Outcome outcome) {
        outcome.committed = producer_->committed();
        outcome.rolled_back = producer_->rolled_back();
        for (const Program& program : stage_->programs()) {
            outcome.programs.push_back(
                {program.name(), program.kills, program.pauses, program.ended_by_itself});
        }
        outcome.history = recorder_.take();
        history::Rules rules;
        rules.brokers = {broker_process};
        rules.effects_once = !plan_.at_least_once;
        outcome.report = history::check(outcome.history, rules);
        return outcome;
    }

    const Plan& plan_;
    SeededRandom random_;
    Recorder recorder_;
    std::unique_ptr<Stage> stage_;
    std::unique_ptr<Producer> producer_;
    std::unique_ptr<transport::Client> client_;
};

}  // namespace

ResultOr<Outcome, std::string> run(const Plan& plan) {
    catch_interrupts();
    return Run(plan).whole();
}

}  // namespace ferry::cli::chaos
