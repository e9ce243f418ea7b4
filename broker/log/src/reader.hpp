#pragma once

#include "core.hpp"

namespace ferry::log {

/// read_block and read_cached of the log. Threads: any.
class Reader {
public:
    explicit Reader(const Core& core) : core_(core) {}

    Result<Block> read(Position record, std::size_t bytes_wanted) const;
    Result<Block> read_cached(Position record, std::size_t bytes_wanted) const;

private:
    using ReadAt = Result<std::size_t> (File::*)(std::uint64_t, MutableBytes) const;
    Result<Block> read_plain(const SegmentTable::Entry& entry, Position record,
                             std::size_t bytes_wanted, ReadAt read_at) const;

    const Core& core_;
};

}  // namespace ferry::log
