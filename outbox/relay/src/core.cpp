#include "core.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::outbox::relay {
namespace {

// The table's times are of the wall clock, ours are not: so much may lie between them.
constexpr std::uint64_t clock_slack_ms = 100;

// Everybody's trouble, not this message's: all of it waits.
bool passes_by_itself(wire::Code code) {
    switch (code) {
        case wire::Code::disk_full:
        case wire::Code::shutting_down:
        case wire::Code::storage_failed:
        case wire::Code::timed_out:
        case wire::Code::too_many_connections:
            return true;
        default:
            return false;
    }
}

// No later attempt can end otherwise.
bool hopeless(wire::Code code) {
    switch (code) {
        case wire::Code::ok:  // found by the relay itself
        case wire::Code::message_too_large:
        case wire::Code::frame_too_large:
        case wire::Code::malformed_frame:
        case wire::Code::bad_name:
        case wire::Code::bad_option:
        case wire::Code::not_supported:
            return true;
        default:
            return false;
    }
}

}  // namespace

// ---- connections ----

void Core::opened(std::uint64_t mark, std::span<const Range> open, std::uint64_t trusted_upto,
                  std::uint64_t first_pending) {
    lost();
    connected_ = true;
    trusted_upto_ = trusted_upto;
    cursor_ = told_ = mark;
    window_ = rules_.window_min;
    std::uint64_t next = std::max<std::uint64_t>(first_pending, 1);
    for (const Range& range : open) {
        open_.add(range);
        if (range.first > next) finished_.add(Range{next, range.first - 1});
        next = std::max(next, range.last + 1);
    }
    if (mark >= next) finished_.add(Range{next, mark});
    confirmed_upto_ = std::max(confirmed_upto_, mark);
}

void Core::load_parked(const ParkedRow& row, std::uint64_t now) {
    if (row.id <= told_ && !open_.contains(row.id)) return;  // it got there after all
    Waiting waiting;
    waiting.key = row.key;
    waiting.refused = true;
    waiting.recorded = true;
    waiting.attempts = row.attempts;
    waiting.parked = !row.retry_in_ms.has_value();
    // A clock that jumped must not put it off for ever.
    waiting.due = now + std::min(row.retry_in_ms.value_or(0), rules_.backoff_max_ms);
    put(row.id, std::move(waiting));
}

void Core::offer_open(std::uint64_t id, std::string_view key) {
    if (!open_.contains(id) || waiting_.contains(id)) return;
    Waiting waiting;
    waiting.key = key;
    put(id, std::move(waiting));
}

void Core::lost() {
    connected_ = foreign_ = desynchronised_ = draining_ = gap_seen_ = stuck_ = false;
    rewind_to_.reset();
    cursor_ = told_ = 0;
    parked_ = 0;
    open_.clear();
    in_flight_.clear();
    waiting_.clear();
    lanes_.clear();
    ready_.clear();
}

// ---- waiting rows ----

bool Core::blocks(const Waiting& row) const {
    if (FERRY_PLANTED("relay-key-not-held-behind-a-refusal")) return false;
    return !row.key.empty() && !(row.parked && rules_.policy == Policy::skip);
}

bool Core::eligible(std::uint64_t id, const Waiting& row) const {
    if (row.parked || row.flying) return false;
    if (row.key.empty()) return true;
    const auto lane = lanes_.find(row.key);
    return lane != lanes_.end() && *lane->second.begin() == id;
}

void Core::put(std::uint64_t id, Waiting row) {
    const auto [at, is_new] = waiting_.emplace(id, std::move(row));
    FERRY_ASSERT(is_new, "a row waits once");
    if (at->second.parked) ++parked_;
    if (blocks(at->second)) {
        auto& lane = lanes_[at->second.key];
        if (!lane.empty() && id < *lane.begin()) disarm(*lane.begin(), waiting_.at(*lane.begin()));
        lane.insert(id);
    }
    arm(id, at->second);
}

void Core::arm(std::uint64_t id, const Waiting& row) {
    if (eligible(id, row)) ready_.insert({row.due, id});
}

void Core::arm_front(const std::string& key) {
    const auto lane = lanes_.find(key);
    if (lane == lanes_.end()) return;
    const std::uint64_t id = *lane->second.begin();
    arm(id, waiting_.at(id));
}

void Core::erase(WaitingRows::iterator at) {
    const std::uint64_t id = at->first;
    disarm(id, at->second);
    if (at->second.parked) --parked_;
    const std::string key = std::move(at->second.key);
    waiting_.erase(at);
    const auto lane = lanes_.find(key);
    if (key.empty() || lane == lanes_.end()) return;
    lane->second.erase(id);
    if (!lane->second.empty() && *lane->second.begin() > told_) {
        // Nobody passed the rest of the lane: it is read again and goes with the stream, which is
        // much faster than one by one. Refused ones among them keep what is known of them.
        const std::set<std::uint64_t> rest = lane->second;
        for (const std::uint64_t other : rest) {
            const auto row = waiting_.find(other);
            if (row->second.refused || row->second.flying) continue;
            waiting_.erase(row);
            lane->second.erase(other);
            ready_.erase({0, other});
            cursor_ = std::min(cursor_, other - 1);
        }
        cursor_ = std::max(cursor_, told_);
    }
    if (lane->second.empty()) {
        lanes_.erase(lane);
    } else {
        arm_front(key);
    }
}

void Core::gone(std::uint64_t id) {
    const auto at = waiting_.find(id);
    if (at == waiting_.end()) return;
    erase(at);
    finished_.add(Range{id, id});
}

// ---- reading and sending ----

bool Core::may_send(std::uint64_t now) const {
    return connected_ && !draining_ && !foreign_ && !desynchronised_ && !paused(now) &&
           in_flight_.count() < window_;
}

std::uint64_t Core::room(std::uint64_t now) const {
    return may_send(now) ? window_ - in_flight_.count() : 0;
}

Core::Verdict Core::offer(std::uint64_t id, std::string_view key, std::uint64_t now) {
    FERRY_ASSERT(id > cursor_, "rows are offered in ascending order");
    stuck_ = false;
    const auto known = waiting_.find(id);
    if (known != waiting_.end()) {
        if (!eligible(id, known->second) || known->second.due > now || id <= told_) {
            cursor_ = id;
            return Verdict::wait;
        }
    } else if (id <= told_ || (!key.empty() && lanes_.contains(std::string(key)))) {
        if (full()) {
            stuck_ = true;
            return Verdict::stop;
        }
        Waiting row;
        row.key = key;
        put(id, std::move(row));
        cursor_ = id;
        return Verdict::wait;
    }
    const std::uint64_t gap = id - told_ - 1;
    if (gap > 0 && open_.count() + gap > rules_.open_rows_max) {
        const bool nothing_before =
            in_flight_.empty() && (waiting_.empty() || waiting_.begin()->first > told_);
        if (nothing_before) return Verdict::rebase;
        stuck_ = in_flight_.empty();
        return Verdict::stop;
    }
    return Verdict::send;
}

std::optional<Range> Core::gap_before(std::uint64_t id) const {
    if (id <= told_ + 1) return std::nullopt;
    return Range{told_ + 1, id - 1};
}

void Core::held(Range ids) {
    open_.add(ids);
    told_ = std::max(told_, ids.last);
}

void Core::sent(std::uint64_t id) {
    const auto row = waiting_.find(id);
    if (row != waiting_.end()) {
        disarm(id, row->second);
        row->second.flying = true;
        row->second.was_open = id <= told_;
    }
    FERRY_ASSERT(id <= told_ + 1, "gaps are held first");
    // The broker hears of the floor with this message and forgets the open ones below it.
    if (!open_.empty() && open_.front() < floor()) open_.remove(Range{1, floor() - 1});
    told_ = std::max(told_, id);
    cursor_ = std::max(cursor_, id);
    in_flight_.add(Range{id, id});
    if (FERRY_PLANTED("relay-row-deleted-before-its-confirm")) finished_.add(Range{id, id});
}

void Core::unsendable(std::uint64_t id, std::string_view key, std::string_view reason) {
    auto at = waiting_.find(id);
    if (at == waiting_.end()) {
        Waiting row;
        row.key = key;
        row.parked = false;
        put(id, std::move(row));
        at = waiting_.find(id);
    }
    row_at_fault(at->second, id, wire::Code::ok, reason, 0);
    cursor_ = std::max(cursor_, id);
}

std::vector<std::uint64_t> Core::due(std::uint64_t now, std::size_t most) const {
    std::vector<std::uint64_t> ids;
    if (!may_send(now)) return ids;
    for (const auto& [due, id] : ready_) {
        if (due > now || ids.size() >= most) break;
        // What has not been read again yet comes with the stream. Above `told` only one: sending it
        // moves `told`, and the next may lie below it then.
        if (id <= cursor_) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

// ---- answers ----

void Core::finish(Range ids) {
    open_.remove(ids);
    finished_.add(ids);
    for (auto at = waiting_.lower_bound(ids.first); at != waiting_.end() && at->first <= ids.last;
         at = waiting_.lower_bound(ids.first)) {
        erase(at);
    }
}

void Core::confirmed(Range ids, bool duplicate) {
    in_flight_.remove(ids);
    if (duplicate && ids.last > trusted_upto_ &&
        !FERRY_PLANTED("relay-duplicate-of-a-copy-believed")) {
        foreign_ = true;
        if (ids.first > trusted_upto_) return;
        ids.last = trusted_upto_;
    }
    finish(ids);
    confirmed_upto_ = std::max(confirmed_upto_, ids.last);
    window_ = std::min<std::uint64_t>(rules_.window_max, window_ + ids.last - ids.first + 1);
    pauses_ = 0;
    end_drain();
}

void Core::not_taken(Range ids) {
    in_flight_.remove(ids);
    draining_ = true;
    std::uint64_t again = 0;
    for (auto at = waiting_.lower_bound(ids.first); at != waiting_.end() && at->first <= ids.last;
         ++at) {
        at->second.flying = false;
        arm(at->first, at->second);
        if (at->second.was_open) ++again;
    }
    if (again < ids.last - ids.first + 1) gap_seen_ = true;
    end_drain();
}

void Core::refused(std::uint64_t id, const std::optional<std::string>& key, wire::Code code,
                   std::string_view reason, std::uint64_t now) {
    in_flight_.remove(Range{id, id});
    draining_ = true;
    auto at = waiting_.find(id);
    const bool fresh = at == waiting_.end() || !at->second.was_open;
    if (fresh) {
        rewind_to_ = std::min(rewind_to_.value_or(id - 1), id - 1);
        window_ = std::max<std::uint64_t>(rules_.window_min, window_ / 8);
    }
    if (!key.has_value()) {
        if (at != waiting_.end()) erase(at);
        finished_.add(Range{id, id});
        return end_drain();
    }
    if (at == waiting_.end()) {
        Waiting row;
        row.key = *key;
        row.flying = true;
        put(id, std::move(row));
        at = waiting_.find(id);
    }
    at->second.flying = false;
    if (passes_by_itself(code)) {
        disarm(id, at->second);
        at->second.refused = true;
        paused_until_ = now + backoff(pauses_++);
        at->second.due = paused_until_;
        arm(id, at->second);
    } else {
        row_at_fault(at->second, id, code, reason, now);
    }
    end_drain();
}

void Core::row_at_fault(Waiting& row, std::uint64_t id, wire::Code code, std::string_view reason,
                        std::uint64_t now) {
    disarm(id, row);
    row.refused = true;
    row.recorded = true;
    ++row.attempts;
    Refusal refusal{id, row.key, code, std::string(reason), row.attempts, std::nullopt};
    if (hopeless(code) || row.attempts >= rules_.attempts_max) {
        if (!row.parked) ++parked_;
        row.parked = true;
        if (!blocks(row) && !row.key.empty()) {
            const std::string key = row.key;
            auto& lane = lanes_[key];
            lane.erase(id);
            if (lane.empty()) {
                lanes_.erase(key);
            } else {
                arm_front(key);
            }
        }
    } else {
        const std::uint64_t wait = backoff(row.attempts - 1);
        row.due = now + wait;
        refusal.retry_in_ms = wait;
        arm(id, row);
    }
    refusals_.push_back(std::move(refusal));
}

void Core::end_drain() {
    if (!draining_ || !in_flight_.empty()) return;
    draining_ = false;
    if (rewind_to_.has_value()) {
        const std::uint64_t back = *rewind_to_;
        for (auto at = waiting_.upper_bound(back); at != waiting_.end();) {
            const auto here = at++;
            if (here->second.refused) continue;
            const std::string key = here->second.key;
            const std::uint64_t id = here->first;
            disarm(id, here->second);
            waiting_.erase(here);
            const auto lane = lanes_.find(key);
            if (key.empty() || lane == lanes_.end()) continue;
            lane->second.erase(id);
            if (lane->second.empty()) {
                lanes_.erase(lane);
            } else {
                arm_front(key);
            }
        }
        open_.remove(Range{back + 1, UINT64_MAX - 1});
        told_ = cursor_ = back;
    } else if (gap_seen_) {
        desynchronised_ = true;
    }
    rewind_to_.reset();
    gap_seen_ = false;
}

// ---- written down ----

void Core::refusals_written(std::size_t count) {
    refusals_.erase(refusals_.begin(), refusals_.begin() + static_cast<std::ptrdiff_t>(count));
}

void Core::sync_parked(const std::map<std::uint64_t, std::optional<std::uint64_t>>& retry_in_ms,
                       std::uint64_t now) {
    std::vector<std::uint64_t> released;
    for (auto& [id, row] : waiting_) {
        if (!row.recorded || row.flying) continue;
        const auto in_table = retry_in_ms.find(id);
        const bool listed = in_table != retry_in_ms.end();
        const bool wanted_now = listed && in_table->second == 0 && row.due > now + clock_slack_ms;
        if (listed && !wanted_now && (!row.parked || !in_table->second.has_value())) continue;
        if (!listed && !row.parked && row.due <= now) continue;
        released.push_back(id);
    }
    for (const std::uint64_t id : released) {
        Waiting& row = waiting_.at(id);
        disarm(id, row);
        const bool outside = !blocks(row) && !row.key.empty();
        if (row.parked) --parked_;
        row.parked = false;
        row.attempts = 0;
        row.due = now;
        row.recorded = retry_in_ms.contains(id);
        if (outside) {
            auto& lane = lanes_[row.key];
            if (!lane.empty() && id < *lane.begin())
                disarm(*lane.begin(), waiting_.at(*lane.begin()));
            lane.insert(id);
        }
        arm(id, row);
    }
}

// ---- what it knows ----

std::uint64_t Core::floor() const {
    std::uint64_t lowest = cursor_ + 1;
    if (!in_flight_.empty()) lowest = std::min(lowest, in_flight_.front());
    if (!waiting_.empty()) lowest = std::min(lowest, waiting_.begin()->first);
    if (rewind_to_.has_value()) lowest = std::min(lowest, *rewind_to_ + 1);
    return lowest;
}

std::optional<std::uint64_t> Core::next_due(std::uint64_t now) const {
    if (!connected_ || draining_) return std::nullopt;
    if (paused(now)) return paused_until_;
    if (ready_.empty()) return std::nullopt;
    return ready_.begin()->first;
}

std::uint64_t Core::backoff(std::uint32_t attempts) const {
    const std::uint64_t most = std::max<std::uint64_t>(rules_.backoff_max_ms, 1);
    const std::uint64_t cap =
        std::clamp<std::uint64_t>(rules_.backoff_min_ms << std::min(attempts, 20U), 1, most);
    // Half of it is chance, so that relays of one broker do not come back at the same moment.
    return cap - random_.next() % (cap / 2 + 1);
}

}  // namespace ferry::outbox::relay
