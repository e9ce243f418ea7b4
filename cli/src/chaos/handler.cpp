#include "chaos/handler.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"

namespace ferry::cli::chaos {
namespace {

using consumer::Duration;
using consumer::Effects;
using consumer::Handled;
using consumer::Incoming;

/// What a mistaken handler is slow with, so that a kill finds it in between.
constexpr std::chrono::milliseconds mistake_time{30};
constexpr Duration connect_patience{30'000};

void say(std::string_view text) {
    std::fprintf(stderr, "ferry chaos handler: %.*s\n", static_cast<int>(text.size()), text.data());
}

/// Effects without an inbox: rows of their own transactions.
class Careless {
public:
    explicit Careless(sqlite::Database db) : db_(std::move(db)) {}

    bool write(std::string_view id) {
        const std::lock_guard lock(mutex_);
        auto row = db_.prepare("INSERT INTO effect(id) VALUES(CAST(?1 AS INTEGER))");
        return row.ok() && row.value().bind(1, id).run().ok();
    }

private:
    std::mutex mutex_;
    sqlite::Database db_;
};

/// Writes what it was given a little later, as one who acks first does.
class Later {
public:
    explicit Later(Careless& effects) : effects_(effects), thread_([this] { run(); }) {}
    ~Later() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }
    Later(const Later&) = delete;
    Later& operator=(const Later&) = delete;

    void add(std::string id) {
        const std::lock_guard lock(mutex_);
        waiting_.emplace_back(std::chrono::steady_clock::now() + mistake_time, std::move(id));
        changed_.notify_one();
    }

private:
    void run() {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            const auto [when, id] = waiting_.front();
            waiting_.pop_front();
            lock.unlock();
            std::this_thread::sleep_until(when);
            while (!effects_.write(id)) say("the effect could not be written: trying again");
            lock.lock();
        }
    }

    Careless& effects_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::pair<std::chrono::steady_clock::time_point, std::string>> waiting_;
    bool ending_ = false;
    std::thread thread_;
};

/// Makes the tables; several handlers may do so at once. Empty, or what is wrong.
std::string make_tables(const std::string& database) {
    if (auto made = consumer::Inbox::init(database); !made.ok()) return made.error().text;
    auto db = sqlite::Database::open(database, sqlite::Database::Access::read_write);
    if (!db.ok()) return db.error().text;
    auto made = db.value().run("CREATE TABLE IF NOT EXISTS effect(id INTEGER)");
    return made.ok() ? std::string() : made.error().text;
}

consumer::Handler mistaken(Mistake mistake, Careless& effects, Later& later) {
    if (mistake == Mistake::ack_first) {
        return [&later](const Incoming& message) {
            later.add(std::string(message.payload()));
            return Handled::done();
        };
    }
    return [&effects](const Incoming& message) {
        if (!effects.write(message.payload())) return Handled::retry("the database is busy");
        std::this_thread::sleep_for(mistake_time);
        return Handled::done();
    };
}

int run_until_told(std::unique_ptr<consumer::Source> source, consumer::Handler handler,
                   consumer::RuntimeOptions options) {
    auto runtime =
        consumer::Runtime::start(std::move(source), std::move(handler), std::move(options));
    if (!runtime.ok()) return fail(runtime.error(), "starting the handler");
    while (!interrupted() && !runtime.value()->ended()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    const bool by_itself = !interrupted();
    runtime.value()->stop(Duration(5000)).ignore("the destructor waits for what still runs");
    return by_itself ? exit_unreachable : exit_done;
}

}  // namespace

int handle(const Context& context, const std::string& queue, const std::string& database,
           std::chrono::milliseconds lease, Mistake mistake) {
    catch_interrupts();
    if (const std::string wrong = make_tables(database); !wrong.empty()) {
        return fail(exit_refused, wrong);
    }
    consumer::BrokerSourceOptions from;
    from.queue = queue;
    from.prefetch = 64;
    from.lease = lease;
    auto source = consumer::open_source(context.url, "chaos", from, connect_patience);
    if (!source.ok()) return fail(source.error());
    consumer::RuntimeOptions options;
    options.name = "chaos";
    options.lease = lease;
    options.retry.first = Duration(5);
    options.retry.cap = Duration(50);
    options.retry.attempts_max = options.retry.deliveries_max = 1'000'000;
    options.on_event = say;
    if (mistake != Mistake::none) {
        auto db = sqlite::Database::open(database, sqlite::Database::Access::read_write);
        if (!db.ok()) return fail(exit_refused, db.error().text);
        Careless effects(std::move(db).value());
        Later later(effects);
        return run_until_told(std::move(source).value(), mistaken(mistake, effects, later),
                              std::move(options));
    }
    consumer::InboxOptions inbox_options;
    inbox_options.consumer = "chaos";
    inbox_options.outgoing = false;
    auto inbox = consumer::Inbox::open(database, inbox_options);
    if (!inbox.ok()) return fail(exit_refused, inbox.error().text);
    options.inbox = inbox.value().get();
    const auto effect = [](Effects& effects) {
        effects.run("INSERT INTO effect(id) VALUES(CAST(?1 AS INTEGER))",
                    effects.message().payload());
        return Handled::done();
    };
    return run_until_told(
        std::move(source).value(),
        [&](const Incoming& message) { return inbox.value()->apply(message, effect); },
        std::move(options));
}

}  // namespace ferry::cli::chaos
