#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "codec.hpp"
#include "ferry/log/commit_log.hpp"
#include "names.hpp"

namespace ferry::log {

/// The sparse index of a compacted segment, in order of position.
struct CompactedIndex {
    struct Entry {
        Position position;
        std::uint64_t offset;
    };
    std::vector<Entry> entries;
};

/// An open segment file. Unchanging once made, except for the index, which is read when first
/// needed.
struct Segment {
    SegmentHeader header;
    std::string name;
    std::unique_ptr<File> file;
    std::uint64_t file_bytes = 0;

    mutable std::mutex index_mutex;
    mutable std::shared_ptr<const CompactedIndex> index;
};
using SegmentRef = std::shared_ptr<Segment>;

/// Opens `name` and reads its header. Errors: as decode_segment_header, io_failed, not_found;
/// corrupt too when the name and the header disagree.
Result<SegmentRef> open_segment(FileSystem& files, const std::string& directory,
                                const NumberedName& name);

/// Which segment owns which positions.
///
/// Threads   any; the lock is never held across I/O.
class SegmentTable {
public:
    struct Entry {
        Position base = 0;
        Position end = 0;    // 0: the last segment, still growing
        SegmentRef segment;  // null: the owner decided on it, the writer has not made it yet
    };

    /// A new last segment; ends the one before it.
    void begin(Position base);
    void attach(Position base, SegmentRef segment);
    void insert(Entry entry);
    /// Puts `segment` in the place of `old`; false if `old` is not there any more.
    bool replace(Position base, const SegmentRef& old, SegmentRef segment);
    /// Takes the entry out; nothing if there is none.
    std::optional<Entry> take(Position base);
    /// The entry whose range covers `position`.
    [[nodiscard]] std::optional<Entry> find(Position position) const;
    [[nodiscard]] std::vector<Entry> snapshot() const;
    [[nodiscard]] std::size_t size() const;

private:
    mutable std::mutex mutex_;
    std::map<Position, Entry> entries_;
};

}  // namespace ferry::log
