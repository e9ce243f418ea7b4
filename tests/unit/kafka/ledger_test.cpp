#include "ledger.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ferry/platform/random.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr PartitionId p0{0, 0};
constexpr PartitionId p1{0, 1};

std::int64_t next_of(const Ledger& ledger, PartitionId id) {
    for (const Ledger::Commit& commit : ledger.to_commit()) {
        if (commit.at == id) return commit.next;
    }
    return -1;
}

TEST(KafkaLedger, AnAckBehindAnOpenMessageWaitsForIt) {  // G122
    Ledger ledger;
    ledger.assign(p0);
    const auto first = ledger.add(p0, 10);
    const auto second = ledger.add(p0, 11);
    const auto third = ledger.add(p0, 13);
    EXPECT_TRUE(ledger.ack(second));
    EXPECT_EQ(next_of(ledger, p0), -1);
    EXPECT_TRUE(ledger.ack(first));
    EXPECT_EQ(next_of(ledger, p0), 12);
    EXPECT_TRUE(ledger.ack(third));
    EXPECT_EQ(next_of(ledger, p0), 14);
    EXPECT_FALSE(ledger.ack(third));
}

TEST(KafkaLedger, PartitionsDoNotWaitForEachOther) {
    Ledger ledger;
    ledger.assign(p0);
    ledger.assign(p1);
    ledger.add(p0, 0);
    EXPECT_TRUE(ledger.ack(ledger.add(p1, 0)));
    EXPECT_EQ(next_of(ledger, p0), -1);
    EXPECT_EQ(next_of(ledger, p1), 1);
}

TEST(KafkaLedger, TagsOfARevokedPartitionAreLostAndNeverSettleAnother) {  // G123
    Ledger ledger;
    ledger.assign(p0);
    const auto handed = ledger.add(p0, 5);
    ledger.find(handed)->handed = true;
    ledger.add(p0, 6);
    EXPECT_EQ(ledger.revoke(p0), std::vector<std::uint64_t>{handed});
    EXPECT_EQ(ledger.out(), 0U);
    ledger.assign(p0);
    const auto again = ledger.add(p0, 5);
    EXPECT_NE(again, handed);
    EXPECT_FALSE(ledger.ack(handed));
    EXPECT_EQ(next_of(ledger, p0), -1);
    EXPECT_TRUE(ledger.ack(again));
    EXPECT_EQ(next_of(ledger, p0), 6);
}

TEST(KafkaLedger, AMessageThatIsHandedOutAgainHoldsTheCommitAndCountsItsAttempt) {
    Ledger ledger;
    ledger.assign(p0);
    const auto tag = ledger.add(p0, 0);
    ledger.find(tag)->handed = true;
    EXPECT_TRUE(ledger.ack(ledger.add(p0, 1)));
    const auto again = ledger.again(tag);
    EXPECT_FALSE(ledger.ack(tag));
    EXPECT_EQ(ledger.find(again)->attempt, 2U);
    EXPECT_EQ(next_of(ledger, p0), -1);
    EXPECT_TRUE(ledger.ack(again));
    EXPECT_EQ(next_of(ledger, p0), 2);
}

TEST(KafkaLedger, AnOffsetThatCameBeforeIsNotTakenAgain) {
    Ledger ledger;
    ledger.assign(p0);
    EXPECT_NE(ledger.add(p0, 3), 0U);
    EXPECT_EQ(ledger.add(p0, 3), 0U);
    EXPECT_EQ(ledger.add(p0, 2), 0U);
    EXPECT_EQ(ledger.add(p1, 0), 0U);
}

TEST(KafkaLedger, WhatIsDoneTakesNoPlaceAndIsStillKnownUntilItIsAcked) {
    Ledger ledger(2);
    ledger.assign(p0);
    ledger.assign(p1);
    const std::uint64_t first = ledger.add(p0, 0);
    const std::uint64_t second = ledger.add(p0, 1);
    const std::uint64_t other = ledger.add(p1, 0);
    for (const std::uint64_t tag : {first, second, other}) ledger.find(tag)->handed = true;
    EXPECT_TRUE(ledger.done(second));
    EXPECT_FALSE(ledger.done(second));
    EXPECT_EQ(ledger.find(second), nullptr);
    EXPECT_EQ(next_of(ledger, p0), -1);  // behind an open one
    EXPECT_TRUE(ledger.done(first));
    EXPECT_TRUE(ledger.done(other));
    EXPECT_EQ(next_of(ledger, p0), 2);
    EXPECT_EQ(ledger.out(), 0U);
    EXPECT_EQ(ledger.done(), 3U);
    EXPECT_EQ(ledger.handed(p0), 0U);
    for (std::int64_t offset = 2; offset < 9; ++offset) ledger.add(p0, offset);  // past the row
    EXPECT_TRUE(ledger.ack(first));
    EXPECT_FALSE(ledger.ack(first));
    EXPECT_EQ(ledger.revoke(p1), (std::vector<std::uint64_t>{}));  // it is in no handler
    EXPECT_FALSE(ledger.ack(other));  // lost: nobody knows whether it was committed
    EXPECT_TRUE(ledger.ack(second));
    EXPECT_EQ(ledger.done(), 0U);
    EXPECT_EQ(ledger.out(), 7U);
}

TEST(KafkaLedger, RandomAcksNeverCommitPastAnOpenMessage) {
    SeededRandom random(11);
    for (int round = 0; round < 300; ++round) {
        Ledger ledger(1 + random.next() % 20);  // so that some stay open longer than the row is
        ledger.assign(p0);
        std::int64_t offset = 0;
        std::map<std::uint64_t, std::int64_t> open;
        std::vector<std::uint64_t> done;
        for (int step = 0; step < 200; ++step) {
            if (open.empty() || random.next() % 2 == 0) {
                offset += 1 + static_cast<std::int64_t>(random.next() % 3);
                open.emplace(ledger.add(p0, offset), offset);
            } else {
                auto at = open.begin();
                std::advance(at, static_cast<std::ptrdiff_t>(random.next() % open.size()));
                if (random.next() % 4 == 0) {
                    open.emplace(ledger.again(at->first), at->second);
                } else if (random.next() % 2 == 0) {
                    EXPECT_TRUE(ledger.ack(at->first));
                } else {
                    EXPECT_TRUE(ledger.done(at->first));
                    done.push_back(at->first);
                }
                open.erase(at);
            }
            std::int64_t lowest = INT64_MAX;
            for (const auto& [tag, where] : open) lowest = std::min(lowest, where);
            const std::int64_t next = next_of(ledger, p0);
            EXPECT_LE(next, lowest);
            if (open.empty()) {
                EXPECT_EQ(next, offset + 1);
            }
            EXPECT_EQ(ledger.out(), open.size());
            EXPECT_EQ(ledger.done(), done.size());
            if (!done.empty() && random.next() % 4 == 0) {
                EXPECT_TRUE(ledger.ack(done.back()));
                done.pop_back();
            }
        }
    }
}

}  // namespace
}  // namespace ferry::transport::kafka
