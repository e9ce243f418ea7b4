#include "backup.hpp"

#include <algorithm>
#include <charconv>

#include "batch_scanner.hpp"
#include "compacted_file.hpp"
#include "ferry/platform/crc32c.hpp"

// A backup is a data directory like any other, and a manifest, which is written last: without one
// it is not whole.
namespace ferry::log {

namespace {

constexpr std::string_view manifest_name = "MANIFEST";
constexpr std::string_view manifest_title = "ferry-backup 1";
constexpr std::uint64_t manifest_bytes_max = 16U << 20;
constexpr std::uint64_t copy_bytes = 1U << 20;

std::string hex(std::uint64_t value) {
    return file_name(value, 0, "").substr(0, 16);
}

// Writes one file of the backup from front to back.
class CopyTarget {
public:
    explicit CopyTarget(std::unique_ptr<File> file) : file_(std::move(file)) {}

    Status add(Bytes bytes) {
        if (auto status = file_->write_at(length_, bytes); !status.ok()) return status;
        crc_ = crc32c(bytes, crc_);
        length_ += bytes.size();
        return ok_status();
    }
    Status finish() { return file_->sync_data(); }
    [[nodiscard]] std::uint64_t length() const { return length_; }
    [[nodiscard]] std::uint32_t crc() const { return crc_; }

private:
    std::unique_ptr<File> file_;
    std::uint64_t length_ = 0;
    std::uint32_t crc_ = 0;
};

// Batches whose CRCs are right, from the segment's base to `end`; nothing else is copied.
Status copy_plain(const Segment& segment, Position end, CopyTarget& target) {
    std::vector<std::byte> out(format::segment_header_bytes);
    encode_segment_header(segment.header, out);
    BatchScanner scanner(segment, segment.header.base, end);
    while (scanner.position() < end) {
        auto batch = scanner.next();
        if (!batch.ok()) return batch.error();
        if (!batch.value())
            return Error{Errc::corrupt, 0, scanner.position(), "a stored batch is damaged"};
        const std::size_t start = out.size();
        const Bytes whole = batch.value()->whole;
        out.resize(start + batch_span(batch.value()->header));
        std::memcpy(out.data() + start, whole.data(), whole.size());
        if (out.size() < copy_bytes) continue;
        if (auto status = target.add(out); !status.ok()) return status;
        out.clear();
    }
    return target.add(out);
}

// All entries are checked first, block by block, and then the file is copied as it is.
Status copy_compacted(const Segment& segment, CopyTarget& target) {
    Position at = segment.header.base;
    while (segment.header.entries_end > format::segment_header_bytes &&
           at < segment.header.capacity) {
        auto block = read_compacted(segment, at, copy_bytes);
        if (!block.ok()) return block.error();
        at = block.value().next;
    }
    std::vector<std::byte> bytes(copy_bytes);
    for (std::uint64_t offset = 0; offset < segment.file_bytes;) {
        auto got = segment.file->read_at(offset, bytes);
        if (!got.ok()) return got.error();
        if (got.value() == 0) break;
        if (auto status = target.add(Bytes(bytes).first(got.value())); !status.ok()) return status;
        offset += got.value();
    }
    return ok_status();
}

class BackupCopy {
public:
    BackupCopy(const Core& core, std::string target)
        : core_(core),
          target_(std::move(target)),
          upto_(core.synced.load(std::memory_order_acquire)) {}

    Result<CommitLog::BackupResult> run(const std::vector<KeptCheckpoint>& checkpoints,
                                        const std::vector<NumberedName>& gone,
                                        const std::function<void()>& between) {
        if (auto status = prepare_target(); !status.ok()) return status.error();
        Status status = copy_segments(between);
        if (status.ok()) status = copy_checkpoints(checkpoints);
        for (const NumberedName& mark : gone)
            if (status.ok()) status = copy_file(mark.name, [](CopyTarget&) { return ok_status(); });
        if (status.ok()) status = core_.files.sync_directory(target_);
        if (status.ok()) status = write_manifest();
        if (status.ok()) return result_;
        for (const std::string& name : names_)
            core_.files.remove(join_path(target_, name)).ignore("the backup has failed already");
        return status.error();
    }

private:
    Status prepare_target() {
        if (auto status = core_.files.make_directory(target_); !status.ok()) return status;
        auto names = core_.files.list(target_);
        if (!names.ok()) return names.error();
        if (!names.value().empty())
            return Error{Errc::rejected, 0, 0, "the directory for the backup is not empty"};
        return ok_status();
    }

    Status copy_segments(const std::function<void()>& between) {
        for (const SegmentTable::Entry& entry : core_.table.snapshot()) {
            if (!entry.segment || entry.base > upto_) break;
            const Segment& segment = *entry.segment;
            const Position end = entry.end == 0 ? upto_ : std::min(entry.end, upto_);
            const auto status = copy_file(segment.name, [&](CopyTarget& target) {
                return segment.header.compacted ? copy_compacted(segment, target)
                                                : copy_plain(segment, end, target);
            });
            if (!status.ok()) return status;
            between();
        }
        return ok_status();
    }

    Status copy_checkpoints(const std::vector<KeptCheckpoint>& checkpoints) {
        for (const KeptCheckpoint& kept : checkpoints) {
            auto checkpoint = read_checkpoint(core_.files, core_.path(kept.name));
            // The newest must be whole. An unreadable older one is no loss that a copy could mend.
            if (!checkpoint.ok() && &kept == &checkpoints.back()) return checkpoint.error();
            if (!checkpoint.ok()) continue;
            const auto bytes =
                encode_checkpoint(checkpoint.value().header, checkpoint.value().state);
            const auto status =
                copy_file(kept.name, [&](CopyTarget& target) { return target.add(bytes); });
            if (!status.ok()) return status;
        }
        return ok_status();
    }

    template <class Fill>
    Status copy_file(const std::string& name, Fill fill) {
        auto file = core_.files.open(join_path(target_, name), FileSystem::Open::create_exclusive);
        if (!file.ok()) return file.error();
        names_.push_back(name);
        CopyTarget target(std::move(file).value());
        if (auto status = fill(target); !status.ok()) return status;
        if (auto status = target.finish(); !status.ok()) return status;
        manifest_ += "file " + name + ' ' + std::to_string(target.length()) + ' ' +
                     hex(target.crc()).substr(8) + '\n';
        result_.bytes += target.length();
        ++result_.files;
        return ok_status();
    }

    Status write_manifest() {
        result_.upto = upto_;
        std::string text = std::string(manifest_title) + "\nlog " + hex(core_.log_id) + "\nupto " +
                           std::to_string(upto_) + '\n' + manifest_;
        text += "end " + hex(crc32c(as_bytes(text))).substr(8) + '\n';
        const auto status = copy_file(std::string(manifest_name), [&](CopyTarget& target) {
            return target.add(as_bytes(text));
        });
        --result_.files;  // counts what was backed up, not the list of it
        if (!status.ok()) return status;
        return core_.files.sync_directory(target_);
    }

    const Core& core_;
    const std::string target_;
    const Position upto_;
    std::string manifest_;
    std::vector<std::string> names_;
    CommitLog::BackupResult result_;
};

struct ManifestLine {
    std::string name;
    std::uint64_t length = 0;
    std::uint32_t crc = 0;
};

template <class T>
bool parse_number(std::string_view text, T& out, int base) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return code == std::errc() && end == text.data() + text.size();
}

std::string_view take_word(std::string_view& line) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, space);
    line.remove_prefix(std::min(space + 1, line.size()));
    return word;
}

// Empty: not a manifest, or a damaged one.
std::optional<std::vector<ManifestLine>> parse_manifest(std::string_view text) {
    if (text.substr(0, manifest_title.size()) != manifest_title) return std::nullopt;
    const std::size_t end_at = text.rfind("\nend ");
    if (end_at == std::string_view::npos) return std::nullopt;
    std::string_view end_line = text.substr(end_at + 5);
    std::uint32_t crc = 0;
    if (end_line.empty() || end_line.back() != '\n') return std::nullopt;
    end_line.remove_suffix(1);
    if (!parse_number(end_line, crc, 16) || crc != crc32c(as_bytes(text.substr(0, end_at + 1))))
        return std::nullopt;
    std::vector<ManifestLine> out;
    for (std::string_view rest = text.substr(0, end_at); !rest.empty();) {
        const std::size_t length = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, length);
        rest.remove_prefix(std::min(length + 1, rest.size()));
        if (take_word(line) != "file") continue;
        ManifestLine file;
        file.name = take_word(line);
        if (file.name.empty() || file.name.find('/') != std::string::npos) return std::nullopt;
        if (!parse_number(take_word(line), file.length, 10)) return std::nullopt;
        if (!parse_number(line, file.crc, 16)) return std::nullopt;
        out.push_back(std::move(file));
    }
    return out;
}

Status verify_file(FileSystem& files, const std::string& path, const ManifestLine& expected) {
    auto file = files.open(path, FileSystem::Open::read);
    if (!file.ok()) return file.error();
    auto size = file.value()->size();
    if (!size.ok()) return size.error();
    if (size.value() != expected.length)
        return Error{Errc::corrupt, 0, size.value(), "its length is not what the manifest says"};
    std::vector<std::byte> bytes(std::min(copy_bytes, expected.length));
    std::uint32_t crc = 0;
    for (std::uint64_t offset = 0; offset < expected.length;) {
        auto got = file.value()->read_at(offset, bytes);
        if (!got.ok()) return got.error();
        if (got.value() == 0) break;
        crc = crc32c(Bytes(bytes).first(got.value()), crc);
        offset += got.value();
    }
    if (crc != expected.crc)
        return Error{Errc::corrupt, 0, 0, "its contents are not what the manifest says"};
    return ok_status();
}

}  // namespace

Result<CommitLog::BackupResult> copy_log(const Core& core, const std::string& target,
                                         const std::vector<KeptCheckpoint>& checkpoints,
                                         const std::vector<NumberedName>& gone,
                                         const std::function<void()>& between) {
    return BackupCopy(core, target).run(checkpoints, gone, between);
}

Status verify_backup(FileSystem& files, const std::string& directory, std::string* text) {
    const auto say = [&](const std::string& sentence) {
        if (text != nullptr) *text = sentence;
    };
    const std::string path = join_path(directory, manifest_name);
    auto raw = read_file(files, path, manifest_bytes_max);
    if (!raw.ok()) {
        say(path + ": " + std::string(raw.error().what) + "; this is not a whole backup");
        return raw.error();
    }
    const auto manifest = parse_manifest(as_text(raw.value()));
    if (!manifest) {
        say(path + " is damaged");
        return Error{Errc::corrupt, 0, 0, "the manifest is damaged"};
    }
    std::uint64_t total = 0;
    for (const ManifestLine& line : *manifest) {
        const std::string file = join_path(directory, line.name);
        if (auto status = verify_file(files, file, line); !status.ok()) {
            say(file + ": " + std::string(status.error().what));
            const Error& error = status.error();
            if (error.code != Errc::not_found) return error;
            return Error{Errc::corrupt, 0, 0, "a file of the backup is missing"};
        }
        total += line.length;
    }
    say("backup is whole: " + std::to_string(manifest->size()) + " files, " +
        std::to_string(total) + " bytes");
    return ok_status();
}

}  // namespace ferry::log
