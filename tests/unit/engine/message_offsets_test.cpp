// Parts of records, found with remembered offsets and without.

#include <gtest/gtest.h>

#include "ferry/engine/engine.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/wire/message.hpp"
#include "records.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint32_t messages_each = 100;

/// A publish record of messages of different lengths, some with properties.
std::vector<std::byte> record_of(SeededRandom& random) {
    std::vector<std::byte> messages;
    wire::Encoder encoder(messages);
    for (std::uint32_t i = 0; i < messages_each; ++i) {
        wire::Message message;
        message.routing_key = "q";
        message.payload.assign(random.below(300), 'x');
        if (i % 3 == 0) message.properties.id = std::to_string(i);
        if (i % 7 == 0) message.properties.headers = {{"a", std::int64_t{7}}};
        wire::write_message(encoder, message);
    }
    PublishRecord record;
    record.runs.push_back({messages_each, static_cast<std::uint32_t>(messages.size()), 0, 1});
    record.targets.push_back({1, false});
    std::vector<std::byte> body;
    encode_publish_head(body, record);
    body.insert(body.end(), messages.begin(), messages.end());
    return body;
}

Extent whole_of(Position position) {
    Extent extent;
    extent.first = position;
    extent.count = messages_each;
    return extent;
}

TEST(MessageOffsets, GiveTheSameBytesAsAWalkWhateverIsAskedForInWhichOrder) {
    SeededRandom random(3);
    std::vector<std::vector<std::byte>> records;
    for (std::size_t n = 0; n < MessageOffsets::records_max * 2; ++n)
        records.push_back(record_of(random));
    MessageOffsets offsets;
    std::vector<std::byte> scratch;
    for (int round = 0; round < 20'000; ++round) {
        const std::uint64_t record = random.below(records.size());
        const auto skip = static_cast<std::uint32_t>(random.below(messages_each));
        const auto count = static_cast<std::uint32_t>(1 + random.below(messages_each - skip));
        const Extent part = part_of(whole_of(1000 + record * 100'000), skip, count);
        const auto walked = message_bytes(records[record], part, 0, count, scratch);
        const auto found = message_bytes(records[record], part, 0, count, scratch, &offsets);
        ASSERT_TRUE(walked.ok());
        ASSERT_TRUE(found.ok());
        ASSERT_EQ(walked.value().data(), found.value().data());
        ASSERT_EQ(walked.value().size(), found.value().size());
    }
}

TEST(MessageOffsets, StepOverEveryMessageOfARecordOnce) {
    SeededRandom random(4);
    const std::vector<std::byte> body = record_of(random);
    MessageOffsets offsets;
    std::vector<std::byte> scratch;
    for (std::uint32_t skip = 0; skip < messages_each; skip += 10) {
        EXPECT_EQ(offsets.known(1000), skip);
        const Extent part = part_of(whole_of(1000), skip, 10);
        ASSERT_TRUE(message_bytes(body, part, 0, 10, scratch, &offsets).ok());
    }
    EXPECT_EQ(offsets.known(1000), messages_each);
}

TEST(MessageOffsets, RefuseMessagesThatTheRecordDoesNotHold) {
    SeededRandom random(5);
    const std::vector<std::byte> body = record_of(random);
    MessageOffsets offsets;
    std::vector<std::byte> scratch;
    Extent beyond = whole_of(1000);
    beyond.index = 90;
    beyond.first += 90;
    EXPECT_FALSE(message_bytes(body, beyond, 0, 20, scratch, &offsets).ok());
    EXPECT_TRUE(message_bytes(body, beyond, 0, 10, scratch, &offsets).ok());
    const std::vector<std::byte> cut(body.begin(), body.begin() + 40);
    EXPECT_FALSE(message_bytes(cut, beyond, 0, 10, scratch, &offsets).ok())
        << "another body than before";
    const std::vector<std::byte> other(200, std::byte{9});
    EXPECT_FALSE(message_bytes(other, whole_of(5000), 0, 10, scratch, &offsets).ok());
}

}  // namespace
}  // namespace ferry::engine
