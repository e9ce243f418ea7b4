#pragma once

#include <condition_variable>
#include <thread>
#include <vector>

#include "batch_buffer.hpp"
#include "spare_pool.hpp"

namespace ferry::log {

/// Seals, writes and syncs what the owner handed over, and makes new segments.
///
/// Threads   turn() on one thread at a time: the writer's own, or the caller's without start().
class Writer {
public:
    /// `active` is the segment that recovery made; `previous_crc` that of the last batch before
    /// next; `unwitnessed`: it has records that a seal should vouch for.
    Writer(Core& core, HandOver& hand_over, SparePool& spares, SegmentRef active,
           std::uint32_t previous_crc, bool unwitnessed);
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    /// Called on the writer's thread when a spare was used or a sync finished; for the housekeeper.
    void set_on_turn(std::function<void()> on_turn) { on_turn_ = std::move(on_turn); }

    void start();
    /// Owner: there is something in the queue.
    void wake();
    /// Housekeeper: there is a new spare, a held batch may go on.
    void space_changed();
    /// Writes and syncs all that is pending, as far as that is possible, and ends the thread.
    void drain_and_stop();
    /// Ends the thread after the turn it is in.
    void stop();

    /// One write and one sync, or a seal. False: nothing to do, or held by a full disk, or failed.
    bool turn();

private:
    bool refill();
    bool idle_turn();
    bool write_run(std::size_t first, std::size_t behind);
    std::size_t run_behind(std::size_t first) const;
    bool roll(Position base);
    Status make_segment(Position base, SpareFile& spare, SegmentRef& out);
    bool sync();
    bool hold_or_fail(const Error& error, Position position);
    bool seal_due() const;
    bool prepare_seal();
    void publish(Position upto);
    void run();
    std::uint64_t wait_ms() const;

    Core& core_;
    HandOver& hand_over_;
    SparePool& spares_;
    SegmentRef active_;
    std::uint32_t previous_crc_;
    Position written_;                // end of the last batch written
    std::vector<ClosedBatch> taken_;  // from the queue, not written yet
    std::size_t taken_at_ = 0;
    std::unique_ptr<std::byte[]> seal_;
    bool unwitnessed_;   // the last batch holds records and nothing later proves it synced
    bool held_ = false;  // by a full disk
    Instant last_write_{};
    Instant last_sync_{};

    std::function<void()> on_turn_;
    std::condition_variable ready_;  // with hand_over_.mutex
    bool waiting_ = false;
    bool poked_ = false;
    bool stop_ = false;
    std::atomic<bool> drain_{false};
    std::thread thread_;
};

}  // namespace ferry::log
