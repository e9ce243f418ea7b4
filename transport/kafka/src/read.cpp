#include "read.hpp"

namespace ferry::transport::kafka {

void read_record(const rd_kafka_message_t& message, RecordView& out) {
    out.key = key_of(message);
    out.payload = payload_of(message);
    out.timestamp_ms = rd_kafka_message_timestamp(&message, nullptr);
    out.fields.clear();
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t bytes = 0;
    for (std::size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &bytes) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++i) {
        out.fields.emplace_back(
            std::string_view(name),
            std::string_view(static_cast<const char*>(value), value == nullptr ? 0 : bytes));
    }
}

}  // namespace ferry::transport::kafka
