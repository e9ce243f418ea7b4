#include <algorithm>
#include <chrono>

#include "orchestrator_impl.hpp"

// The worker's thread: starts and other requests, many to a commit; due times; the lease.

namespace ferry::saga {
namespace {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

/// Other processes set times too, and tell nobody.
constexpr std::chrono::milliseconds look_again{200};
constexpr std::uint64_t tend_every_ms = 10'000;
constexpr std::uint32_t purge_rows = 500;
/// A saga that cannot be read is looked at again after so long, so that others are not held up.
constexpr std::uint64_t put_aside_ms = 60'000;
// A clock that is behind by less is one that is kept right.
constexpr std::uint64_t worth_telling_ms = 10'000;

}  // namespace

Orchestrator::Impl::Impl(OrchestratorOptions given)
    : options(std::move(given)),
      clock(options.clock == nullptr ? system_clock() : *options.clock),
      wall(clock) {}

Orchestrator::Impl::~Impl() {
    runtime.reset();
    if (desk) desk->stop();
    {
        const std::scoped_lock lock(mutex);
        stopping = true;
    }
    changed.notify_all();
    if (worker.joinable()) worker.join();
    reply_runner.reset();
    reply_store.reset();
    inbox.reset();
}

Status Orchestrator::Impl::open() {
    auto opened = outbox::Outbox::open(options.database);
    if (!opened.ok()) return opened.error();
    outbox.emplace(std::move(opened).value());
    auto made = Store::open(outbox->database());
    if (!made.ok()) return made.error();
    store = std::move(made).value();
    if (auto trusted = store->trust_own_rows(); !trusted.ok()) return trusted;
    auto name = store->queue();
    if (!name.ok()) return name.error();
    queue = name.value();
    Random& random = options.random == nullptr ? dice : *options.random;
    runner = std::make_unique<Runner>(*store, queue, random, caller());
    publish = [this](const outbox::Message& message) {
        auto stored = outbox->enqueue(message);
        return stored.ok() ? sqlite::ok_status() : Status(stored.error());
    };
    consumer::InboxOptions inbox_options;
    inbox_options.consumer = "saga";
    // The state machine knows a repeated answer by itself.
    inbox_options.no_id = consumer::NoId::position;
    inbox_options.repeatable = true;
    inbox_options.on_event = options.on_event;
    inbox_options.busy_timeout = std::chrono::milliseconds(5'000);
    auto made_inbox = consumer::Inbox::open(options.database, std::move(inbox_options));
    if (!made_inbox.ok()) return made_inbox.error();
    inbox = std::move(made_inbox).value();
    auto transaction = sqlite::Transaction::begin(outbox->database());
    if (!transaction.ok()) return transaction.error();
    if (auto caught_up = catch_up(); !caught_up.ok()) return caught_up;
    if (auto joined = membership(wall.now_ms()); !joined.ok()) return joined;
    if (auto committed = transaction.value().commit(); !committed.ok()) return committed;
    worker = std::thread([this] { work(); });
    return open_desk();
}

Status Orchestrator::Impl::open_desk() {
    if (!options.http) return sqlite::ok_status();
    HttpDesk::Host host;
    host.change = [this](HttpDesk::Change run, HttpDesk::Done done) {
        post({std::move(run), std::move(done)});
    };
    host.fence = [this] { return fence.load(); };
    host.now_ms = [this] { return wall.now_ms(); };
    host.say = [this](std::string_view line) { say(line); };
    desk = std::make_shared<HttpDesk>(options.database, options.http, std::move(host), metrics);
    return desk->start();
}

void Orchestrator::Impl::post(Job job) {
    {
        const std::scoped_lock lock(mutex);
        if (!stopping) {
            jobs.push_back(std::move(job));
            job.done = nullptr;
        }
    }
    if (job.done) job.done(Problem{Kind::failed, 0, "the orchestrator is stopping"});
    changed.notify_one();
}

Status Orchestrator::Impl::ask(Job job) {
    std::promise<Status> promise;
    auto answer = promise.get_future();
    job.done = [&promise](const Status& status) { promise.set_value(status); };
    post(std::move(job));
    return answer.get();
}

void Orchestrator::Impl::work() {
    for (;;) {
        std::deque<Job> taken;
        bool last = false;
        {
            std::unique_lock lock(mutex);
            changed.wait_for(lock, look_again, [this] { return stopping || !jobs.empty(); });
            last = stopping;
            while (!jobs.empty() && taken.size() < options.batch) {
                taken.push_back(std::move(jobs.front()));
                jobs.pop_front();
            }
        }
        if (!taken.empty()) run_jobs(taken);
        if (last) break;
        const std::uint64_t now_ms = wall.now_ms();
        if (auto tended = tend(now_ms); !tended.ok()) {
            say("sagas wait: " + tended.error().text);
            metrics.member(false);
        }
        for (;;) {
            auto due = run_timers(wall.now_ms());
            if (!due.ok()) say("timers wait: " + due.error().text);
            if (!due.ok() || due.value() < options.batch) break;
            const std::scoped_lock lock(mutex);
            if (stopping || !jobs.empty()) break;
        }
    }
    std::deque<Job> rest;
    {
        const std::scoped_lock lock(mutex);
        rest.swap(jobs);
    }
    if (!rest.empty()) run_jobs(rest);
    const std::scoped_lock lock(writing);
    store->leave(options.name, fence.load()).ignore("the lease ends by itself");
    metrics.member(false);
}

// ---- requests ----

void Orchestrator::Impl::run_jobs(std::deque<Job>& taken) {
    std::vector<Status> results;
    Status done = sqlite::ok_status();
    {
        const std::scoped_lock lock(writing);
        done = do_jobs(taken, results, wall.now_ms());
    }
    const Tally tally = runner->take_tally();
    if (done.ok()) {
        metrics.add(tally);
        metrics.transaction();
        committed_calls(*store);
    }
    for (std::size_t i = 0; i < taken.size(); ++i) {
        if (taken[i].done) taken[i].done(done.ok() ? results[i] : done);
    }
}

Status Orchestrator::Impl::do_jobs(std::deque<Job>& taken, std::vector<Status>& results,
                                   std::uint64_t now_ms) {
    auto whole = do_together(taken, results, now_ms);
    if (!whole.ok()) return whole.error();
    if (whole.value()) return sqlite::ok_status();
    results.clear();
    runner->forget_behind(0);
    auto transaction = sqlite::Transaction::begin(store->database());
    if (!transaction.ok()) return transaction.error();
    if (auto member = membership(now_ms); !member.ok()) return member;
    for (Job& job : taken) {
        auto step = store->point();
        if (!step.ok()) return step.error();
        const std::size_t counted = runner->counted();
        Status result = job.run(*runner, now_ms, publish);
        if (!result.ok()) runner->forget_behind(counted);
        // What can be neither kept nor undone alone is undone with all the others.
        const Status ended = result.ok() ? step.value().release() : step.value().undo();
        if (!ended.ok()) return ended;
        results.push_back(std::move(result));
    }
    return transaction.value().commit();
}

/// Without savepoints: one for each job costs as much as several statements, and most that fail
/// have written nothing before. False: one had, so nothing is kept of any.
sqlite::Answer<bool> Orchestrator::Impl::do_together(std::deque<Job>& taken,
                                                     std::vector<Status>& results,
                                                     std::uint64_t now_ms) {
    const sqlite::Database& database = store->database();
    const Lease lease_before{fence, renewed_ms, rank};
    auto transaction = sqlite::Transaction::begin(database);
    if (!transaction.ok()) return transaction.error();
    if (auto member = membership(now_ms); !member.ok()) return member.error();
    for (Job& job : taken) {
        const std::int64_t changes = database.changes_in_all();
        const std::size_t counted = runner->counted();
        results.push_back(job.run(*runner, now_ms, publish));
        if (results.back().ok()) continue;
        runner->forget_behind(counted);
        if (database.in_transaction() && database.changes_in_all() == changes) continue;
        transaction.value().rollback();
        // A membership that was new with it is none.
        fence = lease_before.fence;
        renewed_ms = lease_before.renewed_ms;
        rank = lease_before.rank;
        return false;
    }
    if (auto done = transaction.value().commit(); !done.ok()) return done.error();
    return true;
}

// ---- the lease ----

Status Orchestrator::Impl::membership(std::uint64_t now_ms) {
    const std::uint64_t until = now_ms + static_cast<std::uint64_t>(options.lease.count());
    const bool fresh =
        fence != 0 && now_ms < renewed_ms + static_cast<std::uint64_t>(options.lease.count()) / 3;
    auto mine = fence == 0 ? sqlite::Answer<bool>(false)
                : fresh    ? still_member(*store)
                           : store->renew(options.name, fence, now_ms, until);
    if (!mine.ok()) return mine.error();
    if (!mine.value()) {
        if (fence != 0) {
            metrics.lease_lost();
            say("the lease was lost: this orchestrator was stopped for too long, and joins again");
        }
        auto joined = store->join(options.name, now_ms, until);
        if (!joined.ok()) return joined.error();
        fence = joined.value();
    }
    if (!mine.value() || !fresh) {
        renewed_ms = now_ms;
        auto found = store->rank_of(options.name);
        if (!found.ok()) return found.error();
        rank = found.value();
        if (auto caught_up = catch_up(); !caught_up.ok()) return caught_up;
    }
    metrics.member(true);
    return sqlite::ok_status();
}

/// All orchestrators of a database count from the latest time that one of them has noted, also
/// one that has ended: what it noted for later would wait until the wall clock comes there, and
/// those behind would hold its lease to last.
Status Orchestrator::Impl::catch_up() {
    auto latest = store->latest_ms();
    if (!latest.ok()) return latest.error();
    const std::uint64_t now_ms = wall.now_ms();
    if (latest.value() > now_ms + worth_telling_ms) {
        say("the wall clock is " + std::to_string((latest.value() - now_ms) / 1000) +
            " s behind the time that these sagas have reached; they go on from there");
    }
    wall.at_least(latest.value());
    return sqlite::ok_status();
}

Status Orchestrator::Impl::tend(std::uint64_t now_ms) {
    const bool renew = now_ms >= renewed_ms + static_cast<std::uint64_t>(options.lease.count()) / 3;
    const bool purge = options.retain.count() > 0 && now_ms >= tended_ms + tend_every_ms;
    if (!renew && !purge) return sqlite::ok_status();
    const std::scoped_lock lock(writing);
    auto transaction = sqlite::Transaction::begin(store->database());
    if (!transaction.ok()) return transaction.error();
    if (auto member = membership(now_ms); !member.ok()) {
        renewed_ms = 0;
        return member;
    }
    if (purge) {
        const auto keep = static_cast<std::uint64_t>(options.retain.count());
        auto gone = store->purge(now_ms > keep ? now_ms - keep : 0, purge_rows);
        if (!gone.ok()) return gone.error();
        // More wait: go on soon.
        tended_ms = gone.value() == purge_rows ? 0 : now_ms;
    }
    return transaction.value().commit();
}

// ---- due times ----

sqlite::Answer<std::size_t> Orchestrator::Impl::run_timers(std::uint64_t now_ms) {
    auto next = store->next_due();
    if (!next.ok()) return next.error();
    if (next.value() == 0 || next.value() > now_ms) return std::size_t{0};
    const std::scoped_lock lock(writing);
    auto transaction = sqlite::Transaction::begin(store->database());
    if (!transaction.ok()) return transaction.error();
    if (auto member = membership(now_ms); !member.ok()) return member.error();
    auto due = store->due(now_ms, rank.rank, rank.members, options.batch);
    if (!due.ok()) return due.error();
    for (const Store::Due& one : due.value()) {
        auto done = one_timer(one, now_ms);
        if (!done.ok()) return done.error();
    }
    if (auto committed = transaction.value().commit(); !committed.ok()) return committed.error();
    metrics.add(runner->take_tally());
    metrics.timers(due.value().size());
    metrics.transaction();
    committed_calls(*store);
    return due.value().size();
}

Status Orchestrator::Impl::one_timer(const Store::Due& due, std::uint64_t now_ms) {
    auto step = store->point();
    if (!step.ok()) return step.error();
    auto done = runner->tick(due, now_ms, publish);
    if (done.ok()) return step.value().release();
    const bool its_own = done.error().kind == Kind::corrupt || done.error().kind == Kind::refused;
    if (!its_own) return done;
    if (auto undone = step.value().undo(); !undone.ok()) return undone;
    put_aside(due, done.error(), now_ms);
    return sqlite::ok_status();
}

void Orchestrator::Impl::put_aside(const Store::Due& due, const Problem& why,
                                   std::uint64_t now_ms) {
    say("saga " + due.id + " cannot go on: " + why.text);
    auto later = store->database().prepare("UPDATE ferry_saga SET due_ms = ?2 WHERE id = ?1");
    if (!later.ok()) return;
    later.value()
        .bind(1, std::string_view(due.id))
        .bind(2, now_ms + put_aside_ms)
        .run()
        .ignore("it is looked at again at once then");
}

}  // namespace ferry::saga
