#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/consumer/runtime.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/saga/definition.hpp"
#include "ferry/saga/http_calls.hpp"
#include "ferry/saga/status.hpp"
#include "ferry/sqlite/problem.hpp"

namespace ferry::saga {

struct OrchestratorOptions {
    std::string database;    // made by Orchestrator::init
    std::string name;        // of this process, unlike all others'; empty: a random one
    Duration lease{10'000};  // renewed at a third of it
    Duration retain{30LL * 24 * 3600 * 1000};  // of sagas that have ended; 0: for ever
    std::uint32_t batch = 512;                 // sagas changed in one transaction
    /// Makes the HTTP calls of definitions that have some, such as saga_http::curl_calls.
    std::shared_ptr<HttpCalls> http;
    std::function<void(std::string_view)> on_event;  // for the log; any thread, returns soon
    const Clock* clock = nullptr;                    // null: the system's
    Random* random = nullptr;  // null: the system's; else used by one thread at a time
};

struct Started {
    bool created = false;  // false: it had been started before, with the same input
    SagaState state = SagaState::running;
};

/// Totals since the start, but for what is now.
struct SagaFigures {
    std::uint64_t started = 0;
    std::uint64_t completed = 0;
    std::uint64_t compensated = 0;
    std::uint64_t parked = 0;
    std::uint64_t resent = 0;
    std::uint64_t ignored = 0;  // repeated and late answers
    std::uint64_t unknown = 0;  // answers for sagas that are not there
    std::uint64_t timers = 0;   // that were due
    std::uint64_t transactions = 0;
    std::uint64_t lease_losses = 0;
    bool member = false;  // holds a lease
};

struct SagaHealth {
    bool ok = true;
    std::string reason;
};

/// Runs sagas: a change of a saga, the command that it sends and the time that it waits for are one
/// transaction in one SQLite database; answers come through that database's inbox.
///
/// Several orchestrators may share a database. Each changes whatever its answers concern; due times
/// are divided among those whose lease lasts. One that was stopped beyond its lease finds itself
/// put out and changes nothing until it has joined again.
///
/// Threads   open() makes one; run() those of a consumer::Runtime. All calls from any thread.
/// Lifetime  `clock` and `random` outlive it. The destructor stops at once; what was under way is
///           done again by whoever comes next.
/// Blocking  On the disk and, for up to five seconds, on other writers of the file.
/// Time      Deadlines are wall-clock moments. While it runs, a jump of the wall clock is followed
///           by at most 100 ms in a second, so that it does not end sagas.
class Orchestrator {
public:
    /// Makes inbox, outbox and the tables of docs/saga.md in a new or existing database.
    static sqlite::Status init(const std::string& path);
    /// Errors    schema (run init), refused (an option), those of opening.
    static sqlite::Answer<std::unique_ptr<Orchestrator>> open(OrchestratorOptions options);
    ~Orchestrator();
    Orchestrator(const Orchestrator&) = delete;
    Orchestrator& operator=(const Orchestrator&) = delete;

    /// Stores a definition. New sagas take the newest version; running ones keep theirs.
    ///
    /// Errors    conflict: this version is stored and differs. refused: check()'s complaints,
    ///           those of check_together() with what is stored, or an HTTP call that this
    ///           orchestrator does not make.
    sqlite::Status add(const Definition& definition);
    /// Starts a saga; on disk when it returns. Calls from many threads share a commit. The same id
    /// with the same input again is no error and nothing happens.
    ///
    /// Errors    not_found (definition), conflict (the id is another saga's), refused (id, input;
    ///           the text says what).
    sqlite::Answer<Started> start(std::string_view definition, std::string_view id,
                                  std::string_view input_json, std::string_view traceparent = {});
    /// The same; `done` is called on the orchestrator's thread when it is on disk.
    void start_async(std::string definition, std::string id, std::string input_json,
                     std::function<void(const sqlite::Answer<Started>&)> done);
    /// Errors    not_found; conflict: nobody waits for it, it came before, or it is too late.
    sqlite::Status signal(std::string_view id, std::string_view name, std::string_view json);
    /// Errors    not_found; conflict: the saga is behind its pivot or has ended.
    sqlite::Status cancel(std::string_view id, std::string_view reason);

    /// The queue to which participants answer. It must exist before run().
    [[nodiscard]] const std::string& queue() const;
    /// Takes answers from `source`, which reads queue().
    ///
    /// Errors    as consumer::Runtime::start_batched.
    Status run(std::unique_ptr<consumer::Source> source);
    /// Ends run(): what is under way is finished, the lease is given back.
    Status stop(Duration timeout);

    [[nodiscard]] SagaFigures figures() const;
    [[nodiscard]] SagaHealth health() const;
    /// Prometheus text format, of inbox and runtime too. docs/saga.md lists the names.
    [[nodiscard]] std::string metrics() const;

private:
    struct Impl;
    explicit Orchestrator(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::saga
