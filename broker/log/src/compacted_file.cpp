#include "compacted_file.hpp"

#include <algorithm>

#include "ferry/platform/crc32c.hpp"

// A compacted segment: header, entries in order of position, a sparse index of them, its CRC. The
// index is only a shortcut: a damaged one is built anew by walking the entries, whose CRCs stand
// for themselves.
namespace ferry::log {

namespace {

struct EntryHead {
    Position position = 0;
    std::uint32_t length = 0;
    std::uint32_t crc = 0;
};

EntryHead decode_entry(Bytes bytes) {
    return EntryHead{load_le<std::uint64_t>(bytes.data()), load_le<std::uint32_t>(bytes.data() + 8),
                     load_le<std::uint32_t>(bytes.data() + 12)};
}

Result<RawBytes> read_piece(const Segment& segment, std::uint64_t offset, std::uint64_t bytes) {
    RawBytes out(bytes);
    auto got = segment.file->read_at(offset, out);
    if (!got.ok()) {
        Error error = got.error();
        error.position = segment.header.base;
        return error;
    }
    out.resize(got.value());
    return out;
}

std::optional<CompactedIndex> parse_index(Bytes bytes) {
    if (bytes.size() < 8) return std::nullopt;
    const auto count = load_le<std::uint32_t>(bytes.data());
    const std::uint64_t list = std::uint64_t{count} * format::compacted_index_bytes;
    if (bytes.size() != 8 + list) return std::nullopt;
    if (crc32c(bytes.first(4 + list)) != load_le<std::uint32_t>(bytes.data() + 4 + list))
        return std::nullopt;
    CompactedIndex index;
    index.entries.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::byte* at = bytes.data() + 4 + std::size_t{i} * format::compacted_index_bytes;
        index.entries.push_back({load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8)});
    }
    return index;
}

// Reads head after head; bodies are skipped.
Result<CompactedIndex> rebuild_index(const Segment& segment) {
    CompactedIndex index;
    std::uint64_t last = 0;
    const std::uint64_t end = segment.header.entries_end;
    for (std::uint64_t at = format::segment_header_bytes; at < end;) {
        auto head = read_piece(segment, at, format::compacted_entry_bytes);
        if (!head.ok()) return head.error();
        if (head.value().size() < format::compacted_entry_bytes) break;
        const EntryHead entry = decode_entry(head.value());
        if (index.entries.empty() || at - last >= format::compacted_index_stride) {
            index.entries.push_back({entry.position, at});
            last = at;
        }
        at += format::compacted_entry_bytes + entry.length;
    }
    return index;
}

Result<std::shared_ptr<const CompactedIndex>> index_of(const Segment& segment) {
    const std::lock_guard lock(segment.index_mutex);
    if (segment.index) return segment.index;
    const std::uint64_t end = segment.header.entries_end;
    const std::uint64_t bytes = segment.file_bytes - std::min(segment.file_bytes, end);
    auto raw = read_piece(segment, end, bytes);
    if (!raw.ok()) return raw.error();
    auto parsed = parse_index(raw.value());
    if (!parsed) {
        auto rebuilt = rebuild_index(segment);
        if (!rebuilt.ok()) return rebuilt.error();
        parsed = std::move(rebuilt).value();
    }
    segment.index = std::make_shared<const CompactedIndex>(std::move(*parsed));
    return segment.index;
}

// Where to begin looking for `record`.
std::uint64_t start_offset(const CompactedIndex& index, Position record) {
    auto found = std::upper_bound(
        index.entries.begin(), index.entries.end(), record,
        [](Position position, const auto& entry) { return position < entry.position; });
    if (found == index.entries.begin()) return format::segment_header_bytes;
    return std::prev(found)->offset;
}

struct Located {
    std::uint64_t offset = 0;
    EntryHead head;
};

// The walk looked at heads only, and a damaged one leads it astray: before saying that a record is
// not there, the entries it passed are checked as a whole.
Error why_missing(const Segment& segment, std::uint64_t at, std::uint64_t upto, Position record) {
    const Error damaged{Errc::corrupt, 0, record, "a compacted segment is damaged"};
    const std::uint64_t end = std::min(segment.header.entries_end, segment.file_bytes);
    if (end != segment.header.entries_end) return damaged;
    while (at <= upto && at < end) {
        auto raw = read_piece(segment, at,
                              std::min<std::uint64_t>(end - at, format::compacted_entry_bytes));
        if (!raw.ok()) return raw.error();
        if (raw.value().size() < format::compacted_entry_bytes) return damaged;
        const EntryHead head = decode_entry(raw.value());
        at += format::compacted_entry_bytes;
        if (head.length > end - at) return damaged;
        auto body = read_piece(segment, at, head.length);
        if (!body.ok()) return body.error();
        if (record_crc(head.position, body.value()) != head.crc) return damaged;
        at += head.length;
    }
    return Error{Errc::not_found, 0, record, "the record was compacted away"};
}

// The entry of `record`, or the first one if `record` is the segment's base.
Result<Located> locate(const Segment& segment, Position record) {
    auto index = index_of(segment);
    if (!index.ok()) return index.error();
    std::uint64_t at = start_offset(*index.value(), record);
    const std::uint64_t end = std::min(segment.header.entries_end, segment.file_bytes);
    const std::uint64_t piece = format::compacted_index_stride + format::compacted_entry_bytes;
    RawBytes window;
    std::uint64_t window_at = 0;
    while (at < end && end - at >= format::compacted_entry_bytes) {
        if (at < window_at || at + format::compacted_entry_bytes > window_at + window.size()) {
            auto raw = read_piece(segment, at, std::min(piece, end - at));
            if (!raw.ok()) return raw.error();
            window = std::move(raw).value();
            window_at = at;
            if (window.size() < format::compacted_entry_bytes) break;
        }
        const EntryHead head = decode_entry(Bytes(window).subspan(at - window_at));
        if (head.length > end - at - format::compacted_entry_bytes)
            return Error{Errc::corrupt, 0, record, "a compacted segment is damaged"};
        if (head.position == record || record == segment.header.base) return Located{at, head};
        if (head.position > record) break;
        at += format::compacted_entry_bytes + head.length;
    }
    return why_missing(segment, start_offset(*index.value(), record), at, record);
}

}  // namespace

Result<Block> read_compacted(const Segment& segment, Position record, std::size_t bytes_wanted) {
    auto located = locate(segment, record);
    if (!located.ok()) return located.error();
    const std::uint64_t offset = located.value().offset;
    const std::uint64_t end = std::min(segment.header.entries_end, segment.file_bytes);
    const std::uint64_t first =
        std::uint64_t{format::compacted_entry_bytes} + located.value().head.length;
    const std::uint64_t want = std::min(end - offset, std::max<std::uint64_t>(first, bytes_wanted));
    auto raw = read_piece(segment, offset, want);
    if (!raw.ok()) return raw.error();
    Block block;
    block.bytes = std::move(raw).value();
    block.next = segment.header.capacity;
    const Bytes bytes = block.bytes;
    std::uint64_t at = 0;
    while (bytes.size() - at >= format::compacted_entry_bytes) {
        const EntryHead head = decode_entry(bytes.subspan(at));
        block.next = head.position;
        const std::uint64_t total = std::uint64_t{format::compacted_entry_bytes} + head.length;
        if (total > bytes.size() - at) break;
        const Bytes body = bytes.subspan(at + format::compacted_entry_bytes, head.length);
        if (record_crc(head.position, body) != head.crc) {
            if (!block.records.empty()) return block;
            return Error{Errc::corrupt, 0, head.position, "a stored record is damaged"};
        }
        block.records.push_back(StoredRecord{head.position, body});
        at += total;
        block.next = segment.header.capacity;
    }
    if (block.records.empty())
        return Error{Errc::corrupt, 0, record, "a compacted segment is damaged"};
    // More entries follow, but the read ended between two of them: name the next one.
    if (offset + at < end && block.next == segment.header.capacity) {
        auto head = read_piece(segment, offset + at, format::compacted_entry_bytes);
        if (!head.ok()) return head.error();
        if (head.value().size() == format::compacted_entry_bytes)
            block.next = decode_entry(head.value()).position;
    }
    return block;
}

}  // namespace ferry::log
