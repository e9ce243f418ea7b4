#pragma once

#include "core.hpp"

namespace ferry::log {

/// read_block of the log. Threads: any.
class Reader {
public:
    explicit Reader(const Core& core) : core_(core) {}

    Result<Block> read(Position record, std::size_t bytes_wanted) const;

private:
    Result<Block> read_plain(const SegmentTable::Entry& entry, Position record,
                             std::size_t bytes_wanted) const;

    const Core& core_;
};

}  // namespace ferry::log
