#include "fields.hpp"

#include <algorithm>

#include "ferry/wire/limits.hpp"

namespace ferry::server::native {
namespace {

constexpr std::uint32_t options_max = 32;
constexpr std::uint32_t texts_max = 64;  // of an array; more are passed over

std::string number_complaint(const Option& option) {
    std::string text(option.name);
    text += " is a number from " + std::to_string(option.least) + " to ";
    return text + std::to_string(option.most);
}

// Reads the value of a known option; steps over it if it does not fit.
bool read_value(wire::Cursor& cursor, const Option& option, std::string& complaint) {
    if (option.flag != nullptr) {
        if (cursor.read_bool(*option.flag)) return true;
        complaint = std::string(option.name) + " is true or false";
    } else if (option.text != nullptr) {
        std::string_view text;
        const wire::Cursor before = cursor;
        if (cursor.read_str(text) && text.size() <= limits::short_text_bytes_max) {
            *option.text = text;
            return true;
        }
        cursor = before;
        complaint = std::string(option.name) + " is a string of at most 255 bytes";
    } else if (option.texts != nullptr) {
        const wire::Cursor before = cursor;
        std::uint32_t count = 0;
        if (!cursor.read_array(count)) complaint = std::string(option.name) + " is an array";
        for (std::uint32_t i = 0; i < std::min(count, texts_max); ++i) {
            std::string_view text;
            if (cursor.read_str(text)) {
                option.texts->push_back(text);
            } else if (!cursor.skip()) {
                break;
            }
        }
        cursor = before;
    } else {
        std::uint64_t value = 0;
        const wire::Cursor before = cursor;
        if (cursor.read_uint(value) && value >= option.least && value <= option.most) {
            if (option.number != nullptr) *option.number = value;
            if (option.maybe_number != nullptr) *option.maybe_number = value;
            return true;
        }
        cursor = before;
        complaint = number_complaint(option);
    }
    return cursor.skip();
}

bool read_argument(wire::Cursor& cursor, engine::Argument& out) {
    if (cursor.read_nil()) {
        out = std::monostate{};
        return true;
    }
    if (cursor.next_is_bool()) {
        bool value = false;
        if (!cursor.read_bool(value)) return false;
        out = value;
        return true;
    }
    if (cursor.next_is_integer()) {
        std::int64_t value = 0;
        if (!cursor.read_int(value)) return false;
        out = value;
        return true;
    }
    if (cursor.next_is_double()) {
        double value = 0;
        if (!cursor.read_double(value)) return false;
        out = value;
        return true;
    }
    std::string_view text;
    if (!cursor.read_str(text)) return false;
    out = std::string(text);
    return true;
}

}  // namespace

bool read_options(wire::Cursor& cursor, std::span<const Option> known, std::string& complaint) {
    std::uint32_t count = 0;
    if (!cursor.read_map(count) || count > options_max) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        if (!cursor.read_str(name)) return false;
        const auto option = std::find_if(known.begin(), known.end(),
                                         [name](const Option& one) { return one.name == name; });
        if (option == known.end()) {
            complaint = "unknown option " + std::string(name.substr(0, 64));
            if (!cursor.skip()) return false;
        } else if (!read_value(cursor, *option, complaint)) {
            return false;
        }
    }
    return true;
}

bool read_ranges(wire::Cursor& cursor, std::vector<engine::Range<std::uint64_t>>& out) {
    out.clear();
    return append_ranges(cursor, out);
}

bool append_ranges(wire::Cursor& cursor, std::vector<engine::Range<std::uint64_t>>& out) {
    std::uint32_t count = 0;
    if (!cursor.read_array(count)) return false;
    if (count % 2 != 0 || count / 2 > limits::ranges_per_frame_max - out.size()) return false;
    for (std::uint32_t i = 0; i < count; i += 2) {
        engine::Range<std::uint64_t> range;
        if (!cursor.read_uint(range.first) || !cursor.read_uint(range.last)) return false;
        if (range.first > range.last) return false;
        out.push_back(range);
    }
    return true;
}

bool read_arguments(wire::Cursor& cursor, engine::Arguments& out) {
    std::uint32_t count = 0;
    if (!cursor.read_map(count) || count > limits::headers_max) return false;
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        engine::Argument value;
        if (!cursor.read_str(name) || !read_argument(cursor, value)) return false;
        bytes += name.size();
        if (const auto* text = std::get_if<std::string>(&value)) bytes += text->size();
        if (bytes > limits::headers_bytes_max) return false;
        out.emplace_back(std::string(name), std::move(value));
    }
    std::sort(out.begin(), out.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return std::adjacent_find(out.begin(), out.end(), [](const auto& a, const auto& b) {
               return a.first == b.first;
           }) == out.end();
}

}  // namespace ferry::server::native
