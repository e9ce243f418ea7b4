#pragma once

#include <cstdint>
#include <optional>

#include "ferry/log/commit_log.hpp"
#include "ferry/log/format.hpp"

// Bytes to structs and back, for segment headers, batches and records. No I/O.
namespace ferry::log {

struct SegmentHeader {
    std::uint64_t log_id = 0;
    std::uint64_t epoch = 0;
    Position base = 0;
    std::uint64_t capacity = 0;      // plain: bytes behind the header; compacted: end position
    std::uint32_t previous_crc = 0;  // of the batch before the first; 0: none or not known
    bool compacted = false;
    std::uint64_t entries_end = 0;  // compacted: file offset behind the last entry
};

/// `out` is a whole zeroed header of format::segment_header_bytes.
void encode_segment_header(const SegmentHeader& header, MutableBytes out);
/// Errors    corrupt (damaged), rejected (newer format).
Result<SegmentHeader> decode_segment_header(Bytes bytes);

struct BatchHeader {
    std::uint32_t crc = 0;
    std::uint64_t epoch = 0;
    Position position = 0;
    Position durable_upto = 0;
    std::uint32_t length = 0;
    std::uint32_t count = 0;
    std::uint32_t previous_crc = 0;
    std::uint64_t wall_ms = 0;
};

inline constexpr std::uint64_t padded(std::uint64_t bytes) {
    return (bytes + format::batch_alignment - 1) & ~(format::batch_alignment - 1);
}
inline std::uint64_t batch_span(const BatchHeader& header) {
    return padded(format::batch_header_bytes + header.length);
}

/// Writes the header in front of the records that stand behind it in `batch` already
/// (format::batch_header_bytes + length bytes) and returns the CRC.
std::uint32_t seal_batch(const BatchHeader& header, MutableBytes batch);

/// The header at `bytes` if it could be that of a batch at `position` with at most `room` bytes
/// behind and including it. The CRC is not checked: see batch_intact.
std::optional<BatchHeader> decode_batch(Bytes bytes, std::uint64_t epoch, Position position,
                                        std::uint64_t room);
/// `batch` holds header and records.
bool batch_intact(const BatchHeader& header, Bytes batch);

/// CRC that stands in a record's header. It covers the position, so that a record which a disk
/// wrote to or read from the wrong place is not taken for the right one.
std::uint32_t record_crc(Position position, Bytes body);
/// The same before the body; go on with crc32c(part, seed).
std::uint32_t record_crc_seed(Position position, std::uint32_t length);

/// Calls `fn(position, body)` for each record of an intact batch; false if they do not fill it
/// exactly.
template <class Fn>
bool walk_records(const BatchHeader& header, Bytes records, Fn&& fn) {
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < header.count; ++i) {
        if (records.size() - at < format::record_header_bytes) return false;
        const auto length = load_le<std::uint32_t>(records.data() + at);
        if (length == 0 || records.size() - at - format::record_header_bytes < length) return false;
        fn(header.position + format::batch_header_bytes + at,
           records.subspan(at + format::record_header_bytes, length));
        at += format::record_header_bytes + length;
    }
    return at == records.size();
}

}  // namespace ferry::log
