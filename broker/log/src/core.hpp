#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>

#include "segment_table.hpp"

namespace ferry::log {

/// What the owner, the writer and the housekeeper of one open log share.
struct Core {
    Core(FileSystem& files_in, const Clock& clock_in, std::string directory_in,
         const Options& options_in)
        : files(files_in),
          clock(clock_in),
          directory(std::move(directory_in)),
          options(options_in) {}

    FileSystem& files;
    const Clock& clock;
    const std::string directory;
    const Options options;
    std::uint64_t log_id = 0;
    std::uint64_t epoch = 0;
    SegmentTable table;

    std::atomic<Position> durable{0};  // what progress() reports
    std::atomic<Position> synced{
        0};  // what a finished sync covers; the same unless Durability::interval
    std::atomic<Position> floor{0};  // replay_floor()
    std::atomic<bool> failed{false};
    std::atomic<bool> space_full{false};

    std::atomic<std::uint64_t> syncs{0};
    std::atomic<std::uint64_t> batches{0};
    std::atomic<std::uint64_t> records{0};
    std::atomic<std::uint64_t> bytes_written{0};
    std::atomic<std::uint64_t> compactions{0};
    std::atomic<std::uint64_t> checkpoint_bytes{0};
    std::atomic<std::uint64_t> sync_ns_last{0};

    std::function<void()> on_progress;  // set before the threads start

    [[nodiscard]] std::string path(std::string_view name) const {
        return join_path(directory, name);
    }

    /// The first failure is kept; later ones are consequences.
    void fail(const Error& error) {
        {
            const std::lock_guard lock(failure_mutex_);
            if (failed.load(std::memory_order_relaxed)) return;
            failure_ = error;
            failed.store(true, std::memory_order_release);
        }
        notify();
    }
    [[nodiscard]] Error failure() const {
        const std::lock_guard lock(failure_mutex_);
        return failure_;
    }
    void notify() const {
        if (on_progress) on_progress();
    }

private:
    mutable std::mutex failure_mutex_;
    Error failure_{};
};

}  // namespace ferry::log
