#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace ferry::cli::bench {

/// What the I/O threads tell the thread that waits for a measurement to end.
class Signal {
public:
    /// Something that wait_until() looks at has changed.
    void changed() {
        turn_.fetch_add(1, std::memory_order_release);
        turn_.notify_all();
    }
    /// The measurement is worthless; the first reason counts.
    void fail(std::string why) {
        {
            const std::lock_guard guard(mutex_);
            if (why_.empty()) why_ = std::move(why);
        }
        failed_.store(true, std::memory_order_release);
        changed();
    }
    [[nodiscard]] bool failed() const { return failed_.load(std::memory_order_acquire); }
    [[nodiscard]] std::string why() const {
        const std::lock_guard guard(mutex_);
        return why_;
    }
    /// True when `done()`, false when the measurement failed before.
    template <class Condition>
    bool wait_until(Condition done) const {
        for (;;) {
            const std::uint32_t seen = turn_.load(std::memory_order_acquire);
            if (failed()) return false;
            if (done()) return true;
            turn_.wait(seen, std::memory_order_acquire);
        }
    }

private:
    std::atomic<std::uint32_t> turn_{0};
    std::atomic<bool> failed_{false};
    mutable std::mutex mutex_;
    std::string why_;
};

}  // namespace ferry::cli::bench
