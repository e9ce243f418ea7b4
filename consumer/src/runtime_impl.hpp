#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "ferry/consumer/runtime.hpp"
#include "ferry/platform/clock.hpp"
#include "lanes.hpp"
#include "metrics.hpp"

// One consumer's machine room.
//
//   receiver   source.next_some() -> lanes
//   workers    lanes -> handler -> lanes; what is done goes to the acker
//   acker      settles what gathered while it settled the lot before
//   keeper     wakes delayed lanes, extends leases, tends the inbox
//
// A single worker whose source keeps what it gave is its own receiver (runtime_direct.cpp): what
// can run at once does, and only what failed, or stands behind that, goes through the lanes.
//
// One mutex guards everything but the source, the inbox and the handlers, which are called without
// it. An effect may be there without its ack at any crash: the message comes again and the inbox
// knows it.

namespace ferry::consumer {

using Clock = std::chrono::steady_clock;

inline constexpr Duration receive_wait{250};
// Nothing came for so long: what is done is settled without a rest, for nothing more will join it.
inline constexpr Duration dry_wait{10};

inline Instant instant_of(Clock::time_point moment) {
    return Instant{static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(moment.time_since_epoch()).count())};
}
inline Instant later_by(Instant from, Duration wait) {
    constexpr std::uint64_t ns_per_ms = 1'000'000;
    return Instant{from.ns + static_cast<std::uint64_t>(wait.count()) * ns_per_ms};
}

/// A message that goes into the lanes.
struct Aside {
    Incoming message;
    std::string poison;
};

/// Done messages on their way to their acks.
struct ToSettle {
    std::vector<transport::DeliveryTag> tags;
    std::vector<std::string> ids;  // of all of them with an inbox, else none

    [[nodiscard]] bool empty() const { return tags.empty(); }
    void clear() {
        tags.clear();
        ids.clear();
    }
    void add(ToSettle& more) {
        tags.insert(tags.end(), more.tags.begin(), more.tags.end());
        std::move(more.ids.begin(), more.ids.end(), std::back_inserter(ids));
    }
};

struct Runtime::Impl {
    Impl(std::unique_ptr<Source> from, BatchHandler with, RuntimeOptions chosen)
        : source(std::move(from)),
          handler(std::move(with)),
          options(std::move(chosen)),
          metrics(options.name),
          progress(Clock::now()) {}

    void run();
    void receive();
    void accept(std::vector<transport::Received>& received);
    void work();
    bool work_off_lanes(std::unique_lock<std::mutex>& lock);
    void take_and_handle();
    [[nodiscard]] Duration wait_for_more(Clock::time_point now) const;
    void sort_out(std::vector<Incoming>& received, std::vector<Aside>& aside);
    void handle_direct(std::vector<Incoming>& messages, std::vector<Handled>& handled);
    void keep_failed(std::vector<Incoming>& messages, std::vector<Handled>& handled,
                     Clock::time_point ended);
    void handle(std::vector<Lanes::Work>& works);
    void run_handler(std::span<const Incoming> messages, std::vector<Handled>& handled);
    /// Why it is poison unseen; empty: it is not.
    [[nodiscard]] std::string poison_in(const Incoming& received) const;
    bool accept_one(Incoming&& incoming, std::string poison);
    bool is_quiet() const {
        return lanes.running() == 0 && direct_running == 0 && to_settle.empty() && !settling &&
               !receiving;
    }
    bool decide(Held& held, const Incoming& message, Handled& handled, Clock::time_point moment,
                Lanes::Verdict& verdict);
    void decide_retry(Held& held, const Incoming& message, Handled& handled, Instant now,
                      Lanes::Verdict& verdict);
    void bury(Lanes::Work& work);
    void finish_lanes(const std::vector<Lanes::Work>& works,
                      const std::vector<Lanes::Verdict>& verdicts);
    void observe(std::span<const Incoming> messages, std::span<const Handled> handled,
                 Clock::duration took);
    std::vector<transport::DeliveryTag> tell_done(std::span<const Incoming> messages,
                                                  std::span<const Handled> handled);
    void book_done(const transport::DeliveryTag& tag, const Incoming& message,
                   Clock::time_point moment);
    void book_direct(std::span<const Incoming> messages, std::span<const Handled> handled,
                     std::span<const transport::DeliveryTag> done, Clock::time_point moment);
    void wake_acker();
    void rest_between_settles();
    void settle();
    void settle_some(ToSettle& some);
    void settle_later(ToSettle& some, const Error& why);
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
    std::condition_variable ack_rest;      // acker, between two settles
    std::condition_variable keeper_ready;  // keeper
    std::condition_variable quiet;         // stop()
    Lanes lanes;
    ToSettle to_settle;
    bool settling = false;
    bool settle_failed = false;  // the last one; the acker's alone
    bool acker_waits = false;
    bool dry = false;       // the single worker found nothing to take
    bool stopping = false;  // nothing new begins
    bool leaving = false;   // threads end
    bool has_ended = false;
    bool receiving = true;
    std::string end_reason;
    std::uint64_t generation = 0;
    std::size_t direct_running = 0;  // in the handler, not in the lanes
    Clock::time_point direct_since;
    Clock::time_point progress;
    Figures figures;
    std::vector<std::thread> threads;
};

}  // namespace ferry::consumer
