#include "batch.hpp"

#include "ferry/wire/encoder.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr std::size_t around_payload_bytes = 128;  // a guess that spares most batches a second copy

}  // namespace

void Batch::begin(std::size_t messages, std::size_t payload_bytes) {
    bytes_ = std::make_shared<std::vector<std::byte>>();
    bytes_->reserve(payload_bytes + messages * around_payload_bytes);
    all_.clear();
    topic_ = {};
    bare_ = false;
}

Batch::Part Batch::append(std::string_view text) {
    const std::size_t begin = bytes_->size();
    const auto* const from = reinterpret_cast<const std::byte*>(text.data());
    bytes_->insert(bytes_->end(), from, from + text.size());
    return end_of(begin);
}

RecordExtras Batch::write(const RecordView& record, Received& to) {
    Parts& parts = all_.emplace_back();
    parts.to = &to;
    RecordExtras extras;
    wire::PropertyViews views;
    if (to_views(record, views)) {
        write_plain(record, views, parts);
    } else {
        wire::Message message;
        to_message(record, message, extras);
        parts.exchange = append(message.exchange);
        parts.routing_key = append(message.routing_key);
        const std::size_t begin = bytes_->size();
        wire::Encoder encoder(*bytes_);
        wire::write_properties(encoder, message.properties);
        parts.properties = end_of(begin);
    }
    parts.payload = append(record.payload);
    return extras;
}

void Batch::write_plain(const RecordView& record, const wire::PropertyViews& views, Parts& parts) {
    if (topic_ != record.topic) {
        topic_ = record.topic;
        topic_at_ = append(topic_);
    }
    parts.routing_key = topic_at_;
    const bool bare = record.key.empty() && record.fields.empty();
    if (!bare || !bare_ || time_ms_ != record.timestamp_ms) {
        const std::size_t begin = bytes_->size();
        wire::Encoder encoder(*bytes_);
        wire::write_properties(encoder, views);
        properties_at_ = end_of(begin);
        bare_ = bare;
        time_ms_ = record.timestamp_ms;
    }
    parts.properties = properties_at_;
}

void Batch::show() {
    const std::byte* const base = bytes_->data();
    const std::string_view text = as_text(*bytes_);
    for (const Parts& parts : all_) {
        MessageView& view = parts.to->delivery.message;
        view.exchange = text.substr(parts.exchange.at, parts.exchange.size);
        view.routing_key = text.substr(parts.routing_key.at, parts.routing_key.size);
        view.properties = {base + parts.properties.at, parts.properties.size};
        view.payload = {base + parts.payload.at, parts.payload.size};
        parts.to->bytes = bytes_;
    }
    bytes_.reset();
}

}  // namespace ferry::transport::kafka
