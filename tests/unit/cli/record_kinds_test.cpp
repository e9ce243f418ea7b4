// Bodies of the records that transactions, time, policies and schedules write, put together from
// docs/storage-format.md byte by byte.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "log_reader/bodies.hpp"

namespace ferry::log_reader {
namespace {

using Json = nlohmann::ordered_json;
using namespace std::string_literals;

Json decode(const std::string& body, std::uint64_t position = 1000) {
    return body_json(position, std::as_bytes(std::span(body)), true);
}

std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80U);
    return out + static_cast<char>(value);
}
std::string zigzag(std::int64_t value) {
    return varint(static_cast<std::uint64_t>(value) << 1U ^
                  static_cast<std::uint64_t>(value >> 63U));
}
std::string text(const std::string& value) {
    return varint(value.size()) + value;
}
std::string u8(unsigned value) {
    return std::string(1, static_cast<char>(value));
}
std::string u64(std::uint64_t value) {
    std::string out;
    for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i) & 0xFFU);
    return out;
}
/// An extent whose first message is `index` messages into its record and `ahead` behind the last.
std::string extent(std::int64_t ahead, std::uint64_t messages, std::uint64_t index = 0,
                   std::uint64_t key = 0, std::uint64_t level = 0) {
    std::string out = zigzag(ahead) + varint(messages);
    out += varint(level << 18U | index << 2U | (key != 0 ? 2U : 0U) | 1U);
    if (key != 0) out += varint(key);
    return out + varint(30) + varint(70);
}
// [ "", "q", nil, bin "hi" ]
const std::string hello = "\x94\xa0\xa1q\xc0\xc4\x02hi"s;

/// Every kind, with all its fields, and the name that stands for its type.
struct Sample {
    const char* name;
    std::string body;
};
const std::vector<Sample>& samples() {
    static const std::string run = varint(1) + varint(hello.size()) + varint(1) + varint(11);
    static const std::string rejected =
        varint(1) + varint(6) + varint(1) + varint(3) + extent(400, 2, 5);
    static const std::string times =
        varint(1) + varint(0) + varint(70'000) + varint(80'000) + varint(99);
    static const std::string levels = varint(1) + varint(0) + u8(9);
    static const std::string taken = varint(1) + varint(5 + (7ULL << 24)) + varint(2) +
                                     zigzag(100) + varint(2) + zigzag(5) + varint(1);
    static const std::string heading =
        u64(10'000) + varint(7) + varint(42) + varint(1) + varint(41) + varint(1) + run;
    static const std::vector<Sample> all{
        {"transaction", u8(17) + heading + taken + rejected + times + levels + hello},
        {"delayed", u8(18) + varint(5) + varint(1'000) + varint(2'000) + varint(2) + varint(500) +
                        extent(100, 1, 0, 77) + varint(250) + extent(7, 3)},
        {"due", u8(19) + varint(5) + u8(1) + varint(70'000) + varint(100)},
        {"leave", u8(20) + varint(5) + u8(5) + varint(2'000) + text("other") + varint(1) +
                      varint(4) + extent(100, 1)},
        {"clock", u8(21) + varint(1'000) + varint(2'000)},
        {"restart", u8(22) + u8(1)},
        {"cancel", u8(23) + varint(5) + varint(70'000) + varint(100)},
        {"policy_set", u8(40) + text("jobs") + text("jobs.*") + varint(10) + u8(1) + varint(3) +
                           u8(5) + varint(8) + u8(7) + text("dead") + u8(12) + varint(2)},
        {"policy_delete", u8(41) + text("jobs")},
        {"schedule_set", u8(42) + text("s") + text("@daily") + text("Europe/Berlin") + u8(3) +
                             varint(70'000) + varint(60'000) + varint(8) + varint(2) + varint(1) +
                             varint(hello.size()) + hello},
        {"schedule_delete", u8(43) + text("s")},
        {"schedule_moved", u8(44) + text("s") + u8(2) + varint(70'000)},
        {"schedule_fired", u8(45) + heading + varint(0) + varint(0) + varint(0) + varint(0) +
                               text("s") + varint(60'000) + varint(70'000) + hello},
        {"lock_wait",
         u8(60) + text("job") + text("me") + varint(15'000) + varint(2'000) + varint(1)},
        {"lock_grant",
         u8(61) + text("job") + text("me") + varint(15'000) + varint(2'000) + varint(1)},
        {"lock_end", u8(62) + text("job") + text("me") + varint(900) + u8(1)},
        {"lock_leave", u8(63) + text("job") + text("me")},
        {"lock_open", u8(64) + text("job") + varint(900)},
    };
    return all;
}
Json shown(const std::string& name) {
    for (const Sample& sample : samples()) {
        if (name == sample.name) return decode(sample.body);
    }
    return {};
}

TEST(RecordKinds, AreAllReadWholeAndByName) {
    for (const Sample& sample : samples()) {
        const Json json = decode(sample.body);
        EXPECT_EQ(json["type"], sample.name);
        EXPECT_FALSE(json.contains("unreadable")) << json.dump();
    }
}

TEST(RecordKinds, ATransactionShowsWhatItPublishesTakesAndRejects) {
    const Json json = shown("transaction");
    EXPECT_EQ(json["producer"], 7);
    EXPECT_EQ(json["first_sequence"], 42);
    EXPECT_EQ(json["runs"][0]["queues"], Json::array({5}));
    EXPECT_EQ(json["runs"][0]["deliver_at"], 70'000);
    EXPECT_EQ(json["runs"][0]["expires_at"], 80'000);
    EXPECT_EQ(json["runs"][0]["priority"], 9);
    EXPECT_EQ(json["groups"][0]["queue"], 5);
    EXPECT_EQ(json["groups"][0]["level"], 7);
    EXPECT_EQ(json["groups"][0]["spans"][0]["first"], 100);
    EXPECT_EQ(json["groups"][0]["spans"][1]["first"], 107);
    EXPECT_EQ(json["rejects"][0]["queue"], 6);
    EXPECT_EQ(json["rejects"][0]["leaving"][0]["attempts"], 3);
    EXPECT_EQ(json["rejects"][0]["leaving"][0]["index"], 5);
    EXPECT_EQ(json["messages"][0]["payload"], "hi");
    EXPECT_EQ(json["messages"][0]["position"], 1000);
}

TEST(RecordKinds, WhatWaitsForItsTimeIsShownWithIt) {
    const Json delayed = shown("delayed");
    EXPECT_EQ(delayed["steady_ms"], 1'000);
    EXPECT_EQ(delayed["delayed"][0]["delay_ms"], 500);
    EXPECT_EQ(delayed["delayed"][0]["key"], 77);
    EXPECT_EQ(delayed["delayed"][1]["first"], 108);
    EXPECT_FALSE(delayed["delayed"][1].contains("key"));
    const Json due = shown("due");
    EXPECT_EQ(due["list"], "scheduled");
    EXPECT_EQ(due["due"], 70'000);
    EXPECT_EQ(due["position"], 100);
    const Json leave = shown("leave");
    EXPECT_EQ(leave["reason"], "moved");
    EXPECT_EQ(leave["target"], "other");
    EXPECT_EQ(leave["leaving"][0]["attempts"], 4);
    EXPECT_EQ(shown("clock")["wall_ms"], 2'000);
    EXPECT_EQ(shown("restart")["unclean"], true);
    EXPECT_EQ(shown("cancel")["position"], 100);
}

TEST(RecordKinds, PoliciesAndSchedulesAreShownByNameWithTheirSettings) {
    const Json policy = shown("policy_set");
    EXPECT_EQ(policy["pattern"], "jobs.*");
    EXPECT_EQ(policy["from_file"], true);
    EXPECT_EQ(policy["settings"]["max_deliveries"], 8);
    EXPECT_EQ(policy["settings"]["dead_letter_key"], "dead");
    EXPECT_EQ(policy["settings"]["overflow"], 2);
    EXPECT_EQ(shown("policy_delete")["name"], "jobs");
    const Json schedule = shown("schedule_set");
    EXPECT_EQ(schedule["cron"], "@daily");
    EXPECT_EQ(schedule["zone"], "Europe/Berlin");
    EXPECT_EQ(schedule["missed"], "skip");
    EXPECT_EQ(schedule["paused"], true);
    EXPECT_EQ(schedule["fired"], 8);
    EXPECT_EQ(schedule["message"]["routing_key"], "q");
    EXPECT_EQ(shown("schedule_delete")["name"], "s");
    EXPECT_EQ(shown("schedule_moved")["how"], "unroutable");
    EXPECT_EQ(shown("schedule_moved")["next_ms"], 70'000);
    const Json fired = shown("schedule_fired");
    EXPECT_EQ(fired["schedule"], "s");
    EXPECT_EQ(fired["due_ms"], 60'000);
    EXPECT_EQ(fired["next_ms"], 70'000);
    EXPECT_EQ(fired["messages"][0]["payload"], "hi");
}

TEST(RecordKinds, OfLocksShowWhoHasWhichTokenAndHowItEnded) {
    EXPECT_EQ(shown("lock_wait")["holder"], "me");
    EXPECT_EQ(shown("lock_grant")["lock"], "job");
    EXPECT_EQ(shown("lock_grant")["token"], 1000) << "its position";
    EXPECT_EQ(shown("lock_grant")["delay_ms"], 2'000);
    EXPECT_EQ(shown("lock_end")["how"], "lost");
    EXPECT_EQ(shown("lock_open")["token"], 900);
}

TEST(RecordKinds, ThatAreCutAnywhereOrHaveAWrongByteAreNoTrouble) {
    for (const Sample& sample : samples()) {
        for (std::size_t length = 1; length < sample.body.size(); ++length) {
            EXPECT_EQ(decode(sample.body.substr(0, length))["unreadable"], true)
                << sample.name << " cut at " << length;
        }
        for (std::size_t at = 0; at < sample.body.size(); ++at) {
            for (int value = 0; value < 256; ++value) {
                std::string changed = sample.body;
                changed[at] = static_cast<char>(value);
                EXPECT_TRUE(decode(changed).contains("type"));
            }
        }
        EXPECT_EQ(decode(sample.body + "\0"s)["unreadable"], true) << sample.name;
    }
}

TEST(RecordKinds, OfATypeThatIsNotKnownAreUnreadableAndSaySo) {
    for (const unsigned type : {0U, 24U, 39U, 46U, 65U, 255U})
        EXPECT_EQ(decode(u8(type) + "abc")["unreadable"], true) << type;
}

}  // namespace
}  // namespace ferry::log_reader
