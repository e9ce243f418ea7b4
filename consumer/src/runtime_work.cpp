#include <algorithm>
#include <exception>

#include "backoff.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/planted.hpp"
#include "runtime_impl.hpp"

// Runtime: the workers, which run handlers and decide what becomes of their messages.
namespace ferry::consumer {

void Runtime::Impl::work() {
    std::unique_lock lock(mutex);
    for (;;) {
        work_ready.wait(lock, [this] { return leaving || (!stopping && lanes.any_ready()); });
        if (leaving) return;
        work_off_lanes(lock);
    }
}

/// What the lanes have for one turn. False: nothing.
bool Runtime::Impl::work_off_lanes(std::unique_lock<std::mutex>& lock) {
    std::vector<Lanes::Work> works = lanes.take(instant_of(Clock::now()), options.batch);
    if (works.empty()) return false;
    lock.unlock();
    if (works.front().held->poison) {
        bury(works.front());
    } else {
        handle(works);
    }
    lock.lock();
    return true;
}

void Runtime::Impl::handle(std::vector<Lanes::Work>& works) {
    std::vector<Incoming> messages;
    messages.reserve(works.size());
    {
        const std::scoped_lock lock(mutex);
        for (const Lanes::Work& one : works) {
            messages.push_back(std::move(one.held->message));
            messages.back().set_failures(one.held->failures);
        }
    }
    std::vector<Handled> handled;
    const auto began = Clock::now();
    run_handler(messages, handled);
    const auto ended = Clock::now();
    observe(messages, handled, ended - began);
    tell_done(messages, handled);
    std::vector<Lanes::Verdict> verdicts(works.size());
    const std::scoped_lock lock(mutex);
    for (std::size_t i = 0; i < works.size(); ++i) {
        Held& held = *works[i].held;
        if (!decide(held, messages[i], handled[i], ended, verdicts[i])) {
            held.put_back(std::move(messages[i]));
        }
    }
    wake_acker();
    finish_lanes(works, verdicts);
}

void Runtime::Impl::run_handler(std::span<const Incoming> messages, std::vector<Handled>& handled) {
    handled.clear();
    handled.resize(messages.size());
    if (FERRY_PLANTED("consumer-acks-before-the-effect")) {
        std::vector<transport::DeliveryTag> tags;
        for (const Incoming& message : messages) tags.push_back(message.tag());
        static_cast<void>(source->settle(tags));
    }
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
}

void Runtime::Impl::observe(std::span<const Incoming> messages, std::span<const Handled> handled,
                            Clock::duration took) {
    metrics.observe_handler(std::chrono::duration<double>(took).count() /
                            static_cast<double>(messages.size()));
    metrics.observe_commit_to_effect(messages, handled, system_clock().now().wall_ms);
}

std::vector<transport::DeliveryTag> Runtime::Impl::tell_done(std::span<const Incoming> messages,
                                                             std::span<const Handled> handled) {
    std::vector<transport::DeliveryTag> tags;
    tags.reserve(messages.size());
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (handled[i].kind == Handled::Kind::done) tags.push_back(messages[i].tag());
    }
    if (!tags.empty()) source->done(tags);
    return tags;
}

void Runtime::Impl::book_done(const transport::DeliveryTag& tag, const Incoming& message,
                              Clock::time_point moment) {
    to_settle.tags.push_back(tag);
    if (options.inbox != nullptr) to_settle.ids.push_back(message.id());
    progress = moment;
    ++figures.done;
}

/// True: it is over with the message here.
bool Runtime::Impl::decide(Held& held, const Incoming& message, Handled& handled,
                           Clock::time_point moment, Lanes::Verdict& verdict) {
    const Instant now = instant_of(moment);
    const RetryPolicy& retry = options.retry;
    if (handled.reason.size() > limits::reason_bytes_max) {
        handled.reason.resize(limits::reason_bytes_max);
    }
    verdict = {&held, false, now};
    switch (handled.kind) {
        case Handled::Kind::done:
            book_done(held.tag, message, moment);
            verdict.remove = true;
            break;
        case Handled::Kind::later: {
            ++held.delays;
            ++figures.later;
            const Duration wait =
                handled.after.count() > 0
                    ? handled.after
                    : backoff(retry.later_first, retry.later_cap, held.delays, dice());
            verdict.due = later_by(now, wait);
            break;
        }
        case Handled::Kind::retry:
            decide_retry(held, message, handled, now, verdict);
            break;
        case Handled::Kind::poison:
            ++held.failures;
            held.poison = true;
            held.poison_reason = handled.reason;
            break;
    }
    return verdict.remove;
}

void Runtime::Impl::decide_retry(Held& held, const Incoming& message, Handled& handled, Instant now,
                                 Lanes::Verdict& verdict) {
    const RetryPolicy& retry = options.retry;
    ++held.failures;
    ++figures.retried;
    held.delays = 0;
    const std::uint64_t attempts = held.attempt + held.failures - 1;
    if (attempts >= retry.attempts_max) {
        held.poison = true;
        held.poison_reason = handled.reason;
        return;
    }
    const Duration wait = handled.after.count() > 0
                              ? handled.after
                              : backoff(retry.first, retry.cap, attempts, dice());
    // Nobody waits behind a message without a key: it waits at the broker, takes no place of the
    // window, and has its attempts counted there.
    verdict.remove =
        message.ordering_key().empty() && !stopping && source->give_back(held.tag, wait).ok();
    verdict.due = later_by(now, wait);
}

void Runtime::Impl::finish_lanes(const std::vector<Lanes::Work>& works,
                                 const std::vector<Lanes::Verdict>& verdicts) {
    for (std::size_t first = 0; first < works.size();) {
        std::size_t end_of_lane = first;
        while (end_of_lane < works.size() && works[end_of_lane].lane == works[first].lane) {
            ++end_of_lane;
        }
        lanes.finish(works[first].lane, std::span(verdicts).subspan(first, end_of_lane - first));
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

}  // namespace ferry::consumer
