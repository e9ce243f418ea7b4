#pragma once

#include <string>
#include <string_view>

#include "ferry/transport/kafka/records.hpp"
#include "handle.hpp"

namespace ferry::transport::kafka {

/// Everything once per life of the producer and in order: acks=all, idempotence, the partitioner
/// of the Java client, so that other writers of the topic put a key into the same partition.
void set_idempotent(ConfBuilder& conf, std::uint32_t messages, std::uint64_t bytes,
                    std::uint32_t linger_ms);

/// The record and the topic of a message. What is wrong with it, as a literal; empty: nothing.
[[nodiscard]] std::string_view prepare(const Settings& settings, std::string_view exchange,
                                       std::string_view routing_key,
                                       const wire::Properties& properties, Record& record,
                                       std::string& topic);

/// Takes it over (a copy), or says why not; then `opaque` is not told anything.
rd_kafka_resp_err_t produce(rd_kafka_t* handle, const std::string& topic, const Record& record,
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
