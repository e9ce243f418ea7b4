#include "encode.hpp"

#include <algorithm>

#include "ferry/outbox/message.hpp"
#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "ferry/wire/origin.hpp"

namespace ferry::outbox::relay {
namespace {

using wire::Property;

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

void put(wire::Encoder& out, Property key, std::string_view text) {
    if (!text.empty()) out.uint(static_cast<std::uint64_t>(key)).str(text);
}

void put(wire::Encoder& out, Property key, std::uint64_t number) {
    if (number != 0) out.uint(static_cast<std::uint64_t>(key)).uint(number);
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
    wire::Properties only;
    only.headers = std::move(parsed).value();
    std::erase_if(only.headers, [](const auto& h) { return h.first == wire::floor_header; });
    if (only.headers.size() < ferry::limits::headers_max) {
        only.headers.emplace_back(std::string(wire::floor_header),
                                  wire::HeaderValue(static_cast<std::int64_t>(floor)));
    }
    wire::Buffer whole;
    for (int attempt = 0; attempt < 2; ++attempt) {
        whole.clear();
        wire::Encoder properties(whole);
        wire::write_properties(properties, only);
        if (whole.size() <= 2 + ferry::limits::headers_bytes_max) break;
        if (attempt == 1 || only.headers.back().first != wire::floor_header) {
            return "the headers take more than 16 KiB";
        }
        only.headers.pop_back();
    }
    if (only.headers.empty()) {
        encoder.map(0);
    } else {
        out.assign(whole.begin() + 2, whole.end());  // behind the map of one and its key
    }
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
    std::uint32_t count = 2;  // id and headers
    for (const std::string_view text :
         {row.ordering_key, row.content_type, row.correlation_id, row.reply_to}) {
        if (!text.empty()) ++count;
    }
    for (const std::uint64_t number :
         {row.created_ms, row.expires_at_ms, row.deliver_at_ms, row.priority}) {
        if (number != 0) ++count;
    }
    properties_.clear();
    wire::Encoder encoder(properties_);
    encoder.map(count);
    put(encoder, Property::id, id_);
    put(encoder, Property::ordering_key, row.ordering_key);
    encoder.uint(static_cast<std::uint64_t>(Property::headers)).raw(headers_);
    put(encoder, Property::content_type, row.content_type);
    put(encoder, Property::published_at, row.created_ms);
    put(encoder, Property::expires_at, row.expires_at_ms);
    put(encoder, Property::deliver_at, row.deliver_at_ms);
    put(encoder, Property::priority, row.priority);
    put(encoder, Property::reply_to, row.reply_to);
    put(encoder, Property::correlation_id, row.correlation_id);
    out.exchange = row.exchange;
    out.routing_key = row.routing_key;
    out.properties = properties_;
    out.payload = row.payload;
    return {};
}

}  // namespace ferry::outbox::relay
