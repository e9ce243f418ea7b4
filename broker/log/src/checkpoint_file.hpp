#pragma once

#include <string>
#include <vector>

#include "names.hpp"

namespace ferry::log {

/// A segment that a checkpoint expects to find.
struct ListedSegment {
    Position base = 0;
    std::uint64_t epoch = 0;
    Position end = 0;  // 0: it was the last one
};

struct CheckpointHeader {
    std::uint64_t log_id = 0;
    std::uint64_t epoch = 0;
    Position at = 0;         // replay starts with the first record at or after it
    Position scan_from = 0;  // the batch boundary at which reading may start
    bool clean = false;
    std::uint64_t wall_ms = 0;
    std::vector<ListedSegment> segments;
};

struct Checkpoint {
    CheckpointHeader header;
    std::vector<std::byte> state;
};

/// Header, list and state as they stand in the file.
std::vector<std::byte> encode_checkpoint(const CheckpointHeader& header, Bytes state);

/// Errors    corrupt (damaged), rejected (newer format), io_failed, not_found.
Result<CheckpointHeader> read_checkpoint_header(FileSystem& files, const std::string& path);
Result<Checkpoint> read_checkpoint(FileSystem& files, const std::string& path);

/// tmp, write, sync, rename, sync of the directory: there is no moment without a whole checkpoint.
/// Errors    out_of_space (nothing is left behind), io_failed.
Status write_checkpoint(FileSystem& files, const std::string& directory,
                        const CheckpointHeader& header, Bytes state);

}  // namespace ferry::log
