#include <algorithm>

#include "compacted_file.hpp"
#include "ferry/platform/crc32c.hpp"
#include "reader.hpp"

// Writing a compacted segment.
namespace ferry::log {

namespace {

constexpr std::uint64_t flush_bytes = 1U << 20;
constexpr std::size_t read_bytes = 64 * 1024;

class CompactedWriter {
public:
    explicit CompactedWriter(File& file) : file_(file) {}

    Status add(Position position, Bytes body) {
        const std::uint64_t offset = flushed_ + out_.size();
        if (index_.empty() || offset - index_.back().offset >= format::compacted_index_stride)
            index_.push_back({position, offset});
        std::byte head[format::compacted_entry_bytes];
        store_le(head, position);
        store_le(head + 8, static_cast<std::uint32_t>(body.size()));
        store_le(head + 12, record_crc(position, body));
        out_.insert(out_.end(), head, head + sizeof head);
        out_.insert(out_.end(), body.begin(), body.end());
        return out_.size() < flush_bytes ? ok_status() : flush();
    }

    /// The index behind the entries, then the header; synced. Gives the file's length.
    Result<std::uint64_t> finish(SegmentHeader& header) {
        header.entries_end = flushed_ + out_.size();
        std::vector<std::byte> list(8 + index_.size() * format::compacted_index_bytes);
        store_le(list.data(), static_cast<std::uint32_t>(index_.size()));
        std::byte* at = list.data() + 4;
        for (const auto& entry : index_) {
            store_le(at, entry.position);
            store_le(at + 8, entry.offset);
            at += format::compacted_index_bytes;
        }
        store_le(at, crc32c(Bytes(list).first(list.size() - 4)));
        out_.insert(out_.end(), list.begin(), list.end());
        if (auto status = flush(); !status.ok()) return status.error();
        std::vector<std::byte> head(format::segment_header_bytes);
        encode_segment_header(header, head);
        if (auto status = file_.write_at(0, head); !status.ok()) return status.error();
        if (auto status = file_.sync_data(); !status.ok()) return status.error();
        return flushed_;
    }

private:
    Status flush() {
        if (auto status = file_.write_at(flushed_, out_); !status.ok()) return status;
        flushed_ += out_.size();
        out_.clear();
        return ok_status();
    }

    File& file_;
    std::vector<std::byte> out_;
    std::uint64_t flushed_ = format::segment_header_bytes;
    std::vector<CompactedIndex::Entry> index_;
};

// Copies what is kept; every record's CRC is checked on the way, so damage is never carried
// forward.
Status copy_kept(const Core& core, const std::vector<Keep>& keep, const CommitLog::Slice& slice,
                 CompactedWriter& writer) {
    const Reader reader(core);
    Block block;
    std::size_t at = 0;
    for (const Keep& kept : keep) {
        while (at < block.records.size() && block.records[at].position < kept.position) ++at;
        if (at == block.records.size() || block.records[at].position != kept.position) {
            auto read = reader.read(kept.position, read_bytes);
            if (!read.ok()) return read.error();
            block = std::move(read).value();
            at = 0;
            if (block.records.front().position != kept.position)
                return Error{Errc::not_found, 0, kept.position, "no record at a kept position"};
        }
        const Bytes body = block.records[at].body;
        if (kept.ranges.empty()) {
            if (auto status = writer.add(kept.position, body); !status.ok()) return status;
            continue;
        }
        auto sliced = slice(body, kept.ranges);
        if (!sliced.ok()) return sliced.error();
        if (sliced.value().empty() || sliced.value().size() >= format::record_bytes_limit)
            return Error{Errc::rejected, 0, kept.position, "a slice has no legal length"};
        if (auto status = writer.add(kept.position, sliced.value()); !status.ok()) return status;
    }
    return ok_status();
}

}  // namespace

Result<SegmentRef> write_compacted(Core& core, const SegmentTable::Entry& source,
                                   const std::vector<Keep>& keep, const CommitLog::Slice& slice,
                                   const std::string& tmp) {
    const std::string path = core.path(tmp);
    auto file = core.files.open(path, FileSystem::Open::create);
    if (!file.ok()) return file.error();
    auto out = std::make_shared<Segment>();
    out->header = source.segment->header;
    out->header.compacted = true;
    out->header.capacity = source.end;
    out->header.previous_crc = 0;
    out->file = std::move(file).value();
    CompactedWriter writer(*out->file);
    Status status = out->file->truncate(0);
    if (status.ok()) status = copy_kept(core, keep, slice, writer);
    if (status.ok()) {
        auto bytes = writer.finish(out->header);
        if (bytes.ok())
            out->file_bytes = bytes.value();
        else
            status = bytes.error();
    }
    if (status.ok()) return out;
    out->file.reset();
    core.files.remove(path).ignore("an unfinished file; the next start deletes it");
    return status.error();
}

}  // namespace ferry::log
