#include "log_reader/walker.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "log_reader/compacted_file.hpp"

namespace ferry::log_reader {
namespace {

std::uint64_t file_offset(const Segment& segment, std::uint64_t position) {
    if (segment.compacted || position < segment.base) return 0;
    return segment_header_bytes + (position - segment.base);
}

}  // namespace

void Walker::note(Severity severity, const Segment& segment, std::uint64_t position,
                  std::uint64_t end, std::string text) {
    report_.findings.push_back({severity, segment.file, file_offset(segment, position), position,
                                end == no_end ? 0 : end, std::move(text)});
}

void Walker::walk(std::uint64_t from, const OnRecord& on_record) {
    const auto& segments = catalog_.segments;
    if (segments.empty()) {
        report_.end = catalog_.checkpoints.empty() ? 0 : catalog_.checkpoints.back().at;
        return;
    }
    report_.begin = segments.front().base;
    report_.end = segments.front().base;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        if (segments[i].end != no_end && segments[i].end <= from) continue;
        if (i > 0 && segments[i - 1].compacted && segments[i - 1].end < segments[i].base &&
            !allowed_gap(segments[i - 1], segments[i - 1].end)) {
            note(Severity::damage, segments[i], segments[i - 1].end, segments[i].base,
                 "the positions before this segment are missing");
        }
        const Step step = segments[i].compacted ? walk_compacted(i, from, on_record)
                                                : walk_plain(i, from, on_record);
        if (step == Step::stop) return;
    }
}

Walker::Step Walker::walk_plain(std::size_t index, std::uint64_t from, const OnRecord& on_record) {
    const Segment& segment = catalog_.segments[index];
    auto file = InputFile::open(catalog_.directory + "/" + segment.file);
    if (!file) {
        if (!was_dropped(segment)) {
            note(Severity::damage, segment, segment.base, segment.end,
                 std::string("cannot open: ") + std::strerror(errno));
        }
        return Step::go_on;
    }
    previous_crc_ = segment.previous_crc;
    bool chained = true;
    std::uint64_t position = segment.base;
    while (position < segment.end) {
        BatchProbe probe = probe_batch(*file, segment, position);
        if (probe.state == BatchProbe::State::valid && chained &&
            probe.batch.previous_crc != previous_crc_) {
            probe.state = BatchProbe::State::bad;
            probe.why = "the batch does not follow the one before it";
        }
        if (probe.state != BatchProbe::State::valid) {
            if (cross_hole(index, *file, probe, position, chained) == Step::stop) return Step::stop;
            continue;
        }
        if (hand_out(segment, probe, from, on_record) == Step::stop) return Step::stop;
        previous_crc_ = probe.batch.crc;
        chained = true;
        position = probe.batch.end();
        report_.end = position;
    }
    return Step::go_on;
}

Walker::Step Walker::hand_out(const Segment& segment, const BatchProbe& probe, std::uint64_t from,
                              const OnRecord& on_record) {
    const Batch& batch = probe.batch;
    ++report_.batches;
    report_.seals += batch.records == 0 ? 1 : 0;
    report_.durable_upto = std::max(report_.durable_upto, batch.durable_upto);
    Step step = Step::go_on;
    std::size_t bad_at = 0;
    const std::string_view wrong = split_records(
        batch, probe.records,
        [&](const Record& record) {
            if (record.position < from || step == Step::stop) return;
            ++report_.records;
            report_.record_bytes += record.body.size();
            const FoundRecord found{record.position, record.body, batch.wall_ms, batch.epoch,
                                    &segment.file};
            if (on_record && !on_record(found)) step = Step::stop;
        },
        bad_at);
    if (!wrong.empty()) {
        note(Severity::damage, segment, batch.position + 64 + bad_at, batch.end(),
             std::string(wrong));
    }
    return step;
}

// A segment has a hole at `position`: decides what it is, and moves `position` behind it if reading
// goes on.
Walker::Step Walker::cross_hole(std::size_t index, InputFile& file, const BatchProbe& probe,
                                std::uint64_t& position, bool& chained) {
    const Segment& segment = catalog_.segments[index];
    if (file.failed()) {
        note(Severity::damage, segment, position, segment.end,
             std::string("cannot read: ") + std::strerror(file.error()));
        position = segment.end;
        return segment.end == no_end ? Step::stop : Step::go_on;
    }
    if (was_dropped(segment)) {
        note(Severity::note, segment, position, segment.end, "the broker dropped it meanwhile");
        position = segment.end;
        return segment.end == no_end ? Step::stop : Step::go_on;
    }
    // The view inside `probe` dies with the next read; only its text, which is a literal, is used
    // below.
    const std::string why(probe.why.empty() ? "there is no batch here" : probe.why);
    const bool claimed = probe.state == BatchProbe::State::bad;
    const std::uint64_t claimed_end = claimed ? probe.batch.end() : position;
    seek_witness(index, position);
    if (witness_ <= position) {
        const std::uint64_t torn_end = std::max(claimed_end, last_valid_);
        if (torn_end > position) {
            report_.torn_bytes += torn_end - position;
            note(Severity::torn, segment, position, torn_end, why);
        }
        return Step::stop;
    }
    file.refresh();
    if (claimed || probe_batch(file, segment, position).state != BatchProbe::State::valid) {
        const BatchProbe next = next_valid(file, segment, position + batch_alignment);
        const bool more = next.state == BatchProbe::State::valid;
        const std::uint64_t hole_end =
            more ? next.batch.position : std::min(segment.end, std::max(witness_, position));
        const std::uint64_t behind = more ? hole_end : segment.end;
        if (more || !allowed_gap(segment, position)) {
            note(Severity::damage, segment, position, hole_end, why);
        }
        if (behind == no_end) return Step::stop;
        position = behind;
        chained = false;
    }
    return Step::go_on;
}

BatchProbe Walker::next_valid(InputFile& file, const Segment& segment,
                              std::uint64_t position) const {
    const std::uint64_t bytes =
        file.size() > segment_header_bytes ? file.size() - segment_header_bytes : 0;
    const std::uint64_t limit = std::min(segment.end, segment.base + bytes);
    for (; position < limit; position += batch_alignment) {
        const BatchProbe probe = probe_batch(file, segment, position);
        if (probe.state == BatchProbe::State::valid) return probe;
    }
    return {};
}

// Reads all that comes after the first hole once, for the highest word that it was durable.
void Walker::seek_witness(std::size_t index, std::uint64_t position) {
    if (witness_sought_) return;
    witness_sought_ = true;
    for (const Checkpoint& checkpoint : catalog_.checkpoints) {
        witness_ = std::max(witness_, checkpoint.at);
    }
    for (std::size_t i = index; i < catalog_.segments.size(); ++i) {
        const Segment& segment = catalog_.segments[i];
        // A segment is made only when everything before it is durable; compaction takes only what
        // is.
        if (i > index) witness_ = std::max(witness_, segment.base);
        if (segment.compacted) {
            witness_ = std::max(witness_, segment.end);
            continue;
        }
        auto file = InputFile::open(catalog_.directory + "/" + segment.file);
        if (!file) continue;
        std::uint64_t at = i == index ? position + batch_alignment : segment.base;
        for (;;) {
            const BatchProbe probe = next_valid(*file, segment, at);
            if (probe.state != BatchProbe::State::valid) break;
            witness_ = std::max(witness_, probe.batch.durable_upto);
            last_valid_ = std::max(last_valid_, probe.batch.end());
            at = probe.batch.end();
        }
    }
}

Walker::Step Walker::walk_compacted(std::size_t index, std::uint64_t from,
                                    const OnRecord& on_record) {
    const Segment& segment = catalog_.segments[index];
    auto file = InputFile::open(catalog_.directory + "/" + segment.file);
    if (!file) {
        if (!was_dropped(segment)) {
            note(Severity::damage, segment, segment.base, segment.end,
                 std::string("cannot open: ") + std::strerror(errno));
        }
        return Step::go_on;
    }
    Step step = Step::go_on;
    const CompactedFault fault = read_entries(*file, segment, [&](const Record& record) {
        if (record.position < from) return true;
        ++report_.records;
        report_.record_bytes += record.body.size();
        const FoundRecord found{record.position, record.body, 0, segment.epoch, &segment.file};
        if (on_record && !on_record(found)) step = Step::stop;
        return step == Step::go_on;
    });
    if (!fault.text.empty()) {
        report_.findings.push_back({fault.only_index ? Severity::note : Severity::damage,
                                    segment.file, fault.offset, fault.position,
                                    fault.only_index ? 0 : segment.end, std::string(fault.text)});
    }
    report_.end = segment.end;
    report_.durable_upto = std::max(report_.durable_upto, segment.end);
    return step;
}

// Dropped segments leave gaps. The one before such a gap ends where the newest checkpoint says that
// it ends, or where a mark says that the next one is gone.
bool Walker::allowed_gap(const Segment& segment, std::uint64_t position) const {
    for (const GoneMark& mark : catalog_.gone) {
        if (mark.base == position) return true;
    }
    if (catalog_.checkpoints.empty()) return false;
    for (const ExpectedSegment& listed : catalog_.checkpoints.back().segments) {
        if (listed.base == segment.base && listed.epoch <= segment.epoch &&
            listed.end == position) {
            return true;
        }
    }
    return false;
}

bool Walker::was_dropped(const Segment& segment) const {
    const auto file = InputFile::open(catalog_.directory + "/" + segment.file);
    return !file && errno == ENOENT;
}

}  // namespace ferry::log_reader
