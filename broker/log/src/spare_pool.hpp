#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core.hpp"

namespace ferry::log {

/// A file that holds nothing and is ready to become a segment.
struct SpareFile {
    std::string name;
    std::unique_ptr<File> file;
    std::uint64_t file_bytes = 0;
};

/// Zeros from the beginning, synced piece by piece so that no sync is long.
Status fill_with_zeros(File& file, std::uint64_t bytes);

/// Segments written ahead. The last one is the reserve, kept for what frees space when the disk is
/// full.
///
/// Threads   any. Files are made outside the lock.
class SparePool {
public:
    explicit SparePool(Core& core) : core_(core) {}

    /// The spares found at start. Only ones of the right size are kept.
    void adopt(SpareFile spare);
    [[nodiscard]] bool wants_more() const;
    [[nodiscard]] std::size_t ready() const;
    [[nodiscard]] std::size_t wanted() const {
        return std::max<std::size_t>(2, std::size_t{core_.options.spare_segments} + 1);
    }
    [[nodiscard]] std::uint64_t file_bytes() const {
        return format::segment_header_bytes + core_.options.segment_bytes;
    }

    /// Writes one more spare, full of zeros and synced.
    /// Errors    out_of_space, io_failed; nothing is left behind.
    Status prepare();
    /// A dropped segment's file, renamed to fresh_name() and the directory synced.
    void recycle(SpareFile spare);
    std::string fresh_name();
    /// The file system has less than Options::low_water_bytes left.
    void set_low(bool low);

    /// For the writer. A ready spare, or a new file that grows as it is written if the pool is
    /// empty but for the reserve and the disk has plenty of room.
    /// Errors    out_of_space (nothing is ready: wait), io_failed.
    Result<SpareFile> take();

private:
    Status fill(const std::string& tmp, SpareFile& out);
    Result<SpareFile> grow();
    void set_disk_full(bool full);
    bool decide();  // requires the lock

    Core& core_;
    mutable std::mutex mutex_;
    std::vector<SpareFile> ready_;
    std::uint64_t next_number_ = 1;
    bool disk_full_ = false;
    bool only_reserve_ = false;  // and no other segment can be made
    bool low_ = false;
};

}  // namespace ferry::log
