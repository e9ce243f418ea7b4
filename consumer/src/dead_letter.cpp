#include "dead_letter.hpp"

#include <utility>

#include "ferry/platform/clock.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::consumer {
namespace {

/// The application's last header; ours are needed to know the message again.
bool drop_one(wire::Headers& headers) {
    for (auto it = headers.rbegin(); it != headers.rend(); ++it) {
        if (it->first.starts_with("ferry-")) continue;
        headers.erase(std::next(it).base());
        return true;
    }
    return false;
}

}  // namespace

transport::Message dead_copy(const Incoming& message, std::string_view reason,
                             const std::string& queue, const std::string& dead_letter_queue) {
    transport::Message copy;
    copy.routing_key = dead_letter_queue;
    copy.properties = message.properties();
    copy.payload = std::string(message.payload());
    copy.properties.deliver_at_ms = 0;
    copy.properties.expires_at_ms = 0;
    auto& headers = copy.properties.headers;
    const auto set = [&](std::string_view name, wire::HeaderValue value) {
        std::erase_if(headers, [&](const auto& header) { return header.first == name; });
        headers.emplace_back(std::string(name), std::move(value));
    };
    std::int64_t deaths = 0;
    const bool died = message.header(death_count_header, deaths) && deaths > 0;
    const auto now = static_cast<std::int64_t>(system_clock().now().wall_ms);
    if (!died) {
        set(death_exchange_header, std::string(message.delivery().message.exchange));
        set(death_key_header, std::string(message.routing_key()));
        set(death_first_header, now);
    }
    set(death_reason_header, std::string("rejected"));
    set(death_text_header, std::string(reason.substr(0, limits::reason_bytes_max)));
    set(death_queue_header, queue);
    set(death_count_header, (died ? deaths : 0) + 1);
    set(death_attempts_header, static_cast<std::int64_t>(message.attempt()));
    set(death_last_header, now);
    // A message full of headers loses the application's last ones rather than its way out.
    while (!wire::check_message(copy).empty() && drop_one(headers)) {
    }
    return copy;
}

}  // namespace ferry::consumer
