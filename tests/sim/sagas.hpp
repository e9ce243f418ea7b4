#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "ferry/saga/participant.hpp"
#include "machine.hpp"
#include "saga/src/runner.hpp"
#include "saga/src/steady_wall.hpp"

namespace ferry::simulation {

/// What all sagas of a run are made from.
[[nodiscard]] saga::Definition draw_saga(const Swarm& swarm);

/// A machine with an orchestrator: the real store, state machine and runner of sagas, in the
/// transactions of its inbox and its own. (The real one's threads are not in it.)
class SagaHost final : public Machine {
public:
    SagaHost(Stage& stage, SqliteDisks& disks, std::uint32_t number, saga::Definition definition);

    void heal() override;
    [[nodiscard]] std::string unrest() override;
    [[nodiscard]] std::string verify() override { return {}; }

private:
    enum class Fate : std::uint8_t { unsure, begun, rolled_back };
    struct Saga {
        Fate fate = Fate::unsure;
        std::optional<saga::SagaState> end;  // noted
    };

    [[nodiscard]] const char* tables() const override { return ""; }
    std::string prepare(const sqlite::Database& database) override;
    [[nodiscard]] consumer::InboxOptions inbox() const override;
    void look_back() override;
    void go_on() override;
    void closing() override;
    bool handle(const Received& message) override;

    /// In a transaction of its own, as a member with a lease. Empty, or what is wrong.
    std::string change(const std::function<sqlite::Status(std::uint64_t now_ms)>& what);
    sqlite::Status stay_member(std::uint64_t now_ms);
    consumer::Handled reply(consumer::Effects& effects);
    void begin();
    void tick();
    void retry_in(std::uint64_t number);
    saga::Runner::Publish publish();
    void look_for_end(std::uint64_t number);
    void note(std::uint64_t number, history::Type type, history::What what, std::uint32_t end = 0);

    const saga::Definition definition_;
    std::map<std::uint64_t, Saga> sagas_;
    std::uint64_t made_ = 0;
    std::uint64_t most_;
    std::set<std::uint64_t> parked_;
    std::uint64_t fence_ = 0;
    std::optional<saga::SteadyWall> wall_;
    std::unique_ptr<saga::Store> store_;  // on the application's connection
    std::unique_ptr<saga::Runner> runner_;
    std::unique_ptr<saga::Store> reply_store_;  // on the inbox's
    std::unique_ptr<saga::Runner> reply_runner_;
    SeededRandom dice_;
};

/// A machine with a participant behind the real barrier: does steps and undoes them, refuses some,
/// puts some off. What it has done is counted from its database.
class SagaWorker final : public Machine {
public:
    SagaWorker(Stage& stage, SqliteDisks& disks, std::uint32_t number, std::uint32_t queue,
               const saga::Definition& definition);

    void heal() override { cut_soon_ = false; }
    [[nodiscard]] std::string unrest() override { return unsent(); }
    [[nodiscard]] std::string verify() override { return {}; }

private:
    [[nodiscard]] const char* tables() const override;
    std::string prepare(const sqlite::Database& database) override;
    [[nodiscard]] consumer::InboxOptions inbox() const override;
    void look_back() override { note_effects(); }
    void go_on() override {}
    void closing() override { participant_.reset(); }
    bool handle(const Received& message) override;
    saga::Said act(saga::Call& call, bool undo);
    void note_effects();

    std::unique_ptr<saga::Participant> participant_;
    const bool together_;     // the first two steps run at the same time
    std::int64_t noted_ = 0;  // the last effect that stands in the notes
};

}  // namespace ferry::simulation
