#pragma once

#include "core.hpp"

namespace ferry::log {

/// Reads records of a compacted segment from the one at `record` on; the segment's base stands for
/// its first record. Threads: any.
/// Errors    not_found (compacted away), corrupt, io_failed.
Result<Block> read_compacted(const Segment& segment, Position record, std::size_t bytes_wanted);

/// Writes the compacted form of `source` (plain or compacted) under a temporary name, synced; the
/// caller renames it.
///
/// Errors    corrupt (a record is damaged or `keep` names none: the source stays as it is),
///           out_of_space, io_failed, or the slice's. The temporary file is removed.
Result<SegmentRef> write_compacted(Core& core, const SegmentTable::Entry& source,
                                   const std::vector<Keep>& keep, const CommitLog::Slice& slice,
                                   const std::string& tmp);

}  // namespace ferry::log
