#include <algorithm>
#include <functional>

#include "runtime_impl.hpp"

// Runtime: the single worker that is the receiver too.
namespace ferry::consumer {

/// The only worker is the receiver too: what can run at once does, without the lanes; they have
/// what failed, and what stands behind that.
void Runtime::Impl::take_and_handle() {
    std::vector<Incoming> messages;
    std::vector<Handled> handled;
    std::vector<Aside> aside;
    std::unique_lock lock(mutex);
    while (!stopping && !has_ended) {
        const auto now = Clock::now();
        lanes.wake(instant_of(now));
        if (work_off_lanes(lock)) continue;
        const Duration wait = wait_for_more(now);
        lock.unlock();
        messages.clear();
        const Status got = source->next_late(wait, options.batch, messages);
        const bool nothing_came = messages.empty();
        sort_out(messages, aside);
        if (!messages.empty()) handle_direct(messages, handled);
        if (!got.ok() && got.error().code != Errc::would_block) {
            end("the source has ended: " + std::string(got.error().what));
        }
        lock.lock();
        dry = nothing_came;
        if (dry) ack_rest.notify_one();
        if (stopping) break;
        for (Aside& one : aside) accept_one(std::move(one.message), std::move(one.poison));
    }
    receiving = false;
    quiet.notify_all();
    // What was received before the end of the source still runs.
    while (!leaving) {
        if (!stopping && work_off_lanes(lock)) continue;
        work_ready.wait(lock, [this] { return leaving || (!stopping && lanes.any_ready()); });
    }
}

Duration Runtime::Impl::wait_for_more(Clock::time_point now) const {
    const Duration longest = to_settle.empty() ? receive_wait : dry_wait;
    Instant due;
    if (!lanes.next_due(due)) return longest;
    const Clock::time_point at{std::chrono::nanoseconds(due.ns)};
    return std::clamp(std::chrono::ceil<Duration>(at - now), Duration{0}, longest);
}

/// From the first one on that has to wait, all of them go the way of the lanes: the order of keys
/// needs no other thought.
void Runtime::Impl::sort_out(std::vector<Incoming>& received, std::vector<Aside>& aside) {
    aside.clear();
    const std::scoped_lock lock(mutex);
    // After stop() gave the waiting ones back: close() does it with these.
    if (stopping) return received.clear();
    const auto waits = [this](const Incoming& one) {
        return !lanes.free_for(one.position(), one.ordering_key()) || !poison_in(one).empty();
    };
    const auto first = std::find_if(received.begin(), received.end(), waits);
    for (auto one = first; one != received.end(); ++one) {
        std::string poison = poison_in(*one);
        aside.push_back({std::move(*one), std::move(poison)});
    }
    received.erase(first, received.end());
    figures.received += received.size();
    direct_running = received.size();
    direct_since = Clock::now();
}

void Runtime::Impl::handle_direct(std::vector<Incoming>& messages, std::vector<Handled>& handled) {
    const auto began = Clock::now();
    run_handler(messages, handled);
    const auto ended = Clock::now();
    observe(messages, handled, ended - began);
    const auto done = tell_done(messages, handled);
    const std::scoped_lock lock(mutex);
    direct_running = 0;
    if (!done.empty()) book_direct(messages, handled, done, ended);
    wake_acker();
    if (done.size() < messages.size()) keep_failed(messages, handled, ended);
    quiet.notify_all();
}

void Runtime::Impl::book_direct(std::span<const Incoming> messages,
                                std::span<const Handled> handled,
                                std::span<const transport::DeliveryTag> done,
                                Clock::time_point moment) {
    to_settle.tags.insert(to_settle.tags.end(), done.begin(), done.end());
    progress = moment;
    figures.done += done.size();
    if (options.inbox == nullptr) return;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (handled[i].kind == Handled::Kind::done) to_settle.ids.push_back(messages[i].id());
    }
}

void Runtime::Impl::keep_failed(std::vector<Incoming>& messages, std::vector<Handled>& handled,
                                Clock::time_point ended) {
    std::vector<std::pair<Lanes::Work, std::size_t>> kept;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (handled[i].kind == Handled::Kind::done) continue;
        kept.emplace_back(lanes.push_taken(std::move(messages[i]), instant_of(ended)), i);
    }
    // A lane's verdicts come together, in its order.
    std::stable_sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) {
        return std::less<>()(a.first.lane, b.first.lane);
    });
    std::vector<Lanes::Work> works;
    std::vector<Lanes::Verdict> verdicts(kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
        Held& held = *kept[i].first.held;
        works.push_back(kept[i].first);
        decide(held, held.message, handled[kept[i].second], ended, verdicts[i]);
    }
    finish_lanes(works, verdicts);
}

}  // namespace ferry::consumer
