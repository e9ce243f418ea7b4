#include <algorithm>

#include "ferry/platform/fault_point.hpp"
#include "ferry/platform/planted.hpp"
#include "recovery.hpp"

// Steps 2 and 3: the new segment, then tidying.
namespace ferry::log {

namespace {
constexpr std::uint64_t flush_bytes = 1U << 20;
}

// The first batch boundary at or above everything proven.
Recovery::Tail::Boundary Recovery::rewrite_from() const {
    if (FERRY_PLANTED("log-tail-not-rewritten") && !tail_.boundaries.empty())
        return tail_.boundaries.back();
    for (const Tail::Boundary& boundary : tail_.boundaries)
        if (boundary.at >= tail_.proven) return boundary;
    FERRY_ASSERT(tail_.boundaries.empty(), "judge_end refused a log that ends below its proof");
    return Tail::Boundary{};
}

// Takes a spare of the run before, already full of bytes, or makes a new file.
Result<SpareFile> Recovery::file_for_active(const std::string& tmp, std::uint64_t capacity) {
    SpareFile out;
    out.name = tmp;
    out.file_bytes = format::segment_header_bytes + capacity;
    while (!names_.spares.empty()) {
        const std::string name = names_.spares.back();
        auto file = core_.files.open(core_.path(name), FileSystem::Open::write);
        if (!file.ok()) return file.error();
        auto size = file.value()->size();
        if (!size.ok()) return size.error();
        if (size.value() != out.file_bytes) break;
        names_.spares.pop_back();
        if (auto status = core_.files.rename(core_.path(name), core_.path(tmp)); !status.ok())
            return status.error();
        out.file = std::move(file).value();
        return out;
    }
    auto file = core_.files.open(core_.path(tmp), FileSystem::Open::create);
    if (!file.ok()) return file.error();
    out.file = std::move(file).value();
    if (auto status = out.file->truncate(0); !status.ok()) return status.error();
    auto status = fill_with_zeros(*out.file, out.file_bytes);
    // On a full disk a segment that grows as it is written still lets consumers ack.
    if (!status.ok() && status.error().code == Errc::out_of_space) status = out.file->truncate(0);
    if (!status.ok()) return status.error();
    return out;
}

Status Recovery::copy_tail(SpareFile& file, Position from, Position to) {
    if (from == to) return ok_status();
    BatchScanner scanner(*chain_.back().segment, from, to);
    std::vector<std::byte> out;
    Position out_at = from;
    while (scanner.position() < to) {
        auto batch = scanner.next();
        if (!batch.ok()) return batch.error();
        if (!batch.value())
            return Error{Errc::io_failed, 0, scanner.position(),
                         "the tail changed while it was read"};
        BatchHeader header = batch.value()->header;
        const std::size_t start = out.size();
        out.resize(start + batch_span(header));
        std::memcpy(out.data() + start, batch.value()->whole.data(), batch.value()->whole.size());
        header.epoch = core_.epoch;
        header.durable_upto = from;
        header.previous_crc = out_.previous_crc;
        out_.previous_crc =
            seal_batch(header, MutableBytes(out).subspan(start, batch.value()->whole.size()));
        if (out.size() < flush_bytes && scanner.position() < to) continue;
        const std::uint64_t offset = format::segment_header_bytes + (out_at - from);
        if (auto status = file.file->write_at(offset, out); !status.ok()) return status;
        out_at += out.size();
        out.clear();
    }
    return ok_status();
}

Status Recovery::start_epoch() {
    const Tail::Boundary start = rewrite_from();
    const Position from = start.at;
    out_.end = std::max(from, tail_.records_end);
    if (FERRY_PLANTED("log-position-used-again")) out_.end = from;
    out_.previous_crc = start.crc_before;
    out_.report.rewritten_bytes = out_.end - from;
    const std::uint64_t capacity = std::max(core_.options.segment_bytes, out_.end - from);
    const std::string name = file_name(from, core_.epoch, ".seg");
    const std::string tmp = name + ".tmp";
    auto file = file_for_active(tmp, capacity);
    if (!file.ok()) return file.error();
    auto segment = std::make_shared<Segment>();
    segment->header =
        SegmentHeader{core_.log_id, core_.epoch, from, capacity, start.crc_before, false, 0};
    segment->name = name;
    segment->file_bytes = file.value().file_bytes;
    std::vector<std::byte> bytes(format::segment_header_bytes);
    encode_segment_header(segment->header, bytes);
    if (auto status = file.value().file->write_at(0, bytes); !status.ok()) return status;
    if (auto status = copy_tail(file.value(), from, out_.end); !status.ok()) return status;
    if (!FERRY_PLANTED("log-recovery-not-synced")) {
        if (auto status = file.value().file->sync_data(); !status.ok()) return status;
    }
    FERRY_FAULT_POINT("log.recovery.synced");
    if (auto status = core_.files.rename(core_.path(tmp), core_.path(name)); !status.ok())
        return status;
    FERRY_FAULT_POINT("log.recovery.renamed");
    if (auto status = core_.files.sync_directory(core_.directory); !status.ok()) return status;
    segment->file = std::move(file.value().file);
    out_.active = segment;
    if (out_.report.created) out_.scan_from = 0;
    return ok_status();
}

Status Recovery::tidy() {
    const Position from = out_.active->header.base;
    if (!chain_.empty() && chain_.back().base == from) {
        superseded_.push_back(chain_.back().segment->name);
        chain_.pop_back();
    } else if (!chain_.empty()) {
        // What lies above is owned by the new segment now; without it the file is only as long as
        // it need be.
        SegmentTable::Entry& last = chain_.back();
        last.end = from;
        const std::uint64_t bytes = format::segment_header_bytes + (from - last.base);
        auto file = core_.files.open(core_.path(last.segment->name), FileSystem::Open::write);
        if (!file.ok()) return file.error();
        if (last.segment->file_bytes > bytes) {
            if (auto status = file.value()->truncate(bytes); !status.ok()) return status;
            last.segment->file_bytes = bytes;
        }
    }
    chain_.push_back(SegmentTable::Entry{from, 0, out_.active});
    adopt_spares();
    for (const auto* list : {&superseded_, &names_.temporary, &names_.spares})
        for (const std::string& name : *list)
            if (auto status = core_.files.remove(core_.path(name));
                !status.ok() && status.error().code != Errc::not_found)
                return status;
    return core_.files.sync_directory(core_.directory);
}

// Leaves in names_.spares what is of no use.
void Recovery::adopt_spares() {
    std::vector<std::string> useless;
    for (const std::string& name : names_.spares) {
        auto file = core_.files.open(core_.path(name), FileSystem::Open::write);
        bool fits = file.ok() && spares_.wants_more();
        if (fits) {
            auto size = file.value()->size();
            fits = size.ok() && size.value() == spares_.file_bytes();
        }
        if (fits)
            spares_.adopt(SpareFile{name, std::move(file).value(), spares_.file_bytes()});
        else
            useless.push_back(name);
    }
    names_.spares = std::move(useless);
}

}  // namespace ferry::log
