#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "log_reader/batch.hpp"
#include "log_reader/catalog.hpp"
#include "log_reader/report.hpp"

namespace ferry::log_reader {

/// A record as it is handed out, with where it came from.
struct FoundRecord {
    std::uint64_t position = 0;
    std::span<const std::byte> body;  // valid during the call
    std::uint64_t wall_ms = 0;  // of its batch; 0 in a compacted segment, which does not keep it
    std::uint64_t epoch = 0;
    const std::string* file = nullptr;
};

/// False: stop reading.
using OnRecord = std::function<bool(const FoundRecord&)>;

/// Reads a data directory from its first kept position to its end and checks every byte that
/// counts.
///
/// A hole (bytes that are not the batch that belongs there) is judged by what comes after it: if a
/// later batch, a checkpoint or a later run says that those positions were durable it is damage,
/// reading goes on behind it and the report says damaged(); otherwise it is a torn tail and the log
/// ends there.
///
/// Works on the directory of a running broker: what is written meanwhile may or may not be seen,
/// and files dropped meanwhile are passed over.
class Walker {
public:
    Walker(const Catalog& catalog, Report& report) : catalog_(catalog), report_(report) {}

    void walk(std::uint64_t from, const OnRecord& on_record);

private:
    enum class Step : std::uint8_t { go_on, stop };

    Step walk_plain(std::size_t index, std::uint64_t from, const OnRecord& on_record);
    Step walk_compacted(std::size_t index, std::uint64_t from, const OnRecord& on_record);
    Step hand_out(const Segment& segment, const BatchProbe& probe, std::uint64_t from,
                  const OnRecord& on_record);
    Step cross_hole(std::size_t index, InputFile& file, const BatchProbe& probe,
                    std::uint64_t& position, bool& chained);

    [[nodiscard]] BatchProbe next_valid(InputFile& file, const Segment& segment,
                                        std::uint64_t position) const;
    void seek_witness(std::size_t index, std::uint64_t position);
    [[nodiscard]] bool was_dropped(const Segment& segment) const;
    [[nodiscard]] bool allowed_gap(const Segment& segment, std::uint64_t position) const;
    void note(Severity severity, const Segment& segment, std::uint64_t position, std::uint64_t end,
              std::string text);

    const Catalog& catalog_;
    Report& report_;
    std::uint32_t previous_crc_ = 0;
    bool witness_sought_ = false;
    std::uint64_t witness_ = 0;     // positions below it are known to have been durable
    std::uint64_t last_valid_ = 0;  // end of the last valid batch that the search for a witness saw
};

}  // namespace ferry::log_reader
