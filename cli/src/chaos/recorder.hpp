#pragma once

#include <mutex>
#include <string>

#include "ferry/history/history.hpp"
#include "ferry/platform/clock.hpp"

namespace ferry::cli::chaos {

// Processes of the history.
inline constexpr std::uint32_t broker_process = 1;
inline constexpr std::uint32_t producer_process = 2;
inline constexpr std::uint32_t relay_process = 3;  // and the next
inline constexpr std::uint32_t first_consumer_process = 10;
/// The one queue there is.
inline constexpr std::uint32_t the_queue = 1;

/// What the run sees, in the order in which it sees it. Threads: any.
class Recorder {
public:
    void add(std::uint32_t process, history::What what, history::Type type, std::uint64_t id = 0,
             std::uint64_t key = 0) {
        const std::lock_guard lock(mutex_);
        history::Event event;
        event.process = process;
        event.time_ns = system_clock().now().mono.ns;
        event.type = type;
        event.what = what;
        event.queue = what == history::What::drained ? 0 : the_queue;
        event.key = key;
        event.id = id;
        history_.push_back(event);
    }
    [[nodiscard]] history::History take() {
        const std::lock_guard lock(mutex_);
        return std::move(history_);
    }

private:
    std::mutex mutex_;
    history::History history_;
};

}  // namespace ferry::cli::chaos
