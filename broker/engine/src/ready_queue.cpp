#include "ready_queue.hpp"

#include "ferry/platform/assert.hpp"

namespace ferry::engine {

void ReadyQueue::make_levels() {
    if (more_.empty()) more_.assign(limits::priority_max, ReadyList(*live_));
}

ReadyQueue::Front ReadyQueue::choose(Position durable) {
    Front found = Front::empty;
    unsigned ready = 0;
    std::uint8_t oldest = 0;
    others_from_ = UINT64_MAX;
    for (std::size_t n = more_.size() + 1; n-- > 0;) {
        const auto of_level = static_cast<std::uint8_t>(n);
        const ReadyList& list = at(of_level);
        const Front front = list.front(durable);
        if (front == Front::ready) {
            const Position first = list.front_position();
            if (ready == 0) {
                chosen_ = oldest = of_level;
            } else {
                if (first < at(oldest).front_position()) oldest = of_level;
                others_from_ = std::min(others_from_, first);
            }
            ++ready;
        } else if (front == Front::waits_for_index || found == Front::empty) {
            found = front;
            if (ready == 0) chosen_ = of_level;
        }
    }
    several_ = ready > 1;
    if (ready == 0) return found;
    if (several_ && oldest_due_ && chosen_ != oldest) {
        chosen_ = oldest;
        others_from_ = 0;
    }
    return Front::ready;
}

ReadyQueue::Taken ReadyQueue::take(std::uint64_t messages_max, std::uint64_t bytes_max) {
    if (more_.empty() || !several_) return chosen().take(messages_max, bytes_max);
    const Position first = chosen().front_position();
    if (others_from_ != 0 && first < others_from_) {  // the highest and the oldest at once
        const std::uint64_t most = others_from_ - first;
        return chosen().take(std::min(messages_max, most), bytes_max);
    }
    std::int64_t most = whole_run_max;
    if (others_from_ != 0) most = std::max(most, turn_for_others - overtaken_);
    const Taken taken =
        chosen().take(std::min(messages_max, static_cast<std::uint64_t>(most)), bytes_max);
    const std::int64_t count = taken.extent.count;
    overtaken_ += others_from_ != 0 ? count : -count * others_per_oldest;
    if (overtaken_ >= turn_for_others) oldest_due_ = true;
    if (overtaken_ <= 0) oldest_due_ = false;
    return taken;
}

ReadyQueue::Front ReadyQueue::front_to_drop(Position durable) {
    chosen_ = 0;
    while (chosen_ < more_.size() && at(chosen_).messages() == 0) ++chosen_;
    return chosen().front(durable);
}

std::optional<Position> ReadyQueue::first_position() const {
    std::optional<Position> first = base_.first_position();
    for (const ReadyList& list : more_) {
        const std::optional<Position> here = list.first_position();
        if (here && (!first || *here < *first)) first = here;
    }
    return first;
}

std::vector<Extent> ReadyQueue::to_spill(std::size_t extents_max) const {
    std::vector<Extent> extents = base_.to_spill(extents_max);
    for (std::size_t i = 0; extents.empty() && i < more_.size(); ++i)
        extents = more_[i].to_spill(extents_max);
    return extents;
}

std::optional<Position> ReadyQueue::block_to_load() const {
    for (auto list = more_.rbegin(); list != more_.rend(); ++list) {
        if (const auto block = list->block_to_load()) return block;
    }
    return base_.block_to_load();
}

void ReadyQueue::save(std::vector<std::byte>& out) const {
    base_.save(out);
    put_u8(out, static_cast<std::uint8_t>(more_.size()));
    for (const ReadyList& list : more_) list.save(out);
}

bool ReadyQueue::load(Reader& in) {
    if (!base_.load(in)) return false;
    const std::uint8_t levels = in.u8();
    if (levels != 0 && levels != limits::priority_max) in.reject();
    if (!in.ok() || levels == 0) return in.ok();
    make_levels();
    return std::all_of(more_.begin(), more_.end(), [&](ReadyList& list) { return list.load(in); });
}

}  // namespace ferry::engine
