#include "codec.hpp"

#include "ferry/platform/crc32c.hpp"
#include "ferry/platform/planted.hpp"

namespace ferry::log {

namespace {

// Offsets of the fields; docs/storage-format.md has the tables.
constexpr std::size_t plain_crc_at = 52;
constexpr std::size_t compacted_crc_at = 60;

}  // namespace

void encode_segment_header(const SegmentHeader& header, MutableBytes out) {
    FERRY_ASSERT(out.size() == format::segment_header_bytes, "a whole header");
    std::byte* at = out.data();
    store_le(at, header.compacted ? format::compacted_magic : format::segment_magic);
    store_le(at + 8, format::version);
    store_le(at + 12, std::uint32_t{0});
    store_le(at + 16, header.log_id);
    store_le(at + 24, header.epoch);
    store_le(at + 32, header.base);
    store_le(at + 40, header.capacity);
    store_le(at + 48, header.previous_crc);
    std::size_t crc_at = plain_crc_at;
    if (header.compacted) {
        store_le(at + 52, header.entries_end);
        crc_at = compacted_crc_at;
    }
    store_le(at + crc_at, crc32c(Bytes(out).first(crc_at)));
}

Result<SegmentHeader> decode_segment_header(Bytes bytes) {
    if (bytes.size() < format::segment_header_bytes)
        return Error{Errc::corrupt, 0, 0, "segment file is shorter than its header"};
    const std::byte* at = bytes.data();
    const auto magic = load_le<std::uint64_t>(at);
    if (magic != format::segment_magic && magic != format::compacted_magic)
        return Error{Errc::corrupt, 0, 0, "segment header is damaged: wrong magic"};
    SegmentHeader header;
    header.compacted = magic == format::compacted_magic;
    const std::size_t crc_at = header.compacted ? compacted_crc_at : plain_crc_at;
    const bool intact = load_le<std::uint32_t>(at + crc_at) == crc32c(bytes.first(crc_at));
    const auto version = load_le<std::uint32_t>(at + 8);
    // A later version may keep its CRC elsewhere, so a small number is believed without one.
    if (version != format::version && (intact || (version > format::version && version < 1000)))
        return Error{Errc::rejected, 0, 0, "segment was written by a newer version"};
    if (!intact) return Error{Errc::corrupt, 0, 0, "segment header is damaged: wrong CRC"};
    if (load_le<std::uint32_t>(at + 12) != 0)
        return Error{Errc::rejected, 0, 0, "segment uses a feature of a newer version"};
    header.log_id = load_le<std::uint64_t>(at + 16);
    header.epoch = load_le<std::uint64_t>(at + 24);
    header.base = load_le<std::uint64_t>(at + 32);
    header.capacity = load_le<std::uint64_t>(at + 40);
    header.previous_crc = load_le<std::uint32_t>(at + 48);
    if (header.compacted) header.entries_end = load_le<std::uint64_t>(at + 52);
    if (header.base % format::batch_alignment != 0)
        return Error{Errc::corrupt, 0, 0, "segment base is not a multiple of 512"};
    return header;
}

std::uint32_t seal_batch(const BatchHeader& header, MutableBytes batch) {
    FERRY_ASSERT(batch.size() == format::batch_header_bytes + header.length, "header and records");
    std::byte* at = batch.data();
    store_le(at, format::batch_magic);
    store_le(at + 8, header.epoch);
    store_le(at + 16, header.position);
    store_le(at + 24, header.durable_upto);
    store_le(at + 32, header.length);
    store_le(at + 36, header.count);
    store_le(at + 40, header.previous_crc);
    store_le(at + 44, std::uint32_t{0});
    store_le(at + 48, header.wall_ms);
    store_le(at + 56, std::uint64_t{0});
    const std::uint32_t crc = crc32c(Bytes(batch).subspan(8));
    store_le(at + 4, crc);
    return crc;
}

std::optional<BatchHeader> decode_batch(Bytes bytes, std::uint64_t epoch, Position position,
                                        std::uint64_t room) {
    if (bytes.size() < format::batch_header_bytes || room < format::batch_header_bytes)
        return std::nullopt;
    const std::byte* at = bytes.data();
    if (load_le<std::uint32_t>(at) != format::batch_magic) return std::nullopt;
    BatchHeader header;
    header.crc = load_le<std::uint32_t>(at + 4);
    header.epoch = load_le<std::uint64_t>(at + 8);
    header.position = load_le<std::uint64_t>(at + 16);
    header.durable_upto = load_le<std::uint64_t>(at + 24);
    header.length = load_le<std::uint32_t>(at + 32);
    header.count = load_le<std::uint32_t>(at + 36);
    header.previous_crc = load_le<std::uint32_t>(at + 40);
    header.wall_ms = load_le<std::uint64_t>(at + 48);
    // Epoch and position make stale bytes of a recycled file fail here.
    const bool ours = header.epoch == epoch && header.position == position;
    const bool fits = header.length <= room - format::batch_header_bytes;
    const bool sane = load_le<std::uint32_t>(at + 44) == 0 && header.durable_upto <= position &&
                      (header.length == 0) == (header.count == 0);
    if (!ours || !fits || !sane) return std::nullopt;
    return header;
}

bool batch_intact(const BatchHeader& header, Bytes batch) {
    return batch.size() == format::batch_header_bytes + header.length &&
           (FERRY_PLANTED("log-checksum-not-compared") || crc32c(batch.subspan(8)) == header.crc);
}

std::uint32_t record_crc_seed(Position position, std::uint32_t length) {
    std::byte head[12];
    store_le(head, position);
    store_le(head + 8, length);
    return crc32c(Bytes(head, sizeof head));
}

std::uint32_t record_crc(Position position, Bytes body) {
    return crc32c(body, record_crc_seed(position, static_cast<std::uint32_t>(body.size())));
}

}  // namespace ferry::log
