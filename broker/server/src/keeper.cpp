#include "keeper.hpp"

#include <algorithm>
#include <map>

namespace ferry::server {

using engine::Position;

namespace {

constexpr std::uint64_t sparse_divisor = 4;  // compacted when less than a quarter is alive
constexpr std::uint64_t sparse_bytes_min = 64U << 10;  // smaller files are not worth the work
constexpr std::uint64_t early_after_ns = 5'000'000'000;
constexpr std::uint64_t early_when_full_ns = 1'000'000'000;

using Loads = std::map<Position, engine::SegmentLoad>;

Loads loads_of(const engine::Engine& engine) {
    Loads loads;
    for (const engine::SegmentLoad& load : engine.segment_loads()) loads[load.base] = load;
    return loads;
}

bool is_dead(const Loads& loads, const log::SegmentInfo& segment) {
    const auto load = loads.find(segment.base);
    return load == loads.end() || load->second.references == 0;
}

bool is_sparse(const Loads& loads, const log::SegmentInfo& segment) {
    if (segment.file_bytes < sparse_bytes_min) return false;
    const auto load = loads.find(segment.base);
    return load != loads.end() && load->second.bytes < segment.file_bytes / sparse_divisor;
}

// When nothing that could still be replayed knows the segment's messages as alive.
bool is_settled(const Loads& loads, const log::SegmentInfo& segment, Position floor) {
    const auto load = loads.find(segment.base);
    return segment.end <= floor && (load == loads.end() || load->second.dead_since <= floor);
}

}  // namespace

struct Keeper::Compaction {
    log::SegmentInfo segment;
    engine::LiveSet live;
    std::size_t next_block = 0;
    Position stands_on = 0;  // end of the log, with every ack that `live` knows of
};

void Keeper::on_turn() {
    const Position end = hub_.log.end();
    if (last_at_ == 0) last_at_ = std::max<Position>(hub_.log.recovered().checkpoint_at, 1);
    if (end - std::min(end, last_at_) >= hub_.config.checkpoint_bytes) checkpoint();
}

void Keeper::on_tick() {
    if (hub_.log.failed() || gathering_) return;
    if (ready_ != nullptr) {
        // What was acked is left out, so its ack must be durable: a crash would want it back. This
        // is at least a turn after live_in(), so that every ack from before it is in a record.
        if (ready_->stands_on == 0) ready_->stands_on = hub_.log.end();
        if (hub_.log.durable() < ready_->stands_on) return;
        compact(*ready_);
        ready_.reset();
        return;
    }
    if (candidates_.empty()) return;
    if (!hub_.log.compaction_pending()) next_compaction();
}

void Keeper::on_second() {
    if (hub_.log.failed()) return;
    if (checkpoint_asked_ && !hub_.log.checkpoint_pending()) {
        checkpoint_asked_ = false;
        reclaim();
    }
    const bool full = hub_.log.space() == log::Space::full;
    if (full) reclaim();
    const std::uint64_t age = hub_.now().mono.ns - last_time_.ns;
    if (age < (full ? early_when_full_ns : early_after_ns) || !space_is_waiting()) return;
    // Two checkpoints are kept and what the older one needs stays: without traffic it takes a
    // second one, and that needs a place of its own.
    if (hub_.log.end() <= last_at_) hub_.engine.move_on();
    checkpoint();
}

void Keeper::checkpoint() {
    if (hub_.log.failed() || hub_.log.checkpoint_pending()) return;
    std::vector<std::byte> state;
    hub_.engine.save(state, false);
    last_at_ = hub_.log.end();
    last_time_ = hub_.now().mono;
    hub_.log.checkpoint(std::move(state), last_at_, false);
    checkpoint_asked_ = true;
}

void Keeper::checkpoint_clean() {
    candidates_.clear();
    std::vector<std::byte> state;
    hub_.engine.save(state, true);
    hub_.log.checkpoint(std::move(state), hub_.log.end(), true);
}

// Is there a segment that only an older checkpoint keeps from being dropped?
bool Keeper::space_is_waiting() const {
    const std::vector<log::SegmentInfo> segments = hub_.log.segments();
    const Loads loads = loads_of(hub_.engine);
    const Position floor = hub_.log.replay_floor();
    for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
        const bool useless = is_dead(loads, segments[i]) || is_sparse(loads, segments[i]);
        if (useless && !is_settled(loads, segments[i], floor)) return true;
    }
    return false;
}

void Keeper::reclaim() {
    const Loads loads = loads_of(hub_.engine);
    const Position floor = hub_.log.replay_floor();
    std::vector<Position> pinned;
    pins_([&](Position record) { pinned.push_back(record); });
    std::sort(pinned.begin(), pinned.end());
    std::vector<log::SegmentInfo> segments = hub_.log.segments();
    if (!segments.empty()) segments.pop_back();  // the one being written
    candidates_.clear();
    for (const log::SegmentInfo& segment : segments) {
        if (segment.end > floor) break;
        const auto pin = std::lower_bound(pinned.begin(), pinned.end(), segment.base);
        if (pin != pinned.end() && *pin < segment.end) continue;
        if (is_dead(loads, segment)) {
            if (!is_settled(loads, segment, floor)) continue;
            hub_.log.drop_segment(segment.base);
            hub_.engine.forget_segment(segment.base);
        } else if (is_sparse(loads, segment)) {
            candidates_.push_back(segment);
        }
    }
    std::reverse(candidates_.begin(), candidates_.end());  // taken from the back, oldest first
}

void Keeper::next_compaction() {
    auto job = std::make_shared<Compaction>();
    job->segment = candidates_.back();
    candidates_.pop_back();
    if (is_dead(loads_of(hub_.engine), job->segment)) return;  // the next pass drops it
    job->live = hub_.engine.live_in(job->segment.base, job->segment.end);
    gathering_ = true;
    gather(job);
}

// Index blocks on disk may name messages in the segment: they are read one after another.
void Keeper::gather(const std::shared_ptr<Compaction>& job) {
    const std::vector<Position>& blocks = job->live.blocks_to_read;
    while (job->next_block < blocks.size()) {
        const Position record = blocks[job->next_block];
        const Bytes body = hub_.bodies.find(record);
        if (body.empty()) {
            hub_.bodies.fetch(record, [this, job](const Error* error) {
                if (error == nullptr) {
                    gather(job);
                } else {
                    // It stays as it is. Even a block that is gone may have been used up after
                    // live_in(), and then nobody here knows the messages it named.
                    gathering_ = false;
                }
            });
            return;
        }
        const auto extents = engine::extents_of_block(body);
        if (!extents.ok()) {
            gathering_ = false;
            return;
        }
        for (const engine::Extent& extent : extents.value()) {
            if (extent.record() >= job->segment.base && extent.record() < job->segment.end) {
                job->live.extents.push_back(extent);
            }
        }
        ++job->next_block;
    }
    gathering_ = false;
    ready_ = job;
}

void Keeper::compact(Compaction& job) {
    std::map<Position, log::Keep> keep;
    for (const Position block : job.live.blocks) keep[block].position = block;
    std::sort(job.live.extents.begin(), job.live.extents.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const engine::Extent& extent : job.live.extents) {
        log::Keep& record = keep[extent.record()];
        record.position = extent.record();
        if (!record.ranges.empty()) {
            auto& [first, count] = record.ranges.back();
            if (extent.index <= first + count) {
                count = std::max<std::uint32_t>(first + count, extent.index + extent.count) - first;
                continue;
            }
        }
        record.ranges.emplace_back(extent.index, extent.count);
    }
    std::vector<log::Keep> list;
    list.reserve(keep.size());
    for (auto& entry : keep) list.push_back(std::move(entry.second));
    hub_.log.compact(job.segment.base, std::move(list), &engine::slice_record);
}

}  // namespace ferry::server
