// Which message of which key may go out: the gate alone.

#include "key_gate.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ferry/platform/random.hpp"
#include "queue.hpp"

namespace ferry::engine {
namespace {

TEST(HeldKeys, FindsWhatIsHeldWithAnyHint) {
    SeededRandom random(5);
    HeldKeys keys;
    std::map<KeyNumber, Position> held;
    std::map<KeyNumber, KeyHint> hints;  // also of what was held once
    for (int step = 0; step < 100'000; ++step) {
        // Keys of few slots, that lie next to one another in the table or wrap around it.
        const auto key = static_cast<KeyNumber>(1 + random.below(300) * limits::key_slots);
        const auto at = held.find(key);
        const KeyHint hint = hints.count(key) != 0 ? hints[key] : 12'345;
        const KeyHint found = keys.find(key, hint);
        ASSERT_EQ(found, keys.find(key));
        ASSERT_EQ(found != HeldKeys::none, at != held.end()) << step;
        if (at == held.end()) {
            held[key] = static_cast<Position>(step);
            hints[key] = keys.add(key, static_cast<Position>(step));
        } else {
            ASSERT_EQ(found, hints[key]) << "a key keeps its place as long as it is held";
            ASSERT_EQ(keys[found].by, at->second);
            if (random.below(2) == 0) {
                keys.remove(found);
                held.erase(at);
            }
        }
        ASSERT_EQ(keys.size(), held.size());
    }
}

class Gate : public ::testing::Test {
protected:
    static Extent extent_of(KeyNumber key, Position first) {
        Extent extent;
        extent.first = first;
        extent.set_count(1);
        extent.key = key;
        return extent;
    }
    KeyHint claim(KeyNumber key, Position first) {
        const KeyGate::Claim claim = gate.claim(key, first);
        EXPECT_TRUE(claim.granted) << key;
        return claim.hint;
    }
    AsideList::Place lay_aside(KeyNumber key, Position first) {
        return list.set_aside({extent_of(key, first), 0, 0});
    }
    void offer(KeyNumber key, Position first) {
        const KeyHint hint = claim(key, first);
        gate.offer(hint, lay_aside(key, first));
    }
    std::vector<Position> offers_to(const Subscription* s) {
        std::vector<Position> got;
        while (const auto offer = gate.next_offer(s)) {
            EXPECT_TRUE(list.take_aside(offer->first, offer->place).has_value());
            got.push_back(offer->first);
        }
        return got;
    }

    LiveSpace live;
    Queue queue{1, "q", live};
    ReadyList& list = queue.ready.base();
    KeyGate gate{list};
    Subscription one;
    Subscription other;
};

TEST_F(Gate, KeysWithHalfTheirHashInCommonDoNotWaitForEachOther) {
    std::map<KeyNumber, KeyNumber> by_low_bits;
    int twins = 0;
    for (int i = 0; i < 20'000; ++i) {
        const KeyNumber key = KeyGate::number_of("key-" + std::to_string(i));
        const auto [at, fresh] = by_low_bits.try_emplace(key & 0xffffU, key);
        if (fresh || at->second == key) continue;
        ++twins;
        claim(at->second, 100);
        claim(key, 200);
        gate.gone(extent_of(at->second, 100));
        gate.gone(extent_of(key, 200));
    }
    EXPECT_GT(twins, 1'000);
    KeyNumber bits = 0;
    for (const auto& [low, key] : by_low_bits) bits |= key;
    EXPECT_EQ(bits, UINT32_MAX) << "all of them tell keys apart";
    EXPECT_EQ(gate.held_keys(), 0U);
    Extent extent = extent_of(UINT32_MAX, 1);
    EXPECT_EQ(extent.key, UINT32_MAX);
    extent.set_offset(Extent::offset_max - 0x1234);
    EXPECT_EQ(extent.offset(), Extent::offset_max - 0x1234);
    EXPECT_EQ(extent.count, 1U);
    extent.set_offset(Extent::offset_max + 1);
    EXPECT_EQ(extent.offset(), 0U) << "not known";
}

TEST_F(Gate, WhatExpiresWhileItIsOfferedFreesItsKeyAtOnce) {
    gate.add_member(one, "one", 1);
    offer(77, 10);
    EXPECT_EQ(gate.held_keys(), 1U);
    list.take_aside(10, 0);
    gate.gone(extent_of(77, 10));
    EXPECT_EQ(gate.held_keys(), 0U);
    EXPECT_FALSE(gate.standing_of(77).held);
    offer(77, 20);  // while the place of the first is still in the list
    EXPECT_EQ(gate.held_keys(), 1U);
    EXPECT_EQ(offers_to(&one), std::vector<Position>{20});
    EXPECT_FALSE(gate.claim(77, 30).granted) << "20 has it";

    offer(78, 40);
    list.take_aside(40, 0);
    gate.gone(extent_of(78, 40));
    claim(78, 50);  // and goes out at once
    EXPECT_TRUE(offers_to(&one).empty());
    EXPECT_EQ(gate.standing_of(78).by, 50U);

    offer(79, 60);
    list.take_aside(60, 0);
    gate.gone(extent_of(79, 60));
    EXPECT_TRUE(offers_to(&one).empty());
    EXPECT_EQ(gate.held_keys(), 2U);
}

TEST_F(Gate, AMessageThatWaitsIsOfferedInThePlaceOfTheOneThatExpired) {
    gate.add_member(one, "one", 1);
    offer(77, 10);
    const KeyGate::Claim later = gate.claim(77, 11);
    EXPECT_FALSE(later.granted);
    gate.park(later.hint, extent_of(77, 11), lay_aside(77, 11));
    list.take_aside(10, 0);
    gate.gone(extent_of(77, 10), 999);  // a hint that is wrong
    EXPECT_EQ(offers_to(&one), std::vector<Position>{11}) << "once";
}

TEST_F(Gate, OffersGoWithTheirSlots) {
    gate.add_member(one, "one", 1);
    std::set<Position> all;
    for (Position i = 0; i < 500; ++i) {
        offer(KeyGate::number_of(std::to_string(i)), 1'000 + i);
        all.insert(1'000 + i);
    }
    gate.add_member(other, "other", 1);
    std::set<Position> got;
    for (const Position at : offers_to(&other)) got.insert(at);
    EXPECT_GT(got.size(), 100U) << "none of the moved slots has to be drained";
    EXPECT_LT(got.size(), 400U);
    gate.remove_member(one);
    for (const Position at : offers_to(&other)) EXPECT_TRUE(got.insert(at).second) << at;
    EXPECT_EQ(got, all);
}

TEST_F(Gate, AnOfferOfASlotThatIsToMoveWaitsUntilTheSlotIsDrained) {
    gate.add_member(one, "one", 1);
    for (KeyNumber key = 1; key <= limits::key_slots; ++key) gate.taken(key);
    gate.add_member(other, "other", 1);
    KeyNumber moved = 1;
    while (gate.standing_of(moved).wanted == &one) ++moved;
    offer(moved, 5);
    EXPECT_TRUE(offers_to(&one).empty());
    EXPECT_TRUE(offers_to(&other).empty());
    gate.left(moved);
    EXPECT_EQ(offers_to(&other), std::vector<Position>{5});
}

TEST_F(Gate, WhoPullsGetsOffersOfAnyKey) {
    offer(3, 5);
    gate.add_member(one, "one", 1);
    offer(4, 6);
    const auto got = offers_to(nullptr);
    EXPECT_EQ(std::set<Position>(got.begin(), got.end()), (std::set<Position>{5, 6}));
}

}  // namespace
}  // namespace ferry::engine
