#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "call_store.hpp"
#include "ferry/saga/http_calls.hpp"
#include "metrics.hpp"
#include "runner.hpp"

namespace ferry::saga {

/// Makes the HTTP calls of sagas, off the path on which sagas change: it reads what the
/// transactions wrote, calls, and has each answer recorded in a transaction that also takes the
/// call off the table. A call whose answer was not recorded is made again, with the same key.
///
/// Threads   start() makes one; wake() and finished calls from any thread.
/// Blocking  Reads the database on its own thread and connection.
class HttpDesk : public std::enable_shared_from_this<HttpDesk> {
public:
    using Change = std::function<sqlite::Status(Runner& runner, std::uint64_t now_ms,
                                                const Runner::Publish& publish)>;
    using Done = std::function<void(const sqlite::Status& status)>;
    /// What the orchestrator gives. Called on the desk's thread.
    struct Host {
        std::function<void(Change run, Done done)> change;  // in one transaction, soon
        std::function<std::uint64_t()> fence;
        std::function<std::uint64_t()> now_ms;
        std::function<void(std::string_view)> say;
    };

    HttpDesk(std::string database, std::shared_ptr<HttpCalls> calls, Host host, Metrics& metrics);
    ~HttpDesk();
    HttpDesk(const HttpDesk&) = delete;
    HttpDesk& operator=(const HttpDesk&) = delete;

    sqlite::Status start();
    void stop();
    /// A transaction that wants calls was committed.
    void wake();

private:
    struct Finished {
        HttpCall call;
        /// Nothing: its time was over before it could be made.
        std::optional<HttpAnswer> answer;
        double seconds = 0;
        bool hopeless = false;  // the saga cannot take the answer: only the row goes
    };

    void work();
    sqlite::Status look();
    void begin(HttpCall call);
    void finished(Finished one);
    void record(Finished one);
    void recorded(std::shared_ptr<Finished> one, const sqlite::Status& status);
    void adopt_orphans();

    const std::string path_;
    std::shared_ptr<HttpCalls> calls_;
    const Host host_;
    Metrics& metrics_;

    // The desk's thread's.
    std::optional<sqlite::Database> database_;
    std::optional<CallStore> store_;
    std::uint64_t fence_ = 0;
    std::int64_t cursor_ = 0;
    std::chrono::steady_clock::time_point looked_around_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool woken_ = false;
    bool adopted_ = false;  // what lies before the cursor is ours as well
    bool stopping_ = false;
    std::set<std::int64_t> taken_;  // under way, or its answer is not recorded yet
    std::deque<Finished> answers_;  // to be recorded
    std::deque<Finished> put_off_;  // could not be recorded: again soon
    std::thread thread_;
};

}  // namespace ferry::saga
