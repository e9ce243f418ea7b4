#include "encode.hpp"

#include <algorithm>

#include "ferry/outbox/message.hpp"
#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "ferry/wire/origin.hpp"

namespace ferry::outbox::relay {
namespace {

std::string check(const RowView& row) {
    if (!row.exchange.empty() && !wire::valid_name(row.exchange)) {
        return "the exchange must be 1 to 255 of a-z A-Z 0-9 . _ -";
    }
    if (row.routing_key.size() > ferry::limits::routing_key_bytes_max) {
        return "the routing key is longer than 255 bytes";
    }
    for (const std::string_view text :
         {row.ordering_key, row.content_type, row.correlation_id, row.reply_to}) {
        if (text.size() > ferry::limits::short_text_bytes_max) {
            return "ordering key, content type, correlation id and reply-to have at most 255 bytes";
        }
    }
    if (row.priority > ferry::limits::priority_max) return "the priority must be 0 to 9";
    return {};
}

// The map of headers with the floor in it. The floor is a help and not a duty: where the message's
// own headers leave no room, it is left out.
std::string encode_headers(std::string_view json, std::uint64_t floor, wire::Buffer& out) {
    out.clear();
    wire::Encoder encoder(out);
    if (json.empty()) {
        encoder.map(1).str(wire::floor_header).uint(floor);
        return {};
    }
    auto parsed = headers_from_json(json);
    if (!parsed.ok()) return parsed.error().text;
    wire::Headers headers = std::move(parsed).value();
    std::erase_if(headers, [](const auto& h) { return h.first == wire::floor_header; });
    if (headers.size() < ferry::limits::headers_max) {
        headers.emplace_back(std::string(wire::floor_header),
                             wire::HeaderValue(static_cast<std::int64_t>(floor)));
    }
    wire::write_headers(encoder, headers);
    if (out.size() > ferry::limits::headers_bytes_max && !headers.empty() &&
        headers.back().first == wire::floor_header) {
        headers.pop_back();
        out.clear();
        wire::write_headers(encoder, headers);
    }
    if (out.size() > ferry::limits::headers_bytes_max) return "the headers take more than 16 KiB";
    return {};
}

}  // namespace

void MessageEncoder::set_origin(std::string_view producer, std::uint64_t epoch) {
    producer_ = producer;
    epoch_ = epoch;
}

std::string MessageEncoder::encode(const RowView& row, std::uint64_t floor,
                                   transport::SequencedMessage& out) {
    std::string wrong = check(row);
    if (wrong.empty()) wrong = encode_headers(row.headers, floor, headers_);
    if (!wrong.empty()) return wrong;
    wire::format_origin({producer_, epoch_, row.id}, id_);
    wire::PropertyViews properties;
    properties.id = id_;
    properties.ordering_key = row.ordering_key;
    properties.headers = headers_;
    properties.content_type = row.content_type;
    properties.published_at_ms = row.created_ms;
    properties.expires_at_ms = row.expires_at_ms;
    properties.deliver_at_ms = row.deliver_at_ms;
    properties.priority = row.priority;
    properties.reply_to = row.reply_to;
    properties.correlation_id = row.correlation_id;
    properties_.clear();
    wire::Encoder encoder(properties_);
    wire::write_properties(encoder, properties);
    out.exchange = row.exchange;
    out.routing_key = row.routing_key;
    out.properties = properties_;
    out.payload = row.payload;
    return {};
}

}  // namespace ferry::outbox::relay
