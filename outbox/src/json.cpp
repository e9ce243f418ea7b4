#include "json.hpp"

#include <algorithm>

#include "ferry/outbox/limits.hpp"

namespace ferry::outbox {

std::optional<Json> parse_json(std::string_view text) {
    bool too_deep = false;
    const auto watch = [&too_deep](int depth, Json::parse_event_t, const Json&) {
        // Called at each value; what is nested deeper is left out, so memory stays bounded.
        if (depth <= static_cast<int>(limits::json_depth_max)) return true;
        too_deep = true;
        return false;
    };
    Json out = Json::parse(text.begin(), text.end(), watch, false);
    if (out.is_discarded() || too_deep) return std::nullopt;
    return out;
}

bool append_json_text(std::string_view text, std::string& out) {
    // Nearly all: a message has many such texts, and a serializer costs more than they do.
    const bool as_it_is = std::all_of(text.begin(), text.end(), [](char c) {
        return c >= ' ' && c <= '~' && c != '"' && c != '\\';
    });
    if (as_it_is) {
        out += '"';
        out += text;
        out += '"';
        return true;
    }
    try {
        out += Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::strict);
        return true;
    } catch (const Json::type_error&) {
        return false;
    }
}

}  // namespace ferry::outbox
