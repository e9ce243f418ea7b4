#include "lanes.hpp"

#include <algorithm>
#include <unordered_set>

#include "ferry/platform/assert.hpp"

namespace ferry::consumer {

namespace {

constexpr std::size_t spare_max = 8'192;

void note_delivery(Held& held, const transport::Delivery& delivery) {
    held.tag = delivery.tag;
    held.attempt = delivery.attempt;
    held.token = delivery.token;
}

}  // namespace

std::unique_ptr<Held> Lanes::new_held() {
    if (spare_held_.empty()) return std::make_unique<Held>();
    auto held = std::move(spare_held_.back());
    spare_held_.pop_back();
    held->reset();
    return held;
}

void Lanes::forget(std::unique_ptr<Held> held) {
    by_position_.erase(held->position);
    if (spare_held_.size() < spare_max) spare_held_.push_back(std::move(held));
}

Lane* Lanes::single_lane() {
    if (spare_lanes_.empty()) {
        single_.push_back(std::make_unique<Lane>());
    } else {
        single_.push_back(std::move(spare_lanes_.back()));
        spare_lanes_.pop_back();
    }
    single_.back()->place = single_.size() - 1;
    return single_.back().get();
}

Lane* Lanes::lane_of(const Held& held) {
    const std::string_view key = held.message.ordering_key();
    if (key.empty()) return single_lane();
    if (const auto known = keyed_.find(key); known != keyed_.end()) return known->second.get();
    auto lane = std::make_unique<Lane>();
    lane->key = key;
    return keyed_.emplace(key, std::move(lane)).first->second.get();
}

bool Lanes::free_for(std::uint64_t position, std::string_view ordering_key) const {
    if (by_position_.empty()) return true;
    return !by_position_.contains(position) &&
           (ordering_key.empty() || !keyed_.contains(ordering_key));
}

Lanes::Work Lanes::push_taken(Incoming&& message, Instant now) {
    auto held = new_held();
    held->position = message.delivery().position;
    note_delivery(*held, message.delivery());
    held->message = std::move(message);
    held->running = true;
    held->since = now;
    by_position_[held->position] = held.get();
    Lane* const lane = lane_of(*held);
    FERRY_ASSERT(lane->taken == lane->messages.size(), "nothing waits in its lane");
    Held* const taken = held.get();
    lane->messages.push_back(std::move(held));
    ++lane->taken;
    ++running_;
    return {lane, taken};
}

bool Lanes::push(Incoming&& message, std::string poison_reason) {
    const std::uint64_t position = message.delivery().position;
    const auto [at_position, is_new] = by_position_.try_emplace(position, nullptr);
    if (!is_new) {
        Held& known = *at_position->second;
        note_delivery(known, message.delivery());
        if (!known.running) known.message.take_over(message.delivery());
        known.stale = false;
        return false;
    }
    auto held = new_held();
    held->position = position;
    note_delivery(*held, message.delivery());
    held->message = std::move(message);
    held->poison = !poison_reason.empty();
    held->poison_reason = std::move(poison_reason);
    at_position->second = held.get();
    Lane* const lane = lane_of(*held);
    // A message that came back while later ones of its key wait stands before them.
    auto at = lane->messages.end();
    while (at != lane->messages.begin()) {
        const auto before = std::prev(at);
        if ((*before)->running || (*before)->position < position) break;
        at = before;
    }
    const bool first = lane->messages.empty();
    lane->messages.insert(at, std::move(held));
    if (first) place(lane);
    return true;
}

void Lanes::place(Lane* lane) {
    FERRY_ASSERT(lane->taken == 0 && !lane->messages.empty(), "only lanes with waiting messages");
    if (lane->delayed) {
        delayed_.emplace(lane->due, lane);
    } else {
        ready_.push_back(lane);
    }
}

std::vector<Lanes::Work> Lanes::take(Instant now, std::size_t at_most) {
    std::vector<Work> work;
    while (!ready_.empty() && work.size() < at_most) {
        Lane* const lane = ready_.front();
        const bool poison = lane->messages.front()->poison;
        if (poison && !work.empty()) break;
        ready_.pop_front();
        while (lane->taken < lane->messages.size() && work.size() < at_most) {
            Held* const held = lane->messages[lane->taken].get();
            if (held->poison && lane->taken > 0) break;
            held->running = true;
            held->since = now;
            ++lane->taken;
            ++running_;
            work.push_back({lane, held});
            if (held->poison) return work;
        }
    }
    return work;
}

/// The lane's first one, if it stays.
std::unique_ptr<Held> Lanes::take_back(Lane* lane, const Verdict& verdict) {
    auto held = std::move(lane->messages.front());
    lane->messages.pop_front();
    FERRY_ASSERT(held.get() == verdict.held, "verdicts in the order of the lane");
    held->running = false;
    --running_;
    // Nobody may begin what has lost its lease: it comes again, in its order.
    if (!verdict.remove && !held->stale) return held;
    forget(std::move(held));
    return nullptr;
}

void Lanes::finish(Lane* lane, std::span<const Verdict> verdicts) {
    FERRY_ASSERT(verdicts.size() == lane->taken, "a verdict for each message taken");
    std::vector<std::unique_ptr<Held>> kept;
    lane->delayed = false;
    for (const Verdict& verdict : verdicts) {
        auto stays = take_back(lane, verdict);
        if (stays == nullptr) continue;
        if (kept.empty()) {
            lane->delayed = true;
            lane->due = verdict.due;
        }
        kept.push_back(std::move(stays));
    }
    lane->taken = 0;
    for (; !kept.empty(); kept.pop_back()) lane->messages.push_front(std::move(kept.back()));
    if (lane->messages.empty()) {
        remove_lane(lane);
    } else {
        place(lane);
    }
}

void Lanes::remove_lane(Lane* lane) {
    if (lane->key.empty()) {
        const std::size_t place = lane->place;
        std::swap(single_[place], single_.back());
        single_[place]->place = place;
        lane->delayed = false;
        if (spare_lanes_.size() < spare_max) spare_lanes_.push_back(std::move(single_.back()));
        single_.pop_back();
    } else {
        keyed_.erase(std::string(lane->key));
    }
}

void Lanes::wake(Instant now) {
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
        Lane* const lane = delayed_.begin()->second;
        delayed_.erase(delayed_.begin());
        lane->delayed = false;
        ready_.push_back(lane);
    }
}

bool Lanes::next_due(Instant& due) const {
    if (delayed_.empty()) return false;
    due = delayed_.begin()->first;
    return true;
}

template <class Drop>
void Lanes::drop_waiting_if(const Drop& drop) {
    std::unordered_set<Lane*> emptied;
    std::vector<Lane*> lanes;
    for (const auto& [key, lane] : keyed_) lanes.push_back(lane.get());
    for (const auto& lane : single_) lanes.push_back(lane.get());
    for (Lane* const lane : lanes) {
        const auto waiting = lane->messages.begin() + static_cast<std::ptrdiff_t>(lane->taken);
        const auto gone =
            std::stable_partition(waiting, lane->messages.end(),
                                  [&](const std::unique_ptr<Held>& held) { return !drop(*held); });
        for (auto it = gone; it != lane->messages.end(); ++it) {
            forget(std::move(*it));
        }
        lane->messages.erase(gone, lane->messages.end());
        if (lane->messages.empty()) emptied.insert(lane);
    }
    if (emptied.empty()) return;
    const auto is_empty = [&](Lane* lane) { return emptied.count(lane) != 0; };
    ready_.erase(std::remove_if(ready_.begin(), ready_.end(), is_empty), ready_.end());
    for (auto it = delayed_.begin(); it != delayed_.end();) {
        it = is_empty(it->second) ? delayed_.erase(it) : std::next(it);
    }
    for (Lane* const lane : emptied) remove_lane(lane);
}

void Lanes::drop_before(std::uint64_t generation) {
    for (const auto& [position, held] : by_position_) {
        if (held->running && held->tag.generation < generation) {
            held->stale = true;
        }
    }
    drop_waiting_if([&](const Held& held) { return held.tag.generation < generation; });
}

void Lanes::lose(const transport::DeliveryTag& tag) {
    const auto same = [&](const Held& held) {
        const transport::DeliveryTag& own = held.tag;
        return own.tag == tag.tag && own.generation == tag.generation &&
               own.subscription == tag.subscription;
    };
    for (const auto& [position, held] : by_position_) {
        if (!same(*held)) continue;
        if (held->running) {
            held->stale = true;
            return;
        }
        drop_waiting_if(same);
        return;
    }
}

std::vector<transport::DeliveryTag> Lanes::drop_waiting() {
    std::vector<transport::DeliveryTag> tags;
    for (const auto& [position, held] : by_position_) {
        if (!held->running) tags.push_back(held->tag);
    }
    drop_waiting_if([](const Held&) { return true; });
    return tags;
}

std::vector<transport::DeliveryTag> Lanes::tags() const {
    std::vector<transport::DeliveryTag> tags;
    tags.reserve(by_position_.size());
    for (const auto& [position, held] : by_position_) {
        if (!held->stale) tags.push_back(held->tag);
    }
    return tags;
}

std::size_t Lanes::unplaced() const {
    std::size_t count = 0;
    for (const auto& [position, held] : by_position_) count += held->unplaced ? 1U : 0U;
    return count;
}

std::size_t Lanes::running_since_before(Instant moment) const {
    std::size_t count = 0;
    for (const auto& [position, held] : by_position_) {
        if (held->running && held->since < moment) ++count;
    }
    return count;
}

}  // namespace ferry::consumer
