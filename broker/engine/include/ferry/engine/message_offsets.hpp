#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "ferry/engine/types.hpp"
#include "ferry/platform/bytes.hpp"

namespace ferry::engine {

/// Where messages begin in the records that were read lately.
///
/// A run of messages that goes out in parts, as those of a queue with priorities do, would be
/// walked from its beginning for each part, and a batch would cost the square of its length. With
/// this every message is stepped over once.
///
/// Threads   One: whoever owns it.
/// Memory    `records_max` records, or `offsets_max` messages if those are fewer, besides one
///           record.
class MessageOffsets {
public:
    static constexpr std::size_t records_max = 512;
    static constexpr std::size_t offsets_max = 262'144;  // 1 MiB

    /// The messages [index, index + count) of the publish record at this position. `body`: its
    /// bytes, the same at each call. Empty: it is none, or holds fewer.
    Bytes find(Position record, Bytes body, std::uint32_t index, std::uint32_t count);
    /// How many messages of the record were stepped over already.
    [[nodiscard]] std::uint32_t known(Position record) const;

private:
    struct Walked {
        Position record = 0;
        std::uint32_t begin = 0;          // of the first message in the body; 0: not known
        std::vector<std::uint32_t> ends;  // of the messages from the first, in the body
    };
    using Lru = std::list<Walked>;

    Walked& entry(Position record);

    Lru lru_;                                                // newest first
    std::unordered_map<Position, Lru::iterator> by_record_;  // looked up, never walked
    std::size_t offsets_ = 0;
};

}  // namespace ferry::engine
