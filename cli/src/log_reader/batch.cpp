#include "log_reader/batch.hpp"

#include <algorithm>
#include <array>

#include "log_reader/crc32c.hpp"
#include "log_reader/little_endian.hpp"

namespace ferry::log_reader {
namespace {

constexpr std::uint32_t magic = 0x54414246;  // "FBAT"
constexpr std::size_t header_bytes = 64;
constexpr std::size_t record_header_bytes = 8;

Batch read_header(std::span<const std::byte> bytes) {
    Batch batch;
    batch.crc = read_u32(bytes, 4);
    batch.epoch = read_u64(bytes, 8);
    batch.position = read_u64(bytes, 16);
    batch.durable_upto = read_u64(bytes, 24);
    batch.length = read_u32(bytes, 32);
    batch.records = read_u32(bytes, 36);
    batch.previous_crc = read_u32(bytes, 40);
    batch.flags = read_u32(bytes, 44);
    batch.wall_ms = read_u64(bytes, 48);
    return batch;
}

// Covers the position too, so that a record cannot pass for another one.
std::uint32_t record_crc(std::uint64_t position, std::span<const std::byte> length,
                         std::span<const std::byte> body) {
    std::array<std::byte, 8> place{};
    for (std::size_t i = 0; i < place.size(); ++i) {
        place[i] = static_cast<std::byte>(position >> (8 * i));
    }
    return crc32c(body, crc32c(length, crc32c(place)));
}

BatchProbe bad(const Batch& batch, std::string_view why) {
    return {BatchProbe::State::bad, batch, {}, why};
}

}  // namespace

std::uint64_t Batch::end() const {
    const std::uint64_t bytes = header_bytes + std::uint64_t{length};
    return position + (bytes + batch_alignment - 1) / batch_alignment * batch_alignment;
}

BatchProbe probe_batch(InputFile& file, const Segment& segment, std::uint64_t position) {
    const std::uint64_t offset = segment_header_bytes + (position - segment.base);
    const auto header = file.view(offset, header_bytes);
    if (header.size() < header_bytes || read_u32(header, 0) != magic) return {};
    const Batch batch = read_header(header);
    // Recycled files keep bytes of their former life; those name another place or another run.
    if (batch.position != position || batch.epoch != segment.epoch) return {};
    const std::uint64_t room = file.size() - offset - header_bytes;
    if (batch.length > room) return bad(batch, "the batch is longer than the rest of the file");
    const std::size_t used = header_bytes + batch.length;
    const auto padded = file.view(offset, static_cast<std::size_t>(batch.end() - position));
    if (padded.size() < used) return bad(batch, "the batch cannot be read");
    const auto whole = padded.first(used);
    if (crc32c(whole.subspan(8)) != batch.crc) return bad(batch, "the batch's CRC does not match");
    const auto padding = padded.subspan(used);
    if (std::any_of(padding.begin(), padding.end(),
                    [](std::byte b) { return b != std::byte{0}; })) {
        return bad(batch, "the padding behind the batch is not zero");
    }
    if (batch.flags != 0) return bad(batch, "the batch has flags that this version does not know");
    if (batch.durable_upto > batch.position) {
        return bad(batch, "the batch calls positions durable that come after it");
    }
    return {BatchProbe::State::valid, batch, whole.subspan(header_bytes), {}};
}

std::string_view split_records(const Batch& batch, std::span<const std::byte> bytes,
                               const std::function<void(const Record&)>& on_record,
                               std::size_t& bad_at) {
    std::size_t at = 0;
    for (std::uint32_t i = 0; i < batch.records; ++i) {
        bad_at = at;
        if (bytes.size() - at < record_header_bytes)
            return "the batch has fewer records than it says";
        const std::size_t length = read_u32(bytes, at);
        if (length == 0) return "a record has no body";
        if (length > bytes.size() - at - record_header_bytes) {
            return "a record is longer than its batch";
        }
        const auto body = bytes.subspan(at + record_header_bytes, length);
        if (record_crc(batch.position + header_bytes + at, bytes.subspan(at, 4), body) !=
            read_u32(bytes, at + 4)) {
            return "a record's CRC does not match";
        }
        on_record({batch.position + header_bytes + at, body});
        at += record_header_bytes + length;
    }
    bad_at = at;
    return at == bytes.size() ? std::string_view{} : "the batch has bytes behind its last record";
}

}  // namespace ferry::log_reader
