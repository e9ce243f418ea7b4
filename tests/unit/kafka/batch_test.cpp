#include "batch.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace ferry::transport::kafka {
namespace {

RecordView record(std::string_view topic, std::string_view key, std::int64_t time,
                  std::string_view payload) {
    RecordView view;
    view.topic = topic;
    view.key = key;
    view.timestamp_ms = time;
    view.payload = payload;
    return view;
}

/// What is written once for many is there for each, and what differs is each one's own.
TEST(KafkaBatch, GivesEachMessageItsOwnPartsWhateverTheOneBeforeWas) {
    std::vector<RecordView> records{record("a", "", 5, "0"),    record("a", "", 5, "1"),
                                    record("a", "", 6, ""),     record("a", "key", 6, "3"),
                                    record("a", "key", 6, "4"), record("a", "", 6, "5"),
                                    record("b", "", 6, "6"),    record("a", "", 6, "7"),
                                    record("a", "", 0, "8"),    record("a", "", 0, "9")};
    records[4].fields = {{id_header, "id-4"}};
    records[7].fields = {{exchange_header, "orders"}, {routing_key_header, "eu.paid"}, {"x", "y"}};
    Batch batch;
    for (int turn = 0; turn < 2; ++turn) {
        std::vector<Received> received(records.size());
        batch.begin(1, 1);  // less than is written: it moves
        for (std::size_t i = 0; i < records.size(); ++i) {
            EXPECT_EQ(batch.write(records[i], received[i]).attempt, 1U);
        }
        batch.show();
        EXPECT_EQ(batch.size(), records.size());
        for (std::size_t i = 0; i < records.size(); ++i) {
            wire::Message expected;
            RecordExtras extras;
            to_message(records[i], expected, extras);
            const MessageView& view = received[i].delivery.message;
            wire::Properties properties;
            ASSERT_TRUE(wire::read_properties(view.properties, properties)) << i;
            EXPECT_EQ(view.exchange, expected.exchange) << i;
            EXPECT_EQ(view.routing_key, expected.routing_key) << i;
            EXPECT_EQ(as_text(view.payload), records[i].payload) << i;
            EXPECT_EQ(properties.ordering_key, expected.properties.ordering_key) << i;
            EXPECT_EQ(properties.published_at_ms, expected.properties.published_at_ms) << i;
            EXPECT_EQ(properties.id, expected.properties.id) << i;
            EXPECT_EQ(properties.headers, expected.properties.headers) << i;
        }
    }
}

TEST(KafkaBatch, ItsBytesLiveAsLongAsOneOfItsMessages) {
    Batch batch;
    Received last;
    {
        Received first;
        batch.begin(2, 20);
        batch.write(record("topic", "", 5, "one"), first);
        batch.write(record("topic", "", 5, "two"), last);
        batch.show();
        EXPECT_EQ(last.bytes.use_count(), 2);
        EXPECT_EQ(first.delivery.message.routing_key.data(),
                  last.delivery.message.routing_key.data());
    }
    batch.begin(1, 1);
    EXPECT_EQ(last.bytes.use_count(), 1);
    EXPECT_EQ(last.delivery.message.routing_key, "topic");
    EXPECT_EQ(as_text(last.delivery.message.payload), "two");
}

}  // namespace
}  // namespace ferry::transport::kafka
