#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "log_reader/report.hpp"

namespace ferry::log_reader {

/// A segment file by its name and header.
struct Segment {
    std::string file;  // name inside the directory
    bool compacted = false;
    std::uint64_t log_id = 0;
    std::uint64_t epoch = 0;
    std::uint64_t base = 0;
    std::uint64_t capacity = 0;
    std::uint32_t previous_crc = 0;  // of the batch before the first
    std::uint64_t file_bytes = 0;
    std::uint64_t end =
        0;  // positions from here on belong to the next one; no_end: this is the last
};

inline constexpr std::uint64_t no_end = UINT64_MAX;

/// A segment that a checkpoint expects.
struct ExpectedSegment {
    std::uint64_t base = 0;
    std::uint64_t epoch = 0;
    std::uint64_t end = 0;  // 0: it was still growing
};

struct Checkpoint {
    std::string file;
    bool clean = false;
    std::uint64_t log_id = 0;
    std::uint64_t epoch = 0;
    std::uint64_t at = 0;         // replay begins here
    std::uint64_t read_from = 0;  // the batch boundary at or below it
    std::uint64_t state_bytes = 0;
    std::vector<ExpectedSegment> segments;
};

/// A segment that was dropped on purpose.
struct GoneMark {
    std::uint64_t base = 0;
    std::uint64_t epoch = 0;
};

/// What lies in a data directory, checked as far as headers go.
struct Catalog {
    std::string directory;
    std::uint64_t log_id = 0;
    std::vector<Segment> segments;        // owners of the address space, in order of base
    std::vector<Checkpoint> checkpoints;  // readable ones, oldest first
    std::vector<GoneMark> gone;
    std::uint64_t spares = 0;
    std::uint64_t superseded = 0;  // segments whose positions all belong to newer ones
    std::uint64_t unfinished = 0;  // *.tmp
};

/// Reads names, headers and checkpoints. Findings go to `report`; false: the directory cannot be
/// read at all.
bool read_catalog(const std::string& directory, Catalog& out, Report& report);

}  // namespace ferry::log_reader
