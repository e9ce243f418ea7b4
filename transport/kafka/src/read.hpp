#pragma once

#include <librdkafka/rdkafka.h>

#include <string_view>

#include "ferry/transport/kafka/records.hpp"

namespace ferry::transport::kafka {

[[nodiscard]] inline std::string_view key_of(const rd_kafka_message_t& message) {
    return {static_cast<const char*>(message.key), message.key == nullptr ? 0 : message.key_len};
}
[[nodiscard]] inline std::string_view payload_of(const rd_kafka_message_t& message) {
    return {static_cast<const char*>(message.payload),
            message.payload == nullptr ? 0 : message.len};
}

/// All but the topic, which is the same for many. Views live as long as the message.
void read_record(const rd_kafka_message_t& message, RecordView& out);

}  // namespace ferry::transport::kafka
