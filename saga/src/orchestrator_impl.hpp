#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/saga/orchestrator.hpp"
#include "http_desk.hpp"
#include "metrics.hpp"
#include "runner.hpp"
#include "steady_wall.hpp"

namespace ferry::saga {

struct Orchestrator::Impl {
    /// One change that somebody asked for. Runs in a savepoint of its own.
    struct Job {
        std::function<sqlite::Status(Runner& runner, std::uint64_t now_ms,
                                     const Runner::Publish& publish)>
            run;
        std::function<void(const sqlite::Status& status)> done;
    };

    explicit Impl(OrchestratorOptions given);
    ~Impl();

    sqlite::Status open();
    sqlite::Status ask(Job job);
    void post(Job job);
    sqlite::Status open_desk();
    /// Behind a commit: there may be calls to make.
    void committed_calls(Store& of) {
        if (of.calls().take_added() && desk) desk->wake();
    }
    /// Whose the calls are that this process writes.
    [[nodiscard]] const std::atomic<std::uint64_t>* caller() const {
        return options.http ? &fence : nullptr;
    }

    // ---- the worker's thread ----
    void work();
    void turn(std::deque<Job>& jobs);
    void run_jobs(std::deque<Job>& jobs);
    sqlite::Status do_jobs(std::deque<Job>& jobs, std::vector<sqlite::Status>& results,
                           std::uint64_t now_ms);
    struct Lease {
        std::uint64_t fence = 0;
        std::uint64_t renewed_ms = 0;
        Store::Rank rank;
    };
    sqlite::Answer<bool> do_together(std::deque<Job>& jobs, std::vector<sqlite::Status>& results,
                                     std::uint64_t now_ms);
    sqlite::Status tend(std::uint64_t now_ms);
    /// How many were due.
    sqlite::Answer<std::size_t> run_timers(std::uint64_t now_ms);
    sqlite::Status membership(std::uint64_t now_ms);
    sqlite::Status catch_up();
    sqlite::Status one_timer(const Store::Due& due, std::uint64_t now_ms);
    void put_aside(const Store::Due& due, const sqlite::Problem& why, std::uint64_t now_ms);

    // ---- the runtime's threads ----
    consumer::Handled incoming(consumer::Effects& effects);
    consumer::Handled dispatch(consumer::Effects& effects, std::uint64_t now_ms);
    void committed(std::span<const consumer::Handled> all);
    sqlite::Status prepare_replies(const consumer::Effects& effects);

    void say(std::string_view line) const {
        if (options.on_event) options.on_event(line);
    }
    /// Who this process is, as all transactions check.
    sqlite::Answer<bool> still_member(Store& of) {
        if (FERRY_PLANTED("saga-lost-lease-not-noticed")) return true;
        return of.is_member(options.name, fence.load());
    }

    OrchestratorOptions options;
    const Clock& clock;
    SteadyWall wall;
    Metrics metrics;
    std::string queue;
    std::atomic<std::uint64_t> fence{0};

    /// Both connections write: one of them at a time, so that neither sleeps in SQLite's busy
    /// handler while the other has just finished.
    std::mutex writing;

    // Of the worker's connection.
    std::optional<outbox::Outbox> outbox;
    std::unique_ptr<Store> store;
    std::unique_ptr<Runner> runner;
    BufferedRandom dice;
    Runner::Publish publish;
    std::uint64_t renewed_ms = 0;
    std::uint64_t tended_ms = 0;
    Store::Rank rank;

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Job> jobs;
    bool stopping = false;
    std::thread worker;

    // Of the inbox's connection, within its transactions.
    std::unique_ptr<consumer::Inbox> inbox;
    std::unique_ptr<Store> reply_store;
    std::unique_ptr<Runner> reply_runner;
    BufferedRandom reply_dice;
    bool member_checked = false;  // in the transaction that is open
    // Of the batch under way: what the messages with these places in it did.
    std::span<const consumer::Incoming> batch;
    std::size_t next_place = 0;
    std::vector<std::pair<std::size_t, Tally::Entry>> uncommitted;
    std::unique_ptr<consumer::Runtime> runtime;

    std::shared_ptr<HttpDesk> desk;  // null: no HTTP calls are made
};

}  // namespace ferry::saga
