#pragma once

#include <set>
#include <string>
#include <vector>

#include "batch_scanner.hpp"
#include "checkpoint_file.hpp"
#include "core.hpp"
#include "spare_pool.hpp"

namespace ferry::log {

/// A checkpoint file that is kept.
struct KeptCheckpoint {
    std::string name;
    CheckpointHeader header;
};

/// What recovery hands to the parts of an open log.
struct RecoveredLog {
    Recovered report;
    SegmentRef active;                        // of this run's epoch; appends go on at end
    Position end = 0;                         // of the log
    Position scan_from = 0;                   // where replay starts reading
    std::uint32_t previous_crc = 0;           // of the last batch before end
    std::vector<KeptCheckpoint> checkpoints;  // oldest first, at most two
    std::vector<NumberedName> gone;           // markers of dropped segments
    bool ballast = false;
};

/// Finds the end of a log and starts a new epoch.
///
///   1 read: names, headers, checkpoints, then every batch from the checkpoint on. Any refusal is
///     here, before anything has been changed.
///   2 make the new segment under a temporary name, with a copy of the tail that nothing proves
///   synced;
///     sync it, rename it, sync the directory. From here on the new epoch owns those positions.
///   3 tidy: what the new segment supersedes, unfinished files, the dead ends of old segments.
///
/// A crash in 2 leaves a .tmp file; one in 3 leaves files that the next start finds superseded.
class Recovery {
public:
    Recovery(Core& core, Random& random, SparePool& spares, std::string* text);

    Result<RecoveredLog> run();

private:
    struct Tail {
        struct Boundary {
            Position at = 0;
            std::uint32_t crc_before = 0;
        };
        std::vector<Boundary> boundaries;  // of every batch read in the last segment, and its end
        Position end = 0;                  // of the last valid batch
        Position records_end = 0;          // of the last valid batch with records
        Position proven = 0;
        Position last_record = 0;  // of the last record read; 0: none
    };

    // Step 1.
    Status read_names();
    Status open_segments();
    Status check_same_log();
    Status choose_chain();
    Status read_checkpoints();
    Status take_checkpoint(const NumberedName& name);
    Status check_listed();
    Status check_without_checkpoint();
    void set_ends();
    Status scan();
    Result<std::size_t> first_to_scan();
    Status scan_sealed(std::size_t index, Position from);
    Status scan_last(Position from);
    Status follow(BatchScanner& scanner, const Segment& segment, bool from_start);
    Status judge_end(BatchScanner& scanner, const Segment& segment);
    Status damaged(const Segment& segment, Position from, Position to, std::string_view why);
    Status refuse(const Error& error, const std::string& text);
    // Step 2.
    Status start_epoch();
    Result<SpareFile> file_for_active(const std::string& tmp, std::uint64_t capacity);
    Status copy_tail(SpareFile& file, Position from, Position to);
    Tail::Boundary rewrite_from() const;
    // Step 3.
    Status tidy();
    void adopt_spares();
    void report_segments();

    Core& core_;
    Random& random_;
    SparePool& spares_;
    std::string* text_;
    DirectoryListing names_;
    std::vector<SegmentTable::Entry> chain_;  // by base
    std::vector<std::string> superseded_;     // files to delete
    std::uint64_t epoch_max_ = 0;
    Tail tail_;
    std::uint32_t crc_ = 0;  // of the batch before the scanner
    bool crc_known_ = false;
    RecoveredLog out_;
};

}  // namespace ferry::log
