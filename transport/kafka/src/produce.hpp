#pragma once

#include <map>
#include <string>
#include <string_view>

#include "ferry/transport/kafka/records.hpp"
#include "handle.hpp"

namespace ferry::transport::kafka {

/// Everything once per life of the producer and in order: acks=all, idempotence, the partitioner
/// of the Java client, so that other writers of the topic put a key into the same partition.
void set_idempotent(ConfBuilder& conf, std::uint32_t messages, std::uint64_t bytes,
                    std::uint32_t linger_ms);

/// The topics that a producer sends to, each with librdkafka's handle, which is looked for once
/// instead of for every message.
///
/// Threads   One at a time. Lifetime: ends before the producer's handle.
class Topics {
public:
    struct One {
        std::string name;
        Topic handle;  // null: librdkafka does not know why not and is asked by name
    };

    explicit Topics(const Settings& settings) : settings_(settings) {}
    /// Where messages to this exchange, or this queue, go; null: that cannot be a topic's name.
    /// Valid until the next call.
    [[nodiscard]] const One* of(rd_kafka_t* handle, std::string_view exchange,
                                std::string_view routing_key);
    [[nodiscard]] const One& named(rd_kafka_t* handle, std::string_view name);
    void clear();

private:
    const Settings& settings_;
    std::map<std::string, One, std::less<>> known_;
    std::string last_place_;
    const One* last_ = nullptr;
};
inline constexpr std::string_view no_topic_name =
    "a topic's name has 1 to 249 of a-z A-Z 0-9 . _ -";

/// Takes it over (a copy), or says why not; then `opaque` is not told anything.
rd_kafka_resp_err_t produce(rd_kafka_t* handle, const Topics::One& topic, const Record& record,
                            Bytes payload, void* opaque);

/// What a delivery report says. `text` keeps the words that the outcome shows.
[[nodiscard]] Outcome outcome_of(rd_kafka_t* handle, const rd_kafka_message_t& message,
                                 std::string& text);

/// A publisher of records that somebody else made, for copies in other topics.
class RecordPublisher {
public:
    virtual ~RecordPublisher() = default;
    /// Blocking and errors as publish_async.
    virtual Result<std::uint64_t> publish_record(const std::string& topic, const Record& record,
                                                 Bytes payload, ConfirmCallback done) = 0;
};

}  // namespace ferry::transport::kafka
