#include "ferry/wire/message.hpp"

#include <algorithm>

#include "ferry/wire/limits.hpp"

namespace ferry::wire {

bool read_message(Cursor& cursor, MessageView& out) {
    const std::byte* const begin = cursor.position();
    std::uint32_t fields = 0;
    if (!cursor.read_array(fields) || fields != 4) return false;
    if (!cursor.read_str(out.exchange) || out.exchange.size() > limits::name_bytes_max)
        return false;
    if (!cursor.read_str(out.routing_key) ||
        out.routing_key.size() > limits::routing_key_bytes_max) {
        return false;
    }
    const std::byte* const properties = cursor.position();
    if (!cursor.read_nil()) {
        if (!cursor.next_is_map() || !cursor.skip()) return false;
        if (static_cast<std::size_t>(cursor.position() - properties) >
            limits::message_overhead_bytes_max - 600) {
            return false;
        }
    }
    out.properties = Bytes(properties, cursor.position());
    if (!cursor.read_bin(out.payload)) return false;
    out.whole = Bytes(begin, cursor.position());
    return true;
}

std::string_view ordering_key_of(Bytes properties) {
    Cursor cursor(properties);
    std::uint32_t count = 0;
    std::string_view found;
    if (!cursor.read_map(count)) return found;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint64_t key = 0;
        if (!cursor.read_uint(key)) return found;
        if (key != static_cast<std::uint64_t>(Property::ordering_key)) {
            if (!cursor.skip()) return found;
        } else if (!cursor.read_str(found)) {
            return {};
        }
    }
    return found;
}

namespace {

bool read_short(Cursor& cursor, std::string_view& out) {
    return cursor.read_str(out) && out.size() <= limits::short_text_bytes_max;
}

bool read_short(Cursor& cursor, std::string& out) {
    std::string_view text;
    if (!read_short(cursor, text)) return false;
    out.assign(text);
    return true;
}

bool read_header_value(Cursor& cursor, HeaderValue& out) {
    if (cursor.read_nil()) {
        out = std::monostate{};
        return true;
    }
    bool flag = false;
    if (cursor.read_bool(flag)) {
        out = flag;
        return true;
    }
    std::int64_t number = 0;
    if (cursor.read_int(number)) {
        out = number;
        return true;
    }
    double real = 0;
    if (cursor.read_double(real)) {
        out = real;
        return true;
    }
    std::string_view text;
    if (cursor.read_str(text)) {
        out = std::string(text);
        return true;
    }
    Bytes bytes;
    if (cursor.read_bin(bytes)) {
        out = std::vector<std::byte>(bytes.begin(), bytes.end());
        return true;
    }
    return false;
}

/// Over what read_header_value would take.
bool step_over_header_value(Cursor& cursor) {
    bool flag = false;
    std::int64_t number = 0;
    double real = 0;
    std::string_view text;
    Bytes bytes;
    return cursor.read_nil() || cursor.read_bool(flag) || cursor.read_int(number) ||
           cursor.read_double(real) || cursor.read_str(text) || cursor.read_bin(bytes);
}

bool read_headers(Cursor& cursor, Headers& out) {
    const std::size_t before = cursor.remaining();
    std::uint32_t count = 0;
    if (!cursor.read_map(count) || count > limits::headers_max) return false;
    out.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string name;
        HeaderValue value;
        if (!read_short(cursor, name) || !read_header_value(cursor, value)) return false;
        out.emplace_back(std::move(name), std::move(value));
    }
    return before - cursor.remaining() <= limits::headers_bytes_max;
}

/// Takes the map as it lies there, if the other one would read it.
bool read_headers(Cursor& cursor, Bytes& out) {
    const std::byte* const begin = cursor.position();
    std::uint32_t count = 0;
    if (!cursor.read_map(count) || count > limits::headers_max) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        if (!read_short(cursor, name) || !step_over_header_value(cursor)) return false;
    }
    out = count == 0 ? Bytes() : Bytes(begin, cursor.position());
    return static_cast<std::size_t>(cursor.position() - begin) <= limits::headers_bytes_max;
}

// P: Properties or PropertyViews, whose fields have the same names.
template <class P>
bool read_property(Cursor& cursor, std::uint64_t key, P& out) {
    std::uint64_t priority = 0;
    if (key > UINT8_MAX) return cursor.skip();  // no key of this version
    switch (static_cast<Property>(key)) {
        case Property::id:
            return read_short(cursor, out.id);
        case Property::ordering_key:
            return read_short(cursor, out.ordering_key);
        case Property::headers:
            return read_headers(cursor, out.headers);
        case Property::content_type:
            return read_short(cursor, out.content_type);
        case Property::published_at:
            return cursor.read_uint(out.published_at_ms);
        case Property::expires_at:
            return cursor.read_uint(out.expires_at_ms);
        case Property::deliver_at:
            return cursor.read_uint(out.deliver_at_ms);
        case Property::priority:
            if (!cursor.read_uint(priority) || priority > limits::priority_max) return false;
            out.priority = static_cast<decltype(out.priority)>(priority);
            return true;
        case Property::reply_to:
            return read_short(cursor, out.reply_to);
        case Property::correlation_id:
            return read_short(cursor, out.correlation_id);
    }
    return cursor.skip();
}

void write_header_value(Encoder& out, const HeaderValue& value) {
    struct Writer {
        Encoder& out;
        void operator()(std::monostate) const { out.nil(); }
        void operator()(bool v) const { out.boolean(v); }
        void operator()(std::int64_t v) const { out.integer(v); }
        void operator()(double v) const { out.real(v); }
        void operator()(const std::string& v) const { out.str(v); }
        void operator()(const std::vector<std::byte>& v) const { out.bin(v); }
    };
    std::visit(Writer{out}, value);
}

void write_text(Encoder& out, Property key, std::string_view text) {
    if (!text.empty()) out.uint(static_cast<std::uint64_t>(key)).str(text);
}
void write_number(Encoder& out, Property key, std::uint64_t number) {
    if (number != 0) out.uint(static_cast<std::uint64_t>(key)).uint(number);
}

// P: Properties or PropertyViews, whose fields have the same names.
template <class P, class WriteHeaders>
void write_map(Encoder& out, const P& p, const WriteHeaders& write_headers_of) {
    std::uint32_t count = p.headers.empty() ? 0 : 1;
    for (const std::string_view text :
         {std::string_view(p.id), std::string_view(p.ordering_key),
          std::string_view(p.content_type), std::string_view(p.reply_to),
          std::string_view(p.correlation_id)}) {
        if (!text.empty()) ++count;
    }
    for (const std::uint64_t number :
         {p.published_at_ms, p.expires_at_ms, p.deliver_at_ms, std::uint64_t{p.priority}}) {
        if (number != 0) ++count;
    }
    if (count == 0) {
        out.nil();
        return;
    }
    out.map(count);
    write_text(out, Property::id, p.id);
    write_text(out, Property::ordering_key, p.ordering_key);
    if (!p.headers.empty()) {
        out.uint(static_cast<std::uint64_t>(Property::headers));
        write_headers_of(p.headers);
    }
    write_text(out, Property::content_type, p.content_type);
    write_number(out, Property::published_at, p.published_at_ms);
    write_number(out, Property::expires_at, p.expires_at_ms);
    write_number(out, Property::deliver_at, p.deliver_at_ms);
    write_number(out, Property::priority, p.priority);
    write_text(out, Property::reply_to, p.reply_to);
    write_text(out, Property::correlation_id, p.correlation_id);
}

template <class P>
bool read_map(Bytes properties, P& out) {
    out = P{};
    Cursor cursor(properties);
    if (cursor.read_nil()) return cursor.at_end();
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint64_t key = 0;
        if (!cursor.read_uint(key) || !read_property(cursor, key, out)) return false;
    }
    return cursor.at_end();
}

}  // namespace

bool read_properties(Bytes properties, Properties& out) {
    return read_map(properties, out);
}

bool view_properties(Bytes properties, PropertyViews& out) {
    return read_map(properties, out);
}

void write_headers(Encoder& out, const Headers& headers) {
    out.map(static_cast<std::uint32_t>(headers.size()));
    for (const auto& [name, value] : headers) {
        out.str(name);
        write_header_value(out, value);
    }
}

void write_properties(Encoder& out, const Properties& properties) {
    write_map(out, properties, [&](const Headers& headers) { write_headers(out, headers); });
}

void write_properties(Encoder& out, const PropertyViews& properties) {
    write_map(out, properties, [&](Bytes headers) { out.raw(headers); });
}

void write_message(Encoder& out, const Message& message) {
    out.array(4).str(message.exchange).str(message.routing_key);
    write_properties(out, message.properties);
    out.bin(as_bytes(message.payload));
}

bool valid_name(std::string_view name) {
    if (name.empty() || name.size() > limits::name_bytes_max) return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

std::string check_message(const Message& message) {
    const Properties& p = message.properties;
    if (!message.exchange.empty() && !valid_name(message.exchange)) {
        return "the exchange's name must be 1 to 255 of a-z A-Z 0-9 . _ -";
    }
    if (message.routing_key.size() > limits::routing_key_bytes_max)
        return "the routing key is longer than 255 bytes";
    if (message.payload.size() > limits::payload_bytes_max)
        return "the payload is larger than the limit of 1,024,000 bytes";
    for (const std::string* text :
         {&p.id, &p.ordering_key, &p.content_type, &p.reply_to, &p.correlation_id}) {
        if (text->size() > limits::short_text_bytes_max) {
            return "id, ordering key, content type, reply-to and correlation id have at most 255 "
                   "bytes each";
        }
    }
    if (p.priority > limits::priority_max) return "the priority must be 0 to 9";
    if (p.headers.empty()) return {};
    if (p.headers.size() > limits::headers_max) return "there are more than 64 headers";
    Buffer bytes;
    Encoder encoder(bytes);
    write_properties(encoder, p);
    Properties back;
    if (!read_properties(bytes, back))
        return "the headers take more than 16 KiB, or a name more than 255 bytes";
    return {};
}

}  // namespace ferry::wire
