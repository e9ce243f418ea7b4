#include "key_gate.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/xxh64.hpp"
#include "queue.hpp"

namespace ferry::engine {

KeyNumber KeyGate::number_of(std::string_view ordering_key) {
    if (ordering_key.empty()) return 0;
    const auto low = static_cast<KeyNumber>(xxh64(as_bytes(ordering_key)) & UINT32_MAX);
    // 0 means no key; the other number keeps the slot.
    return low != 0 ? low : limits::key_slots;
}

// ---- runs that wait ----

std::uint32_t KeyGate::new_entry() {
    if (free_entry_ == none) {
        entries_.emplace_back();
        return static_cast<std::uint32_t>(entries_.size() - 1);
    }
    const std::uint32_t at = free_entry_;
    free_entry_ = entries_[at].next;
    entries_[at].next = none;
    return at;
}

void KeyGate::pop_first(HeldKeys::Held& held) {
    const std::uint32_t at = held.first;
    held.first = entries_[at].next;
    if (held.first == none) held.last = none;
    entries_[at].next = free_entry_;
    free_entry_ = at;
}

// ---- keys ----

KeyGate::Claim KeyGate::claim(KeyNumber key, Position first) {
    const KeyHint at = keys_.find(key);
    if (at == none) return {true, keys_.add(key, first)};
    Position& by = keys_[at].by;
    if (by == HeldKeys::nobody) {
        by = first;
        --vacant_;
    }
    return {by == first, at};
}

void KeyGate::park(KeyHint at, const Extent& extent, AsideList::Place place) {
    HeldKeys::Held& held = keys_[at];
    FERRY_ASSERT(held.key == extent.key, "messages wait for a key that is held");
    const std::uint32_t at_entry = new_entry();
    Entry& entry = entries_[at_entry];
    entry.first = extent.first;
    entry.end = extent.end();
    entry.place = place;
    (held.first == none ? held.first : entries_[held.last].next) = at_entry;
    held.last = at_entry;
}

void KeyGate::offer(KeyHint at, AsideList::Place place) {
    HeldKeys::Held& held = keys_[at];
    held.place = place;
    held.offered = true;
    if (!held.listed) list(at);
}

void KeyGate::gone(const Extent& extent, KeyHint hint) {
    const KeyNumber key = extent.key;
    if (key == 0) return;
    const KeyHint at = keys_.find(key, hint);
    if (at == none) return;
    HeldKeys::Held& held = keys_[at];
    if (held.by < extent.first || held.by >= extent.end()) return;
    while (held.first != none) {
        Entry& waiting = entries_[held.first];
        // Some may have expired or been moved meanwhile.
        const auto next = ready_->next_aside(waiting.first, waiting.end, waiting.place);
        if (!next) {
            pop_first(held);
            continue;
        }
        held.by = next->position;
        waiting.first = next->position + 1;
        waiting.place = next->place;
        if (waiting.first == waiting.end) pop_first(held);
        return offer(at, next->place);
    }
    held.offered = false;
    if (!held.listed) return keys_.remove(at);
    held.by = HeldKeys::nobody;
    ++vacant_;
}

void KeyGate::expect_aside(KeyNumber key, KeyHint hint) const {
    const KeyHint at = keys_.find(key, hint);
    if (at != none && keys_[at].first != none)
        ready_->expect_aside(entries_[keys_[at].first].place);
}

void KeyGate::forget_keys() {
    keys_.clear();
    vacant_ = 0;
    entries_.clear();
    free_entry_ = none;
    for (Slot& slot : slots_) slot.offers = {};
    for (Member& member : members_) member.offers = {};
}

// ---- offers ----

// Behind the others of who is to get it.
void KeyGate::list(KeyHint at) {
    HeldKeys::Held& held = keys_[at];
    Slot& slot = slots_[slot_of(held.key)];
    Offers& offers = slot.settled() ? members_[slot.owner].offers : slot.offers;
    held.listed = true;
    held.next = none;
    (offers.first == none ? offers.first : keys_[offers.last].next) = at;
    offers.last = at;
}

void KeyGate::append(Offers& to, Offers& from) {
    if (from.first == none) return;
    (to.first == none ? to.first : keys_[to.last].next) = from.first;
    to.last = from.last;
    from = {};
}

KeyGate::Offers KeyGate::take_all_offers() {
    Offers all;
    for (Member& member : members_) append(all, member.offers);
    for (Slot& slot : slots_) append(all, slot.offers);
    return all;
}

void KeyGate::list_all(Offers offers) {
    while (offers.first != none) {
        const KeyHint at = offers.first;
        offers.first = keys_[at].next;
        list(at);
    }
}

std::optional<KeyGate::Offer> KeyGate::pop_offer(Offers& offers) {
    while (offers.first != none) {
        const KeyHint at = offers.first;
        HeldKeys::Held& held = keys_[at];
        offers.first = held.next;
        if (offers.first == none) offers.last = none;
        if (offers.first != none) ready_->expect_aside(keys_[offers.first].place);
        held.listed = false;
        if (held.offered) {
            held.offered = false;
            return Offer{held.by, held.place, at};
        }
        // All that had the key expired or were moved meanwhile.
        if (held.by != HeldKeys::nobody) continue;
        --vacant_;
        keys_.remove(at);
    }
    return std::nullopt;
}

std::optional<KeyGate::Offer> KeyGate::next_offer(const Subscription* subscription) {
    if (subscription != nullptr) {
        if (subscription->gate_member == none) return std::nullopt;
        return pop_offer(members_[subscription->gate_member].offers);
    }
    for (Member& member : members_) {
        if (const auto offer = pop_offer(member.offers)) return offer;
    }
    for (Slot& slot : slots_) {
        if (const auto offer = pop_offer(slot.offers)) return offer;
    }
    return std::nullopt;
}

// ---- slots and consumers ----

void KeyGate::left(KeyNumber key) {
    Slot& slot = slots_[slot_of(key)];
    FERRY_ASSERT(slot.in_flight > 0, "what is settled was delivered");
    if (--slot.in_flight > 0 || slot.owner == slot.wanted) return;
    slot.owner = slot.wanted;
    if (slot.settled()) append(members_[slot.owner].offers, slot.offers);
}

void KeyGate::choose_owners() {
    const Offers offers = take_all_offers();
    for (std::uint32_t i = 0; i < limits::key_slots; ++i) {
        Slot& slot = slots_[i];
        std::byte number[4];
        store_le(number, i);
        const wire::HashRing::Member* chosen = ring_.find_hash(xxh64(number, ring_.seed()));
        slot.wanted = chosen == nullptr ? none : chosen->index;
        if (slot.in_flight == 0) slot.owner = slot.wanted;
    }
    list_all(offers);
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
    members_[index].subscription = &subscription;
    members_[index].name = unique;
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
    members_[index].subscription = nullptr;
    members_[index].name.clear();
    choose_owners();  // which gives its offers to others
}

Subscription* KeyGate::owner_of(KeyNumber key) const {
    const Slot& slot = slots_[slot_of(key)];
    if (slot.owner == none || slot.owner != slot.wanted) return nullptr;
    return members_[slot.owner].subscription;
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
    const KeyHint at = keys_.find(key);
    if (at == none || keys_[at].by == HeldKeys::nobody) return standing;
    standing.held = true;
    standing.by = keys_[at].by;
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
