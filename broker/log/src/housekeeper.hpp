#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "checkpoint_file.hpp"
#include "recovery.hpp"
#include "scrubber.hpp"
#include "spare_pool.hpp"

namespace ferry::log {

/// Everything that may take long and that nobody waits for: spares, checkpoints, removal of dropped
/// segments, compaction, backups.
///
/// Threads   the requests on any thread; turn() on one at a time: its own, or the caller's without
/// start().
class Housekeeper {
public:
    struct CheckpointJob {
        CheckpointHeader header;
        std::vector<std::byte> state;
    };
    struct CompactJob {
        Position base = 0;
        std::vector<Keep> keep;
        CommitLog::Slice slice;
    };
    struct BackupJob {
        std::string target;
        std::function<void(Result<CommitLog::BackupResult>)> done;
    };

    Housekeeper(Core& core, SparePool& spares, RecoveredLog& recovered);
    ~Housekeeper();
    Housekeeper(const Housekeeper&) = delete;
    Housekeeper& operator=(const Housekeeper&) = delete;

    /// `on_space` is called after a spare became ready.
    void set_on_space(std::function<void()> on_space) { on_space_ = std::move(on_space); }

    void request(CheckpointJob job);
    void request(CompactJob job);
    void request(BackupJob job);
    void drop(SegmentTable::Entry entry);
    [[nodiscard]] bool checkpoint_pending() const;
    [[nodiscard]] bool compaction_pending() const;
    [[nodiscard]] const Scrubber& scrubber() const { return scrubber_; }

    void start();
    /// The writer made progress: a checkpoint may be due, a spare may be gone.
    void poke();
    /// Ends the thread. Without `discard`, checkpoint and drops that are possible are done first.
    void stop(bool discard);

    /// One job. False: nothing to do, or nothing that is possible now.
    bool turn();

private:
    bool checkpoint_turn();
    bool drop_turn();
    bool spare_turn();
    bool compact_turn();
    bool backup_turn();
    bool ballast_turn();
    void watch_space();
    [[nodiscard]] std::chrono::nanoseconds rest() const;

    CheckpointHeader list_segments(CheckpointHeader header) const;
    void keep_checkpoint(CheckpointHeader header);
    Status remove_old_checkpoints();
    Status remove_marks();
    Status remove_segment(SegmentTable::Entry entry);
    Status mark_gone(const Segment& segment);
    Status retire_file(SegmentRef segment);
    void compact(CompactJob& job);
    [[nodiscard]] bool retry_is_due(Instant& last) const;
    void run();

    Core& core_;
    SparePool& spares_;
    Scrubber scrubber_;
    std::vector<KeptCheckpoint> kept_;  // oldest first
    std::vector<NumberedName> gone_;
    bool ballast_;
    Instant last_spare_failure_{};
    Instant last_checkpoint_failure_{};
    Instant last_ballast_failure_{};
    Instant space_looked_at_{};

    mutable std::mutex mutex_;
    std::condition_variable ready_;
    std::optional<CheckpointJob> checkpoint_;
    bool checkpoint_running_ = false;
    std::deque<SegmentTable::Entry> drops_;
    std::deque<CompactJob> compactions_;
    bool compaction_running_ = false;
    std::deque<BackupJob> backups_;
    bool poked_ = false;
    bool stop_ = false;
    std::atomic<bool> checkpoint_waits_{false};
    std::atomic<bool> started_{false};

    std::function<void()> on_space_;
    std::thread thread_;
};

}  // namespace ferry::log
