#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ferry/log/commit_log.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"

namespace ferry::crash {

inline constexpr std::size_t never = SIZE_MAX;

/// A record that was handed to the log, and from which operation of the disk's journal on what
/// holds of it. Crash points are compared with these.
struct Known {
    log::Position position = 0;
    log::Position segment = 0;
    std::uint64_t hash = 0;  // of the body, and its size
    log::Position end = 0;
    std::size_t appended_from = never;  // may be found
    std::size_t durable_from = never;   // must be found
    std::size_t lost_from = never;      // a recovery did not find it: must never be found again
    std::size_t released_from = never;  // it was dropped or compacted away: need not be found
};

struct KnownCheckpoint {
    log::Position at = 0;
    std::vector<std::byte> state;
    std::size_t requested_from = never;  // may be found
    std::size_t done_from = never;       // this one or a newer one must be found
};

/// All that a log was told and promised.
struct History {
    std::vector<Known> records;
    std::vector<KnownCheckpoint> checkpoints;
    std::uint64_t next_id = 1;

    /// What is left to be expected of a disk after a power cut at `point`; the numbers begin anew.
    [[nodiscard]] History after_crash(std::size_t point) const;
    [[nodiscard]] std::uint64_t hash() const;
};

enum class Step : std::uint8_t {
    publish_small,
    publish_large,  // more than a sector
    publish_batch,  // three records in one write
    ack,            // a small record, then silence: the log seals
    roll,           // fills the segment
    checkpoint,
    drop,       // the oldest segment that may be dropped, if any
    reopen,     // kill -9 and start again: what was written is still in the page cache
    compact,    // not among the eight of the exhaustive workloads
    close,      // an orderly stop with a clean checkpoint, and start again
    roll_bare,  // as roll, but no spare is made afterwards: dropped segments become spares
};
inline constexpr std::size_t basic_steps = 8;
[[nodiscard]] const char* name_of(Step step);

/// Drives one log on the calling thread and remembers what it promised.
///
/// All calls return the empty string, or what was wrong: a broken promise, or an open that failed.
class LogDriver {
public:
    LogDriver(sim::SimFileSystem& files, History history, std::uint64_t seed);
    ~LogDriver();

    /// Opens, replays, and compares with the history: what was durable is there, what was never
    /// appended or given up by an earlier recovery is not. Then the history knows what was found.
    [[nodiscard]] std::string open();
    [[nodiscard]] std::string run(Step step);
    /// Appends one record and writes until it is durable.
    [[nodiscard]] std::string publish_one();
    /// Reads every durable record back. With `detected`, corrupt and io_failed are accepted, and
    /// counted.
    [[nodiscard]] std::string read_all(std::uint64_t* detected = nullptr);
    void kill() { log_.reset(); }

    [[nodiscard]] bool is_open() const { return log_ != nullptr; }
    [[nodiscard]] log::CommitLog& log() { return *log_; }
    [[nodiscard]] const History& history() const { return history_; }
    [[nodiscard]] const Error& open_error() const { return open_error_; }

    /// A failed log or a full disk is no complaint (for error sweeps); a broken promise is.
    void tolerate_failure() { tolerant_ = true; }
    /// Files may be damaged or missing: falling back to an older checkpoint is fine.
    void expect_damage() { damaged_ = true; }

private:
    void append(std::size_t size);
    std::string drain();
    void housekeep();
    void idle();
    std::string roll();
    std::string checkpoint(bool clean);
    void drop();
    void compact();
    void note_progress();
    std::string check_found(const std::vector<Known>& found);
    std::string check_checkpoint();
    void settle(const std::vector<Known>& found);
    [[nodiscard]] std::vector<std::byte> state_at(log::Position at) const;

    sim::SimFileSystem& files_;
    sim::SimClock clock_;
    SeededRandom random_;
    History history_;
    std::unique_ptr<log::CommitLog> log_;
    Error open_error_;
    bool tolerant_ = false;
    bool damaged_ = false;
};

[[nodiscard]] log::Options small_options();
inline constexpr const char* log_directory = "log";

/// A disk with nothing but the directory.
[[nodiscard]] sim::DiskImage empty_disk();
/// A log that has seen rolls, checkpoints and a restart, with its history; everything is durable.
struct Aged {
    sim::DiskImage disk;
    History history;
};
[[nodiscard]] Aged aged_log();

}  // namespace ferry::crash
