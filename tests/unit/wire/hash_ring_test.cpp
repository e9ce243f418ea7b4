// The ring, and scenarios H1 to H5 as far as they are its own: what moves, weights, duplicates, the
// same map everywhere, and hot keys.

#include "ferry/wire/hash_ring.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "ferry/platform/random.hpp"

namespace ferry::wire {
namespace {

std::string key(std::uint64_t i) {
    return "key" + std::to_string(i);
}

void add(HashRing& ring, std::string_view name, std::uint32_t weight = 1) {
    const Status added = ring.add(name, weight);
    ASSERT_TRUE(added.ok()) << added.error().what;
}

std::map<std::string, std::string> map_of(const HashRing& ring, std::uint64_t keys) {
    std::map<std::string, std::string> map;
    for (std::uint64_t i = 0; i < keys; ++i) map[key(i)] = ring.find(key(i))->name;
    return map;
}

// H4: these come from another implementation, in another language.
TEST(HashRing, H4GivesTheSameMapOnEveryMachine) {
    HashRing ring;
    add(ring, "alpha");
    add(ring, "beta");
    add(ring, "gamma", 2);
    EXPECT_EQ(ring.points(), 256U);
    const std::pair<const char*, const char*> expected[] = {
        {"", "gamma"},           {"customer-1", "alpha"},
        {"customer-2", "alpha"}, {"customer-3", "gamma"},
        {"customer-4", "gamma"}, {"order/17", "alpha"},
        {"\xc3\xbc", "beta"},    {"0123456789012345678901234567890123456789", "alpha"},
    };
    for (const auto& [text, member] : expected) EXPECT_EQ(ring.find(text)->name, member) << text;
    std::map<std::string, int> counts;
    for (std::uint64_t i = 0; i < 4000; ++i) ++counts[ring.find(key(i))->name];
    EXPECT_EQ(counts["alpha"], 956);
    EXPECT_EQ(counts["beta"], 907);
    EXPECT_EQ(counts["gamma"], 2137);

    HashRing seeded(77);
    add(seeded, "gamma", 2);
    add(seeded, "beta");
    add(seeded, "alpha");
    EXPECT_EQ(seeded.find("customer-1")->name, "gamma");
    EXPECT_EQ(seeded.find("customer-4")->name, "beta");
}

TEST(HashRing, H1AMemberThatComesOrGoesMovesOnlyItsOwnKeys) {
    SeededRandom random(7);
    constexpr std::uint64_t keys = 10'000;
    for (int round = 0; round < 10; ++round) {
        HashRing ring;
        const std::uint64_t members = 2 + random.below(12);
        for (std::uint64_t i = 0; i < members; ++i)
            add(ring, "m" + std::to_string(random.below(1'000'000)) + "." + std::to_string(i));
        const auto before = map_of(ring, keys);
        add(ring, "new");
        const auto after = map_of(ring, keys);
        std::uint64_t moved = 0;
        for (const auto& [text, member] : after) {
            if (member == before.at(text)) continue;
            EXPECT_EQ(member, "new") << "keys move to the new member only";
            ++moved;
        }
        const double fair = static_cast<double>(keys) / static_cast<double>(members + 1);
        EXPECT_GT(static_cast<double>(moved), 0.5 * fair);
        EXPECT_LT(static_cast<double>(moved), 1.6 * fair);
        EXPECT_TRUE(ring.remove("new"));
        EXPECT_EQ(map_of(ring, keys), before) << "gone as if it had never been there";
    }
}

TEST(HashRing, DoesNotDependOnTheOrderInWhichMembersCame) {
    HashRing one;
    HashRing other;
    for (int i = 0; i < 20; ++i) add(one, "m" + std::to_string(i), 1 + i % 3);
    for (int i = 19; i >= 0; --i) add(other, "m" + std::to_string(i), 1 + i % 3);
    EXPECT_TRUE(one.remove("m7"));
    EXPECT_TRUE(other.remove("m7"));
    EXPECT_EQ(map_of(one, 3000), map_of(other, 3000));
}

TEST(HashRing, SharesKeysByWeight) {
    HashRing ring;
    add(ring, "small");
    add(ring, "large", 9);
    std::uint64_t large = 0;
    for (std::uint64_t i = 0; i < 20'000; ++i) large += ring.find(key(i))->name == "large" ? 1 : 0;
    EXPECT_GT(large, 17'000U);
    EXPECT_LT(large, 19'000U);
}

TEST(HashRing, H2RefusesAWeightBeyondTheCapAndARingThatIsFull) {
    HashRing ring;
    for (const std::uint32_t weight : {0U, 65U, 1'000'000U, UINT32_MAX}) {
        const Status refused = ring.add("m", weight);
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code, Errc::rejected);
        EXPECT_EQ(refused.error().what, "a member's weight is 1 to 64");
    }
    EXPECT_EQ(ring.points(), 0U);
    add(ring, "m", 64);
    EXPECT_EQ(ring.points(), limits::ring_points_per_member_max);
    for (std::uint32_t i = 1; i < limits::ring_points_max / limits::ring_points_per_member_max; ++i)
        add(ring, "m" + std::to_string(i), 64);
    const Status full = ring.add("one more");
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, Errc::would_block);
    EXPECT_EQ(ring.points(), limits::ring_points_max);
}

TEST(HashRing, H3RefusesAMemberTwiceAndStaysRight) {
    HashRing ring;
    add(ring, "a");
    add(ring, "b", 3);
    const auto before = map_of(ring, 1000);
    EXPECT_FALSE(ring.add("a", 5).ok());
    EXPECT_FALSE(ring.add("a", 1).ok());
    EXPECT_EQ(ring.points(), 4U * 64);
    EXPECT_EQ(map_of(ring, 1000), before);
    EXPECT_TRUE(ring.remove("a"));
    EXPECT_FALSE(ring.remove("a"));
    for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(ring.find(key(i))->name, "b");
    EXPECT_TRUE(ring.remove("b"));
    EXPECT_EQ(ring.find("x"), nullptr);
    EXPECT_EQ(ring.points(), 0U);
    EXPECT_EQ(ring.size(), 0U);
}

TEST(HashRing, RefusesNamesThatAreEmptyOrTooLong) {
    HashRing ring;
    EXPECT_FALSE(ring.add("").ok());
    EXPECT_FALSE(ring.add(std::string(limits::ring_member_bytes_max + 1, 'x')).ok());
    add(ring, std::string(limits::ring_member_bytes_max, 'x'));
}

TEST(HashRing, H5AHotKeyDoesNotFillOneMemberBeyondTheBound) {
    constexpr double extra = 0.25;
    HashRing ring;
    std::map<std::string, std::uint32_t> weights;
    for (std::uint32_t i = 0; i < 8; ++i) {
        weights["m" + std::to_string(i)] = 1 + i % 2;
        add(ring, "m" + std::to_string(i), 1 + i % 2);
    }
    SeededRandom random(3);
    std::map<std::string, std::uint64_t> load;
    const auto load_of = [&](const HashRing::Member& member) { return load[member.name]; };
    std::uint64_t total = 0;
    for (int i = 0; i < 20'000; ++i) {
        // Nine of ten carry one key.
        const std::string text = random.below(10) != 0 ? "hot" : key(random.below(1000));
        const HashRing::Member* member = ring.find_bounded(text, extra, total, load_of);
        ASSERT_NE(member, nullptr);
        ++load[member->name];
        ++total;
        const double bound =
            std::ceil((1 + extra) * static_cast<double>(total) * member->weight / 12.0);
        EXPECT_LE(static_cast<double>(load[member->name]), bound);
    }
    // Without load a key goes where find() says.
    load.clear();
    for (std::uint64_t i = 0; i < 100; ++i)
        EXPECT_EQ(ring.find_bounded(key(i), extra, 0, load_of), ring.find(key(i)));
}

TEST(HashRing, BoundedLookupAnswersEvenWhenTheLoadsDoNotAddUp) {
    HashRing ring;
    const auto full = [](const HashRing::Member&) { return UINT64_MAX; };
    EXPECT_EQ(ring.find_bounded("x", 0.1, 0, full), nullptr);
    add(ring, "a");
    add(ring, "b");
    EXPECT_EQ(ring.find_bounded("x", 0.1, 5, full), ring.find("x"));
}

}  // namespace
}  // namespace ferry::wire
