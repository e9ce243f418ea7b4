#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ferry::log_reader {

enum class Severity : std::uint8_t {
    note,    // worth knowing; nothing is wrong
    torn,    // unfinished writes at the end, as a power cut leaves them; the broker cuts them off
    damage,  // something that was confirmed cannot be read
};

/// One thing that was found, and exactly where.
struct Finding {
    Severity severity = Severity::note;
    std::string file;
    std::uint64_t offset = 0;        // byte of the file
    std::uint64_t position = 0;      // byte of the log's address space
    std::uint64_t position_end = 0;  // first position behind the range; 0: unknown
    std::string text;
};

struct Report {
    std::string directory;
    std::uint64_t log_id = 0;
    std::uint64_t segments = 0;
    std::uint64_t compacted = 0;
    std::uint64_t superseded = 0;
    std::uint64_t spares = 0;
    std::uint64_t checkpoints = 0;
    std::uint64_t batches = 0;
    std::uint64_t seals = 0;
    std::uint64_t records = 0;
    std::uint64_t record_bytes = 0;
    std::uint64_t begin = 0;         // first position that is kept
    std::uint64_t end = 0;           // first position behind the last good batch
    std::uint64_t durable_upto = 0;  // highest durable mark seen
    std::uint64_t torn_bytes = 0;
    bool unreadable = false;  // the directory itself
    std::vector<Finding> findings;

    [[nodiscard]] bool damaged() const {
        if (unreadable) return true;
        for (const Finding& finding : findings) {
            if (finding.severity == Severity::damage) return true;
        }
        return false;
    }
};

}  // namespace ferry::log_reader
