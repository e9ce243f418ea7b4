#include "ferry/consumer/incoming.hpp"

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

const wire::Properties& Incoming::read_now() const {
    wire::Properties& read = properties_.emplace();
    const Bytes bytes = received_.delivery.message.properties;
    if (!bytes.empty() && !wire::read_properties(bytes, read)) read = {};
    return read;
}

Result<Incoming> read_incoming(transport::Received received) {
    wire::PropertyViews seen;
    if (!wire::view_properties(received.delivery.message.properties, seen)) {
        return Error{Errc::rejected, 0, received.delivery.position,
                     "a known property of the message has the wrong type"};
    }
    return Incoming(std::move(received), seen);
}

}  // namespace ferry::consumer
