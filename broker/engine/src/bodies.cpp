// Reading record bodies for delivery and compaction: pure functions.

#include <algorithm>

#include "ferry/engine/engine.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/message.hpp"
#include "records.hpp"

namespace ferry::engine {
namespace {

Error damaged(const Extent& extent, std::string_view what) {
    return {Errc::corrupt, 0, extent.first, what};
}

// Steps over `count` messages. They were checked when they were published; the bytes' CRC holds.
bool step(wire::Cursor& cursor, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!wire::skip_message(cursor)) return false;
    }
    return true;
}

// `count` messages behind the first `skip` of `bytes`.
Result<Bytes> walk(const Extent& extent, Bytes bytes, std::uint32_t skip, std::uint32_t count) {
    wire::Cursor cursor(bytes);
    if (!step(cursor, skip))
        return damaged(extent, "the record holds fewer messages than its index says");
    const std::byte* const begin = cursor.position();
    if (!step(cursor, count))
        return damaged(extent, "the record holds fewer messages than its index says");
    return Bytes(begin, cursor.position());
}

struct SlicePart {
    std::uint32_t index = 0;
    std::uint32_t count = 0;
    Bytes bytes;
};

bool read_slice(Bytes body, std::uint64_t& wall_ms, std::vector<SlicePart>& out) {
    Reader in(body);
    if (in.u8() != static_cast<std::uint8_t>(RecordType::slice)) return false;
    wall_ms = in.u64();
    const std::size_t parts = in.count(3);
    std::vector<std::uint64_t> sizes;
    for (std::size_t i = 0; i < parts && in.ok(); ++i) {
        SlicePart part;
        part.index = in.bounded<std::uint32_t>(UINT16_MAX);
        part.count = in.bounded<std::uint32_t>(UINT16_MAX + 1U);
        sizes.push_back(in.varint());
        out.push_back(part);
    }
    if (!in.ok()) return false;
    Bytes rest = in.rest();
    for (std::size_t i = 0; i < parts; ++i) {
        if (sizes[i] > rest.size()) return false;
        out[i].bytes = rest.first(sizes[i]);
        rest = rest.subspan(sizes[i]);
    }
    return rest.empty();
}

// The messages [from, from + count) of a slice, which may lie in several of its parts.
Result<Bytes> from_slice(Bytes body, const Extent& extent, std::uint32_t from, std::uint32_t count,
                         std::vector<std::byte>& scratch) {
    std::vector<SlicePart> parts;
    std::uint64_t wall_ms = 0;
    if (!read_slice(body, wall_ms, parts))
        return damaged(extent, "a compacted record is malformed");
    scratch.clear();
    for (const SlicePart& part : parts) {
        if (part.index + part.count <= from || count == 0) continue;
        if (part.index > from) break;
        const std::uint32_t skip = from - part.index;
        const std::uint32_t n = std::min(count, part.count - skip);
        const Result<Bytes> bytes = walk(extent, part.bytes, skip, n);
        if (!bytes.ok()) return bytes;
        scratch.insert(scratch.end(), bytes.value().begin(), bytes.value().end());
        from += n;
        count -= n;
    }
    if (count > 0)
        return damaged(extent, "a compacted record lacks a message that is still wanted");
    return Bytes(scratch);
}

}  // namespace

Result<Bytes> message_bytes(Bytes body, const Extent& extent, std::uint32_t skip,
                            std::uint32_t count, std::vector<std::byte>& scratch,
                            MessageOffsets* offsets) {
    if (body.empty() || skip + count > extent.count) return damaged(extent, "no such messages");
    if (body[0] == static_cast<std::byte>(RecordType::slice)) {
        return from_slice(body, extent, extent.index + skip, count, scratch);
    }
    if (extent.offset() != 0 && extent.offset() <= body.size()) {
        if (skip == 0 && count == extent.count && extent.exact) {
            if (extent.bytes > body.size() - extent.offset())
                return damaged(extent, "the record is too short");
            return body.subspan(extent.offset(), extent.bytes);
        }
        const bool begun = offsets != nullptr && offsets->known(extent.record()) >= extent.index;
        if (!begun) return walk(extent, body.subspan(extent.offset()), skip, count);
    }
    if (offsets != nullptr) {
        const Bytes found = offsets->find(extent.record(), body, extent.index + skip, count);
        if (found.empty())
            return damaged(extent, "the record does not hold the messages that its index names");
        return found;
    }
    PublishRecord record;
    if (!decode_publish(body, record)) return damaged(extent, "the record is no publish record");
    return walk(extent, body.subspan(record.messages_offset), extent.index + skip, count);
}

std::uint64_t published_ms(Bytes body) {
    if (body.size() < 9) return 0;
    const auto type = static_cast<RecordType>(body[0]);
    if (type != RecordType::publish && type != RecordType::slice &&
        type != RecordType::transaction && type != RecordType::schedule_fired &&
        type != RecordType::prepared_submit && type != RecordType::prepared_check)
        return 0;
    return load_le<std::uint64_t>(body.data() + 1);
}

Result<std::vector<std::byte>> slice_record(
    Bytes body, std::span<const std::pair<std::uint32_t, std::uint32_t>> ranges) {
    std::vector<std::byte> out;
    put_u8(out, static_cast<std::uint8_t>(RecordType::slice));
    put_u64(out, published_ms(body));
    put_varint(out, ranges.size());
    std::vector<std::byte> messages;
    std::vector<std::byte> scratch;
    for (const auto& [first, count] : ranges) {
        Extent extent;
        extent.index = static_cast<std::uint16_t>(first);
        extent.first = first;
        extent.set_count(count);
        const Result<Bytes> bytes = message_bytes(body, extent, 0, count, scratch);
        if (!bytes.ok()) return bytes.error();
        put_varint(out, first);
        put_varint(out, count);
        put_varint(out, bytes.value().size());
        messages.insert(messages.end(), bytes.value().begin(), bytes.value().end());
    }
    out.insert(out.end(), messages.begin(), messages.end());
    return out;
}

Result<std::vector<Extent>> extents_of_block(Bytes body) {
    QueueId queue = 0;
    std::vector<Extent> extents;
    if (!decode_extents(body, RecordType::index_block, queue, extents)) {
        return Error{Errc::corrupt, 0, 0, "an index block is malformed"};
    }
    return extents;
}

}  // namespace ferry::engine
