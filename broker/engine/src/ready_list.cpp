#include "ready_list.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::engine {
namespace {
constexpr std::size_t spill_extents = 4096;    // in one index block
constexpr std::size_t spill_extents_min = 16;  // when memory is scarce
constexpr std::size_t suspects_max = 64;       // crashes in a row that are told apart
constexpr std::size_t load_below = 1024;  // extents left before an index block when it is asked for
}  // namespace

void ReadyList::append(const Extent& extent) {
    messages_ += extent.count;
    bytes_ += extent.bytes;
    if (pieces_.empty() || pieces_.back().on_disk) pieces_.emplace_back();
    std::deque<Extent>& run = pieces_.back().run;
    if (!run.empty() && join(run.back(), extent)) return;
    FERRY_ASSERT(run.empty() || run.back().end() <= extent.first, "messages are appended in order");
    run.push_back(extent);
    ++in_memory_;
}

void ReadyList::append(std::span<const Extent> extents) {
    if (extents.empty()) return;
    append(extents.front());
    const std::span<const Extent> others = extents.subspan(1);
    Position end = extents.front().end();
    for (const Extent& extent : others) {
        FERRY_ASSERT(end <= extent.first, "messages are appended in order");
        end = extent.end();
        messages_ += extent.count;
        bytes_ += extent.bytes;
    }
    std::deque<Extent>& run = pieces_.back().run;
    run.insert(run.end(), others.begin(), others.end());
    in_memory_ += others.size();
}

Position ReadyList::back_end() const {
    if (pieces_.empty() || (!pieces_.back().on_disk && pieces_.back().run.empty())) return 0;
    return pieces_.back().end_position();
}

ReadyList::Front ReadyList::front(Position durable) const {
    if (front_was_returned()) {
        const Returned& r = returned_.begin()->second;
        return r.gate < durable && r.extent.record() < durable ? Front::ready
                                                               : Front::waits_for_log;
    }
    if (pieces_.empty()) return Front::empty;
    const Piece& piece = pieces_.front();
    if (piece.on_disk) return Front::waits_for_index;
    if (piece.run.empty()) return Front::empty;
    return piece.run.front().record() < durable ? Front::ready : Front::waits_for_log;
}

Position ReadyList::front_position() const {
    if (front_was_returned()) return returned_.begin()->first;
    FERRY_ASSERT(!pieces_.empty() && !pieces_.front().on_disk, "there is a message in memory");
    return pieces_.front().run.front().first;
}

namespace {
// How many of the extent's messages fit into the byte credit; at least one.
std::uint32_t fitting(const Extent& e, std::uint64_t messages_max, std::uint64_t bytes_max) {
    std::uint64_t n = std::min<std::uint64_t>(e.count, messages_max);
    if (e.bytes > bytes_max && std::uint64_t{e.bytes} * n / e.count > bytes_max) {
        n = std::max<std::uint64_t>(1, bytes_max * e.count / std::max<std::uint32_t>(1, e.bytes));
    }
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(n, messages_max));
}
}  // namespace

ReadyList::Taken ReadyList::take(std::uint64_t messages_max, std::uint64_t bytes_max) {
    FERRY_ASSERT(messages_max > 0, "taking nothing is not taking");
    Taken taken;
    if (front_was_returned()) {
        auto node = returned_.extract(returned_.begin());
        Returned& r = node.mapped();
        const std::uint32_t n = fitting(r.extent, messages_max, bytes_max);
        taken = {part_of(r.extent, 0, n), r.attempts, r.gate};
        if (n < r.extent.count) {
            r.extent = part_of(r.extent, n, r.extent.count - n);
            node.key() = r.extent.first;
            returned_.insert(std::move(node));
        }
    } else {
        FERRY_ASSERT(!pieces_.empty() && !pieces_.front().on_disk,
                     "take() needs a message in memory");
        std::deque<Extent>& run = pieces_.front().run;
        Extent& e = run.front();
        std::uint32_t n = fitting(e, messages_max, bytes_max);
        const std::uint32_t suspected = suspicions(e.first);
        if (suspected > 0) {
            const Position bound = suspects_[suspects_.size() - suspected];
            n = static_cast<std::uint32_t>(std::min<Position>(n, bound - e.first));
        }
        taken = {part_of(e, 0, n), suspected, 0};
        if (n < e.count) {
            e = part_of(e, n, e.count - n);
        } else {
            run.pop_front();
            --in_memory_;
            drop_empty_front();
        }
    }
    messages_ -= taken.extent.count;
    bytes_ -= taken.extent.bytes;
    return taken;
}

void ReadyList::drop_empty_front() {
    while (!pieces_.empty() && !pieces_.front().on_disk && pieces_.front().run.empty())
        pieces_.pop_front();
}

void ReadyList::give_back(const Extent& extent, std::uint32_t attempts, Position gate) {
    messages_ += extent.count;
    bytes_ += extent.bytes;
    const bool fresh = returned_.emplace(extent.first, Returned{extent, attempts, gate}).second;
    FERRY_ASSERT(fresh, "a message is returned once");
}

void ReadyList::count_out(const Extent& extent, bool release) {
    messages_ -= extent.count;
    bytes_ -= extent.bytes;
    if (release) live_->remove(extent.record(), extent.count, extent.bytes);
}

// ---- aside ----

AsideList::Place ReadyList::set_aside(const Taken& taken) {
    messages_ += taken.extent.count;
    bytes_ += taken.extent.bytes;
    return aside_.add(taken.extent, taken.attempts, taken.gate);
}

ReadyList::Aside ReadyList::front_to_aside(std::uint64_t messages_max) {
    if (!front_is_fresh() || pieces_.front().run.front().count > messages_max) {
        const Taken taken = take(messages_max, UINT64_MAX);
        return {taken.extent, set_aside(taken)};
    }
    std::deque<Extent>& run = pieces_.front().run;
    const Aside aside{run.front(), aside_.add(run.front(), 0, 0)};
    run.pop_front();
    --in_memory_;
    if (run.empty()) drop_empty_front();
    return aside;
}

void ReadyList::count_taken(const std::optional<Taken>& taken) {
    if (!taken) return;
    messages_ -= taken->extent.count;
    bytes_ -= taken->extent.bytes;
}

std::optional<ReadyList::Taken> ReadyList::take_aside(Position position, AsideList::Place place) {
    const std::optional<Taken> taken = aside_.take(position, place);
    count_taken(taken);
    return taken;
}

std::optional<ReadyList::Taken> ReadyList::take_any_aside(std::uint64_t messages_max) {
    const std::optional<Taken> taken = aside_.take_front(messages_max);
    count_taken(taken);
    return taken;
}

std::uint64_t ReadyList::cut_aside(Position first, std::uint32_t count, bool release,
                                   std::uint32_t* attempts_of) {
    std::uint64_t found = 0;
    while (const auto item = aside_.take_part(first, first + count)) {
        if (attempts_of != nullptr) *attempts_of = item->attempts;
        count_out(item->extent, release);
        found += item->extent.count;
    }
    return found;
}

std::uint64_t ReadyList::cut_returned(Position first, std::uint32_t count, bool release,
                                      std::uint32_t* attempts_of) {
    std::uint64_t found = 0;
    const Position end = first + count;
    auto at = returned_.upper_bound(first);
    if (at != returned_.begin() && std::prev(at)->second.extent.end() > first) --at;
    while (at != returned_.end() && at->first < end) {
        const Returned r = at->second;
        const Position from = std::max(first, r.extent.first);
        const Position upto = std::min(end, r.extent.end());
        const auto skip = static_cast<std::uint32_t>(from - r.extent.first);
        const auto n = static_cast<std::uint32_t>(upto - from);
        at = returned_.erase(at);
        if (skip > 0) {
            const Extent left = part_of(r.extent, 0, skip);
            returned_.emplace(left.first, Returned{left, r.attempts, r.gate});
        }
        if (upto < r.extent.end()) {
            const Extent right = part_of(r.extent, skip + n, r.extent.count - skip - n);
            at = returned_.emplace(right.first, Returned{right, r.attempts, r.gate}).first;
        }
        if (attempts_of != nullptr) *attempts_of = r.attempts;
        count_out(part_of(r.extent, skip, n), release);
        found += n;
    }
    return found;
}

std::uint64_t ReadyList::cut_memory(Piece& piece, Position first, Position end, bool release) {
    std::uint64_t found = 0;
    std::deque<Extent>& run = piece.run;
    std::size_t i = 0;
    if (!run.empty() && run.front().end() <= first) {
        i = static_cast<std::size_t>(
            std::partition_point(run.begin(), run.end(),
                                 [&](const Extent& e) { return e.end() <= first; }) -
            run.begin());
    }
    while (i < run.size() && run[i].first < end) {
        const Extent e = run[i];
        const Position from = std::max(first, e.first);
        const Position upto = std::min(end, e.end());
        const auto skip = static_cast<std::uint32_t>(from - e.first);
        const auto n = static_cast<std::uint32_t>(upto - from);
        count_out(part_of(e, skip, n), release);
        found += n;
        if (skip == 0 && n == e.count) {
            if (i == 0) {
                run.pop_front();
            } else {
                run.erase(run.begin() + static_cast<std::ptrdiff_t>(i));
            }
            --in_memory_;
            continue;
        }
        if (skip > 0) {
            run[i] = part_of(e, 0, skip);
            ++i;
            if (upto < e.end()) {
                run.insert(run.begin() + static_cast<std::ptrdiff_t>(i),
                           part_of(e, skip + n, e.count - skip - n));
                ++in_memory_;
            }
        } else {
            run[i] = part_of(e, n, e.count - n);
        }
        if (upto == end) break;
    }
    return found;
}

bool ReadyList::add_hole(Piece& piece, Span hole, bool release) {
    // The last segment that begins at or before the messages is theirs.
    const auto next = std::partition_point(piece.shares.begin(), piece.shares.end(),
                                           [&](const Share& s) { return s.segment <= hole.first; });
    if (next == piece.shares.begin()) return false;
    Share& share = *std::prev(next);
    if (hole.count > piece.messages || hole.count > share.references) return false;
    const std::uint64_t bytes = share.bytes / share.references * hole.count;
    if (release) live_->remove(share.segment, hole.count, bytes);
    share.references -= hole.count;
    share.bytes -= bytes;
    piece.bytes -= std::min(bytes, piece.bytes);
    bytes_ -= std::min(bytes, bytes_);
    piece.messages -= hole.count;
    messages_ -= hole.count;
    const auto at = std::partition_point(piece.holes.begin(), piece.holes.end(),
                                         [&](const Span& s) { return s.first < hole.first; });
    if (at != piece.holes.begin() && std::prev(at)->first + std::prev(at)->count == hole.first) {
        std::prev(at)->count += hole.count;
    } else {
        piece.holes.insert(at, hole);
    }
    return true;
}

std::uint64_t ReadyList::cut_disk(Piece& piece, Position first, Position end, bool release) {
    const Position upto = std::min(end, piece.end);
    Position from = std::max(first, piece.first);
    std::uint64_t found = 0;
    while (from < upto) {
        // A part may be gone already: returned before, and acked together with its neighbours now.
        const auto hole =
            std::partition_point(piece.holes.begin(), piece.holes.end(),
                                 [&](const Span& s) { return s.first + s.count <= from; });
        if (hole != piece.holes.end() && hole->first <= from) {
            from = hole->first + hole->count;
            continue;
        }
        const Position stop = hole != piece.holes.end() ? std::min(upto, hole->first) : upto;
        const auto n = static_cast<std::uint32_t>(stop - from);
        if (!add_hole(piece, {from, n}, release)) {
            broken_ = true;
            return found;
        }
        found += n;
        from = stop;
    }
    return found;
}

void ReadyList::release_piece_record(const Piece& piece) {
    live_->remove(piece.record, 1, piece.record_bytes);
}

std::uint64_t ReadyList::cut(Position first, std::uint32_t count, bool release,
                             std::uint32_t* attempts_of) {
    std::uint64_t found = cut_returned(first, count, release, attempts_of);
    if (!aside_.empty()) found += cut_aside(first, count, release, attempts_of);
    const Position end = first + count;
    if (found == count) return found;
    // Acks mostly concern the front; elsewhere the pieces are few.
    for (std::size_t i = 0; i < pieces_.size() && found < count; ++i) {
        Piece& piece = pieces_[i];
        if (!piece.on_disk && piece.run.empty()) continue;
        if (piece.end_position() <= first) continue;
        if (piece.begin_position() >= end) break;
        const std::uint64_t here = piece.on_disk ? cut_disk(piece, first, end, release)
                                                 : cut_memory(piece, first, end, release);
        if (here > 0 && attempts_of != nullptr) *attempts_of = suspicions(first);
        found += here;
        if (piece.on_disk ? piece.messages > 0 : !piece.run.empty()) continue;
        if (piece.on_disk) release_piece_record(piece);
        pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(i--));
    }
    return found;
}

void ReadyList::take_range(Position first, Position end,
                           std::vector<std::pair<Extent, std::uint32_t>>& out) {
    const std::size_t before = out.size();
    const auto note = [&](const Extent& e, std::uint32_t attempts) {
        const Position from = std::max(first, e.first);
        const Position upto = std::min(end, e.end());
        if (from >= upto) return;
        out.emplace_back(part_of(e, static_cast<std::uint32_t>(from - e.first),
                                 static_cast<std::uint32_t>(upto - from)),
                         attempts);
    };
    auto at = returned_.upper_bound(first);
    if (at != returned_.begin()) --at;
    for (; at != returned_.end() && at->first < end; ++at)
        note(at->second.extent, at->second.attempts);
    aside_.visit([&](const AsideList::Item& a) {
        note(a.extent, a.attempts);
        return a.extent.first < end;
    });
    for (const Piece& piece : pieces_) {
        if (piece.on_disk || piece.run.empty() || piece.end_position() <= first) continue;
        if (piece.begin_position() >= end) break;
        auto e = std::partition_point(piece.run.begin(), piece.run.end(),
                                      [&](const Extent& x) { return x.end() <= first; });
        for (; e != piece.run.end() && e->first < end; ++e) note(*e, suspicions(e->first));
    }
    for (std::size_t i = before; i < out.size(); ++i)
        cut(out[i].first.first, out[i].first.count, false);
}

std::uint64_t ReadyList::clear() {
    const std::uint64_t all = messages_;
    for (const auto& [first, r] : returned_)
        live_->remove(r.extent.record(), r.extent.count, r.extent.bytes);
    aside_.visit([&](const AsideList::Item& a) {
        live_->remove(a.extent.record(), a.extent.count, a.extent.bytes);
        return true;
    });
    for (const Piece& piece : pieces_) {
        for (const Extent& e : piece.run) live_->remove(e.record(), e.count, e.bytes);
        if (!piece.on_disk) continue;
        for (const Share& share : piece.shares) {
            if (share.references > 0) live_->remove(share.segment, share.references, share.bytes);
        }
        release_piece_record(piece);
    }
    returned_.clear();
    aside_.clear();
    pieces_.clear();
    in_memory_ = 0;
    messages_ = bytes_ = 0;
    damaged_ = false;
    return all;
}

std::vector<Extent> ReadyList::to_spill(std::size_t extents_max) const {
    std::vector<Extent> extents;
    if (pieces_.empty() || pieces_.back().on_disk) return extents;
    const std::deque<Extent>& run = pieces_.back().run;
    const std::size_t block = std::min(spill_extents, std::max(spill_extents_min, extents_max / 2));
    const bool is_front = pieces_.size() == 1;
    std::size_t from = is_front ? block : 0;  // the front stays in memory: it is wanted next
    if (run.size() < from + 2 * block) return extents;
    if (from < run.size() && run[from].first < spilled_upto_) {
        from = static_cast<std::size_t>(
            std::partition_point(run.begin(), run.end(),
                                 [&](const Extent& e) { return e.first < spilled_upto_; }) -
            run.begin());
    }
    if (run.size() < from + block) return extents;
    extents.assign(run.begin() + static_cast<std::ptrdiff_t>(from),
                   run.begin() + static_cast<std::ptrdiff_t>(from + block));
    return extents;
}

namespace {
std::deque<Extent> without_holes(const std::deque<Extent>& extents,
                                 const std::vector<Span>& holes) {
    std::deque<Extent> run;
    auto hole = holes.begin();
    for (const Extent& e : extents) {
        Position from = e.first;
        while (from < e.end()) {
            while (hole != holes.end() && hole->first + hole->count <= from) ++hole;
            if (hole != holes.end() && hole->first <= from) {
                from = hole->first + hole->count;
                continue;
            }
            const Position stop = hole != holes.end() ? std::min(e.end(), hole->first) : e.end();
            run.push_back(part_of(e, static_cast<std::uint32_t>(from - e.first),
                                  static_cast<std::uint32_t>(stop - from)));
            from = stop;
        }
    }
    return run;
}

// Whether the messages of `run` are those that `shares` counts, segment by segment.
template <class Shares>
bool covers(const std::deque<Extent>& run, const Shares& shares) {
    auto share = shares.begin();
    std::uint64_t left = share == shares.end() ? 0 : share->references;
    Position last = 0;
    for (const Extent& e : run) {
        if (e.first < last) return false;
        last = e.end();
        for (; left == 0 && share != shares.end();) {
            if (++share != shares.end()) left = share->references;
        }
        if (share == shares.end() || e.record() < share->segment || e.count > left) return false;
        if (std::next(share) != shares.end() && e.record() >= std::next(share)->segment)
            return false;
        left -= e.count;
    }
    while (left == 0 && share != shares.end()) {
        if (++share != shares.end()) left = share->references;
    }
    return left == 0;
}

template <class Extents>
std::vector<Span> spans_of(const Extents& extents) {
    std::vector<Span> spans;
    spans.reserve(extents.size());
    for (const Extent& e : extents) spans.push_back({e.first, e.count});
    return spans;
}

template <class Extents>
std::uint64_t messages_in(const Extents& extents) {
    std::uint64_t n = 0;
    for (const Extent& e : extents) n += e.count;
    return n;
}
}  // namespace

void ReadyList::split(std::deque<Extent>& run, Position at) {
    const auto e = std::partition_point(run.begin(), run.end(),
                                        [&](const Extent& x) { return x.end() <= at; });
    if (e == run.end() || e->first >= at) return;
    const auto left = static_cast<std::uint32_t>(at - e->first);
    const Extent right = part_of(*e, left, e->count - left);
    *e = part_of(*e, 0, left);
    run.insert(std::next(e), right);
    ++in_memory_;
}

bool ReadyList::spilled(const std::vector<Extent>& extents, Position record,
                        std::uint32_t record_bytes) {
    if (extents.empty()) return false;
    const Position first = extents.front().first;
    const Position end = extents.back().end();
    std::size_t i = 0;
    while (i < pieces_.size() &&
           (pieces_[i].on_disk || pieces_[i].run.empty() || pieces_[i].end_position() <= first)) {
        ++i;
    }
    if (i == pieces_.size()) return false;
    std::deque<Extent>& run = pieces_[i].run;
    // Replay joins what one record brought, even where a block was written in between.
    split(run, first);
    split(run, end);
    const auto from = std::partition_point(run.begin(), run.end(),
                                           [&](const Extent& e) { return e.first < first; });
    const auto upto =
        std::partition_point(from, run.end(), [&](const Extent& e) { return e.first < end; });
    Piece block;
    block.on_disk = true;
    block.record = record;
    block.record_bytes = record_bytes;
    block.first = first;
    block.end = end;
    const auto book = [&](const Extent& e) {
        block.messages += e.count;
        block.bytes += e.bytes;
        const Position segment = live_->segment_of(e.record());
        if (block.shares.empty() || block.shares.back().segment != segment)
            block.shares.push_back({segment, 0, 0});
        block.shares.back().references += e.count;
        block.shares.back().bytes += e.bytes;
    };
    std::deque<Extent> others;
    if (std::equal(from, upto, extents.begin(), extents.end())) {
        std::for_each(from, upto, book);
    } else {
        // Replay finds more between them: what a checkpoint that was not used counted as returned.
        for (std::size_t n = 1; n < extents.size(); ++n) {
            if (extents[n].first < extents[n - 1].end()) return false;
        }
        const std::deque<Extent> here(from, upto);
        others = without_holes(here, spans_of(extents));
        if (messages_in(here) != messages_in(extents) + messages_in(others)) return false;
        for (const Extent& e : without_holes(here, spans_of(others))) book(e);
    }
    in_memory_ -= static_cast<std::size_t>(upto - from);
    for (const Extent& e : others) returned_.emplace(e.first, Returned{e, suspicions(e.first), 0});
    live_->add(record, 1, record_bytes);
    spilled_upto_ = std::max(spilled_upto_, end);
    // The shorter side gets a deque of its own: the other one may be long.
    Piece side;
    const bool front_moves = from - run.begin() < run.end() - upto;
    const auto here = pieces_.begin() + static_cast<std::ptrdiff_t>(i);
    if (front_moves) {
        side.run.assign(run.begin(), from);
        run.erase(run.begin(), upto);
        const auto at = pieces_.insert(here, std::move(block));
        if (!side.run.empty()) pieces_.insert(at, std::move(side));
        return true;
    }
    side.run.assign(upto, run.end());
    run.erase(from, run.end());
    const bool emptied = run.empty();
    const auto at = pieces_.insert(std::next(here), std::move(block));
    if (!side.run.empty()) pieces_.insert(std::next(at), std::move(side));
    if (emptied) pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
}

std::optional<Position> ReadyList::block_to_load() const {
    std::size_t i = 0;
    if (!pieces_.empty() && !pieces_.front().on_disk) {
        if (pieces_.front().run.size() >= load_below) return std::nullopt;
        i = 1;
    }
    if (i >= pieces_.size() || !pieces_[i].on_disk || pieces_[i].loading || damaged_)
        return std::nullopt;
    return pieces_[i].record;
}

void ReadyList::loading(Position record) {
    for (Piece& piece : pieces_) {
        if (!piece.on_disk || piece.record != record) continue;
        piece.loading = true;
        return;
    }
}

bool ReadyList::loaded(Position record, const std::vector<Extent>& extents) {
    const auto at = std::find_if(pieces_.begin(), pieces_.end(),
                                 [&](const Piece& p) { return p.on_disk && p.record == record; });
    if (at == pieces_.end()) return false;
    Piece& piece = *at;
    std::deque<Extent> run(extents.begin(), extents.end());
    if (!piece.holes.empty()) run = without_holes(run, piece.holes);
    if (!covers(run, piece.shares)) {
        damaged_ = true;
        return false;
    }
    release_piece_record(piece);
    const std::uint64_t estimated = piece.bytes;
    piece.on_disk = piece.loading = false;
    piece.shares.clear();
    piece.holes.clear();
    piece.run.swap(run);
    in_memory_ += piece.run.size();
    std::uint64_t bytes = 0;
    for (const Extent& e : piece.run) bytes += e.bytes;
    bytes_ = bytes_ - std::min(bytes_, estimated) + bytes;
    if (piece.run.empty()) pieces_.erase(at);
    // Runs side by side become one, so that the list stays short.
    for (std::size_t i = 1; i < pieces_.size(); ++i) {
        Piece& left = pieces_[i - 1];
        const Piece& right = pieces_[i];
        if (left.on_disk || right.on_disk) continue;
        left.run.insert(left.run.end(), right.run.begin(), right.run.end());
        pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(i--));
    }
    return true;
}

void ReadyList::load_failed(Position record) {
    for (Piece& piece : pieces_) {
        if (piece.on_disk && piece.record == record) damaged_ = true;
    }
}

void ReadyList::suspect_below(Position horizon) {
    if (horizon > 0) {
        if (!suspects_.empty()) horizon = std::max(horizon, suspects_.back());
        suspects_.push_back(horizon);
        if (suspects_.size() > suspects_max) suspects_.erase(suspects_.begin());
    }
    for (auto& [first, r] : returned_) ++r.attempts;
}

void ReadyList::live_in(Position base, Position end, LiveSet& out) const {
    const auto add = [&](const Extent& e) {
        if (e.record() >= base && e.record() < end) out.extents.push_back(e);
    };
    for (const auto& [first, r] : returned_) add(r.extent);
    aside_.visit([&](const AsideList::Item& a) {
        add(a.extent);
        return true;
    });
    for (const Piece& piece : pieces_) {
        for (const Extent& e : piece.run) add(e);
        if (!piece.on_disk) continue;
        if (piece.record >= base && piece.record < end) out.blocks.push_back(piece.record);
        if (piece.first < end && piece.end > base) out.blocks_to_read.push_back(piece.record);
    }
}

void ReadyList::save(std::vector<std::byte>& out) const {
    put_varint(out, spilled_upto_);
    put_varint(out, suspects_.size());
    for (const Position suspect : suspects_) put_varint(out, suspect);
    put_varint(out, returned_.size() + aside_.runs());
    const auto put = [&](const Extent& extent, std::uint32_t attempts) {
        put_extent(out, extent, 0);
        put_varint(out, attempts);
    };
    for (const auto& [first, r] : returned_) put(r.extent, r.attempts);
    aside_.visit([&](const AsideList::Item& a) {
        put(a.extent, a.attempts);
        return true;
    });
    put_varint(out, pieces_.size());
    for (const Piece& piece : pieces_) {
        put_u8(out, piece.on_disk ? 1 : 0);
        if (!piece.on_disk) {
            put_varint(out, piece.run.size());
            Position previous = 0;
            for (const Extent& e : piece.run) {
                put_extent(out, e, previous);
                previous = e.end();
            }
            continue;
        }
        for (const std::uint64_t value : {piece.record, std::uint64_t{piece.record_bytes},
                                          piece.first, piece.end, piece.messages, piece.bytes}) {
            put_varint(out, value);
        }
        put_varint(out, piece.shares.size());
        for (const Share& share : piece.shares) {
            put_varint(out, share.segment);
            put_varint(out, share.references);
            put_varint(out, share.bytes);
        }
        put_varint(out, piece.holes.size());
        for (const Span& hole : piece.holes) {
            put_varint(out, hole.first);
            put_varint(out, hole.count);
        }
    }
}

bool ReadyList::load_run(Reader& in, Piece& piece) {
    const std::size_t extents = in.count(5);
    Position previous = 0;
    for (std::size_t n = 0; n < extents && in.ok(); ++n) {
        const Extent e = get_extent(in, previous);
        if (!plausible(e) || e.first < previous || e.first < back_end()) in.reject();
        if (!in.ok()) return false;
        piece.run.push_back(e);
        previous = e.end();
        messages_ += e.count;
        bytes_ += e.bytes;
        ++in_memory_;
    }
    return in.ok();
}

bool ReadyList::load_block(Reader& in, Piece& piece) {
    piece.record = in.varint();
    piece.record_bytes = in.bounded<std::uint32_t>(UINT32_MAX);
    piece.first = in.varint();
    piece.end = in.varint();
    piece.messages = in.varint();
    piece.bytes = in.varint();
    const std::size_t shares = in.count(3);
    std::uint64_t references = 0;
    for (std::size_t n = 0; n < shares && in.ok(); ++n) {
        Share share;
        share.segment = in.varint();
        share.references = in.varint();
        share.bytes = in.varint();
        references += share.references;
        if (n > 0 && share.segment <= piece.shares.back().segment) in.reject();
        if (share.references > piece.messages) in.reject();
        piece.shares.push_back(share);
    }
    const std::size_t holes = in.count(2);
    Position previous = 0;
    for (std::size_t n = 0; n < holes && in.ok(); ++n) {
        const Position first = in.varint();
        const auto count = in.bounded<std::uint32_t>(UINT32_MAX);
        if (count == 0 || first < previous || first + count < first) in.reject();
        previous = first + count;
        piece.holes.push_back({first, count});
    }
    if (piece.first >= piece.end || piece.first < back_end() || piece.messages == 0 ||
        piece.messages > piece.end - piece.first || references != piece.messages) {
        in.reject();
    }
    messages_ += piece.messages;
    bytes_ += piece.bytes;
    return in.ok();
}

bool ReadyList::load(Reader& in) {
    spilled_upto_ = in.varint();
    const std::size_t suspects = in.count(1);
    for (std::size_t i = 0; i < suspects && in.ok(); ++i) {
        suspects_.push_back(in.varint());
        if (i > 0 && suspects_[i] < suspects_[i - 1]) in.reject();
    }
    const std::size_t returned = in.count(6);
    for (std::size_t i = 0; i < returned && in.ok(); ++i) {
        const Extent e = get_extent(in, 0);
        const auto attempts = in.bounded<std::uint32_t>(UINT32_MAX - 1);
        if (!plausible(e) || holds_returned(e.first)) in.reject();
        if (in.ok()) give_back(e, attempts, 0);
    }
    const std::size_t pieces = in.count(2);
    for (std::size_t i = 0; i < pieces && in.ok(); ++i) {
        Piece piece;
        piece.on_disk = in.u8() != 0;
        const bool fits = piece.on_disk ? load_block(in, piece) : load_run(in, piece);
        if (fits && (piece.on_disk || !piece.run.empty())) pieces_.push_back(std::move(piece));
    }
    return in.ok();
}

}  // namespace ferry::engine
