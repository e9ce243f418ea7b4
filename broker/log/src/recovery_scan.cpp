#include <algorithm>

#include "ferry/platform/planted.hpp"
#include "recovery.hpp"

// Step 1, second half: where does the log end, and how much of it is proven to have been synced?
//
// A segment is made only after the one before it was synced, so everything below the base of the
// last segment is proven; in the last one the durable_upto of valid batches proves what lies below
// them, and so does a checkpoint, which is written only when what it covers is synced.
namespace ferry::log {

Result<std::size_t> Recovery::first_to_scan() {
    for (std::size_t i = chain_.size(); i-- > 0;) {
        if (chain_[i].base > out_.scan_from) continue;
        if (chain_[i].segment->header.compacted)
            return Error{Errc::rejected, 0, out_.scan_from,
                         "the segment that replay starts in is compacted"};
        return i;
    }
    return Error{Errc::rejected, 0, out_.scan_from, "the segment that replay starts in is missing"};
}

Status Recovery::scan() {
    if (chain_.empty()) {
        if (out_.report.created) return ok_status();
        return refuse(Error{Errc::rejected, 0, 0, "the segments are missing"},
                      "there is a checkpoint but no segment in " + core_.directory);
    }
    set_ends();
    auto first = first_to_scan();
    if (!first.ok()) return first.error();
    if (!out_.checkpoints.empty()) tail_.proven = out_.checkpoints.back().header.at;
    Position from = out_.scan_from;
    for (std::size_t i = first.value(); i + 1 < chain_.size(); ++i) {
        if (chain_[i + 1].segment->header.compacted)
            return Error{Errc::rejected, 0, chain_[i + 1].base,
                         "a compacted segment behind the checkpoint"};
        if (auto status = scan_sealed(i, from); !status.ok()) return status;
        from = chain_[i + 1].base;
    }
    if (auto status = scan_last(from); !status.ok()) return status;
    const bool clean = !out_.checkpoints.empty() && out_.checkpoints.back().header.clean;
    out_.report.clean = clean && tail_.last_record < out_.report.checkpoint_at;
    return ok_status();
}

// Goes as far as valid batches reach that continue one another.
Status Recovery::follow(BatchScanner& scanner, const Segment& segment, bool from_start) {
    // In the middle of a segment the CRC before is not known (0). Taking the header's would write a
    // wrong one into the next segment, and a later start from an older checkpoint would refuse it.
    crc_ = from_start ? segment.header.previous_crc : 0;
    crc_known_ = crc_ != 0;
    tail_.boundaries.clear();
    tail_.records_end = scanner.position();
    for (;;) {
        tail_.boundaries.push_back(Tail::Boundary{scanner.position(), crc_});
        const Position at = scanner.position();
        auto batch = scanner.next();
        if (!batch.ok()) return refuse(batch.error(), core_.path(segment.name) + " cannot be read");
        if (!batch.value()) return ok_status();
        const BatchHeader& header = batch.value()->header;
        if (crc_known_ && header.previous_crc != crc_) {
            scanner.rewind(at);
            return ok_status();
        }
        Position last = 0;
        const bool whole = walk_records(header, batch.value()->records,
                                        [&](Position position, Bytes) { last = position; });
        if (!whole)
            return damaged(segment, header.position, scanner.position(),
                           "the records of a batch do not fill it");
        crc_ = header.crc;
        crc_known_ = true;
        tail_.proven = std::max(tail_.proven, header.durable_upto);
        if (header.count == 0) continue;
        tail_.last_record = last;
        tail_.records_end = scanner.position();
    }
}

Status Recovery::scan_sealed(std::size_t index, Position from) {
    const SegmentTable::Entry& entry = chain_[index];
    const Segment& segment = *entry.segment;
    const Position end = chain_[index + 1].base;
    BatchScanner scanner(segment, from, end);
    if (auto status = follow(scanner, segment, from == entry.base); !status.ok()) return status;
    const std::uint32_t next_crc = chain_[index + 1].segment->header.previous_crc;
    const Position reached = scanner.position();
    if (reached == end) {
        if (crc_known_ && next_crc != 0 && next_crc != crc_)
            return damaged(segment, from, end, "the next segment does not continue this one");
        return ok_status();
    }
    auto claims = scanner.claims_batch();
    if (!claims.ok()) return claims.error();
    auto behind = scanner.look_behind();
    if (!behind.ok()) return behind.error();
    if (claims.value() || behind.value().found)
        return damaged(segment, reached, behind.value().found ? behind.value().first : end,
                       "bytes that were confirmed are damaged");
    return refuse(Error{Errc::rejected, 0, reached, "a segment is missing"},
                  "the log in " + core_.directory + " lacks positions " + std::to_string(reached) +
                      " to " + std::to_string(end) + ": a segment is missing behind " +
                      segment.name + " or its end is lost");
}

Status Recovery::scan_last(Position from) {
    const SegmentTable::Entry& entry = chain_.back();
    const Segment& segment = *entry.segment;
    tail_.proven = std::max(tail_.proven, entry.base);
    BatchScanner scanner(segment, from, whole_file);
    if (auto status = follow(scanner, segment, from == entry.base); !status.ok()) return status;
    tail_.end = scanner.position();
    return judge_end(scanner, segment);
}

// The first position without a valid batch: a torn tail, or damage to what was promised?
Status Recovery::judge_end(BatchScanner& scanner, const Segment& segment) {
    const Position end = scanner.position();
    auto claims = scanner.claims_batch();
    if (!claims.ok()) return claims.error();
    auto behind = scanner.look_behind();
    if (!behind.ok()) return refuse(behind.error(), core_.path(segment.name) + " cannot be read");
    const Position proven = std::max(tail_.proven, behind.value().durable_upto);
    if (proven > end && !FERRY_PLANTED("log-damage-cut-silently"))
        return damaged(segment, end, behind.value().found ? behind.value().first : proven,
                       "bytes that were confirmed are damaged");
    if (behind.value().found)
        out_.report.torn_bytes = behind.value().last_end - end;
    else if (claims.value())
        out_.report.torn_bytes = format::batch_alignment;
    return ok_status();
}

}  // namespace ferry::log
