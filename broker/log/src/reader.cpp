#include "reader.hpp"

#include <algorithm>

#include "compacted_file.hpp"

namespace ferry::log {

namespace {

constexpr std::uint64_t read_bytes_min = 4096;

// Walks batches and records of a plain segment in memory, beginning anywhere a record or a batch
// begins. Only a batch begins at a multiple of the alignment, so that elsewhere there must be a record.
class PlainWalk {
public:
    enum class Stop : std::uint8_t { end_of_bytes, damaged };

    PlainWalk(const Segment& segment, Position start, Bytes bytes)
        : segment_(segment), start_(start), bytes_(bytes) {}

    Stop run(Block& block) {
        for (;;) {
            block.next = start_ + at_;
            if (left() < format::record_header_bytes) {
                missing_ = format::record_header_bytes;
                return Stop::end_of_bytes;
            }
            const auto length = load_le<std::uint32_t>(bytes_.data() + at_);
            if (length != 0 && length < format::record_bytes_limit) {
                if (const auto stop = record(length, block)) return *stop;
                continue;
            }
            if (const auto stop = batch()) return *stop;
        }
    }
    // How many bytes the record needs that did not fit.
    [[nodiscard]] std::uint64_t missing() const { return missing_; }

private:
    [[nodiscard]] std::uint64_t left() const { return bytes_.size() - at_; }

    std::optional<Stop> record(std::uint32_t length, Block& block) {
        const std::uint64_t total = std::uint64_t{format::record_header_bytes} + length;
        if (total > left()) {
            missing_ = total;
            return Stop::end_of_bytes;
        }
        const Bytes body = bytes_.subspan(at_ + format::record_header_bytes, length);
        if (record_crc(start_ + at_, body) != load_le<std::uint32_t>(bytes_.data() + at_ + 4))
            return Stop::damaged;
        block.records.push_back(StoredRecord{start_ + at_, body});
        at_ += total;
        return std::nullopt;
    }

    // Behind the last record of a batch: padding, then the next batch's header, or the end.
    std::optional<Stop> batch() {
        const std::uint64_t ahead = padded(start_ + at_) - (start_ + at_);
        if (at_ == 0 && ahead != 0) return Stop::damaged;  // the record asked for has lost its length
        const Bytes padding = bytes_.subspan(at_, std::min(ahead, left()));
        const bool blank = std::all_of(padding.begin(), padding.end(),
                                       [](std::byte byte) { return byte == std::byte{0}; });
        if (!blank) return Stop::damaged;
        if (left() < ahead + format::batch_header_bytes) {
            missing_ = ahead + format::batch_header_bytes;
            return Stop::end_of_bytes;
        }
        const Position position = start_ + at_ + ahead;
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

}  // namespace

Result<Block> Reader::read(Position record, std::size_t bytes_wanted) const {
    const auto entry = core_.table.find(record);
    if (!entry || !entry->segment || record >= core_.durable.load(std::memory_order_acquire))
        return Error{Errc::not_found, 0, record, "no such record in the log"};
    if (entry->segment->header.compacted)
        return read_compacted(*entry->segment, record, bytes_wanted);
    return read_plain(*entry, record, bytes_wanted);
}

Result<Block> Reader::read_plain(const SegmentTable::Entry& entry, Position record,
                                 std::size_t bytes_wanted) const {
    Position limit = core_.durable.load(std::memory_order_acquire);
    if (entry.end != 0) limit = std::min(limit, entry.end);
    std::uint64_t want = std::max<std::uint64_t>(bytes_wanted, read_bytes_min);
    const std::uint64_t offset =
        format::segment_header_bytes + (record - entry.segment->header.base);
    for (;;) {
        // A read that ends just before the limit could not tell padding there from a record.
        want = std::min(want, limit - record);
        if (limit - record - want < 2 * format::batch_alignment) want = limit - record;
        Block block;
        block.bytes.resize(want);
        auto got = entry.segment->file->read_at(offset, block.bytes);
        if (!got.ok()) {
            Error error = got.error();
            error.position = record;
            return error;
        }
        const Bytes bytes = Bytes(block.bytes).first(got.value());
        PlainWalk walk(*entry.segment, record, bytes);
        const auto stop = walk.run(block);
        if (!block.records.empty()) {
            // All was read and what is left is less than a sector: padding before the end.
            if (record + bytes.size() == limit && padded(block.next) >= limit) block.next = limit;
            return block;
        }
        // Nothing yet. The first record may be longer than what was read; it can be no longer than
        // the segment.
        const std::uint64_t need = (block.next - record) + walk.missing();
        const bool longer = stop == PlainWalk::Stop::end_of_bytes && walk.missing() != 0;
        if (!longer || need > limit - record || need <= want) {
            const bool only_seals = stop == PlainWalk::Stop::end_of_bytes && walk.missing() == 0;
            if (only_seals) return Error{Errc::not_found, 0, record, "no record behind this one"};
            return Error{Errc::corrupt, 0, block.next, "a stored record is damaged"};
        }
        want = need;
    }
}

}  // namespace ferry::log
