#include <algorithm>
#include <string>

#include "encode.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/message.hpp"
#include "input.hpp"
#include "sql_options.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

constexpr std::uint64_t now_ms = 1'700'000'000'000;
constexpr std::uint32_t payload_bytes_max = 1 << 20;

outbox::relay::RowView as_read(const outbox::Row& row) {
    outbox::relay::RowView view;
    view.id = 42;
    view.exchange = row.exchange;
    view.routing_key = row.routing_key;
    view.payload = row.payload;
    view.ordering_key = row.ordering_key;
    view.content_type = row.content_type;
    view.headers = row.headers_json;
    view.deliver_at_ms = row.deliver_at_ms;
    view.expires_at_ms = row.expires_at_ms;
    view.priority = row.priority;
    view.correlation_id = row.correlation_id;
    view.reply_to = row.reply_to;
    view.created_ms = now_ms;
    return view;
}

/// Empty: it was encoded, and what came out was read again.
std::string send(const outbox::relay::RowView& row) {
    outbox::relay::MessageEncoder encoder;
    encoder.set_origin("0123456789abcdef0123456789abcdef", 3);
    transport::SequencedMessage message;
    std::string wrong = encoder.encode(row, 7, message);
    if (!wrong.empty()) return wrong;
    wire::Properties properties;
    require(wire::read_properties(message.properties, properties));
    require(properties.ordering_key == row.ordering_key && properties.reply_to == row.reply_to);
    require(properties.id == "0123456789abcdef0123456789abcdef:3:42");
    return wrong;
}

/// What may be stored can be sent: nothing that an application was told is stored gets parked as
/// malformed.
void store_and_send(std::string_view json, outbox::SqlFunction function) {
    const auto parsed = outbox::parse_options(json, function);
    if (!parsed.ok()) {
        require(!parsed.error().text.empty());
        return;
    }
    outbox::Row row;
    row.routing_key = "orders";
    parsed.value().apply_to(row);
    if (!outbox::set_times(row, parsed.value().times, now_ms).ok()) return;
    if (!outbox::check_row(row, payload_bytes_max).ok()) return;
    require(send(as_read(row)).empty());
}

}  // namespace

void outbox_options(Bytes bytes) {
    store_and_send(as_text(bytes), outbox::SqlFunction::publish);
    store_and_send(as_text(bytes), outbox::SqlFunction::append);
}

void outbox_row(Bytes bytes) {
    Input input(bytes);
    outbox::relay::RowView row;
    row.id = 42;
    row.exchange = as_text(input.take(input.below(40)));
    row.routing_key = as_text(input.take(input.below(40)));
    row.ordering_key = as_text(input.take(input.u16() % 300));
    row.content_type = as_text(input.take(input.below(20)));
    row.correlation_id = as_text(input.take(input.below(20)));
    row.reply_to = as_text(input.take(input.below(20)));
    row.deliver_at_ms = input.u16();
    row.expires_at_ms = input.u16();
    row.priority = input.u8();
    row.headers = as_text(input.rest());
    static_cast<void>(send(row));
}

}  // namespace ferry::fuzz
