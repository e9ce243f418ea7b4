#include <gtest/gtest.h>

#include <string>

#include "log_reader/bodies.hpp"

namespace ferry::log_reader {
namespace {

using Json = nlohmann::ordered_json;

Json decode(const std::string& body, std::uint64_t position = 1000, bool whole = true) {
    return body_json(position, std::as_bytes(std::span(body)), whole);
}

using namespace std::string_literals;

// [ "", "q", nil, bin "hi" ]
const std::string hello = "\x94\xa0\xa1q\xc0\xc4\x02hi"s;

TEST(RecordBody, ShowsAPublishWithItsMessagesAndTheirPositions) {
    const std::string body = "\x01"s + "\x10\x27\0\0\0\0\0\0"s + "\x07\x2a\x02\x29"s + "\x01"s +
                             "\x02\x12\x01\x0b"s + hello + hello;
    const Json json = decode(body);
    EXPECT_EQ(json["type"], "publish");
    EXPECT_EQ(json["wall_ms"], 10000);
    EXPECT_EQ(json["producer"], 7);
    EXPECT_EQ(json["first_sequence"], 42);
    EXPECT_EQ(json["settled"], 41);
    EXPECT_EQ(json["runs"][0]["queues"], Json::array({5}));
    ASSERT_EQ(json["messages"].size(), 2U);
    EXPECT_EQ(json["messages"][1]["position"], 1001);
    EXPECT_EQ(json["messages"][1]["routing_key"], "q");
    EXPECT_EQ(json["messages"][1]["payload"], "hi");
    EXPECT_FALSE(json.contains("unreadable"));
}

TEST(RecordBody, CountsMessagesWithoutShowingThemUnlessAsked) {
    const std::string body =
        "\x01"s + std::string(8, '\0') + "\0"s + "\x01"s + "\x01\x09\x00"s + hello;
    const Json json = decode(body, 0, false);
    EXPECT_FALSE(json.contains("messages"));
    EXPECT_EQ(json["runs"][0]["messages"], 1);
    EXPECT_FALSE(json.contains("unreadable"));
}

TEST(RecordBody, NamesPropertiesAndShowsBinaryPayloadsInHex) {
    // properties {1: "id", 3: {"h": -5}, 99: true}
    const std::string message =
        "\x94\xa0\xa1q\x83\x01\xa2id\x03\x81\xa1h\xfb\x63\xc3\xc4\x02\xff\xfe"s;
    const std::string body = "\x01"s + std::string(8, '\0') + "\0\x01"s + "\x01"s +
                             static_cast<char>(message.size()) + "\0"s + message;
    const Json shown = decode(body)["messages"][0];
    EXPECT_EQ(shown["properties"]["id"], "id");
    EXPECT_EQ(shown["properties"]["headers"]["h"], -5);
    EXPECT_EQ(shown["properties"]["99"], true);
    EXPECT_EQ(shown["payload"]["hex"], "fffe");
}

TEST(RecordBody, ShowsSpansOfAnAckByTheirPositions) {
    // queue 3: 100 (zigzag 200) count 2, then 5 behind the end (zigzag 10) count 1
    const Json json = decode("\x02\x01\x03\x02\xc8\x01\x02\x0a\x01"s);
    EXPECT_EQ(json["groups"][0]["queue"], 3);
    EXPECT_EQ(json["groups"][0]["spans"][0]["first"], 100);
    EXPECT_EQ(json["groups"][0]["spans"][1]["first"], 107);
}

TEST(RecordBody, ShowsDeclarationsByName) {
    const Json queue = decode("\x04\x01\x01q\x01\xe8\x07"s);
    EXPECT_EQ(queue["name"], "q");
    EXPECT_EQ(queue["durable"], true);
    EXPECT_EQ(queue["lease_ms"], 1000);
    const Json exchange = decode("\x06\x02"s + "ex\x01\x04"s);
    EXPECT_EQ(exchange["type"], "exchange_declare") << "the record's type is not overwritten";
    EXPECT_EQ(exchange["exchange_type"], "topic");
    const Json bind = decode(
        "\x08\x01s\x01q\x00\x01k\x01\x01"
        "a\x04\x01v"s);
    EXPECT_EQ(bind["arguments"]["a"], "v");
}

TEST(RecordBody, SaysThatAnUnknownTypeOrACutBodyIsUnreadable) {
    EXPECT_EQ(decode("\x7f"s)["unreadable"], true);
    EXPECT_EQ(decode("\x02\x01"s)["unreadable"], true);
    EXPECT_EQ(decode("\x05\x01trailing"s)["unreadable"], true);
}

TEST(RecordBody, SurvivesEveryTruncationAndEveryByteOfAPublish) {
    const std::string body = "\x01"s + std::string(8, '\1') + "\x07\x2a\x02\x29"s + "\x01"s +
                             "\x02\x12\x01\x0b"s + hello + hello;
    for (std::size_t length = 1; length < body.size(); ++length) {
        EXPECT_EQ(decode(body.substr(0, length))["unreadable"], true) << length;
    }
    for (std::size_t at = 0; at < body.size(); ++at) {
        for (int value = 0; value < 256; ++value) {
            std::string changed = body;
            changed[at] = static_cast<char>(value);
            EXPECT_TRUE(decode(changed).contains("type"));
        }
    }
}

TEST(RecordBody, DoesNotFollowNestingWithoutEnd) {
    const std::string deep(200'000, '\x91');
    std::string body =
        "\x01"s + std::string(8, '\0') + "\0\x01\x01"s + "\xc0\x9a\x0c"s + "\0"s + deep;
    const Json json = decode(body);
    EXPECT_EQ(json["messages"][0]["unreadable"], true);
}

}  // namespace
}  // namespace ferry::log_reader
