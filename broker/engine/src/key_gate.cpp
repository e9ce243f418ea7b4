#include "key_gate.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/xxh64.hpp"
#include "queue.hpp"

namespace ferry::engine {

KeyNumber KeyGate::number_of(std::string_view ordering_key) {
    if (ordering_key.empty()) return 0;
    const auto low = static_cast<KeyNumber>(xxh64(as_bytes(ordering_key)) & key_number_max);
    // 0 means no key; the other number keeps the slot.
    return low != 0 ? low : limits::key_slots;
}

// ---- lists of entries ----

std::uint32_t KeyGate::new_entry(const Entry& entry) {
    if (free_entry_ == none) {
        entries_.push_back(entry);
        return static_cast<std::uint32_t>(entries_.size() - 1);
    }
    const std::uint32_t at = free_entry_;
    free_entry_ = entries_[at].next;
    entries_[at] = entry;
    return at;
}

void KeyGate::append(std::uint32_t& first, std::uint32_t& last, const Entry& entry) {
    const std::uint32_t at = new_entry(entry);
    (first == none ? first : entries_[last].next) = at;
    last = at;
}

// The entry stays readable until the next one is made.
std::uint32_t KeyGate::pop(std::uint32_t& first, std::uint32_t& last) {
    const std::uint32_t at = first;
    first = entries_[at].next;
    if (first == none) last = none;
    entries_[at].next = free_entry_;
    free_entry_ = at;
    return at;
}

// ---- keys ----

bool KeyGate::claim(KeyNumber key, Position first) {
    return keys_.find_or_add(key, first).by == first;
}

void KeyGate::park(const Extent& extent, AsideList::Place place) {
    HeldKeys::Held* held = keys_.find(extent.key());
    FERRY_ASSERT(held != nullptr, "messages wait for a key that is held");
    append(held->first, held->last, {extent.first, extent.end(), extent.key(), place, none});
}

void KeyGate::offer(KeyNumber key, Position first, AsideList::Place place) {
    const std::uint32_t slot = slot_of(key);
    append(slots_[slot].first, slots_[slot].last, {first, first + 1, key, place, none});
    list(slot);
}

void KeyGate::gone(const Extent& extent) {
    const KeyNumber key = extent.key();
    if (key == 0) return;
    HeldKeys::Held* found = keys_.find(key);
    if (found == nullptr) return;
    HeldKeys::Held& held = *found;
    if (held.by < extent.first || held.by >= extent.end()) return;
    while (held.first != none) {
        Entry& waiting = entries_[held.first];
        // Some may have expired or been moved meanwhile.
        const std::optional<Position> next =
            ready_->next_aside(waiting.first, waiting.end, waiting.place);
        if (!next) {
            pop(held.first, held.last);
            continue;
        }
        held.by = *next;
        waiting.first = *next + 1;
        const AsideList::Place place = waiting.place;
        if (waiting.first == waiting.end) pop(held.first, held.last);
        return offer(key, held.by, place);
    }
    keys_.remove(found);
}

void KeyGate::expect_entry(KeyNumber key, std::uint32_t HeldKeys::Held::*which) const {
    const HeldKeys::Held* held = keys_.find(key);
    if (held != nullptr && held->*which != none) __builtin_prefetch(&entries_[held->*which]);
}

void KeyGate::expect_aside(KeyNumber key) const {
    const HeldKeys::Held* held = keys_.find(key);
    if (held != nullptr && held->first != none) ready_->expect_aside(entries_[held->first].place);
}

void KeyGate::forget_keys() {
    keys_.clear();
    entries_.clear();
    free_entry_ = none;
    for (Slot& slot : slots_) {
        slot.first = slot.last = none;
        slot.listed = false;
    }
    for (Member& member : members_) member.slots.clear();
}

// ---- slots and consumers ----

void KeyGate::list(std::uint32_t index) {
    Slot& slot = slots_[index];
    if (slot.listed || slot.first == none || slot.owner == none || slot.owner != slot.wanted)
        return;
    slot.listed = true;
    members_[slot.owner].slots.push_back(index);
}

void KeyGate::left(KeyNumber key) {
    const std::uint32_t index = slot_of(key);
    Slot& slot = slots_[index];
    FERRY_ASSERT(slot.in_flight > 0, "what is settled was delivered");
    if (--slot.in_flight > 0 || slot.owner == slot.wanted) return;
    slot.owner = slot.wanted;
    list(index);
}

void KeyGate::choose_owners() {
    for (Member& member : members_) member.slots.clear();
    for (std::uint32_t i = 0; i < limits::key_slots; ++i) {
        Slot& slot = slots_[i];
        std::byte number[4];
        store_le(number, i);
        const wire::HashRing::Member* chosen = ring_.find_hash(xxh64(number, ring_.seed()));
        slot.wanted = chosen == nullptr ? none : chosen->index;
        if (slot.in_flight == 0) slot.owner = slot.wanted;
        slot.listed = false;
        list(i);
    }
}

void KeyGate::add_member(Subscription& subscription, std::string_view name, std::uint32_t weight) {
    std::string unique(name);
    const std::string number =
        std::to_string(subscription.session) + "." + std::to_string(subscription.id);
    if (unique.empty()) unique = number;
    if (ring_.member(unique) != nullptr) unique += "#" + number;
    // A full ring takes no more: the consumer gets messages without a key and nothing else.
    if (!ring_.add(unique, weight).ok()) return;
    const std::uint32_t index = ring_.member(unique)->index;
    if (members_.size() <= index) members_.resize(std::size_t{index} + 1);
    members_[index] = Member{&subscription, unique, {}};
    subscription.gate_member = index;
    choose_owners();
}

void KeyGate::remove_member(Subscription& subscription) {
    const std::uint32_t index = subscription.gate_member;
    if (index == none) return;
    subscription.gate_member = none;
    // What it held has been given back; of a slot that is in flight still, pullers have the rest.
    for (Slot& slot : slots_) {
        if (slot.owner == index) slot.owner = none;
    }
    ring_.remove(members_[index].name);
    members_[index] = Member{};
    choose_owners();
}

Subscription* KeyGate::owner_of(KeyNumber key) const {
    const Slot& slot = slots_[slot_of(key)];
    if (slot.owner == none || slot.owner != slot.wanted) return nullptr;
    return members_[slot.owner].subscription;
}

std::optional<KeyGate::Offer> KeyGate::pop_offer(std::uint32_t index) {
    Slot& slot = slots_[index];
    while (slot.first != none) {
        const Entry entry = entries_[pop(slot.first, slot.last)];
        const HeldKeys::Held* held = keys_.find(entry.key);
        // Expired or moved meanwhile: then the key is not its any more.
        if (held != nullptr && held->by == entry.first)
            return Offer{entry.key, entry.first, entry.place};
    }
    return std::nullopt;
}

std::optional<KeyGate::Offer> KeyGate::next_offer(const Subscription* subscription) {
    if (subscription == nullptr) {
        for (std::uint32_t i = 0; i < limits::key_slots; ++i) {
            if (const auto offer = pop_offer(i)) return offer;
        }
        return std::nullopt;
    }
    if (subscription->gate_member == none) return std::nullopt;
    std::deque<std::uint32_t>& slots = members_[subscription->gate_member].slots;
    while (!slots.empty()) {
        const std::uint32_t slot = slots.front();
        slots.pop_front();
        slots_[slot].listed = false;
        const auto offer = pop_offer(slot);
        list(slot);  // at the end: slots take turns
        if (offer) return offer;
    }
    return std::nullopt;
}

KeyGate::Share KeyGate::share_of(const Subscription& subscription) const {
    Share share;
    if (subscription.gate_member == none) return share;
    for (const Slot& slot : slots_) {
        if (slot.owner != subscription.gate_member) continue;
        ++share.slots;
        share.draining += slot.owner != slot.wanted ? 1U : 0U;
    }
    return share;
}

KeyGate::Standing KeyGate::standing_of(KeyNumber key) const {
    Standing standing;
    standing.slot = slot_of(key);
    const Slot& slot = slots_[standing.slot];
    standing.in_flight = slot.in_flight;
    standing.owner = subscription_at(slot.owner);
    standing.wanted = subscription_at(slot.wanted);
    const HeldKeys::Held* found = keys_.find(key);
    if (found == nullptr) return standing;
    standing.held = true;
    standing.by = found->by;
    return standing;
}

std::vector<KeyGate::Move> KeyGate::moves() const {
    std::vector<Move> moves;
    for (const Slot& slot : slots_) {
        if (slot.owner == slot.wanted || slot.in_flight == 0) continue;
        const Subscription* from = subscription_at(slot.owner);
        const Subscription* to = subscription_at(slot.wanted);
        auto at = std::find_if(moves.begin(), moves.end(), [&](const Move& move) {
            return move.from == from && move.to == to;
        });
        if (at == moves.end()) at = moves.insert(at, Move{from, to, 0, 0});
        ++at->slots;
        at->in_flight += slot.in_flight;
    }
    return moves;
}

std::string KeyGate::member_name(const Subscription& subscription) const {
    return subscription.gate_member == none ? std::string()
                                            : members_[subscription.gate_member].name;
}

}  // namespace ferry::engine
