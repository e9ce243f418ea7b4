#include "log_reader/checkpoint_file.hpp"

#include <cerrno>
#include <cstring>

#include "log_reader/crc32c.hpp"
#include "log_reader/input_file.hpp"
#include "log_reader/little_endian.hpp"

namespace ferry::log_reader {
namespace {

constexpr std::uint64_t magic = 0x3130504B43595246ULL;  // "FRYCKP01"
constexpr std::size_t header_bytes = 96;
constexpr std::size_t entry_bytes = 32;
constexpr std::size_t chunk_bytes = 1U << 20;

// Empty: the header is sound.
std::string_view check_header(std::span<const std::byte> bytes, const FileName& name) {
    if (bytes.size() < header_bytes) return "the file is shorter than a checkpoint header";
    if (read_u64(bytes, 0) != magic) return "this is not a checkpoint: wrong magic";
    if (crc32c(bytes.first(80)) != read_u32(bytes, 80)) {
        return "the checkpoint header's CRC does not match";
    }
    if (read_u32(bytes, 8) != 1) return "the checkpoint has an unknown format version";
    if ((read_u32(bytes, 12) & ~1U) != 0) return "the checkpoint has unknown flags";
    if (read_u64(bytes, 24) != name.epoch || read_u64(bytes, 32) != name.position) {
        return "the checkpoint names another position or epoch than the file name";
    }
    return {};
}

bool read_list(InputFile& file, std::uint64_t count, std::uint32_t crc, Checkpoint& out) {
    std::uint32_t found = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto bytes = file.view(header_bytes + i * entry_bytes, entry_bytes);
        if (bytes.size() < entry_bytes) return false;
        found = crc32c(bytes, found);
        out.segments.push_back({read_u64(bytes, 0), read_u64(bytes, 8), read_u64(bytes, 16)});
    }
    return found == crc;
}

bool state_is_sound(InputFile& file, std::uint64_t at, std::uint64_t length, std::uint32_t crc) {
    std::uint32_t found = 0;
    while (length > 0) {
        const auto bytes =
            file.view(at, static_cast<std::size_t>(std::min<std::uint64_t>(length, chunk_bytes)));
        if (bytes.empty()) return false;
        found = crc32c(bytes, found);
        at += bytes.size();
        length -= bytes.size();
    }
    return found == crc;
}

std::string_view read_whole(InputFile& file, const FileName& name, Checkpoint& out) {
    const auto header = file.view(0, header_bytes);
    if (const std::string_view wrong = check_header(header, name); !wrong.empty()) return wrong;
    out.clean = (read_u32(header, 12) & 1U) != 0;
    out.log_id = read_u64(header, 16);
    out.epoch = name.epoch;
    out.at = name.position;
    out.read_from = read_u64(header, 40);
    out.state_bytes = read_u64(header, 48);
    const std::uint64_t count = read_u32(header, 64);
    const std::uint32_t list_crc = read_u32(header, 68);
    const std::uint32_t state_crc = read_u32(header, 72);
    const std::uint64_t rest = file.size() - header_bytes;
    if (count * entry_bytes > rest || out.state_bytes != rest - count * entry_bytes) {
        return "the checkpoint's lengths do not add up to the file's";
    }
    if (!read_list(file, count, list_crc, out)) return "the CRC of the segment list does not match";
    if (!state_is_sound(file, header_bytes + count * entry_bytes, out.state_bytes, state_crc)) {
        return "the CRC of the state does not match";
    }
    return {};
}

}  // namespace

void read_checkpoint(const std::string& file_name, const FileName& name, Catalog& catalog,
                     Report& report) {
    Checkpoint checkpoint;
    checkpoint.file = file_name;
    auto file = InputFile::open(catalog.directory + "/" + file_name);
    // A running broker removes old checkpoints.
    if (!file && errno == ENOENT) return;
    const std::string wrong = !file ? std::string("cannot open: ") + std::strerror(errno)
                                    : std::string(read_whole(*file, name, checkpoint));
    if (!wrong.empty()) {
        report.findings.push_back({Severity::note, file_name, 0, name.position, 0,
                                   wrong + "; the broker passes over this checkpoint"});
        return;
    }
    catalog.checkpoints.push_back(std::move(checkpoint));
}

}  // namespace ferry::log_reader
