#include "ferry/consumer/runtime.hpp"
#include "ferry/platform/fault_point.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "backoff.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/assert.hpp"
#include "ferry/platform/clock.hpp"
#include "lanes.hpp"
#include "metrics.hpp"

// One consumer's machine room.
//
//   receiver   source.next() -> lanes
//   workers    lanes -> handler -> lanes; what is done goes to the acker
//   acker      settles what gathered while it settled the lot before
//   keeper     wakes delayed lanes, extends leases, tends the inbox
//
// One mutex guards everything but the source, the inbox and the handlers, which are called without
// it. An effect may be there without its ack at any crash: the message comes again and the inbox
// knows it.

namespace ferry::consumer {
namespace {

using Clock = std::chrono::steady_clock;
using transport::DeliveryTag;

constexpr Duration receive_wait{250};
constexpr Duration keeper_wait{250};
constexpr Duration tend_every{1'000};
constexpr Duration settle_pause{50};  // after a settle that failed
constexpr std::uint64_t ns_per_ms = 1'000'000;

Instant instant_of(Clock::time_point moment) {
    return Instant{static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch()).count())};
}
Instant later_by(Instant from, Duration wait) {
    return Instant{from.ns + static_cast<std::uint64_t>(wait.count()) * ns_per_ms};
}

/// A done message on its way to its ack.
struct ToSettle {
    DeliveryTag tag;
    std::string id;
};

}  // namespace

struct Runtime::Impl {
    Impl(std::unique_ptr<Source> from, BatchHandler with, RuntimeOptions chosen)
        : source(std::move(from)),
          handler(std::move(with)),
          options(std::move(chosen)),
          metrics(options.name),
          progress(Clock::now()) {}

    void run();
    void receive();
    void accept(transport::Received received);
    void work();
    void handle(std::vector<Lanes::Work>& works);
    void decide(Lanes::Work& work, Handled& handled, std::vector<Lanes::Verdict>& verdicts);
    void bury(Lanes::Work& work);
    void finish_lanes(const std::vector<Lanes::Work>& works,
                      const std::vector<Lanes::Verdict>& verdicts);
    void observe(const std::vector<Lanes::Work>& works, Clock::time_point began);
    void settle();
    void settle_some(std::vector<ToSettle>& some);
    void keep();
    void extend_leases();
    void tend_inbox();
    void end(std::string reason);
    void say(std::string_view text) const {
        if (options.on_event) options.on_event(text);
    }
    Status stop(Duration timeout);
    void join();
    Health health_locked() const;
    std::uint64_t dice() {
        return options.random != nullptr ? options.random->next() : system_random().next();
    }

    const std::unique_ptr<Source> source;
    const BatchHandler handler;
    const RuntimeOptions options;
    Metrics metrics;

    mutable std::mutex mutex;
    std::condition_variable work_ready;    // workers
    std::condition_variable ack_ready;     // acker
    std::condition_variable keeper_ready;  // keeper
    std::condition_variable quiet;         // stop()
    Lanes lanes;
    std::vector<ToSettle> to_settle;
    bool settling = false;
    bool stopping = false;  // nothing new begins
    bool leaving = false;   // threads end
    bool has_ended = false;
    bool receiving = true;
    std::string end_reason;
    std::uint64_t generation = 0;
    Clock::time_point progress;
    Figures figures;
    std::vector<std::thread> threads;
};

void Runtime::Impl::run() {
    threads.emplace_back([this] { receive(); });
    threads.emplace_back([this] { settle(); });
    threads.emplace_back([this] { keep(); });
    for (std::uint32_t i = 0; i < options.threads; ++i) threads.emplace_back([this] { work(); });
}

// ---- receiver ----

void Runtime::Impl::receive() {
    for (;;) {
        {
            const std::scoped_lock lock(mutex);
            if (stopping || has_ended) break;
        }
        auto received = source->next(receive_wait);
        if (received.ok()) {
            accept(std::move(received).value());
        } else if (received.error().code != Errc::would_block) {
            end("the source has ended: " + std::string(received.error().what));
            break;
        }
    }
    const std::scoped_lock lock(mutex);
    receiving = false;
    quiet.notify_all();
}

void Runtime::Impl::accept(transport::Received received) {
    const transport::Received copy = received;
    auto message = read_incoming(std::move(received));
    std::string poison;
    Incoming incoming = message.ok() ? std::move(message).value() : Incoming(copy, {});
    if (!message.ok()) {
        poison = message.error().what;
    } else if (incoming.delivery().attempt > options.retry.deliveries_max) {
        poison = "delivered " + std::to_string(incoming.delivery().attempt) +
                 " times without an end; its handler may be what ends the process";
    }
    const std::scoped_lock lock(mutex);
    if (stopping)
        return;  // it was received after the waiting ones were given back: close() does it
    if (incoming.delivery().tag.generation > generation) {
        generation = incoming.delivery().tag.generation;
        lanes.drop_before(generation);
    }
    ++figures.received;
    if (!lanes.push(std::move(incoming), std::move(poison))) ++figures.redelivered_while_held;
    work_ready.notify_one();
}

// ---- workers ----

void Runtime::Impl::work() {
    for (;;) {
        std::vector<Lanes::Work> works;
        {
            std::unique_lock lock(mutex);
            work_ready.wait(lock, [this] { return leaving || (!stopping && lanes.any_ready()); });
            if (leaving) return;
            works = lanes.take(instant_of(Clock::now()), options.batch);
        }
        if (works.empty()) continue;
        if (works.front().held->poison) {
            bury(works.front());
        } else {
            handle(works);
        }
    }
}

void Runtime::Impl::handle(std::vector<Lanes::Work>& works) {
    std::vector<Incoming> messages;
    messages.reserve(works.size());
    for (const Lanes::Work& one : works) {
        // A copy: a redelivery may exchange the held one's tag while the handler reads.
        const std::scoped_lock lock(mutex);
        messages.push_back(one.held->message);
        messages.back().set_failures(one.held->failures);
    }
    std::vector<Handled> handled(works.size());
    const auto began = Clock::now();
    const auto fail_all = [&](const std::string& why) {
        std::fill(handled.begin(), handled.end(), Handled::retry("the handler threw: " + why));
    };
    try {
        handler(messages, handled);
    } catch (const std::exception& error) {
        fail_all(error.what());
    } catch (...) {
        fail_all("something that is no std::exception");
    }
    observe(works, began);
    for (std::size_t i = 0; i < works.size(); ++i) {
        if (handled[i].kind != Handled::Kind::done) continue;
        const std::uint64_t published = messages[i].properties().published_at_ms;
        const std::uint64_t now = system_clock().now().wall_ms;
        if (published != 0 && now >= published) {
            metrics.observe_commit_to_effect(static_cast<double>(now - published) / 1000.0);
        }
    }
    std::vector<Lanes::Verdict> verdicts;
    verdicts.reserve(works.size());
    const std::scoped_lock lock(mutex);
    for (std::size_t i = 0; i < works.size(); ++i) decide(works[i], handled[i], verdicts);
    finish_lanes(works, verdicts);
}

void Runtime::Impl::observe(const std::vector<Lanes::Work>& works, Clock::time_point began) {
    const std::chrono::duration<double> took = Clock::now() - began;
    metrics.observe_handler(took.count() / static_cast<double>(works.size()));
}

void Runtime::Impl::decide(Lanes::Work& work, Handled& handled,
                           std::vector<Lanes::Verdict>& verdicts) {
    Held& held = *work.held;
    const Instant now = instant_of(Clock::now());
    const RetryPolicy& retry = options.retry;
    if (handled.reason.size() > limits::reason_bytes_max) {
        handled.reason.resize(limits::reason_bytes_max);
    }
    switch (handled.kind) {
        case Handled::Kind::done:
            to_settle.push_back({held.message.delivery().tag, held.message.id()});
            ack_ready.notify_one();
            progress = Clock::now();
            ++figures.done;
            verdicts.push_back({&held, true, now});
            return;
        case Handled::Kind::later: {
            ++held.delays;
            ++figures.later;
            const Duration wait =
                handled.after.count() > 0
                    ? handled.after
                    : backoff(retry.later_first, retry.later_cap, held.delays, dice());
            verdicts.push_back({&held, false, later_by(now, wait)});
            break;
        }
        case Handled::Kind::retry: {
            ++held.failures;
            ++figures.retried;
            held.delays = 0;
            const std::uint64_t attempts = held.message.delivery().attempt + held.failures - 1;
            if (attempts >= retry.attempts_max) {
                held.poison = true;
                held.poison_reason = handled.reason;
                verdicts.push_back({&held, false, now});
                break;
            }
            const Duration wait = handled.after.count() > 0
                                      ? handled.after
                                      : backoff(retry.first, retry.cap, attempts, dice());
            // Nobody waits behind a message without a key: it waits at the broker, takes no place
            // of the window, and has its attempts counted there.
            const bool away = held.message.properties().ordering_key.empty() && !stopping &&
                              source->give_back(held.message.delivery().tag, wait).ok();
            verdicts.push_back({&held, away, later_by(now, wait)});
            break;
        }
        case Handled::Kind::poison:
            ++held.failures;
            held.poison = true;
            held.poison_reason = handled.reason;
            verdicts.push_back({&held, false, now});
            break;
    }
}

void Runtime::Impl::finish_lanes(const std::vector<Lanes::Work>& works,
                                 const std::vector<Lanes::Verdict>& verdicts) {
    for (std::size_t first = 0; first < works.size();) {
        std::size_t end_of_lane = first;
        while (end_of_lane < works.size() && works[end_of_lane].lane == works[first].lane) {
            ++end_of_lane;
        }
        lanes.finish(works[first].lane,
                     {verdicts.begin() + static_cast<std::ptrdiff_t>(first),
                      verdicts.begin() + static_cast<std::ptrdiff_t>(end_of_lane)});
        first = end_of_lane;
    }
    if (lanes.any_ready()) work_ready.notify_one();
    keeper_ready.notify_one();
    quiet.notify_all();
}

void Runtime::Impl::bury(Lanes::Work& work) {
    Incoming message;
    std::string reason;
    {
        const std::scoped_lock lock(mutex);
        message = work.held->message;
        message.set_failures(work.held->failures);
        reason = work.held->poison_reason;
    }
    const Status buried = source->dead_letter(message, reason);
    const std::string name = message.id().empty()
                                 ? "at position " + std::to_string(message.delivery().position)
                                 : message.id();
    if (buried.ok()) {
        say("message " + name + " went to the dead letters: " + reason);
    } else {
        say("message " + name + " cannot go to the dead letters (" +
            std::string(buried.error().what) + "), trying again: " + reason);
    }
    if (buried.ok() && options.inbox != nullptr) {
        const std::string id = message.id();
        // A handler that failed says that it was not applied. Given up unseen it may have been, and
        // must stay known when it is sent back.
        const bool seen = message.attempt() > message.delivery().attempt;
        seen ? options.inbox->settled({&id, 1}) : options.inbox->unsettled({&id, 1});
    }
    const Instant now = instant_of(Clock::now());
    const std::scoped_lock lock(mutex);
    Held& held = *work.held;
    std::vector<Lanes::Verdict> verdicts;
    if (buried.ok()) {
        ++figures.dead_lettered;
        progress = Clock::now();
        verdicts.push_back({&held, true, now});
    } else {
        ++held.delays;
        // Nowhere to go: the handler may try again, in case its cause was repaired.
        if (buried.error().code == Errc::not_found) {
            held.unplaced = true;
            held.poison = false;
        }
        const Duration first =
            buried.error().code == Errc::not_found ? options.retry.cap : options.retry.first;
        verdicts.push_back(
            {&held, false, later_by(now, backoff(first, options.retry.cap, held.delays, dice()))});
    }
    finish_lanes({work}, verdicts);
}

// ---- acker ----

void Runtime::Impl::settle() {
    for (;;) {
        std::vector<ToSettle> some;
        {
            std::unique_lock lock(mutex);
            ack_ready.wait(lock, [this] { return leaving || !to_settle.empty(); });
            if (to_settle.empty()) return;
            some.swap(to_settle);
            settling = true;
        }
        settle_some(some);
        const std::scoped_lock lock(mutex);
        settling = false;
        quiet.notify_all();
    }
}

void Runtime::Impl::settle_some(std::vector<ToSettle>& some) {
    std::vector<DeliveryTag> tags;
    tags.reserve(some.size());
    for (const ToSettle& one : some) tags.push_back(one.tag);
    FERRY_FAULT_POINT("consumer.before_ack");
    const auto settled = source->settle(tags);
    FERRY_FAULT_POINT("consumer.after_ack");
    std::vector<std::string> ids;
    if (!settled.ok()) {
        // Unknown for all of them: those that were not settled come again and are known then.
        if (options.inbox != nullptr) {
            for (ToSettle& one : some) ids.push_back(std::move(one.id));
            options.inbox->unsettled(ids);
        }
        std::unique_lock lock(mutex);
        figures.leases_lost += some.size();
        ack_ready.wait_for(lock, settle_pause, [this] { return leaving; });
        return;
    }
    const auto& lost = settled.value();
    std::vector<std::string> gone;
    for (ToSettle& one : some) {
        const bool was_lost = std::any_of(lost.begin(), lost.end(), [&](const DeliveryTag& tag) {
            return tag.tag == one.tag.tag && tag.generation == one.tag.generation;
        });
        (was_lost ? gone : ids).push_back(std::move(one.id));
    }
    if (options.inbox != nullptr) {
        options.inbox->settled(ids);
        options.inbox->unsettled(gone);
    }
    const std::scoped_lock lock(mutex);
    figures.acks_settled += ids.size();
    figures.leases_lost += gone.size();
}

// ---- keeper ----

void Runtime::Impl::keep() {
    auto extended = Clock::now();
    auto tended = Clock::now();
    for (;;) {
        {
            std::unique_lock lock(mutex);
            auto until = Clock::now() + keeper_wait;
            Instant due;
            if (lanes.next_due(due)) {
                until = std::min(until, Clock::time_point(std::chrono::nanoseconds(due.ns)));
            }
            // A lane delayed meanwhile may be due earlier: finish_lanes wakes us.
            keeper_ready.wait_until(lock, until);
            if (leaving) return;
            lanes.wake(instant_of(Clock::now()));
            if (lanes.any_ready()) work_ready.notify_all();
        }
        for (const DeliveryTag& tag : source->lost()) {
            const std::scoped_lock lock(mutex);
            ++figures.leases_lost;
            lanes.lose(tag);
        }
        if (Clock::now() - extended >= options.lease / 3) {
            extended = Clock::now();
            extend_leases();
        }
        if (options.inbox != nullptr && Clock::now() - tended >= tend_every) {
            tended = Clock::now();
            tend_inbox();
        }
    }
}

void Runtime::Impl::extend_leases() {
    std::vector<DeliveryTag> tags;
    {
        const std::scoped_lock lock(mutex);
        tags = lanes.tags();
        for (const ToSettle& one : to_settle) tags.push_back(one.tag);
        figures.leases_extended += tags.size();
    }
    if (!tags.empty()) {
        source->extend(tags, options.lease)
            .ignore("a lease that cannot be extended ends, and the message comes again");
    }
}

void Runtime::Impl::tend_inbox() {
    const auto place = source->place();
    if (!place.ok()) return;
    const Status kept = options.inbox->tend(place.value());
    if (kept.ok()) return;
    if (kept.error().code == Errc::conflict) {
        end(options.inbox->last_problem());
    } else if (kept.error().code != Errc::would_block) {
        say("the inbox cannot be tended: " + options.inbox->last_problem());
    }
}

void Runtime::Impl::end(std::string reason) {
    say(reason);
    const std::scoped_lock lock(mutex);
    if (has_ended || stopping) return;
    has_ended = true;
    end_reason = std::move(reason);
    quiet.notify_all();
}

// ---- the end ----

Status Runtime::Impl::stop(Duration timeout) {
    const auto deadline = Clock::now() + timeout;
    std::vector<DeliveryTag> waiting;
    {
        const std::scoped_lock lock(mutex);
        stopping = true;
        waiting = lanes.drop_waiting();
    }
    for (const DeliveryTag& tag : waiting) {
        source->give_back(tag, Duration{0}).ignore("leaving the queue gives it back too");
    }
    std::unique_lock lock(mutex);
    const bool calm = quiet.wait_until(lock, deadline, [this] {
        return lanes.running() == 0 && to_settle.empty() && !settling && !receiving;
    });
    if (calm && !leaving) {
        leaving = true;
        lock.unlock();
        source->close();
        work_ready.notify_all();
        ack_ready.notify_all();
        keeper_ready.notify_all();
    }
    if (!calm) return Error{Errc::indeterminate, 0, 0, "handlers still run after the timeout"};
    return ok_status();
}

void Runtime::Impl::join() {
    {
        std::unique_lock lock(mutex);
        stopping = true;
        // However long a handler takes: what it did must be acked if it can be.
        quiet.wait(lock, [this] {
            return lanes.running() == 0 && to_settle.empty() && !settling && !receiving;
        });
        leaving = true;
    }
    work_ready.notify_all();
    ack_ready.notify_all();
    keeper_ready.notify_all();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
}

Health Runtime::Impl::health_locked() const {
    Health health;
    health.running = lanes.running();
    health.delayed = lanes.delayed();
    health.waiting = lanes.held() - lanes.running();
    const auto before = instant_of(Clock::now() - options.stuck_after);
    health.stuck = lanes.running_since_before(before);
    health.unplaced = lanes.unplaced();
    health.since_progress = std::chrono::duration_cast<Duration>(Clock::now() - progress);
    if (has_ended) {
        health.ok = false;
        health.reason = end_reason;
    } else if (health.stuck > 0) {
        health.ok = false;
        health.reason = std::to_string(health.stuck) + " handlers run for longer than " +
                        std::to_string(options.stuck_after.count()) + " ms";
    } else if (health.unplaced > 0) {
        health.ok = false;
        health.reason = "messages that cannot be handled have no dead-letter queue to go to";
    }
    return health;
}

// ---- the public face ----

Runtime::Runtime(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Runtime::~Runtime() {
    // Handlers that run finish; what waits goes back when the source is closed.
    impl_->join();
    impl_->source->close();
}

Result<std::unique_ptr<Runtime>> Runtime::start(std::unique_ptr<Source> source, Handler handler,
                                                RuntimeOptions options) {
    if (!handler) return Error{Errc::rejected, 0, 0, "a runtime needs a handler"};
    if (options.batch != 1) {
        return Error{Errc::rejected, 0, 0, "batch is for start_batched: leave it at 1"};
    }
    return start_batched(
        std::move(source),
        [handle = std::move(handler)](std::span<const Incoming> messages,
                                      std::span<Handled> handled) {
            handled.front() = handle(messages.front());
        },
        std::move(options));
}

Result<std::unique_ptr<Runtime>> Runtime::start_batched(std::unique_ptr<Source> source,
                                                        BatchHandler handler,
                                                        RuntimeOptions options) {
    if (!handler || source == nullptr) {
        return Error{Errc::rejected, 0, 0, "a runtime needs a source and a handler"};
    }
    if (options.threads == 0 || options.threads > limits::threads_max) {
        return Error{Errc::rejected, 0, options.threads, "threads: use 1 to 256"};
    }
    if (options.batch == 0 || options.batch > limits::batch_max) {
        return Error{Errc::rejected, 0, options.batch, "batch: use 1 to 10,000"};
    }
    if (options.lease.count() <= 0 || options.stuck_after.count() <= 0 ||
        options.retry.attempts_max == 0 || options.retry.deliveries_max == 0) {
        return Error{Errc::rejected, 0, 0, "lease, stuck_after and the numbers of attempts: not 0"};
    }
    if (options.inbox != nullptr) {
        const auto place = source->place();
        if (!place.ok()) return place.error();
        const Status known = options.inbox->check_place(place.value());
        if (!known.ok()) return known.error();
    }
    auto impl = std::make_unique<Impl>(std::move(source), std::move(handler), std::move(options));
    impl->run();
    return std::unique_ptr<Runtime>(new Runtime(std::move(impl)));
}

Status Runtime::stop(Duration timeout) {
    return impl_->stop(timeout);
}

Health Runtime::health() const {
    const bool connected = impl_->source->connected();
    const std::scoped_lock lock(impl_->mutex);
    Health health = impl_->health_locked();
    health.connected = connected;
    return health;
}

Figures Runtime::figures() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->figures;
}

std::string Runtime::metrics() const {
    const Health now = health();
    const Figures totals = figures();
    std::string beside = impl_->source->metrics();
    if (impl_->options.inbox == nullptr) {
        return impl_->metrics.render(totals, now, nullptr) + beside;
    }
    const InboxFigures inbox = impl_->options.inbox->figures();
    return impl_->metrics.render(totals, now, &inbox) + beside;
}

bool Runtime::ended() const {
    const std::scoped_lock lock(impl_->mutex);
    return impl_->has_ended;
}

}  // namespace ferry::consumer
