// What the libraries of applications read: saga definitions and states, HTTP answers, Kafka
// records.

#include <string>
#include <vector>

#include "codec.hpp"
#include "ferry/saga/definition.hpp"
#include "ferry/saga/definition_file.hpp"
#include "ferry/saga/http_calls.hpp"
#include "ferry/transport/kafka/records.hpp"
#include "http_reply.hpp"
#include "input.hpp"
#include "machine.hpp"
#include "targets.hpp"
#include "values.hpp"

namespace ferry::fuzz {
namespace {

namespace kafka = transport::kafka;

bool same(const wire::Headers& a, const wire::Headers& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].first != b[i].first || a[i].second.index() != b[i].second.index()) return false;
        // A number that is none equals nothing, not even itself.
        if (!std::holds_alternative<double>(a[i].second) && a[i].second != b[i].second)
            return false;
    }
    return true;
}

// What a message was made of makes the same message again.
void there_and_back(const wire::Message& message, const kafka::RecordExtras& extras) {
    if (!kafka::unsupported(message.properties).empty()) return;
    kafka::Record record;
    if (!kafka::to_record(message.exchange, message.routing_key, message.properties, record)
             .empty())
        return;
    kafka::RecordView view;
    view.topic = message.exchange.empty() ? message.routing_key : message.exchange;
    view.key = record.key;
    view.timestamp_ms = record.timestamp_ms;
    for (const kafka::Field& field : record.fields)
        view.fields.emplace_back(field.name,
                                 field.null ? std::string_view() : std::string_view(field.value));
    wire::Message again;
    kafka::RecordExtras extras_again;
    kafka::to_message(view, again, extras_again);
    require(again.exchange == message.exchange && again.routing_key == message.routing_key);
    require(again.properties.id == message.properties.id);
    require(again.properties.ordering_key == message.properties.ordering_key);
    require(again.properties.reply_to == message.properties.reply_to);
    require(again.properties.published_at_ms == message.properties.published_at_ms);
    // Numbers may be written longer than they came, and headers have a bound.
    if (extras.dropped != 0 || extras_again.dropped != 0) return;
    require(same(again.properties.headers, message.properties.headers));
}

}  // namespace

void saga_definition(Bytes bytes) {
    const std::string_view text = as_text(bytes);
    const saga::ReadDefinition read = saga::read_definition(text, "f.toml");
    require(read.definition.has_value() == read.complaints.empty());
    for (const saga::FileComplaint& complaint : read.complaints) require(!complaint.text().empty());
    if (read.definition) {
        require(saga::check(*read.definition).empty());
        const auto again = saga::from_canonical_text(saga::canonical_text(*read.definition));
        require(again.ok() && again.value() == *read.definition);
        require(!saga::graph_text(*read.definition).empty());
        require(!saga::graph_dot(*read.definition).empty());
    }
    if (const auto stored = saga::from_canonical_text(text); stored.ok()) {
        const auto again = saga::from_canonical_text(saga::canonical_text(stored.value()));
        require(again.ok() && again.value() == stored.value());
    }
    saga::Instance instance;
    if (saga::decode_body(bytes, instance)) {
        std::string body;
        saga::encode_body(instance, body);
        saga::Instance back;
        require(saga::decode_body(as_bytes(body), back));
        require(back.steps.size() == instance.steps.size());
    }
    if (saga::valid_pointer(text)) static_cast<void>(saga::split_pointer(text));
    require(saga::plain(text, 100).size() <= 100 + std::string_view("...").size());
}

void saga_http(Bytes bytes) {
    Input input(bytes);
    saga::HttpAnswer answer;
    answer.kind = static_cast<saga::HttpAnswer::Kind>(input.below(3));
    answer.status = static_cast<int>(input.u16() % 1000);
    answer.retry_after_ms = input.u16() * 1000ULL;
    answer.body_cut = input.below(8) == 7;
    const bool repeated = input.below(2) == 1;
    const std::string_view rest = as_text(input.rest());
    answer.body = rest;
    const saga::Reply reply = saga::reply_of(answer, repeated);
    require(reply.result.empty() || saga::parse_json(reply.result).has_value());
    const std::string key = saga::idempotency_key(rest, rest, saga::Op::act);
    for (const char c : key) require(c > 0x20 && c < 0x7f);
    if (const auto parts = saga::split_url(rest)) {
        require(!parts->host.empty() && parts->port != 0);
        // Whoever reads it afterwards finds the host that was checked.
        std::string lower(rest);
        for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        require(lower.find(parts->host) != std::string::npos);
        require(rest.find('@') == std::string_view::npos || rest.find('@') > rest.find('/', 8));
    }
}

void kafka_record(Bytes bytes) {
    static constexpr std::string_view names[] = {
        kafka::id_header,           kafka::exchange_header, kafka::routing_key_header,
        kafka::content_type_header, kafka::reply_to_header, kafka::correlation_id_header,
        kafka::types_header,        kafka::attempt_header,  kafka::due_header};
    Input input(bytes);
    kafka::RecordView view;
    view.topic = "orders";
    view.timestamp_ms = static_cast<std::int64_t>(input.u16());
    view.key = as_text(input.take(input.u16() % 300));
    while (!input.empty() && view.fields.size() < 100) {
        const std::uint32_t which = input.below(16);
        const std::string_view name =
            which < std::size(names) ? names[which] : as_text(input.take(input.below(20)));
        const std::uint32_t size = input.u8();
        view.fields.emplace_back(name,
                                 size == 255 ? std::string_view() : as_text(input.take(size)));
    }
    wire::Message message;
    kafka::RecordExtras extras;
    kafka::to_message(view, message, extras);
    require(extras.attempt > 0);
    require(message.properties.headers.size() <= view.fields.size());
    there_and_back(message, extras);
}

}  // namespace ferry::fuzz
