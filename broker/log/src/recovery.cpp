#include "recovery.hpp"

#include <algorithm>

#include "ferry/platform/planted.hpp"

namespace ferry::log {

Recovery::Recovery(Core& core, Random& random, SparePool& spares, std::string* text)
    : core_(core), random_(random), spares_(spares), text_(text) {}

Status Recovery::refuse(const Error& error, const std::string& text) {
    if (text_ != nullptr) *text_ = text;
    return error;
}

Status Recovery::damaged(const Segment& segment, Position from, Position to, std::string_view why) {
    const Error error{Errc::corrupt, 0, from, why};
    return refuse(error,
                  "log damaged: positions " + std::to_string(from) + " to " + std::to_string(to) +
                      " in " + core_.path(segment.name) + " (file offset " +
                      std::to_string(format::segment_header_bytes + from - segment.header.base) +
                      "): " + std::string(why));
}

Result<RecoveredLog> Recovery::run() {
    using Step = Status (Recovery::*)();
    for (const Step step :
         {&Recovery::read_names, &Recovery::open_segments, &Recovery::choose_chain,
          &Recovery::read_checkpoints, &Recovery::check_same_log, &Recovery::check_listed,
          &Recovery::check_without_checkpoint, &Recovery::scan, &Recovery::start_epoch,
          &Recovery::tidy}) {
        if (auto status = (this->*step)(); !status.ok()) {
            if (text_ != nullptr && text_->empty())
                *text_ = "cannot open the log in " + core_.directory + ": " +
                         std::string(status.error().what);
            return status.error();
        }
    }
    report_segments();
    return std::move(out_);
}

Status Recovery::read_names() {
    auto names = core_.files.list(core_.directory);
    if (!names.ok()) return names.error();
    names_ = sort_names(names.value());
    out_.ballast = names_.ballast;
    out_.gone = names_.gone;
    out_.report.created =
        names_.plain.empty() && names_.compacted.empty() && names_.checkpoints.empty();
    if (out_.report.created && !names_.gone.empty())
        return refuse(
            Error{Errc::rejected, 0, 0, "the segments are missing"},
            "segments are missing in " + core_.directory + ": only marks of dropped ones are left");
    for (const auto* list : {&names_.plain, &names_.compacted, &names_.checkpoints, &names_.gone})
        for (const NumberedName& name : *list) epoch_max_ = std::max(epoch_max_, name.epoch);
    return ok_status();
}

Status Recovery::open_segments() {
    const auto is = [](const std::vector<NumberedName>& list, const NumberedName& name) {
        return std::any_of(list.begin(), list.end(), [&](const NumberedName& other) {
            return other.position == name.position && other.epoch == name.epoch;
        });
    };
    for (const auto* list : {&names_.compacted, &names_.plain}) {
        for (const NumberedName& name : *list) {
            // A mark means that the segment was dropped and the crash came before its removal; a
            // compacted file means the same for the plain one.
            if (is(names_.gone, name) || (list == &names_.plain && is(names_.compacted, name))) {
                superseded_.push_back(name.name);
                continue;
            }
            auto segment = open_segment(core_.files, core_.directory, name);
            if (!segment.ok())
                return refuse(segment.error(),
                              core_.path(name.name) + ": " + std::string(segment.error().what));
            const bool compacted = segment.value()->header.compacted;
            if (compacted != (list == &names_.compacted))
                return refuse(Error{Errc::rejected, 0, name.position, "wrong kind of segment"},
                              core_.path(name.name) + ": the name and the contents disagree");
            chain_.push_back(SegmentTable::Entry{name.position, 0, std::move(segment).value()});
        }
    }
    return ok_status();
}

// Sorted by base; of two with the same base the newer epoch owns all of the positions.
Status Recovery::choose_chain() {
    std::sort(chain_.begin(), chain_.end(), [](const auto& a, const auto& b) {
        return a.base != b.base ? a.base < b.base
                                : a.segment->header.epoch < b.segment->header.epoch;
    });
    std::vector<SegmentTable::Entry> kept;
    for (SegmentTable::Entry& entry : chain_) {
        if (!kept.empty() && kept.back().segment->header.epoch > entry.segment->header.epoch)
            return refuse(
                Error{Errc::rejected, 0, entry.base, "an older segment behind a newer one"},
                core_.path(entry.segment->name) + " is older than the segment before it");
        if (!kept.empty() && kept.back().base == entry.base) {
            superseded_.push_back(kept.back().segment->name);
            kept.pop_back();
        }
        kept.push_back(std::move(entry));
    }
    chain_ = std::move(kept);
    return ok_status();
}

Status Recovery::check_same_log() {
    std::uint64_t id = out_.checkpoints.empty() ? 0 : out_.checkpoints.back().header.log_id;
    if (id == 0 && !chain_.empty()) id = chain_.front().segment->header.log_id;
    for (const SegmentTable::Entry& entry : chain_)
        if (entry.segment->header.log_id != id)
            return refuse(Error{Errc::rejected, 0, entry.base, "segment of another log"},
                          core_.path(entry.segment->name) + " belongs to another log");
    for (const KeptCheckpoint& kept : out_.checkpoints)
        if (kept.header.log_id != id)
            return refuse(Error{Errc::rejected, 0, kept.header.at, "checkpoint of another log"},
                          core_.path(kept.name) + " belongs to another log");
    if (out_.report.created) id = random_.next() | 1U;
    core_.log_id = id;
    // A little randomness on top, so that no two histories of one log share an epoch by accident.
    core_.epoch = epoch_max_ + 1 + random_.next() % 65536;
    if (FERRY_PLANTED("log-same-epoch") && epoch_max_ != 0) core_.epoch = epoch_max_;
    out_.report.log_id = core_.log_id;
    out_.report.epoch = core_.epoch;
    return ok_status();
}

// Newest first. The newest whole one is used; of the one before only the header is read.
Status Recovery::read_checkpoints() {
    auto& names = names_.checkpoints;
    std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) {
        return a.position != b.position ? a.position > b.position : a.epoch > b.epoch;
    });
    for (const NumberedName& name : names) {
        if (out_.checkpoints.size() == 2) break;
        if (auto status = take_checkpoint(name); !status.ok()) return status;
    }
    std::reverse(out_.checkpoints.begin(), out_.checkpoints.end());
    if (!out_.checkpoints.empty()) {
        out_.report.checkpoint_at = out_.checkpoints.back().header.at;
        out_.scan_from = out_.checkpoints.back().header.scan_from;
    }
    return ok_status();
}

Status Recovery::take_checkpoint(const NumberedName& name) {
    const std::string path = core_.path(name.name);
    Error error{};
    CheckpointHeader header;
    if (out_.checkpoints.empty()) {
        auto checkpoint = read_checkpoint(core_.files, path);
        if (checkpoint.ok()) {
            out_.report.checkpoint = std::move(checkpoint.value().state);
            header = std::move(checkpoint.value().header);
        } else {
            error = checkpoint.error();
        }
    } else {
        auto read = read_checkpoint_header(core_.files, path);
        if (read.ok())
            header = std::move(read.value());
        else
            error = read.error();
    }
    const bool whole = error.what.empty();
    if (whole && header.at == name.position && header.epoch == name.epoch) {
        out_.checkpoints.push_back(KeptCheckpoint{name.name, std::move(header)});
        return ok_status();
    }
    if (!whole && error.code != Errc::corrupt)
        return refuse(error, path + ": " + std::string(error.what));
    if (out_.checkpoints.empty()) out_.report.checkpoint.clear();
    ++out_.report.checkpoints_bad;
    return ok_status();
}

// Every segment that the checkpoint lists is there, or its mark is, or a newer one of the same
// base.
Status Recovery::check_listed() {
    if (out_.checkpoints.empty()) return ok_status();
    for (const ListedSegment& listed : out_.checkpoints.back().header.segments) {
        const bool present = std::any_of(chain_.begin(), chain_.end(), [&](const auto& entry) {
            return entry.base == listed.base && entry.segment->header.epoch >= listed.epoch;
        });
        const bool dropped =
            std::any_of(names_.gone.begin(), names_.gone.end(), [&](const NumberedName& mark) {
                return mark.position == listed.base && mark.epoch >= listed.epoch;
            });
        if (!present && !dropped)
            return refuse(Error{Errc::rejected, 0, listed.base, "a segment is missing"},
                          "segment " + file_name(listed.base, listed.epoch, ".seg") +
                              " is missing in " + core_.directory);
    }
    return ok_status();
}

Status Recovery::check_without_checkpoint() {
    if (!out_.checkpoints.empty() || out_.report.created) return ok_status();
    const bool all = !chain_.empty() && chain_.front().base == 0 && names_.gone.empty() &&
                     names_.compacted.empty();
    if (all) return ok_status();
    if (out_.report.checkpoints_bad > 0)
        return refuse(Error{Errc::corrupt, 0, 0, "no readable checkpoint is left"},
                      "no readable checkpoint is left in " + core_.directory +
                          " and the segments do not reach back to the beginning");
    return refuse(Error{Errc::rejected, 0, 0, "the first segments are missing"},
                  "segments are missing in " + core_.directory +
                      ": they do not reach back to the beginning and there is no checkpoint");
}

// Below the checkpoint a gap is what a dropped segment leaves, so ends come from the list there.
void Recovery::set_ends() {
    for (std::size_t i = 0; i + 1 < chain_.size(); ++i) {
        SegmentTable::Entry& entry = chain_[i];
        entry.end = chain_[i + 1].base;
        if (entry.segment->header.compacted)
            entry.end = std::min(entry.end, Position{entry.segment->header.capacity});
        if (out_.checkpoints.empty()) continue;
        for (const ListedSegment& listed : out_.checkpoints.back().header.segments)
            if (listed.base == entry.base && listed.end != 0)
                entry.end = std::min(entry.end, listed.end);
    }
}

void Recovery::report_segments() {
    for (const SegmentTable::Entry& entry : chain_) core_.table.insert(entry);
    for (const SegmentTable::Entry& entry : chain_)
        out_.report.segments.push_back(
            SegmentInfo{entry.base, entry.end == 0 ? out_.end : entry.end,
                        entry.segment->file_bytes, entry.segment->header.compacted});
}

}  // namespace ferry::log
