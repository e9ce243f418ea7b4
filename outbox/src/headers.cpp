#include <charconv>
#include <cmath>
#include <string>
#include <variant>

#include "ferry/outbox/limits.hpp"
#include "ferry/outbox/message.hpp"
#include "json.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

// What msgpack adds to a name or a value at most.
constexpr std::size_t encoding_bytes = 9;

Problem refused(std::string text) {
    return {Kind::refused, 0, std::move(text)};
}

Problem bad_value(std::string_view name, const char* what) {
    return refused("the header " + sqlite::bounded(name, 60) + " " + what +
                   "; headers are texts, numbers, true, false or null");
}

Status check_name(std::string_view name) {
    if (name.empty()) return refused("a header has an empty name");
    if (name.size() > limits::short_text_bytes_max) {
        return refused("the name of header " + sqlite::bounded(name, 60) + " has more than " +
                       std::to_string(limits::short_text_bytes_max) + " bytes");
    }
    return sqlite::ok_status();
}

Problem too_many() {
    return refused("there are more than " + std::to_string(limits::headers_max) + " headers");
}

/// Appends one value. False: it cannot stand in JSON.
struct Writer {
    std::string& out;

    bool operator()(std::monostate) const {
        out += "null";
        return true;
    }
    bool operator()(bool value) const {
        out += value ? "true" : "false";
        return true;
    }
    bool operator()(std::int64_t value) const {
        out += std::to_string(value);
        return true;
    }
    bool operator()(double value) const {
        if (!std::isfinite(value)) return false;
        char digits[32];
        const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
        const std::string_view text(digits, static_cast<std::size_t>(end - digits));
        out += text;
        // 5.0 must come back as a number with a fraction, not as the whole number 5.
        if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
        return true;
    }
    bool operator()(const std::string& value) const { return append_json_text(value, out); }
    bool operator()(const std::vector<std::byte>&) const { return false; }
};

/// Errors: refused.
Answer<wire::HeaderValue> value_of(const std::string& name, const Json& json) {
    switch (json.type()) {
        case Json::value_t::null:
            return wire::HeaderValue(std::monostate{});
        case Json::value_t::boolean:
            return wire::HeaderValue(json.get<bool>());
        case Json::value_t::number_integer:
            return wire::HeaderValue(json.get<std::int64_t>());
        case Json::value_t::number_unsigned:
            if (json.get<std::uint64_t>() > INT64_MAX) {
                return bad_value(name, "is a whole number beyond 64 bits");
            }
            return wire::HeaderValue(json.get<std::int64_t>());
        case Json::value_t::number_float:
            return wire::HeaderValue(json.get<double>());
        case Json::value_t::string:
            return wire::HeaderValue(json.get<std::string>());
        default:
            return bad_value(name, "is an array or an object");
    }
}

std::size_t size_of(const wire::HeaderValue& value) {
    const auto* const text = std::get_if<std::string>(&value);
    return encoding_bytes + (text == nullptr ? 0 : text->size());
}

}  // namespace

Status headers_to_json(std::span<const Header> headers, std::string& out) {
    if (headers.size() > limits::headers_max) return too_many();
    std::size_t encoded = 0;
    out += '{';
    bool first = true;
    for (const auto& [name, value] : headers) {
        if (const Status fine = check_name(name); !fine.ok()) return fine;
        if (!first) out += ',';
        first = false;
        if (!append_json_text(name, out)) return refused("a header's name is not UTF-8");
        out += ':';
        if (!std::visit(Writer{out}, value)) {
            return bad_value(name,
                             "holds bytes, text that is not UTF-8, or a number that is not finite");
        }
        encoded += name.size() + encoding_bytes + size_of(value);
    }
    out += '}';
    if (encoded > ferry::limits::headers_bytes_max) {
        return refused("the headers take more than " +
                       std::to_string(ferry::limits::headers_bytes_max) + " bytes");
    }
    return sqlite::ok_status();
}

Answer<wire::Headers> headers_from_json(std::string_view json) {
    if (json.size() > limits::headers_json_bytes_max) {
        return refused("the headers take more than " +
                       std::to_string(limits::headers_json_bytes_max) + " bytes as JSON");
    }
    const auto parsed = parse_json(json);
    if (!parsed || !parsed->is_object()) return refused("the headers are not a JSON object");
    if (parsed->size() > limits::headers_max) return too_many();
    wire::Headers out;
    out.reserve(parsed->size());
    std::size_t encoded = 0;
    for (const auto& [name, json_value] : parsed->items()) {
        if (const Status fine = check_name(name); !fine.ok()) return fine.error();
        auto value = value_of(name, json_value);
        if (!value.ok()) return value.error();
        encoded += name.size() + encoding_bytes + size_of(value.value());
        out.emplace_back(name, std::move(value).value());
    }
    if (encoded > ferry::limits::headers_bytes_max) {
        return refused("the headers take more than " +
                       std::to_string(ferry::limits::headers_bytes_max) + " bytes");
    }
    return out;
}

}  // namespace ferry::outbox
