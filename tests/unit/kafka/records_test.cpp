#include "ferry/transport/kafka/records.hpp"

#include <gtest/gtest.h>

#include "ferry/platform/random.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::transport::kafka {
namespace {

RecordView view_of(const Record& record, std::string_view topic, std::string_view payload) {
    RecordView view;
    view.topic = topic;
    view.key = record.key;
    view.payload = payload;
    view.timestamp_ms = record.timestamp_ms;
    for (const Field& field : record.fields) {
        view.fields.emplace_back(field.name,
                                 field.null ? std::string_view() : std::string_view(field.value));
    }
    return view;
}

wire::Properties full() {
    wire::Properties properties;
    properties.id = "abc:1:7";
    properties.ordering_key = "customer-1";
    properties.content_type = "application/json";
    properties.published_at_ms = 1'700'000'000'123;
    properties.reply_to = "answers";
    properties.correlation_id = "order-9";
    properties.headers = {{"text", std::string("grün")},
                          {"number", std::int64_t{-5}},
                          {"real", 0.1},
                          {"truth", true},
                          {"nothing", std::monostate{}},
                          {"bytes", std::vector<std::byte>{std::byte{0}, std::byte{255}}},
                          {"empty", std::string()}};
    return properties;
}

TEST(KafkaRecords, EveryPartOfAMessageComesBackAsItWas) {  // G121
    const wire::Properties before = full();
    Record record;
    ASSERT_EQ(to_record("events", "order.paid", before, record), "");
    wire::Message after;
    RecordExtras extras;
    to_message(view_of(record, "events", "x"), after, extras);
    EXPECT_EQ(after.exchange, "events");
    EXPECT_EQ(after.routing_key, "order.paid");
    EXPECT_EQ(after.properties.id, before.id);
    EXPECT_EQ(after.properties.ordering_key, before.ordering_key);
    EXPECT_EQ(after.properties.content_type, before.content_type);
    EXPECT_EQ(after.properties.published_at_ms, before.published_at_ms);
    EXPECT_EQ(after.properties.reply_to, before.reply_to);
    EXPECT_EQ(after.properties.correlation_id, before.correlation_id);
    EXPECT_EQ(after.properties.headers, before.headers);
    EXPECT_EQ(extras.attempt, 1U);
}

TEST(KafkaRecords, AForeignRecordIsAMessageOfItsTopic) {
    RecordView view;
    view.topic = "orders";
    view.key = "k";
    view.fields = {{"source", "kcat"}, {"raw", std::string_view("\xff\x00", 2)}};
    wire::Message message;
    RecordExtras extras;
    to_message(view, message, extras);
    EXPECT_EQ(message.exchange, "");
    EXPECT_EQ(message.routing_key, "orders");
    EXPECT_EQ(message.properties.ordering_key, "k");
    ASSERT_EQ(message.properties.headers.size(), 2U);
    EXPECT_EQ(message.properties.headers[0].second, wire::HeaderValue(std::string("kcat")));
    EXPECT_TRUE(
        std::holds_alternative<std::vector<std::byte>>(message.properties.headers[1].second));
}

TEST(KafkaRecords, WhatKafkaCannotDoIsNamed) {  // G120
    wire::Properties properties;
    EXPECT_EQ(unsupported(properties), "");
    properties.deliver_at_ms = 1;
    EXPECT_NE(unsupported(properties).find("delayed"), std::string_view::npos);
    properties = {};
    properties.expires_at_ms = 1;
    EXPECT_NE(unsupported(properties).find("time to live"), std::string_view::npos);
    properties = {};
    properties.priority = 1;
    EXPECT_NE(unsupported(properties).find("priorities"), std::string_view::npos);
}

TEST(KafkaRecords, HeadersOverTheLimitsAreLeftOutAndCounted) {
    RecordView view;
    view.topic = "orders";
    const std::string huge(ferry::limits::headers_bytes_max, 'x');
    view.fields = {{"huge", huge}};
    for (std::uint32_t i = 0; i < ferry::limits::headers_max + 3; ++i) {
        view.fields.emplace_back("h", "v");
    }
    wire::Message message;
    RecordExtras extras;
    to_message(view, message, extras);
    EXPECT_LE(message.properties.headers.size(), ferry::limits::headers_max);
    EXPECT_GT(extras.dropped, 0U);
    message.routing_key = "orders";
    EXPECT_EQ(wire::check_message(message), "");
}

TEST(KafkaRecords, LongKeysStayEqualToThemselves) {
    const std::string one(300, 'a');
    std::string other(300, 'a');
    other.back() = 'b';
    const auto key_of = [](const std::string& key) {
        RecordView view;
        view.topic = "t";
        view.key = key;
        wire::Message message;
        RecordExtras extras;
        to_message(view, message, extras);
        return message.properties.ordering_key;
    };
    EXPECT_EQ(key_of(one), key_of(one));
    EXPECT_NE(key_of(one), key_of(other));
    EXPECT_LE(key_of(one).size(), 255U);
}

TEST(KafkaRecords, RandomRecordsAlwaysMakeAMessageWithinLimits) {
    SeededRandom random(7);
    constexpr std::string_view names[] = {id_header,
                                          exchange_header,
                                          routing_key_header,
                                          types_header,
                                          attempt_header,
                                          due_header,
                                          reply_to_header,
                                          "a",
                                          "",
                                          "ferry.unknown"};
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::pair<std::string, std::string>> kept;
        for (std::uint64_t i = random.next() % 80; i > 0; --i) {
            std::string value(random.next() % 300, 'x');
            for (char& c : value) c = static_cast<char>(random.next());
            kept.emplace_back(names[random.next() % std::size(names)], value);
        }
        RecordView view;
        view.topic = "orders";
        for (const auto& [name, value] : kept) view.fields.emplace_back(name, value);
        wire::Message message;
        RecordExtras extras;
        to_message(view, message, extras);
        EXPECT_EQ(wire::check_message(message), "");
        EXPECT_GE(extras.attempt, 1U);
    }
}

}  // namespace
}  // namespace ferry::transport::kafka
