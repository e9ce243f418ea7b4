#pragma once

#include <librdkafka/rdkafka.h>

#include "ferry/transport/kafka/records.hpp"

namespace ferry::transport::kafka {

/// All but the topic, which is the same for many. Views live as long as the message.
void read_record(const rd_kafka_message_t& message, RecordView& out);

}  // namespace ferry::transport::kafka
