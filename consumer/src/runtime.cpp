#include "ferry/consumer/runtime.hpp"

#include <algorithm>
#include <utility>

#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/fault_point.hpp"
#include "ferry/wire/limits.hpp"
#include "runtime_impl.hpp"

namespace ferry::consumer {
namespace {

using transport::DeliveryTag;

constexpr std::size_t receive_at_once = 256;
constexpr Duration keeper_wait{250};
constexpr Duration tend_every{1'000};
constexpr Duration settle_pause{50};  // after a settle that failed
constexpr std::size_t gathered_max = ferry::limits::window_messages_max / 2;

/// Those of `some` whose leases were lost; the others stay.
ToSettle take_out(ToSettle& some, const std::vector<DeliveryTag>& lost) {
    ToSettle gone;
    if (lost.empty()) return gone;
    ToSettle kept;
    for (std::size_t i = 0; i < some.tags.size(); ++i) {
        const DeliveryTag& own = some.tags[i];
        const bool was_lost = std::any_of(lost.begin(), lost.end(), [&](const DeliveryTag& tag) {
            return tag.tag == own.tag && tag.generation == own.generation;
        });
        ToSettle& there = was_lost ? gone : kept;
        there.tags.push_back(own);
        if (!some.ids.empty()) there.ids.push_back(std::move(some.ids[i]));
    }
    some = std::move(kept);
    return gone;
}

}  // namespace

void Runtime::Impl::run() {
    threads.emplace_back([this] { settle(); });
    threads.emplace_back([this] { keep(); });
    if (options.threads == 1 && source->keeps_what_it_gave()) {
        threads.emplace_back([this] { take_and_handle(); });
        return;
    }
    threads.emplace_back([this] { receive(); });
    for (std::uint32_t i = 0; i < options.threads; ++i) threads.emplace_back([this] { work(); });
}

// ---- receiver ----

void Runtime::Impl::receive() {
    std::vector<transport::Received> received;
    for (;;) {
        {
            const std::scoped_lock lock(mutex);
            if (stopping || has_ended) break;
        }
        received.clear();
        const Status got = source->next_some(receive_wait, receive_at_once, received);
        accept(received);
        if (!got.ok() && got.error().code != Errc::would_block) {
            end("the source has ended: " + std::string(got.error().what));
            break;
        }
    }
    const std::scoped_lock lock(mutex);
    receiving = false;
    quiet.notify_all();
}

void Runtime::Impl::accept(std::vector<transport::Received>& received) {
    if (received.empty()) return;
    std::size_t fresh = 0;
    std::vector<Aside> ones(received.size());
    for (std::size_t i = 0; i < ones.size(); ++i) {
        ones[i].message = Incoming(std::move(received[i]));
        ones[i].poison = poison_in(ones[i].message);
    }
    {
        const std::scoped_lock lock(mutex);
        // After stop() gave the waiting ones back: close() does it with these.
        if (stopping) return;
        for (Aside& one : ones) {
            fresh += accept_one(std::move(one.message), std::move(one.poison)) ? 1U : 0U;
        }
    }
    if (fresh > 1) {
        work_ready.notify_all();
    } else {
        work_ready.notify_one();
    }
}

std::string Runtime::Impl::poison_in(const Incoming& received) const {
    if (received.malformed()) return "a known property of the message has the wrong type";
    if (received.attempt() > options.retry.deliveries_max) {
        return "delivered " + std::to_string(received.attempt()) +
               " times without an end; its handler may be what ends the process";
    }
    return {};
}

bool Runtime::Impl::accept_one(Incoming&& incoming, std::string poison) {
    const std::uint64_t now_at = incoming.tag().generation;
    if (now_at > generation) {
        generation = now_at;
        lanes.drop_before(generation);
    }
    ++figures.received;
    if (lanes.push(std::move(incoming), std::move(poison))) return true;
    ++figures.redelivered_while_held;
    return false;
}

// ---- acker ----

void Runtime::Impl::settle() {
    ToSettle some;  // changes places with what gathers, so that neither grows anew
    for (;;) {
        some.clear();
        {
            std::unique_lock lock(mutex);
            acker_waits = true;
            ack_ready.wait(lock, [this] { return leaving || !to_settle.empty(); });
            acker_waits = false;
            if (to_settle.empty()) return;
            std::swap(some, to_settle);
            settling = true;
        }
        settle_some(some);
        {
            const std::scoped_lock lock(mutex);
            settling = false;
            quiet.notify_all();
        }
        rest_between_settles();
    }
}

void Runtime::Impl::wake_acker() {
    if (acker_waits && !to_settle.empty()) ack_ready.notify_one();
    if (to_settle.tags.size() >= gathered_max) ack_rest.notify_one();
}

/// What gathers meanwhile is settled at once. Nobody rests while stop() waits for it, when nothing
/// more gathers, or when so much has that a source would soon wait for it.
void Runtime::Impl::rest_between_settles() {
    const Duration rest = source->settle_pause();
    if (rest.count() == 0) return;
    std::unique_lock lock(mutex);
    ack_rest.wait_for(lock, rest, [this] {
        return leaving || stopping || (dry && !to_settle.empty()) ||
               to_settle.tags.size() >= gathered_max;
    });
}

void Runtime::Impl::settle_some(ToSettle& some) {
    FERRY_FAULT_POINT("consumer.before_ack");
    const auto settled = source->settle(some.tags);
    FERRY_FAULT_POINT("consumer.after_ack");
    if (!settled.ok()) return settle_later(some, settled.error());
    const std::size_t all = some.tags.size();
    const auto gone = take_out(some, settled.value());
    if (options.inbox != nullptr) {
        options.inbox->settled(some.ids);
        options.inbox->unsettled(gone.ids);
    }
    settle_failed = false;
    const std::scoped_lock lock(mutex);
    figures.acks_settled += all - gone.tags.size();
    figures.leases_lost += gone.tags.size();
}

/// What stays ours is asked for again, but nobody who wants to leave waits for that. Of others it
/// is unknown for all of them: those that were not settled come again and are known then.
void Runtime::Impl::settle_later(ToSettle& some, const Error& why) {
    const bool first = !std::exchange(settle_failed, true);
    std::unique_lock lock(mutex);
    const bool again = source->keeps_what_it_gave() && !stopping && !leaving;
    if (again) {
        to_settle.add(some);
    } else {
        figures.leases_lost += some.tags.size();
    }
    lock.unlock();
    if (!again && options.inbox != nullptr) options.inbox->unsettled(some.ids);
    if (again && first) say("acks failed and are tried again: " + std::string(why.what));
    lock.lock();
    ack_ready.wait_for(lock, settle_pause, [this] { return leaving; });
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
        tags.insert(tags.end(), to_settle.tags.begin(), to_settle.tags.end());
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
    ack_rest.notify_all();
    for (const DeliveryTag& tag : waiting) {
        source->give_back(tag, Duration{0}).ignore("leaving the queue gives it back too");
    }
    std::unique_lock lock(mutex);
    const bool calm = quiet.wait_until(lock, deadline, [this] { return is_quiet(); });
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
        ack_rest.notify_all();
        // However long a handler takes: what it did must be acked if it can be.
        quiet.wait(lock, [this] { return is_quiet(); });
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
    health.running = lanes.running() + direct_running;
    health.delayed = lanes.delayed();
    health.waiting = lanes.held() - lanes.running();
    const auto before = instant_of(Clock::now() - options.stuck_after);
    health.stuck = lanes.running_since_before(before);
    if (direct_running > 0 && instant_of(direct_since) < before) health.stuck += direct_running;
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
