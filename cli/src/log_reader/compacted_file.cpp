#include "log_reader/compacted_file.hpp"

#include <algorithm>

#include "log_reader/crc32c.hpp"
#include "log_reader/little_endian.hpp"

namespace ferry::log_reader {
namespace {

constexpr std::uint64_t magic = 0x313050434D595246ULL;  // "FRYMCP01"
constexpr std::size_t header_bytes = 64;
constexpr std::uint64_t entries_at = 4096;
constexpr std::size_t entry_header_bytes = 16;
constexpr std::size_t index_entry_bytes = 16;

std::uint64_t entries_end(InputFile& file) {
    return read_u64(file.view(0, header_bytes), 52);
}

CompactedFault check_index(InputFile& file, std::uint64_t at) {
    const auto fault = [at](std::string_view text) { return CompactedFault{at, 0, text, true}; };
    const auto count_bytes = file.view(at, 4);
    if (count_bytes.size() < 4) return fault("the index is cut off");
    const std::uint64_t count = read_u32(count_bytes, 0);
    if (file.size() - at != 4 + count * index_entry_bytes + 4) {
        return fault("the index is not as long as it says");
    }
    std::uint32_t crc = crc32c(count_bytes);
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto entry = file.view(at + 4 + i * index_entry_bytes, index_entry_bytes);
        if (entry.size() < index_entry_bytes) return fault("the index cannot be read");
        crc = crc32c(entry, crc);
    }
    const auto stored = file.view(at + 4 + count * index_entry_bytes, 4);
    if (stored.size() < 4 || read_u32(stored, 0) != crc) {
        return fault("the index's CRC does not match");
    }
    return {};
}

}  // namespace

bool read_compacted_header(InputFile& file, const FileName& name, Segment& out, Report& report) {
    const auto bytes = file.view(0, header_bytes);
    const auto refuse = [&](std::uint64_t offset, const char* text) {
        report.findings.push_back({Severity::damage, out.file, offset, name.position, 0, text});
        return false;
    };
    if (bytes.size() < header_bytes) return refuse(0, "the file is shorter than a header");
    if (read_u64(bytes, 0) != magic)
        return refuse(0, "this is not a compacted segment: wrong magic");
    if (crc32c(bytes.first(60)) != read_u32(bytes, 60)) {
        return refuse(60, "the compacted segment header's CRC does not match");
    }
    if (read_u32(bytes, 8) != 1) return refuse(8, "the segment has an unknown format version");
    if (read_u32(bytes, 12) != 0) return refuse(12, "the segment header has unknown flags");
    out.log_id = read_u64(bytes, 16);
    out.epoch = read_u64(bytes, 24);
    out.base = read_u64(bytes, 32);
    out.end = read_u64(bytes, 40);
    if (out.base != name.position || out.epoch != name.epoch) {
        return refuse(24, "the segment header names another base or epoch than the file name");
    }
    if (out.end <= out.base) return refuse(40, "the compacted segment ends before it begins");
    const std::uint64_t behind = read_u64(bytes, 52);
    if (behind < entries_at || behind > file.size()) {
        return refuse(52, "the entries end outside the file");
    }
    return true;
}

CompactedFault read_entries(InputFile& file, const Segment& segment,
                            const std::function<bool(const Record&)>& on_record) {
    const std::uint64_t end = entries_end(file);
    std::uint64_t position = segment.base;
    std::uint64_t at = entries_at;
    while (at < end) {
        const auto header = file.view(at, entry_header_bytes);
        if (header.size() < entry_header_bytes || end - at < entry_header_bytes) {
            return {at, position, "an entry is cut off"};
        }
        const std::uint64_t found = read_u64(header, 0);
        const std::uint32_t length = read_u32(header, 8);
        const std::uint32_t crc = read_u32(header, 12);
        const std::uint32_t header_crc = crc32c(header.first(12));
        if (length == 0 || length > end - at - entry_header_bytes) {
            return {at, position, "an entry is longer than the rest of the file"};
        }
        const auto body = file.view(at + entry_header_bytes, length);
        if (body.size() < length) return {at, position, "an entry cannot be read"};
        if (crc32c(body, header_crc) != crc) return {at, position, "an entry's CRC does not match"};
        if (found < position || found >= segment.end) {
            return {at, position, "an entry is out of order"};
        }
        position = found + 1;
        if (!on_record({found, body})) return {};
        at += entry_header_bytes + length;
    }
    return check_index(file, end);
}

}  // namespace ferry::log_reader
