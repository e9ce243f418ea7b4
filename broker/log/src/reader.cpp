#include "reader.hpp"

#include <algorithm>

#include "compacted_file.hpp"

namespace ferry::log {

namespace {

constexpr std::uint64_t read_bytes_min = 4096;

// Walks batches and records of a plain segment in memory, beginning anywhere a record or a batch
// begins. Only a batch begins at a multiple of the alignment behind zeros, so that elsewhere there
// must be a record; otherwise a record that has lost its length would be passed over in silence.
class PlainWalk {
public:
    enum class Stop : std::uint8_t {
        between,  // behind a record or a batch, in padding at most
        unclear,  // behind a record, with too few bytes left to tell padding from a record
        inside,   // a record
        damaged,
    };

    PlainWalk(const Segment& segment, Position start, Bytes bytes)
        : segment_(segment), start_(start), bytes_(bytes) {}

    Stop run(Block& block) {
        for (;;) {
            block.next = start_ + at_;
            missing_ = format::record_header_bytes;
            const bool aligned = padded(start_ + at_) == start_ + at_;
            if (left() == 0 && aligned) return Stop::between;
            if (left() < format::record_header_bytes) return Stop::unclear;
            const auto length = load_le<std::uint32_t>(bytes_.data() + at_);
            if (length != 0 && length < format::record_bytes_limit) {
                if (const auto stop = record(length, block)) return *stop;
                continue;
            }
            if (const auto stop = batch(block)) return *stop;
        }
    }
    // How many bytes behind Block::next are needed to go on.
    [[nodiscard]] std::uint64_t missing() const { return missing_; }

private:
    [[nodiscard]] std::uint64_t left() const { return bytes_.size() - at_; }

    std::optional<Stop> record(std::uint32_t length, Block& block) {
        const std::uint64_t total = std::uint64_t{format::record_header_bytes} + length;
        if (total > left()) {
            missing_ = total;
            return Stop::inside;
        }
        const Bytes body = bytes_.subspan(at_ + format::record_header_bytes, length);
        if (record_crc(start_ + at_, body) != load_le<std::uint32_t>(bytes_.data() + at_ + 4))
            return Stop::damaged;
        block.records.push_back(StoredRecord{start_ + at_, body});
        at_ += total;
        return std::nullopt;
    }

    // Behind the last record of a batch: padding, then the next batch's header, or the end.
    std::optional<Stop> batch(Block& block) {
        const std::uint64_t ahead = padded(start_ + at_) - (start_ + at_);
        if (at_ == 0 && ahead != 0) return Stop::damaged;
        const Bytes padding = bytes_.subspan(at_, std::min(ahead, left()));
        const bool blank = std::all_of(padding.begin(), padding.end(),
                                       [](std::byte byte) { return byte == std::byte{0}; });
        if (!blank) return Stop::damaged;
        const Position position = start_ + at_ + ahead;
        if (left() < ahead + format::batch_header_bytes) {
            block.next = position;
            missing_ = format::batch_header_bytes;
            return Stop::between;
        }
        const auto header =
            decode_batch(bytes_.subspan(at_ + ahead, format::batch_header_bytes),
                         segment_.header.epoch, position, format::record_bytes_limit);
        if (!header) return Stop::damaged;
        at_ += ahead + format::batch_header_bytes;
        if (header->length == 0)
            at_ += std::min(left(), batch_span(*header) - format::batch_header_bytes);
        return std::nullopt;
    }

    const Segment& segment_;
    const Position start_;
    const Bytes bytes_;
    std::uint64_t at_ = 0;
    std::uint64_t missing_ = 0;
};

using ReadAt = Result<std::size_t> (File::*)(std::uint64_t, MutableBytes) const;

Result<std::size_t> read_segment(const Segment& segment, Position from, MutableBytes out,
                                 ReadAt read_at) {
    const std::uint64_t offset = format::segment_header_bytes + (from - segment.header.base);
    auto got = (segment.file.get()->*read_at)(offset, out);
    if (got.ok()) return got;
    Error error = got.error();
    error.position = from;
    return error;
}

// Whether a record or padding stands at `position`, where a read happened to end.
Result<Position> clear_up(const Segment& segment, Position position, ReadAt read_at) {
    std::byte length[4] = {};
    const auto got = read_segment(segment, position, length, read_at);
    if (!got.ok()) return got.error();
    const auto value = load_le<std::uint32_t>(length);
    const bool record = value != 0 && value < format::record_bytes_limit;
    return record ? position : padded(position);
}

}  // namespace

Result<Block> Reader::read(Position record, std::size_t bytes_wanted) const {
    const auto entry = core_.table.find(record);
    if (!entry || !entry->segment || record >= core_.durable.load(std::memory_order_acquire))
        return Error{Errc::not_found, 0, record, "no such record in the log"};
    if (entry->segment->header.compacted)
        return read_compacted(*entry->segment, record, bytes_wanted);
    return read_plain(*entry, record, bytes_wanted, &File::read_at);
}

Result<Block> Reader::read_cached(Position record, std::size_t bytes_wanted) const {
    const auto entry = core_.table.find(record);
    const bool plain = entry && entry->segment && !entry->segment->header.compacted &&
                       record < core_.durable.load(std::memory_order_acquire);
    if (plain) {
        auto block = read_plain(*entry, record, bytes_wanted, &File::read_cached_at);
        if (block.ok()) return block;
    }
    return Error{Errc::would_block, 0, record, "not read from memory"};
}

Result<Block> Reader::read_plain(const SegmentTable::Entry& entry, Position record,
                                 std::size_t bytes_wanted, ReadAt read_at) const {
    using Stop = PlainWalk::Stop;
    Position limit = core_.durable.load(std::memory_order_acquire);
    if (entry.end != 0) limit = std::min(limit, entry.end);
    std::uint64_t want = std::max<std::uint64_t>(bytes_wanted, read_bytes_min);
    for (;;) {
        want = std::min(want, limit - record);
        Block block;
        block.bytes.resize(want);
        auto got = read_segment(*entry.segment, record, block.bytes, read_at);
        if (!got.ok()) return got.error();
        PlainWalk walk(*entry.segment, record, Bytes(block.bytes).first(got.value()));
        const Stop stop = walk.run(block);
        const bool to_limit = want == limit - record && got.value() == want;
        const bool at_end = to_limit && (stop == Stop::between || stop == Stop::unclear);
        if (!block.records.empty()) {
            if (at_end) {
                block.next = limit;
            } else if (stop == Stop::unclear) {
                auto next = clear_up(*entry.segment, block.next, read_at);
                if (!next.ok()) return next.error();
                block.next = next.value();
            }
            return block;
        }
        if (at_end && stop == Stop::between)
            return Error{Errc::not_found, 0, record, "no record behind this one"};
        // The first record may be longer than what was read, but not than the segment.
        const std::uint64_t need = (block.next - record) + walk.missing();
        if (stop == Stop::damaged || got.value() < want || need > limit - record || need <= want)
            return Error{Errc::corrupt, 0, block.next, "a stored record is damaged"};
        want = need;
    }
}

}  // namespace ferry::log
