#include "sql_options.hpp"

#include <string>

#include "ferry/outbox/limits.hpp"
#include "json.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

Problem refused(std::string text) {
    return {Kind::refused, 0, std::move(text)};
}

struct TextOption {
    const char* name;
    std::string SqlOptions::*member;
};
constexpr TextOption text_options[] = {
    {"ordering_key", &SqlOptions::ordering_key},
    {"content_type", &SqlOptions::content_type},
    {"correlation_id", &SqlOptions::correlation_id},
    {"reply_to", &SqlOptions::reply_to},
};

struct TimeOption {
    const char* name;
    std::uint64_t Times::*member;
};
constexpr TimeOption time_options[] = {
    {"delay_ms", &Times::delay_ms},
    {"deliver_at_ms", &Times::deliver_at_ms},
    {"ttl_ms", &Times::ttl_ms},
    {"expires_at_ms", &Times::expires_at_ms},
};

Problem unknown(std::string_view name, SqlFunction function) {
    std::string known;
    for (const TextOption& option : text_options) known += std::string(option.name) + ", ";
    for (const TimeOption& option : time_options) known += std::string(option.name) + ", ";
    if (function == SqlFunction::append) known += "exchange, ";
    return refused("there is no option \"" + sqlite::bounded(name, 60) + "\"; there are " + known +
                   "priority and headers");
}

Status read_text(const char* name, const Json& value, std::string& out) {
    if (!value.is_string()) return refused(std::string("the option ") + name + " must be a text");
    out = value.get<std::string>();
    return sqlite::ok_status();
}

Status read_number(const char* name, const Json& value, std::uint64_t& out) {
    if (!value.is_number_unsigned()) {
        return refused(std::string("the option ") + name + " must be a whole number, 0 or larger");
    }
    out = value.get<std::uint64_t>();
    return sqlite::ok_status();
}

Status read_headers(const Json& value, SqlOptions& out) {
    if (!value.is_object()) return refused("the option headers must be a JSON object");
    if (value.empty()) return sqlite::ok_status();
    const auto headers =
        headers_from_json(value.dump(-1, ' ', false, Json::error_handler_t::replace));
    if (!headers.ok()) return headers.error();
    return headers_to_json(headers.value(), out.headers_json);
}

bool is_known(const std::string& name, SqlFunction function) {
    for (const TextOption& option : text_options) {
        if (name == option.name) return true;
    }
    for (const TimeOption& option : time_options) {
        if (name == option.name) return true;
    }
    return name == "priority" || name == "headers" ||
           (name == "exchange" && function == SqlFunction::append);
}

/// Requires  is_known(name).
Status read_option(const std::string& name, const Json& value, SqlOptions& out) {
    for (const TextOption& option : text_options) {
        if (name == option.name) return read_text(option.name, value, out.*option.member);
    }
    for (const TimeOption& option : time_options) {
        if (name == option.name) return read_number(option.name, value, out.times.*option.member);
    }
    if (name == "priority") return read_number("priority", value, out.priority);
    if (name == "headers") return read_headers(value, out);
    out.has_exchange = true;
    return read_text("exchange", value, out.exchange);
}

}  // namespace

void SqlOptions::apply_to(Row& row) const {
    row.ordering_key = ordering_key;
    row.content_type = content_type;
    row.correlation_id = correlation_id;
    row.reply_to = reply_to;
    row.headers_json = headers_json;
    row.priority = priority;
}

Answer<SqlOptions> parse_options(std::string_view json, SqlFunction function) {
    if (json.size() > limits::options_json_bytes_max) {
        return refused("the options have more than " +
                       std::to_string(limits::options_json_bytes_max) + " bytes");
    }
    const auto parsed = parse_json(json);
    if (!parsed || !parsed->is_object()) {
        return refused("the options are not a JSON object, such as {\"priority\": 5}");
    }
    SqlOptions out;
    for (const auto& [name, value] : parsed->items()) {
        if (!is_known(name, function)) return unknown(name, function);
        // null says nothing, so that a caller can fill all names from variables.
        if (value.is_null()) continue;
        if (const Status read = read_option(name, value, out); !read.ok()) return read.error();
    }
    return out;
}

}  // namespace ferry::outbox
