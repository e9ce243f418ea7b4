#include "produce.hpp"

#include <algorithm>

namespace ferry::transport::kafka {
namespace {

constexpr std::size_t topics_kept_max = 1'000;

}  // namespace

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

const Topics::One* Topics::of(rd_kafka_t* handle, std::string_view exchange,
                              std::string_view routing_key) {
    const std::string_view place = exchange.empty() ? routing_key : exchange;
    if (last_ != nullptr && place == last_place_) return last_;
    last_ = nullptr;
    const std::string given(place);
    const std::string& name = settings_.topic_of(given);
    if (!wire::valid_name(name) || name.size() > limits::topic_bytes_max || name == "." ||
        name == "..") {
        return nullptr;
    }
    last_ = &named(handle, name);
    last_place_ = place;
    return last_;
}

const Topics::One& Topics::named(rd_kafka_t* handle, std::string_view name) {
    const auto found = known_.find(name);
    if (found != known_.end()) return found->second;
    if (known_.size() >= topics_kept_max) clear();
    One& made = known_[std::string(name)];
    made.name = name;
    made.handle.reset(rd_kafka_topic_new(handle, made.name.c_str(), nullptr));
    return made;
}

void Topics::clear() {
    last_ = nullptr;
    known_.clear();
}

rd_kafka_resp_err_t produce(rd_kafka_t* handle, const Topics::One& topic, const Record& record,
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
    if (topic.handle) {
        parts[count].vtype = RD_KAFKA_VTYPE_RKT;
        parts[count++].u.rkt = topic.handle.get();
    } else {
        parts[count].vtype = RD_KAFKA_VTYPE_TOPIC;
        parts[count++].u.cstr = topic.name.c_str();
    }
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
