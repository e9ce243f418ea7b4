#pragma once

#include <vector>

#include "ferry/engine/engine.hpp"
#include "varint.hpp"

namespace ferry::engine {

/// How much of every log segment is still needed: messages that some queue holds, and index blocks.
/// A message in three queues counts three times. Threads: the engine's.
class LiveSpace {
public:
    /// A record was written or replayed at `position`.
    void note_place(const Journal::Place& place);
    /// False: that place cannot follow on what is known (a checkpoint of another log).
    [[nodiscard]] bool fits(const Journal::Place& place) const {
        return place.position >= place.segment && place.position >= end_ &&
               (segments_.empty() || segments_.back().base <= place.segment);
    }
    [[nodiscard]] bool knows(Position position) const {
        return !segments_.empty() && segments_.front().base <= position;
    }
    void add(Position position, std::uint64_t references, std::uint64_t bytes);
    void remove(Position position, std::uint64_t references, std::uint64_t bytes);
    void forget(Position base);

    [[nodiscard]] const std::vector<SegmentLoad>& segments() const { return segments_; }
    [[nodiscard]] std::uint64_t live_bytes() const { return live_bytes_; }
    /// Base of the segment that holds `position`.
    [[nodiscard]] Position segment_of(Position position);
    [[nodiscard]] Position end() const { return end_; }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    [[nodiscard]] SegmentLoad& find(Position position);

    std::vector<SegmentLoad> segments_;  // in order of base
    bool some_just_died_ = false;        // their dead_since is the end of the next record
    std::size_t last_found_ = 0;
    Position end_ = 0;  // behind the newest record's first byte
    std::uint64_t live_bytes_ = 0;
};

}  // namespace ferry::engine
