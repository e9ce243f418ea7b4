#include "ferry/consumer/incoming.hpp"

#include <utility>

#include "dead_letter.hpp"

namespace ferry::consumer {

std::string Incoming::idempotency_key(std::string_view consumer) const {
    std::string key(consumer);
    key += '/';
    // Without an id of the publisher's only this copy in this log has a name.
    key += id().empty() ? "position:" + std::to_string(delivery().position) : id();
    return key;
}

bool Incoming::header(std::string_view name, std::int64_t& value) const {
    for (const auto& [key, held] : properties().headers) {
        if (key != name) continue;
        const auto* number = std::get_if<std::int64_t>(&held);
        if (number == nullptr) return false;
        value = *number;
        return true;
    }
    return false;
}

bool Incoming::redriven() const {
    for (const auto& [key, value] : properties().headers) {
        if (key.starts_with(death_prefix) || key == moved_header) return true;
    }
    return false;
}

Incoming::Incoming(transport::Received received) : received_(std::move(received)) {
    look();
}

Incoming::Incoming(const transport::LateReceived& received)
    : received_(received), late_(received.late), which_(received.which) {
    if (late_ == nullptr) {
        look();
        return;
    }
    ordering_key_ = received.ordering_key;
    published_at_ms_ = received.delivery.published_ms;
}

void Incoming::look() {
    wire::PropertyViews seen;
    malformed_ = !wire::view_properties(received_.delivery.message.properties, seen);
    if (malformed_) return;
    ordering_key_ = seen.ordering_key;
    published_at_ms_ = seen.published_at_ms;
}

void Incoming::complete() const {
    std::exchange(late_, nullptr)->read(which_, received_.delivery.message);
}

const wire::Properties& Incoming::read_now() const {
    wire::Properties read;
    const Bytes bytes = delivery().message.properties;
    if (!bytes.empty() && !wire::read_properties(bytes, read)) read = {};
    properties_ = std::make_shared<const wire::Properties>(std::move(read));
    return *properties_;
}

Result<Incoming> read_incoming(transport::Received received) {
    const std::uint64_t position = received.delivery.position;
    Incoming incoming(std::move(received));
    if (incoming.malformed()) {
        return Error{Errc::rejected, 0, position,
                     "a known property of the message has the wrong type"};
    }
    return incoming;
}

}  // namespace ferry::consumer
