#include "log_reader/catalog.hpp"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "log_reader/checkpoint_file.hpp"
#include "log_reader/compacted_file.hpp"
#include "log_reader/crc32c.hpp"
#include "log_reader/input_file.hpp"
#include "log_reader/little_endian.hpp"
#include "log_reader/names.hpp"

namespace ferry::log_reader {
namespace {

constexpr std::uint64_t segment_magic = 0x3130474553595246ULL;  // "FRYSEG01"
constexpr std::uint32_t version = 1;
constexpr std::size_t header_bytes_used = 56;

bool list_names(const std::string& directory, std::vector<std::string>& out) {
    const std::unique_ptr<DIR, int (*)(DIR*)> handle(::opendir(directory.c_str()), &::closedir);
    if (!handle) return false;
    while (const dirent* entry = ::readdir(handle.get())) out.emplace_back(entry->d_name);
    std::sort(out.begin(), out.end());
    return true;
}

void damage(Report& report, const std::string& file, std::uint64_t offset, std::uint64_t position,
            std::string text) {
    report.findings.push_back({Severity::damage, file, offset, position, 0, std::move(text)});
}

bool read_plain_header(InputFile& file, const FileName& name, Segment& out, Report& report) {
    const auto bytes = file.view(0, 4096);
    const auto refuse = [&](std::uint64_t offset, const char* text) {
        damage(report, out.file, offset, name.position, text);
        return false;
    };
    if (bytes.size() < 4096) return refuse(0, "the file is shorter than a segment header");
    if (read_u64(bytes, 0) != segment_magic) return refuse(0, "this is not a segment: wrong magic");
    if (crc32c(bytes.first(52)) != read_u32(bytes, 52)) {
        return refuse(52, "the segment header's CRC does not match");
    }
    if (read_u32(bytes, 8) != version) {
        return refuse(8, "the segment has a format version that this program does not know");
    }
    if (read_u32(bytes, 12) != 0) return refuse(12, "the segment header has unknown flags");
    out.log_id = read_u64(bytes, 16);
    out.epoch = read_u64(bytes, 24);
    out.base = read_u64(bytes, 32);
    out.capacity = read_u64(bytes, 40);
    out.previous_crc = read_u32(bytes, 48);
    if (out.base != name.position || out.epoch != name.epoch) {
        return refuse(24, "the segment header names another base or epoch than the file name");
    }
    const auto rest = bytes.subspan(header_bytes_used);
    if (std::any_of(rest.begin(), rest.end(), [](std::byte b) { return b != std::byte{0}; })) {
        return refuse(header_bytes_used, "the rest of the segment header is not zero");
    }
    return true;
}

void read_segment(const std::string& name_text, const FileName& name, Catalog& catalog,
                  Report& report) {
    Segment segment;
    segment.file = name_text;
    segment.compacted = name.kind == FileKind::compacted;
    auto file = InputFile::open(catalog.directory + "/" + name_text);
    if (!file) {
        // A running broker may have dropped it since the directory was read.
        if (errno == ENOENT) return;
        damage(report, name_text, 0, name.position,
               std::string("cannot open: ") + std::strerror(errno));
        return;
    }
    segment.file_bytes = file->size();
    const bool fine = segment.compacted ? read_compacted_header(*file, name, segment, report)
                                        : read_plain_header(*file, name, segment, report);
    if (fine) catalog.segments.push_back(std::move(segment));
}

bool is_gone(const Catalog& catalog, std::uint64_t base, std::uint64_t epoch) {
    return std::any_of(catalog.gone.begin(), catalog.gone.end(), [&](const GoneMark& mark) {
        return mark.base == base && mark.epoch == epoch;
    });
}

// Of several segments with one base the highest epoch counts, and of one epoch the compacted file.
// What was dropped on purpose may still be there; its mark came first.
void settle_ownership(Catalog& catalog, Report& report) {
    std::vector<Segment> all = std::exchange(catalog.segments, {});
    std::sort(all.begin(), all.end(), [](const Segment& a, const Segment& b) {
        if (a.base != b.base) return a.base < b.base;
        if (a.epoch != b.epoch) return a.epoch < b.epoch;
        return a.compacted < b.compacted;
    });
    std::vector<Segment>& owners = catalog.segments;
    for (Segment& segment : all) {
        const bool dropped = is_gone(catalog, segment.base, segment.epoch);
        if (!dropped && !owners.empty() && owners.back().base == segment.base) owners.pop_back();
        if (dropped) continue;
        if (!owners.empty() && owners.back().epoch > segment.epoch) {
            damage(report, segment.file, 24, segment.base,
                   "the segment is of an earlier run than the one before it");
        }
        owners.push_back(std::move(segment));
    }
    catalog.superseded = all.size() - owners.size();
    for (std::size_t i = 0; i < owners.size(); ++i) {
        const std::uint64_t next = i + 1 < owners.size() ? owners[i + 1].base : no_end;
        if (owners[i].compacted && owners[i].end > next) {
            damage(report, owners[i].file, 40, owners[i].base,
                   "the compacted segment reaches into the next one");
        }
        if (!owners[i].compacted) owners[i].end = next;
    }
}

// The newest checkpoint knows what there was; without one everything must be there from the
// beginning.
void check_presence(const Catalog& catalog, Report& report) {
    if (catalog.checkpoints.empty()) {
        const bool whole =
            catalog.segments.empty() ||
            (catalog.segments.front().base == 0 && catalog.gone.empty() && report.compacted == 0);
        if (!whole) {
            damage(report, catalog.segments.front().file, 0, 0,
                   "no readable checkpoint, and the log does not reach back to position 0");
        }
        return;
    }
    const Checkpoint& newest = catalog.checkpoints.back();
    for (const ExpectedSegment& expected : newest.segments) {
        const bool there = std::any_of(
            catalog.segments.begin(), catalog.segments.end(), [&](const Segment& segment) {
                return segment.base == expected.base && segment.epoch >= expected.epoch;
            });
        if (there || is_gone(catalog, expected.base, expected.epoch)) continue;
        report.findings.push_back({Severity::damage, newest.file, 0, expected.base, expected.end,
                                   "a segment that the checkpoint lists is missing"});
    }
}

void check_log_ids(Catalog& catalog, Report& report) {
    if (!catalog.segments.empty()) {
        catalog.log_id = catalog.segments.back().log_id;
    } else if (!catalog.checkpoints.empty()) {
        catalog.log_id = catalog.checkpoints.back().log_id;
    }
    for (const Segment& segment : catalog.segments) {
        if (segment.log_id == catalog.log_id) continue;
        damage(report, segment.file, 16, segment.base, "the segment belongs to another log");
    }
    for (const Checkpoint& checkpoint : catalog.checkpoints) {
        if (checkpoint.log_id == catalog.log_id) continue;
        damage(report, checkpoint.file, 0, checkpoint.at, "the checkpoint belongs to another log");
    }
}

}  // namespace

bool read_catalog(const std::string& directory, Catalog& out, Report& report) {
    out.directory = directory;
    report.directory = directory;
    std::vector<std::string> names;
    if (!list_names(directory, names)) {
        report.unreadable = true;
        damage(report, directory, 0, 0,
               std::string("cannot list the directory: ") + std::strerror(errno));
        return false;
    }
    for (const std::string& text : names) {
        const FileName name = parse_name(text);
        switch (name.kind) {
            case FileKind::segment:
            case FileKind::compacted:
                read_segment(text, name, out, report);
                break;
            case FileKind::checkpoint:
                read_checkpoint(text, name, out, report);
                break;
            case FileKind::gone:
                out.gone.push_back({name.position, name.epoch});
                break;
            case FileKind::spare:
                ++out.spares;
                break;
            case FileKind::unfinished:
                ++out.unfinished;
                break;
            case FileKind::lock:
            case FileKind::other:
                break;
        }
    }
    settle_ownership(out, report);
    std::sort(out.checkpoints.begin(), out.checkpoints.end(),
              [](const Checkpoint& a, const Checkpoint& b) { return a.at < b.at; });
    check_log_ids(out, report);
    report.log_id = out.log_id;
    report.segments = out.segments.size();
    report.superseded = out.superseded;
    report.spares = out.spares;
    report.checkpoints = out.checkpoints.size();
    for (const Segment& segment : out.segments) report.compacted += segment.compacted ? 1 : 0;
    check_presence(out, report);
    return true;
}

}  // namespace ferry::log_reader
