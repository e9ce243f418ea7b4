#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>
#include <variant>
#include <vector>

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

/// Reads one object of plain values without making it first. Of a name that comes twice the last
/// value counts, as everywhere.
class HeaderReader final : public nlohmann::json_sax<Json> {
public:
    struct Entry {
        std::string name;
        wire::HeaderValue value;
        const char* wrong = nullptr;  // what its value is instead of a header's
    };
    std::vector<Entry> entries;

    bool null() override { return take(std::monostate{}); }
    bool boolean(bool value) override { return take(value); }
    bool number_integer(number_integer_t value) override { return take(std::int64_t{value}); }
    bool number_unsigned(number_unsigned_t value) override {
        if (value > INT64_MAX) return wrong("is a whole number beyond 64 bits");
        return take(static_cast<std::int64_t>(value));
    }
    bool number_float(number_float_t value, const string_t&) override { return take(value); }
    bool string(string_t& value) override { return take(std::move(value)); }
    bool binary(binary_t&) override { return false; }
    bool key(string_t& name) override {
        if (depth_ != 1) return true;
        const auto same = [&](const Entry& one) { return one.name == name; };
        const auto known = std::find_if(entries.begin(), entries.end(), same);
        at_ = static_cast<std::size_t>(known - entries.begin());
        if (known == entries.end()) {
            // One more than may be is enough to know.
            if (entries.size() > limits::headers_max) {
                at_ = 0;
            } else {
                entries.push_back({std::move(name), {}, nullptr});
            }
        }
        return true;
    }
    bool start_object(std::size_t) override {
        return depth_++ == 0 || wrong("is an array or an object");
    }
    bool end_object() override {
        --depth_;
        return true;
    }
    bool start_array(std::size_t) override {
        return depth_++ > 0 && wrong("is an array or an object");
    }
    bool end_array() override { return end_object(); }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
        return false;
    }

private:
    bool take(wire::HeaderValue value) {
        if (depth_ > 1) return true;
        if (depth_ == 0) return false;
        entries[at_].value = std::move(value);
        entries[at_].wrong = nullptr;
        return true;
    }
    bool wrong(const char* what) {
        if (depth_ == 0 || depth_ > limits::json_depth_max) return false;
        entries[at_].wrong = what;
        return true;
    }
    std::size_t depth_ = 0;
    std::size_t at_ = 0;
};

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
    HeaderReader reader;
    if (!Json::sax_parse(json.begin(), json.end(), &reader)) {
        return refused("the headers are not a JSON object");
    }
    auto& entries = reader.entries;
    if (entries.size() > limits::headers_max) return too_many();
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    wire::Headers out;
    out.reserve(entries.size());
    std::size_t encoded = 0;
    for (HeaderReader::Entry& one : entries) {
        if (const Status fine = check_name(one.name); !fine.ok()) return fine.error();
        if (one.wrong != nullptr) return bad_value(one.name, one.wrong);
        encoded += one.name.size() + encoding_bytes + size_of(one.value);
        out.emplace_back(std::move(one.name), std::move(one.value));
    }
    if (encoded > ferry::limits::headers_bytes_max) {
        return refused("the headers take more than " +
                       std::to_string(ferry::limits::headers_bytes_max) + " bytes");
    }
    return out;
}

}  // namespace ferry::outbox
