#include <algorithm>

#include "compacted_file.hpp"
#include "ferry/platform/fault_point.hpp"
#include "ferry/platform/planted.hpp"
#include "housekeeper.hpp"

// Checkpoints, removal of segments, compaction.
//
// A dropped segment leaves a mark (<base>-<epoch>.gone) until no kept checkpoint lists it: that is
// how a start tells a dropped segment from a lost one.
namespace ferry::log {

CheckpointHeader Housekeeper::list_segments(CheckpointHeader header) const {
    for (const SegmentTable::Entry& entry : core_.table.snapshot())
        if (entry.segment)
            header.segments.push_back(
                ListedSegment{entry.base, entry.segment->header.epoch, entry.end});
    return header;
}

bool Housekeeper::checkpoint_turn() {
    CheckpointJob job;
    {
        const std::lock_guard lock(mutex_);
        if (!checkpoint_ || !retry_is_due(last_checkpoint_failure_)) return false;
        if (core_.synced.load(std::memory_order_acquire) < checkpoint_->header.at &&
            !FERRY_PLANTED("log-checkpoint-before-its-data"))
            return false;
        job = std::move(*checkpoint_);
        checkpoint_.reset();
        checkpoint_running_ = true;
    }
    const CheckpointHeader header = list_segments(job.header);
    auto status = write_checkpoint(core_.files, core_.directory, header, job.state);
    if (!status.ok() && status.error().code == Errc::out_of_space && ballast_) {
        status = core_.files.remove(core_.path("ballast"));
        ballast_ = false;
        if (status.ok()) status = write_checkpoint(core_.files, core_.directory, header, job.state);
    }
    const bool again = !status.ok() && status.error().code == Errc::out_of_space;
    if (again) {
        last_checkpoint_failure_ = core_.clock.now().mono;
    } else {
        last_checkpoint_failure_ = Instant{};
        if (status.ok()) {
            core_.checkpoint_bytes.store(format::checkpoint_header_bytes + job.state.size());
            keep_checkpoint(header);
            status = remove_old_checkpoints();
        }
        if (!status.ok()) core_.fail(status.error());
    }
    {
        const std::lock_guard lock(mutex_);
        checkpoint_running_ = false;
        if (again && !checkpoint_) checkpoint_ = std::move(job);
        checkpoint_waits_.store(checkpoint_.has_value(), std::memory_order_release);
    }
    core_.notify();
    return !again;
}

void Housekeeper::keep_checkpoint(CheckpointHeader header) {
    std::string name = file_name(header.at, header.epoch, ".ckp");
    if (!kept_.empty() && kept_.back().name == name) kept_.pop_back();
    kept_.push_back(KeptCheckpoint{std::move(name), std::move(header)});
    if (kept_.size() > 2) kept_.erase(kept_.begin());
    if (kept_.size() == 2) core_.floor.store(kept_.front().header.at, std::memory_order_release);
}

Status Housekeeper::remove_old_checkpoints() {
    auto names = core_.files.list(core_.directory);
    if (!names.ok()) return names.error();
    for (const NumberedName& found : sort_names(names.value()).checkpoints) {
        const bool kept = std::any_of(kept_.begin(), kept_.end(), [&](const KeptCheckpoint& one) {
            return one.name == found.name;
        });
        if (kept) continue;
        if (auto status = core_.files.remove(core_.path(found.name)); !status.ok()) return status;
    }
    return remove_marks();
}

Status Housekeeper::remove_marks() {
    std::vector<NumberedName> still_needed;
    for (NumberedName& mark : gone_) {
        const bool listed = std::any_of(kept_.begin(), kept_.end(), [&](const auto& kept) {
            const auto& list = kept.header.segments;
            return std::any_of(list.begin(), list.end(), [&](const ListedSegment& segment) {
                return segment.base == mark.position;
            });
        });
        if (listed || kept_.size() < 2) {
            still_needed.push_back(std::move(mark));
            continue;
        }
        if (auto status = core_.files.remove(core_.path(mark.name));
            !status.ok() && status.error().code != Errc::not_found)
            return status;
    }
    gone_ = std::move(still_needed);
    return ok_status();
}

Status Housekeeper::mark_gone(const Segment& segment) {
    const std::string name = file_name(segment.header.base, segment.header.epoch, ".gone");
    auto file = core_.files.open(core_.path(name), FileSystem::Open::create);
    if (!file.ok() && file.error().code == Errc::out_of_space) {
        // Not even room for a name: the segment's own name becomes the mark.
        if (auto status = core_.files.rename(core_.path(segment.name), core_.path(name));
            !status.ok())
            return status;
        file = core_.files.open(core_.path(name), FileSystem::Open::write);
        if (!file.ok()) return file.error();
        if (auto status = file.value()->truncate(0); !status.ok()) return status;
    } else if (!file.ok()) {
        return file.error();
    }
    gone_.push_back(NumberedName{segment.header.base, segment.header.epoch, name});
    FERRY_FAULT_POINT("log.drop.marked");
    if (FERRY_PLANTED("log-dropped-mark-not-synced")) return ok_status();
    return core_.files.sync_directory(core_.directory);
}

Status Housekeeper::remove_segment(SegmentTable::Entry entry) {
    SegmentRef segment = std::move(entry.segment);
    if (!segment) return ok_status();
    if (auto status = mark_gone(*segment); !status.ok()) return status;
    return retire_file(std::move(segment));
}

// The file becomes a spare unless somebody still reads it or it is no use as one.
Status Housekeeper::retire_file(SegmentRef segment) {
    const std::string old_path = core_.path(segment->name);
    auto size = segment->file->size();
    const bool fits = !segment->header.compacted && size.ok() &&
                      size.value() == spares_.file_bytes() && spares_.wants_more();
    // The table does not hold it any more: once expired, no reader can come or is still there.
    const std::weak_ptr<Segment> held = segment;
    segment.reset();
    const bool usable = fits && held.expired();
    if (!usable) {
        if (auto status = core_.files.remove(old_path);
            !status.ok() && status.error().code != Errc::not_found)
            return status;
        return core_.files.sync_directory(core_.directory);
    }
    SpareFile spare;
    spare.name = spares_.fresh_name();
    spare.file_bytes = spares_.file_bytes();
    if (auto status = core_.files.rename(old_path, core_.path(spare.name)); !status.ok()) {
        if (status.error().code == Errc::not_found) return ok_status();  // it became its own mark
        return status;
    }
    // Before the bytes are overwritten, or a power cut could bring the old name back with new
    // contents.
    if (auto status = core_.files.sync_directory(core_.directory); !status.ok()) return status;
    auto file = core_.files.open(core_.path(spare.name), FileSystem::Open::write);
    if (!file.ok()) return file.error();
    spare.file = std::move(file).value();
    spares_.recycle(std::move(spare));
    if (on_space_) on_space_();
    return ok_status();
}

bool Housekeeper::compact_turn() {
    CompactJob job;
    {
        const std::lock_guard lock(mutex_);
        if (compactions_.empty()) return false;
        job = std::move(compactions_.front());
        compactions_.pop_front();
        compaction_running_ = true;
    }
    compact(job);
    {
        const std::lock_guard lock(mutex_);
        compaction_running_ = false;
    }
    core_.notify();
    return true;
}

// A compaction that does not succeed changes nothing: the segment stays as it was.
void Housekeeper::compact(CompactJob& job) {
    auto source = core_.table.find(job.base);
    if (!source || source->base != job.base || !source->segment || source->end == 0 ||
        source->end > core_.floor.load(std::memory_order_acquire))
        return;
    const std::string name = file_name(job.base, source->segment->header.epoch, ".cmp");
    auto made = write_compacted(core_, *source, job.keep, job.slice, name + ".tmp");
    if (!made.ok()) return;
    SegmentRef compacted = std::move(made).value();
    compacted->name = name;
    FERRY_FAULT_POINT("log.compact.written");
    auto status = core_.files.rename(core_.path(name + ".tmp"), core_.path(name));
    if (status.ok()) status = core_.files.sync_directory(core_.directory);
    if (!status.ok()) {
        core_.fail(status.error());
        return;
    }
    FERRY_FAULT_POINT("log.compact.renamed");
    SegmentRef old = std::move(source->segment);
    if (!core_.table.replace(job.base, old, std::move(compacted))) {
        // Dropped in the meantime; the drop, which comes next, knows only the old file.
        if (!old->header.compacted) status = core_.files.remove(core_.path(name));
    } else {
        core_.compactions.fetch_add(1, std::memory_order_relaxed);
        if (!old->header.compacted) status = retire_file(std::move(old));
    }
    if (!status.ok()) core_.fail(status.error());
}

}  // namespace ferry::log
