#include "produce.hpp"

#include <algorithm>

namespace ferry::transport::kafka {

void set_idempotent(ConfBuilder& conf, std::uint32_t messages, std::uint64_t bytes,
                    std::uint32_t linger_ms) {
    conf.set("enable.idempotence", "true");
    conf.set("acks", "all");
    conf.prefer("partitioner", "murmur2_random");
    conf.prefer("linger.ms", std::to_string(linger_ms));
    conf.prefer("queue.buffering.max.messages", std::to_string(std::max(messages, 1U)));
    conf.prefer("queue.buffering.max.kbytes",
                std::to_string(std::clamp<std::uint64_t>(bytes >> 10, 1, 2'000'000)));
}

std::string_view prepare(const Settings& settings, std::string_view exchange,
                         std::string_view routing_key, const wire::Properties& properties,
                         Record& record, std::string& topic) {
    if (const std::string_view no = unsupported(properties); !no.empty()) return no;
    topic = settings.topic_of(std::string(exchange.empty() ? routing_key : exchange));
    if (!wire::valid_name(topic) || topic.size() > limits::topic_bytes_max || topic == "." ||
        topic == "..") {
        return "a topic's name has 1 to 249 of a-z A-Z 0-9 . _ -";
    }
    return to_record(exchange, routing_key, properties, record);
}

rd_kafka_resp_err_t produce(rd_kafka_t* handle, const std::string& topic, const Record& record,
                            Bytes payload, void* opaque) {
    rd_kafka_headers_t* headers = nullptr;
    if (!record.fields.empty()) {
        headers = rd_kafka_headers_new(record.fields.size());
        for (const Field& field : record.fields) {
            rd_kafka_header_add(headers, field.name.data(), static_cast<ssize_t>(field.name.size()),
                                field.null ? nullptr : field.value.data(),
                                static_cast<ssize_t>(field.value.size()));
        }
    }
    rd_kafka_vu_t parts[7];
    std::size_t count = 0;
    parts[count].vtype = RD_KAFKA_VTYPE_TOPIC;
    parts[count++].u.cstr = topic.c_str();
    parts[count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    parts[count++].u.i = RD_KAFKA_MSG_F_COPY;
    parts[count].vtype = RD_KAFKA_VTYPE_VALUE;
    // librdkafka does not write through it: the flag says copy.
    parts[count].u.mem.ptr = const_cast<std::byte*>(payload.data());
    parts[count++].u.mem.size = payload.size();
    parts[count].vtype = RD_KAFKA_VTYPE_OPAQUE;
    parts[count++].u.ptr = opaque;
    if (!record.key.empty()) {
        parts[count].vtype = RD_KAFKA_VTYPE_KEY;
        parts[count].u.mem.ptr = const_cast<char*>(record.key.data());
        parts[count++].u.mem.size = record.key.size();
    }
    if (record.timestamp_ms > 0) {
        parts[count].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        parts[count++].u.i64 = record.timestamp_ms;
    }
    if (headers != nullptr) {
        parts[count].vtype = RD_KAFKA_VTYPE_HEADERS;
        parts[count++].u.headers = headers;
    }
    const KafkaError error(rd_kafka_produceva(handle, parts, count));
    if (!error) return RD_KAFKA_RESP_ERR_NO_ERROR;
    if (headers != nullptr) rd_kafka_headers_destroy(headers);
    return rd_kafka_error_code(error.get());
}

Outcome outcome_of(rd_kafka_t* handle, const rd_kafka_message_t& message, std::string& text) {
    Outcome outcome;
    if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR) return outcome;
    const bool surely_not = rd_kafka_message_status(&message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    outcome.kind = surely_not ? Outcome::Kind::refused : Outcome::Kind::in_doubt;
    // After a fatal error everything is thrown out; the cause is what helps.
    const auto fatal = rd_kafka_fatal_error(handle, nullptr, 0);
    const auto error = fatal != RD_KAFKA_RESP_ERR_NO_ERROR ? fatal : message.err;
    outcome.code = meaning_of(error).code;
    if (outcome.code == wire::Code::ok) outcome.code = wire::Code::timed_out;
    const char* const topic = message.rkt == nullptr ? "" : rd_kafka_topic_name(message.rkt);
    text = text_of(error, std::string("topic ") + topic);
    outcome.text = text;
    return outcome;
}

}  // namespace ferry::transport::kafka
