#pragma once

#include <optional>
#include <vector>

#include "segment_table.hpp"

namespace ferry::log {

/// As a limit: as far as the file goes.
inline constexpr Position whole_file = ~Position{0};

/// Reads the batches of a plain segment one after another, each with its CRC checked.
class BatchScanner {
public:
    struct Batch {
        BatchHeader header;
        Bytes whole;  // header and records, valid until the next call
        Bytes records;
        [[nodiscard]] Position end() const { return header.position + batch_span(header); }
    };
    /// What stands behind a position at which no valid batch starts.
    struct Behind {
        bool found = false;  // a valid batch of this segment
        Position first = 0;  // where the first of them starts
        Position last_end = 0;
        Position durable_upto = 0;  // the highest promise any of them carries
    };

    /// Reads positions from `from` (a batch boundary) up to `limit` or to the end of the file.
    BatchScanner(const Segment& segment, Position from, Position limit);

    /// Empty: no valid batch starts at position(), or the limit is reached.
    /// Errors    io_failed.
    Result<std::optional<Batch>> next();
    [[nodiscard]] Position position() const { return position_; }
    void rewind(Position at) { position_ = at; }
    [[nodiscard]] Position limit() const { return limit_; }
    /// The bytes at position() claim to be a batch of this segment, though a broken one.
    Result<bool> claims_batch();
    /// Looks at every batch boundary behind position().
    Result<Behind> look_behind();

private:
    Result<Bytes> view(Position at, std::uint64_t bytes);

    const Segment& segment_;
    Position position_;
    Position limit_;
    std::vector<std::byte> buffer_;
    Position buffer_at_ = 0;
    std::uint64_t buffer_bytes_ = 0;
};

}  // namespace ferry::log
