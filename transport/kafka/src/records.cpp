#include "ferry/transport/kafka/records.hpp"

#include <array>
#include <charconv>
#include <cstdio>

#include "ferry/wire/limits.hpp"

namespace ferry::transport::kafka {
namespace {

namespace size = ferry::limits;

/// The letter of a header's type, and its text.
struct Typed {
    char type = 's';
    std::string text;
};

Typed typed(const wire::HeaderValue& value) {
    if (std::holds_alternative<std::monostate>(value)) return {'n', {}};
    if (const auto* truth = std::get_if<bool>(&value)) return {'b', *truth ? "true" : "false"};
    if (const auto* number = std::get_if<std::int64_t>(&value)) {
        return {'i', std::to_string(*number)};
    }
    if (const auto* real = std::get_if<double>(&value)) {
        std::array<char, 64> text{};
        const auto end = std::to_chars(text.data(), text.data() + text.size(), *real);
        return {'d', std::string(text.data(), end.ptr)};
    }
    if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) {
        return {'x', std::string(as_text(*bytes))};
    }
    return {'s', std::get<std::string>(value)};
}

template <class Number>
bool read_number(std::string_view text, Number& out) {
    const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
    return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

std::vector<std::byte> to_bytes(std::string_view text) {
    const Bytes bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

bool valid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i++]);
        if (lead < 0x80) continue;
        const std::size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || i + more > text.size()) return false;
        for (std::size_t k = 0; k < more; ++k) {
            if ((static_cast<unsigned char>(text[i++]) & 0xC0) != 0x80) return false;
        }
    }
    return true;
}

/// What does not fit its letter is text: a foreign writer may have changed the header.
wire::HeaderValue value_of(char type, std::string_view text) {
    if (text.data() == nullptr || type == 'n') return std::monostate{};
    switch (type) {
        case 'b':
            if (text == "true" || text == "false") return text == "true";
            break;
        case 'i': {
            std::int64_t number = 0;
            if (read_number(text, number)) return number;
            break;
        }
        case 'd': {
            double number = 0;
            if (read_number(text, number)) return number;
            break;
        }
        case 'x':
            return to_bytes(text);
        default:
            break;
    }
    if (!valid_utf8(text)) return to_bytes(text);
    return std::string(text);
}

bool is_plain(std::string_view text) {
    return text.size() <= size::short_text_bytes_max && valid_utf8(text);
}

std::string short_text(std::string_view text) {
    return is_plain(text) ? std::string(text) : std::string();
}

/// True: it is one of ours, and was taken.
bool take_own(std::string_view name, std::string_view value, wire::Message& out,
              RecordExtras& extras, std::string_view& types) {
    if (!name.starts_with(header_prefix)) return false;
    wire::Properties& properties = out.properties;
    if (name == id_header) {
        properties.id = short_text(value);
    } else if (name == exchange_header) {
        if (wire::valid_name(value)) out.exchange = std::string(value);
    } else if (name == routing_key_header) {
        if (value.size() <= size::routing_key_bytes_max && valid_utf8(value)) {
            out.routing_key = std::string(value);
        }
    } else if (name == content_type_header) {
        properties.content_type = short_text(value);
    } else if (name == reply_to_header) {
        properties.reply_to = short_text(value);
    } else if (name == correlation_id_header) {
        properties.correlation_id = short_text(value);
    } else if (name == types_header) {
        types = value;
    } else if (name == attempt_header) {
        std::uint64_t attempt = 0;
        if (read_number(value, attempt) && attempt > 0) extras.attempt = attempt;
    } else if (name == due_header) {
        read_number(value, extras.due_ms);
    }
    return true;
}

}  // namespace

// FNV-1a: equal keys stay equal, and nothing depends on who computes it.
std::string_view ordering_key(std::string_view key, HashedKey& hashed) {
    if (is_plain(key)) return key;
    std::uint64_t hash = 14695981039346656037ULL;
    for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    std::snprintf(hashed.data(), hashed.size(), "key:%016llx",
                  static_cast<unsigned long long>(hash));
    return {hashed.data(), hashed_key_bytes};
}

std::string_view unsupported(const wire::Properties& properties) {
    if (properties.deliver_at_ms != 0) {
        return "NOT_SUPPORTED: Kafka has no delayed messages; leave deliver-at out";
    }
    if (properties.expires_at_ms != 0) {
        return "NOT_SUPPORTED: Kafka has no time to live per message; set the topic's "
               "retention.ms";
    }
    if (properties.priority != 0) {
        return "NOT_SUPPORTED: Kafka has no priorities; use a topic for each";
    }
    return {};
}

std::string_view to_record(std::string_view exchange, std::string_view routing_key,
                           const wire::Properties& properties, Record& out) {
    out.key = properties.ordering_key;
    out.fields.clear();
    out.timestamp_ms = static_cast<std::int64_t>(properties.published_at_ms);
    const auto add = [&](std::string_view name, std::string_view value) {
        if (!value.empty()) out.fields.push_back({std::string(name), std::string(value), false});
    };
    add(id_header, properties.id);
    if (!exchange.empty()) {
        add(exchange_header, exchange);
        add(routing_key_header, routing_key);
    }
    add(content_type_header, properties.content_type);
    add(reply_to_header, properties.reply_to);
    add(correlation_id_header, properties.correlation_id);
    std::string types;
    bool all_text = true;
    for (const auto& [name, value] : properties.headers) {
        if (name.starts_with(header_prefix)) {
            return "names of headers that begin with ferry. are taken on Kafka";
        }
        if (name.find('\0') != std::string::npos) return "a header's name has a zero byte in it";
        Typed written = typed(value);
        types += written.type;
        all_text = all_text && written.type == 's';
        out.fields.push_back({name, std::move(written.text), written.type == 'n'});
    }
    if (!all_text) add(types_header, types);
    return {};
}

void to_message(const RecordView& record, wire::Message& out, RecordExtras& extras) {
    out = {};
    extras = {};
    std::string_view types;
    std::size_t count = 0;
    for (const auto& [name, value] : record.fields) {
        if (!take_own(name, value, out, extras, types)) ++count;
    }
    if (types.size() != count) types = {};
    if (out.exchange.empty() && out.routing_key.empty()) {
        out.routing_key = std::string(record.topic);
    }
    HashedKey hashed;
    out.properties.ordering_key = ordering_key(record.key, hashed);
    if (record.timestamp_ms > 0) {
        out.properties.published_at_ms = static_cast<std::uint64_t>(record.timestamp_ms);
    }
    std::size_t bytes = 0;
    std::size_t index = 0;
    for (const auto& [name, value] : record.fields) {
        if (name.starts_with(header_prefix)) continue;
        const char type = types.empty() ? 's' : types[index];
        ++index;
        bytes += name.size() + value.size() + 16;
        if (name.empty() || name.size() > size::short_text_bytes_max || !valid_utf8(name) ||
            out.properties.headers.size() >= size::headers_max || bytes > size::headers_bytes_max) {
            ++extras.dropped;
            continue;
        }
        out.properties.headers.emplace_back(std::string(name), value_of(type, value));
    }
}

bool to_views(const RecordView& record, wire::PropertyViews& out) {
    if (!is_plain(record.key)) return false;
    out = {};
    for (const auto& [name, value] : record.fields) {
        if (!is_plain(value)) return false;
        if (name == id_header) {
            out.id = value;
        } else if (name == content_type_header) {
            out.content_type = value;
        } else {
            return false;
        }
    }
    out.ordering_key = record.key;
    if (record.timestamp_ms > 0) {
        out.published_at_ms = static_cast<std::uint64_t>(record.timestamp_ms);
    }
    return true;
}

}  // namespace ferry::transport::kafka
