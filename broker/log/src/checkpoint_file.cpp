#include "checkpoint_file.hpp"

#include "ferry/log/format.hpp"
#include "ferry/platform/crc32c.hpp"
#include "ferry/platform/fault_point.hpp"
#include "ferry/platform/planted.hpp"

namespace ferry::log {

namespace {

constexpr std::size_t header_crc_at = 80;

struct Layout {
    CheckpointHeader header;
    std::uint64_t state_bytes = 0;
    std::uint32_t state_crc = 0;
    std::uint64_t list_bytes = 0;
    std::uint32_t list_crc = 0;
};

constexpr Error damaged{Errc::corrupt, 0, 0, "checkpoint is damaged"};

Result<Layout> decode_header(Bytes bytes, std::uint64_t file_bytes) {
    if (bytes.size() < format::checkpoint_header_bytes) return damaged;
    const std::byte* at = bytes.data();
    if (load_le<std::uint64_t>(at) != format::checkpoint_magic) return damaged;
    const bool intact =
        load_le<std::uint32_t>(at + header_crc_at) == crc32c(bytes.first(header_crc_at));
    const auto version = load_le<std::uint32_t>(at + 8);
    if (version != format::version && (intact || (version > format::version && version < 1000)))
        return Error{Errc::rejected, 0, 0, "checkpoint was written by a newer version"};
    if (!intact) return damaged;
    const auto flags = load_le<std::uint32_t>(at + 12);
    if ((flags & ~format::checkpoint_flag_clean) != 0)
        return Error{Errc::rejected, 0, 0, "checkpoint uses a feature of a newer version"};
    Layout out;
    out.header.clean = (flags & format::checkpoint_flag_clean) != 0;
    out.header.log_id = load_le<std::uint64_t>(at + 16);
    out.header.epoch = load_le<std::uint64_t>(at + 24);
    out.header.at = load_le<std::uint64_t>(at + 32);
    out.header.scan_from = load_le<std::uint64_t>(at + 40);
    out.state_bytes = load_le<std::uint64_t>(at + 48);
    out.header.wall_ms = load_le<std::uint64_t>(at + 56);
    const auto count = load_le<std::uint32_t>(at + 64);
    out.list_crc = load_le<std::uint32_t>(at + 68);
    out.state_crc = load_le<std::uint32_t>(at + 72);
    out.list_bytes = std::uint64_t{count} * format::checkpoint_segment_bytes;
    // Checked against the real length of the file before any memory is taken.
    const std::uint64_t rest = file_bytes - format::checkpoint_header_bytes;
    if (out.list_bytes > rest || out.state_bytes != rest - out.list_bytes) return damaged;
    if (out.header.scan_from > out.header.at) return damaged;
    return out;
}

Status read_exactly(const File& file, std::uint64_t offset, MutableBytes out) {
    auto got = file.read_at(offset, out);
    if (!got.ok()) return got.error();
    if (got.value() != out.size()) return damaged;
    return ok_status();
}

Result<Layout> read_layout(const File& file) {
    auto size = file.size();
    if (!size.ok()) return size.error();
    if (size.value() < format::checkpoint_header_bytes) return damaged;
    std::byte head[format::checkpoint_header_bytes];
    if (auto status = read_exactly(file, 0, head); !status.ok()) return status.error();
    auto layout = decode_header(head, size.value());
    if (!layout.ok()) return layout.error();
    std::vector<std::byte> list(layout.value().list_bytes);
    if (auto status = read_exactly(file, format::checkpoint_header_bytes, list); !status.ok())
        return status.error();
    if (crc32c(list) != layout.value().list_crc) return damaged;
    auto& segments = layout.value().header.segments;
    segments.reserve(list.size() / format::checkpoint_segment_bytes);
    for (std::size_t at = 0; at < list.size(); at += format::checkpoint_segment_bytes) {
        const std::byte* entry = list.data() + at;
        segments.push_back(ListedSegment{load_le<std::uint64_t>(entry),
                                         load_le<std::uint64_t>(entry + 8),
                                         load_le<std::uint64_t>(entry + 16)});
    }
    return layout;
}

Status write_tmp(FileSystem& files, const std::string& path, Bytes bytes) {
    auto file = files.open(path, FileSystem::Open::create);
    if (!file.ok()) return file.error();
    if (auto status = file.value()->truncate(0); !status.ok()) return status;
    if (auto status = file.value()->write_at(0, bytes); !status.ok()) return status;
    FERRY_FAULT_POINT("log.checkpoint.written");
    if (FERRY_PLANTED("log-checkpoint-not-synced")) return ok_status();
    return file.value()->sync_data();
}

}  // namespace

std::vector<std::byte> encode_checkpoint(const CheckpointHeader& header, Bytes state) {
    const std::size_t list_bytes = header.segments.size() * format::checkpoint_segment_bytes;
    std::vector<std::byte> out(format::checkpoint_header_bytes + list_bytes + state.size());
    std::byte* list = out.data() + format::checkpoint_header_bytes;
    for (std::size_t i = 0; i < header.segments.size(); ++i) {
        std::byte* entry = list + i * format::checkpoint_segment_bytes;
        store_le(entry, header.segments[i].base);
        store_le(entry + 8, header.segments[i].epoch);
        store_le(entry + 16, header.segments[i].end);
    }
    if (!state.empty()) std::memcpy(list + list_bytes, state.data(), state.size());
    std::byte* at = out.data();
    store_le(at, format::checkpoint_magic);
    store_le(at + 8, format::version);
    store_le(at + 12, header.clean ? format::checkpoint_flag_clean : std::uint32_t{0});
    store_le(at + 16, header.log_id);
    store_le(at + 24, header.epoch);
    store_le(at + 32, header.at);
    store_le(at + 40, header.scan_from);
    store_le(at + 48, static_cast<std::uint64_t>(state.size()));
    store_le(at + 56, header.wall_ms);
    store_le(at + 64, static_cast<std::uint32_t>(header.segments.size()));
    store_le(at + 68, crc32c(Bytes(list, list_bytes)));
    store_le(at + 72, crc32c(state));
    store_le(at + header_crc_at, crc32c(Bytes(at, header_crc_at)));
    return out;
}

Result<CheckpointHeader> read_checkpoint_header(FileSystem& files, const std::string& path) {
    auto file = files.open(path, FileSystem::Open::read);
    if (!file.ok()) return file.error();
    auto layout = read_layout(*file.value());
    if (!layout.ok()) return layout.error();
    return std::move(layout.value().header);
}

Result<Checkpoint> read_checkpoint(FileSystem& files, const std::string& path) {
    auto file = files.open(path, FileSystem::Open::read);
    if (!file.ok()) return file.error();
    auto layout = read_layout(*file.value());
    if (!layout.ok()) return layout.error();
    Checkpoint out;
    out.state.resize(layout.value().state_bytes);
    const std::uint64_t offset = format::checkpoint_header_bytes + layout.value().list_bytes;
    if (auto status = read_exactly(*file.value(), offset, out.state); !status.ok())
        return status.error();
    if (crc32c(out.state) != layout.value().state_crc) return damaged;
    out.header = std::move(layout.value().header);
    return out;
}

Status write_checkpoint(FileSystem& files, const std::string& directory,
                        const CheckpointHeader& header, Bytes state) {
    const std::vector<std::byte> bytes = encode_checkpoint(header, state);
    const std::string name = file_name(header.at, header.epoch, ".ckp");
    const std::string path = join_path(directory, name);
    const std::string tmp = path + ".tmp";
    if (auto status = write_tmp(files, tmp, bytes); !status.ok()) {
        files.remove(tmp).ignore("an unfinished file; the next start deletes it too");
        return status;
    }
    FERRY_FAULT_POINT("log.checkpoint.synced");
    if (auto status = files.rename(tmp, path); !status.ok()) return status;
    FERRY_FAULT_POINT("log.checkpoint.renamed");
    return files.sync_directory(directory);
}

}  // namespace ferry::log
