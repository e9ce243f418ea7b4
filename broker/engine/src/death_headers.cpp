#include "death_headers.hpp"

#include <algorithm>

#include "ferry/wire/limits.hpp"

namespace ferry::engine {
namespace {

using wire::Headers;
using wire::HeaderValue;

constexpr std::string_view reason_header = "ferry-death-reason";
constexpr std::string_view queue_header = "ferry-death-queue";
constexpr std::string_view exchange_header = "ferry-death-exchange";
constexpr std::string_view key_header = "ferry-death-routing-key";
constexpr std::string_view count_header = "ferry-death-count";
constexpr std::string_view attempts_header = "ferry-death-attempts";
constexpr std::string_view first_header = "ferry-death-first-ms";
constexpr std::string_view last_header = "ferry-death-last-ms";
constexpr std::string_view history_header = "ferry-death-history";
constexpr std::string_view moved_header = "ferry-moved-from";
constexpr std::size_t history_bytes_max = 2048;
constexpr std::size_t properties_bytes_max = limits::message_overhead_bytes_max - 600;

const HeaderValue* find(const Headers& headers, std::string_view name) {
    const auto at = std::find_if(headers.begin(), headers.end(),
                                 [&](const auto& header) { return header.first == name; });
    return at == headers.end() ? nullptr : &at->second;
}
std::string text_of(const Headers& headers, std::string_view name) {
    const HeaderValue* value = find(headers, name);
    const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
    return text == nullptr ? std::string() : *text;
}
std::uint64_t number_of(const Headers& headers, std::string_view name) {
    const HeaderValue* value = find(headers, name);
    const auto* number = value == nullptr ? nullptr : std::get_if<std::int64_t>(value);
    return number == nullptr || *number < 0 ? 0 : static_cast<std::uint64_t>(*number);
}
void set(Headers& headers, std::string_view name, HeaderValue value) {
    for (auto& [key, old] : headers) {
        if (key != name) continue;
        old = std::move(value);
        return;
    }
    headers.emplace_back(std::string(name), std::move(value));
}
void drop(Headers& headers, std::string_view name) {
    std::erase_if(headers, [&](const auto& header) { return header.first == name; });
}
HeaderValue number(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

// "queue reason count first last", one for each queue and reason, the newest last.
std::string history_with(std::string history, const Death& death) {
    const std::string name = std::string(death.queue) + " " + std::string(death.reason) + " ";
    std::uint64_t count = 1;
    std::string first = std::to_string(death.wall_ms);
    std::string kept;
    while (!history.empty()) {
        const std::size_t end = std::min(history.find("; "), history.size());
        const std::string entry = history.substr(0, end);
        history.erase(0, std::min(end + 2, history.size()));
        if (!entry.starts_with(name)) {
            kept += entry + "; ";
            continue;
        }
        // Somebody else may have written the header: what does not parse counts as nothing.
        std::size_t at = name.size();
        std::uint64_t before = 0;
        while (at < entry.size() && entry[at] >= '0' && entry[at] <= '9' && before < 1'000'000'000)
            before = before * 10 + static_cast<std::uint64_t>(entry[at++] - '0');
        count += before;
        const std::size_t space = entry.find(' ', at + 1);
        if (at + 1 < entry.size() && space != std::string::npos)
            first = entry.substr(at + 1, space - at - 1);
    }
    kept += name + std::to_string(count) + " " + first + " " + std::to_string(death.wall_ms);
    while (kept.size() > history_bytes_max && kept.find("; ") != std::string::npos)
        kept.erase(0, kept.find("; ") + 2);
    return kept;
}

bool fits(const wire::Message& letter) {
    if (letter.properties.headers.size() > limits::headers_max) return false;
    std::vector<std::byte> bytes;
    wire::Encoder encoder(bytes);
    wire::write_properties(encoder, letter.properties);
    wire::Properties back;
    return bytes.size() <= properties_bytes_max && wire::read_properties(bytes, back);
}

}  // namespace

bool open_letter(const wire::MessageView& message, wire::Message& out, DeathNotes& notes) {
    if (!wire::read_properties(message.properties, out.properties)) return false;
    out.exchange = message.exchange;
    out.routing_key = message.routing_key;
    out.properties.deliver_at_ms = 0;
    const Headers& headers = out.properties.headers;
    notes.queue = text_of(headers, queue_header);
    notes.count = number_of(headers, count_header);
    const bool died = notes.count > 0;
    notes.exchange = died ? text_of(headers, exchange_header) : out.exchange;
    notes.routing_key = died ? text_of(headers, key_header) : out.routing_key;
    return true;
}

void note_death(wire::Message& letter, const DeathNotes& notes, const Death& death) {
    const wire::Message before = letter;
    Headers& headers = letter.properties.headers;
    set(headers, reason_header, std::string(death.reason));
    set(headers, queue_header, std::string(death.queue));
    set(headers, count_header, number(notes.count + 1));
    set(headers, attempts_header, number(death.attempts));
    if (notes.count == 0) {
        set(headers, exchange_header, notes.exchange);
        set(headers, key_header, notes.routing_key);
        set(headers, first_header, number(death.wall_ms));
    }
    set(headers, last_header, number(death.wall_ms));
    set(headers, history_header, history_with(text_of(headers, history_header), death));
    for (const std::string_view less : {history_header, attempts_header, first_header, last_header,
                                        exchange_header, key_header}) {
        if (fits(letter)) return;
        drop(headers, less);
    }
    if (!fits(letter)) letter = before;
}

void note_move(wire::Message& letter, std::string_view queue) {
    set(letter.properties.headers, moved_header, std::string(queue));
    if (!fits(letter)) drop(letter.properties.headers, moved_header);
}

void write_letter(std::vector<std::byte>& out, const wire::Message& letter,
                  const wire::MessageView& original) {
    // Keys that this version does not know go along as they are.
    std::vector<std::byte> unknown;
    std::uint32_t unknown_count = 0;
    wire::Cursor cursor(original.properties);
    std::uint32_t count = 0;
    if (!cursor.read_nil() && cursor.read_map(count)) {
        for (std::uint32_t i = 0; i < count; ++i) {
            const std::byte* const begin = cursor.position();
            std::uint64_t key = 0;
            if (!cursor.read_uint(key) || !cursor.skip()) break;
            if (key >= 1 && key <= static_cast<std::uint64_t>(wire::Property::correlation_id))
                continue;
            unknown.insert(unknown.end(), begin, cursor.position());
            ++unknown_count;
        }
    }
    std::vector<std::byte> known;
    wire::Encoder encoder(known);
    wire::write_properties(encoder, letter.properties);
    wire::Encoder message(out);
    message.array(4).str(letter.exchange).str(letter.routing_key);
    if (unknown_count == 0 || known.size() + unknown.size() > properties_bytes_max) {
        message.raw(known);
    } else {
        wire::Cursor head(known);
        std::uint32_t pairs = 0;
        if (!head.read_nil() && !head.read_map(pairs)) pairs = 0;
        message.map(pairs + unknown_count);
        message.raw(Bytes(head.position(), head.remaining())).raw(unknown);
    }
    message.bin(original.payload);
}

}  // namespace ferry::engine
