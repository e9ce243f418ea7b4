#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core.hpp"

namespace ferry::log {

/// A batch that is complete but for its header, in memory that outlives its write.
struct ClosedBatch {
    std::byte* data = nullptr;  // header, records and padding
    Position position = 0;
    std::uint32_t length = 0;  // of the records
    std::uint32_t count = 0;
    Position segment = 0;  // base of the segment it goes to

    [[nodiscard]] std::uint64_t span() const { return padded(format::batch_header_bytes + length); }
};

/// Where owner and writer meet: the queue of closed batches and the next free position.
///
/// Batches follow one another in memory exactly as on disk, so that the writer writes any number of
/// them at once. The lock is taken once when a batch is opened and once when it is handed over,
/// never per record.
struct HandOver {
    std::mutex mutex;
    std::vector<ClosedBatch> queue;
    bool owner_open = false;        // the owner is filling a batch: nobody else may take positions
    Position segment = 0;           // that the next batch goes to
    std::uint64_t capacity = 0;     // of that segment
    std::atomic<Position> next{0};  // of the next batch; written under the mutex
};

/// The owner's side: gathers records into batches and keeps the newest for hot().
///
/// Threads   the owner's only.
class BatchBuffer {
public:
    BatchBuffer(Core& core, HandOver& hand_over);

    Place append(std::span<const Bytes> parts);
    /// True if there was something to hand over.
    bool submit();
    [[nodiscard]] Position end() const;
    /// The batch boundary from which replay must read to see everything from end() on.
    [[nodiscard]] Position boundary() const;
    [[nodiscard]] Bytes hot(Position record) const;

private:
    struct Chunk {
        std::unique_ptr<std::byte[]> data;
        Position start = 0;
        std::uint64_t used = 0;
    };

    void open_batch(std::uint64_t need);
    void close_batch();
    void make_room(Position position, std::uint64_t need);
    void trim();

    Core& core_;
    HandOver& hand_over_;
    const std::uint64_t batch_max_;
    const std::uint64_t chunk_bytes_;

    std::deque<Chunk> chunks_;  // by position; the last one is being filled
    std::vector<std::unique_ptr<std::byte[]>> free_;
    std::uint64_t cached_bytes_ = 0;  // in all chunks

    bool open_ = false;
    std::byte* at_ = nullptr;  // of the open batch
    Position position_ = 0;    // of the open batch
    Position segment_ = 0;
    std::uint64_t used_ = 0;   // header included
    std::uint64_t limit_ = 0;  // used_ may not pass it
    std::uint32_t count_ = 0;
    std::vector<ClosedBatch> closed_;  // not handed over yet
};

}  // namespace ferry::log
