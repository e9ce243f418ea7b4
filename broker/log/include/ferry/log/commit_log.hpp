#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/file.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::log {

/// A 64-bit offset into the log's address space, in bytes: monotonic for ever, never reused.
/// Batch headers and padding count; segment headers do not: in a plain segment the byte at `p` is
/// at file offset segment_header_bytes + (p - segment base).
using Position = std::uint64_t;

enum class Durability : std::uint8_t {
    fsync,     // progress() moves only past a sync that began after the bytes were written
    interval,  // progress() moves after the write; a sync follows every interval_ms (bounded loss)
};

struct Options {
    std::uint64_t segment_bytes = 64ULL << 20;  // without the header; multiple of 4096
    std::uint32_t batch_bytes_max = 4U << 20;   // one write, one sync; a record always fits
    std::uint32_t spare_segments = 2;           // written ahead and kept ready, besides the reserve
    std::uint64_t cache_bytes = 16ULL << 20;    // newest synced batches kept for hot()
    std::uint64_t seal_after_ms = 200;          // idle time after which a seal batch is written
    Durability durability = Durability::fsync;
    std::uint64_t interval_ms = 100;
    /// Sealed segments are read again and checked, not faster than this; 0: never.
    std::uint64_t scrub_bytes_per_second = 0;
    std::uint64_t scrub_every_ms = 24ULL * 60 * 60 * 1000;  // from begin to begin of a pass
    /// With less than this available on the file system (or than a twentieth of it, if that is
    /// less) space() is `full`; 0: only when a segment cannot be made. It ends when there is a
    /// fifth more.
    std::uint64_t low_water_bytes = 0;
};

inline constexpr std::uint64_t low_water_share = 20;  // of the file system, at most: a twentieth

/// Where the scrubber found bytes that are not what was written, or that cannot be read. Positions
/// are exact for the file: everything between them is in doubt, nothing else.
struct DamagedRange {
    std::string file;  // its name in the data directory
    Position first = 0;
    Position end = 0;
};
inline constexpr std::size_t damaged_ranges_max = 64;  // that are remembered

/// Where a record went.
struct Place {
    Position position;  // of the record's first byte (its record header)
    Position segment;   // base of the segment that holds it
};

struct SegmentInfo {
    Position base = 0;
    Position end = 0;  // base of the next segment, or the end of the log
    std::uint64_t file_bytes = 0;
    bool compacted = false;
};

/// What open() found, for start-up messages, metrics and tests.
struct Recovered {
    std::uint64_t log_id = 0;  // random, made with the directory
    std::uint64_t epoch = 0;   // taken by this run; larger than every earlier one
    bool created = false;      // the directory held no log
    bool clean = false;  // the newest checkpoint was a clean one at the very end: replay is empty
    Position checkpoint_at = 0;         // replay starts here
    std::vector<std::byte> checkpoint;  // empty: none
    std::uint64_t checkpoints_bad = 0;  // unreadable ones that were passed over
    std::uint64_t torn_bytes = 0;       // cut off after a torn write
    std::uint64_t rewritten_bytes =
        0;  // copied into a new segment because no later batch proved them synced
    std::vector<SegmentInfo> segments;  // in order of base
};

/// A record read back from disk, checked.
struct StoredRecord {
    Position position = 0;
    Bytes body;  // into Block::bytes
};

/// Memory that a read fills: it is not set to zero before.
template <class T>
struct RawAllocator : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = RawAllocator<U>;
    };
    void construct(T* at) { ::new (static_cast<void*>(at)) T; }
    template <class... Args>
    void construct(T* at, Args&&... args) {
        ::new (static_cast<void*>(at)) T(std::forward<Args>(args)...);
    }
};
using RawBytes = std::vector<std::byte, RawAllocator<std::byte>>;

/// A run of whole records read from disk with every CRC checked. Owns its bytes.
struct Block {
    RawBytes bytes;
    std::vector<StoredRecord>
        records;        // in order of position; gaps are batch headers or compacted-away records
    Position next = 0;  // where reading on would start
};

/// What a compaction keeps of one record.
struct Keep {
    Position position = 0;  // of the record
    std::vector<std::pair<std::uint32_t, std::uint32_t>>
        ranges;  // (first index, count); empty: all of it
};

enum class Space : std::uint8_t {
    ok,
    full,  // only the reserve is left: admit what frees space (acks, nacks, checkpoints), refuse
           // publishes
};

struct Stats {
    std::uint64_t syncs = 0;
    std::uint64_t batches = 0;
    std::uint64_t records = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t segments = 0;
    std::uint64_t spares = 0;
    std::uint64_t compactions = 0;
    std::uint64_t scrubbed_bytes = 0;
    std::uint64_t scrub_passes = 0;
    std::uint64_t damaged_ranges = 0;
    std::uint64_t file_bytes = 0;  // all segment, spare and checkpoint files
    std::uint64_t sync_ns_last = 0;
};

/// The part of Stats that is wanted after every sync: gathering the rest takes time in proportion
/// to the segments.
struct SyncStats {
    std::uint64_t syncs = 0;
    std::uint64_t sync_ns_last = 0;
};

/// The broker's durable sequence of records: all that survives a crash.
///
/// Threads   "Owner" calls come from one thread (the engine's). start() runs a writer thread and a
///           housekeeping thread (preparing segments, checkpoints, compaction). read_block may run
///           on any thread. Without start() nothing happens by itself and
///           write_once()/housekeep_once() do the same work on the caller's thread: that is how
///           tests and the simulator run it.
/// Lifetime  The references given to open() outlive the log. The log owns its files and the
///           exclusive lock on the directory.
/// Blocking  open(), replay(), read_block(), close() may block on the disk. Owner calls never do.
/// Failure   The first failed write or sync fails the log for good (failed()): nobody knows which
/// bytes
///           reached the disk, so no retry is honest. Disk full while *preparing* a segment is not
///           a failure.
/// On disk   docs/storage-format.md
class CommitLog {
public:
    /// Opens or creates the log in `directory`, finds its end, takes a new epoch and re-writes into
    /// a new segment whatever no later batch proves synced. Idempotent under crashes at any point.
    ///
    /// Batches carry durable_upto, so open() can tell two things apart. An invalid batch at or
    /// above every durable_upto found behind it is what a power cut leaves: it is cut and counted
    /// in torn_bytes. An invalid batch below one of them (or below a checkpoint's position) is
    /// damage, and the log refuses to open.
    ///
    /// Errors    corrupt (position of the first bad byte; see open_error_text), conflict (another
    /// process
    ///           has the directory), io_failed, rejected (newer format, foreign segment, missing
    ///           segment, bad options), out_of_space. After corrupt, rejected or conflict the files
    ///           are exactly as they were.
    static Result<std::unique_ptr<CommitLog>> open(FileSystem& files, Random& random,
                                                   const Clock& clock, std::string directory,
                                                   const Options& options,
                                                   std::string* error_text = nullptr);

    virtual ~CommitLog() = default;
    CommitLog(const CommitLog&) = delete;
    CommitLog& operator=(const CommitLog&) = delete;

    [[nodiscard]] virtual const Recovered& recovered() const = 0;

    /// Calls `on_record` for every record at or after recovered().checkpoint_at, in order.
    /// Requires  called before the first append. Stops at the first error of the callback and
    /// returns it. Errors    corrupt, io_failed, or the callback's.
    virtual Status replay(const std::function<Status(const Place&, Bytes body)>& on_record) = 0;

    /// Owner. Takes a copy of the record, which is the concatenation of `parts`, and says where it
    /// goes. Not durable and not for anybody's eyes until durable() is past it. Requires !failed(),
    /// 0 < total size <= batch_bytes_max - 4096.
    virtual Place append(std::span<const Bytes> parts) = 0;

    /// Owner. Lets the writer take what was appended since the last call. (Appends become visible
    /// to the writer only here, once a loop turn, so that a turn's records share a batch.)
    virtual void submit() = 0;

    /// Records that end at or below this survive a power cut (Durability::fsync). Never goes back.
    [[nodiscard]] virtual Position durable() const = 0;
    /// Where the next record would go, at the earliest. Owner.
    [[nodiscard]] virtual Position end() const = 0;
    /// Bytes appended and not yet durable. Owner.
    [[nodiscard]] virtual std::uint64_t pending_bytes() const = 0;
    [[nodiscard]] virtual bool failed() const = 0;
    /// Why, when failed().
    [[nodiscard]] virtual Error failure() const = 0;
    [[nodiscard]] virtual Space space() const = 0;
    [[nodiscard]] virtual Stats stats() const = 0;
    [[nodiscard]] virtual SyncStats sync_stats() const = 0;
    /// What the scrubber found since start; at most damaged_ranges_max. Any thread.
    [[nodiscard]] virtual std::vector<DamagedRange> damage() const = 0;

    /// Owner. The body of the record at `record` if it is among the newest batches in memory,
    /// else empty. Valid until the next append() or submit().
    [[nodiscard]] virtual Bytes hot(Position record) const = 0;

    /// Any thread. Reads whole records from the one at `record` on, until about `bytes_wanted`
    /// bytes (at least one record). `record` must be the position of a record that is durable and
    /// live. Errors    corrupt or io_failed with position; not_found (compacted away or dropped).
    virtual Result<Block> read_block(Position record, std::size_t bytes_wanted) const = 0;

    /// Any thread. The same without waiting for the disk, for one that may not: the operating
    /// system still has what was written lately.
    /// Errors    would_block: read_block() has to do it, or to tell why it cannot be done.
    virtual Result<Block> read_cached(Position record, std::size_t bytes_wanted) const {
        static_cast<void>(bytes_wanted);
        return Error{Errc::would_block, 0, record, "only the disk has it"};
    }

    /// Starts the threads. `on_progress` is called on the writer's thread after durable(), space()
    /// or failed() changed; it must only wake the owner.
    virtual void start(std::function<void()> on_progress) = 0;
    /// Writes and syncs what is pending, stops the threads. Afterwards only const calls.
    virtual void close() = 0;

    /// One turn of the writer / of the housekeeper on the caller's thread, for use without start().
    /// True if it did something.
    virtual bool write_once() = 0;
    virtual bool housekeep_once() = 0;

    /// Owner. Queues a checkpoint: `state` is what replay up to `at` (== end() at the time of the
    /// call) would give. It is written once durable() >= at; the previous one is kept. `clean`:
    /// nothing will be appended after it.
    virtual void checkpoint(std::vector<std::byte> state, Position at, bool clean) = 0;
    [[nodiscard]] virtual bool checkpoint_pending() const = 0;
    /// Position of the older of the two kept checkpoints: nothing before it is ever replayed. 0:
    /// none.
    [[nodiscard]] virtual Position replay_floor() const = 0;

    /// Owner. Segments in order of base.
    [[nodiscard]] virtual std::vector<SegmentInfo> segments() const = 0;
    /// Owner. Recycles (or deletes) a segment that holds nothing live and ends at or below
    /// replay_floor().
    virtual void drop_segment(Position base) = 0;
    /// Owner. Replaces the segment by a compacted file with only `keep` (ascending, each position a
    /// record in it), unless it ends above replay_floor(). Records keep their positions. A record
    /// with ranges is replaced by slice(body, ranges). `slice` runs on the housekeeping thread.
    using Slice = std::function<Result<std::vector<std::byte>>(
        Bytes body, std::span<const std::pair<std::uint32_t, std::uint32_t>> ranges)>;
    virtual void compact(Position base, std::vector<Keep> keep, Slice slice) = 0;
    [[nodiscard]] virtual bool compaction_pending() const = 0;

    /// Owner. Asks for a consistent copy at `target` (a new or empty directory): everything up to
    /// the durable end at the time of the copy. Segments are copied with their CRCs checked, and a
    /// manifest (name, length, CRC32C per file) is written last. `done` runs on the housekeeping
    /// thread.
    struct BackupResult {
        Position upto = 0;
        std::uint64_t bytes = 0;
        std::uint64_t files = 0;
    };
    virtual void backup(std::string target, std::function<void(Result<BackupResult>)> done) = 0;

protected:
    CommitLog() = default;
};

}  // namespace ferry::log
