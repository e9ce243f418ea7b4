#include <algorithm>
#include <functional>

#include "runtime_impl.hpp"

// Runtime: the single worker that is the receiver too.
namespace ferry::consumer {

/// The only worker is the receiver too: what can run at once does, without the lanes; they have
/// what failed, and what stands behind that.
void Runtime::Impl::take_and_handle() {
    std::vector<transport::Received> received;
    std::vector<Incoming> direct;
    std::vector<Aside> aside;
    std::unique_lock lock(mutex);
    while (!stopping && !has_ended) {
        const auto now = Clock::now();
        lanes.wake(instant_of(now));
        if (work_off_lanes(lock)) continue;
        Duration wait = receive_wait;
        if (Instant due; lanes.next_due(due)) {
            const Clock::time_point at{std::chrono::nanoseconds(due.ns)};
            wait = std::clamp(std::chrono::ceil<Duration>(at - now), Duration{0}, receive_wait);
        }
        lock.unlock();
        received.clear();
        const Status got = source->next_some(wait, options.batch, received);
        sort_out(received, direct, aside);
        if (!direct.empty()) handle_direct(direct);
        if (!got.ok() && got.error().code != Errc::would_block) {
            end("the source has ended: " + std::string(got.error().what));
        }
        lock.lock();
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

/// From the first one on that has to wait, all of them go the way of the lanes: the order of keys
/// needs no other thought.
void Runtime::Impl::sort_out(std::vector<transport::Received>& received,
                             std::vector<Incoming>& direct, std::vector<Aside>& aside) {
    direct.clear();
    aside.clear();
    const std::scoped_lock lock(mutex);
    // After stop() gave the waiting ones back: close() does it with these.
    if (stopping) return;
    for (transport::Received& one : received) {
        std::string poison;
        Incoming incoming = read(std::move(one), poison);
        if (aside.empty() && poison.empty() && lanes.free_for(incoming)) {
            direct.push_back(std::move(incoming));
        } else {
            aside.push_back({std::move(incoming), std::move(poison)});
        }
    }
    figures.received += direct.size();
    direct_running = direct.size();
    direct_since = Clock::now();
}

void Runtime::Impl::handle_direct(std::vector<Incoming>& messages) {
    const auto began = Clock::now();
    std::vector<Handled> handled = run_handler(messages);
    const auto ended = Clock::now();
    observe(messages, handled, ended - began);
    tell_done(messages, handled);
    std::vector<std::size_t> failed;
    const std::scoped_lock lock(mutex);
    direct_running = 0;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        if (handled[i].kind != Handled::Kind::done) {
            failed.push_back(i);
            continue;
        }
        book_done(messages[i].delivery().tag, messages[i], ended);
    }
    wake_acker();
    if (!failed.empty()) keep_failed(messages, handled, failed, ended);
    quiet.notify_all();
}

void Runtime::Impl::keep_failed(std::vector<Incoming>& messages, std::vector<Handled>& handled,
                                const std::vector<std::size_t>& failed, Clock::time_point ended) {
    std::vector<std::pair<Lanes::Work, std::size_t>> kept;
    for (const std::size_t i : failed) {
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
