#include "message_json.hpp"

#include <charconv>
#include <cstring>
#include <variant>

#include <nlohmann/json.hpp>

namespace ferry::cli {
namespace {

std::string_view as_text(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct HeaderToJson {
    Json operator()(std::monostate) const { return nullptr; }
    Json operator()(bool value) const { return value; }
    Json operator()(std::int64_t value) const { return value; }
    Json operator()(double value) const { return value; }
    Json operator()(const std::string& value) const { return value; }
    Json operator()(const std::vector<std::byte>& value) const {
        Json object = Json::object();
        put_bytes(object, "bytes", as_text(value));
        return object;
    }
};

void put_text(Json& object, const char* name, const std::string& text) {
    if (!text.empty()) object[name] = text;
}

void put_number(Json& object, const char* name, std::uint64_t number) {
    if (number != 0) object[name] = number;
}

template <class Number>
bool is_whole_number(std::string_view text, Number& out) {
    const char* end = text.data() + text.size();
    const auto [stop, problem] = std::from_chars(text.data(), end, out);
    return problem == std::errc{} && stop == end;
}

wire::HeaderValue header_value(std::string_view text) {
    if (text == "true") return true;
    if (text == "false") return false;
    if (text == "null") return std::monostate{};
    std::int64_t whole = 0;
    if (is_whole_number(text, whole)) return whole;
    double real = 0;
    if (is_whole_number(text, real)) return real;
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
        text = text.substr(1, text.size() - 2);
    }
    return std::string(text);
}

}  // namespace

Json header_json(const wire::HeaderValue& value) {
    return std::visit(HeaderToJson{}, value);
}

void put_bytes(Json& object, const std::string& name, std::string_view bytes) {
    if (valid_utf8(bytes)) {
        object[name] = std::string(bytes);
    } else {
        object[name + "_base64"] =
            base64({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
    }
}

Json message_json(const wire::Message& message, const Envelope& envelope) {
    Json out = Json::object();
    if (!envelope.queue.empty()) out["queue"] = std::string(envelope.queue);
    out["position"] = envelope.position;
    out["attempt"] = envelope.attempt;
    out["published_ms"] = envelope.published_ms;
    out["exchange"] = message.exchange;
    out["routing_key"] = message.routing_key;
    const wire::Properties& properties = message.properties;
    put_text(out, "id", properties.id);
    put_text(out, "ordering_key", properties.ordering_key);
    put_text(out, "content_type", properties.content_type);
    put_number(out, "published_at_ms", properties.published_at_ms);
    put_number(out, "expires_at_ms", properties.expires_at_ms);
    put_number(out, "deliver_at_ms", properties.deliver_at_ms);
    put_number(out, "priority", properties.priority);
    put_text(out, "reply_to", properties.reply_to);
    put_text(out, "correlation_id", properties.correlation_id);
    if (!properties.headers.empty()) {
        Json& headers = out["headers"] = Json::object();
        for (const auto& [name, value] : properties.headers) headers[name] = header_json(value);
    }
    put_bytes(out, "payload", message.payload);
    return out;
}

std::optional<std::pair<std::string, wire::HeaderValue>> parse_header(std::string_view text) {
    const std::size_t at = text.find('=');
    if (at == std::string_view::npos || at == 0) return std::nullopt;
    return std::pair{std::string(text.substr(0, at)), header_value(text.substr(at + 1))};
}

}  // namespace ferry::cli
