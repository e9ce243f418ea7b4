#include <string>

#include "extension.hpp"

namespace ferry::outbox::extension {

using sqlite::Answer;
using sqlite::Kind;
using sqlite::Problem;

Answer<std::optional<std::string_view>> text_argument(sqlite3_value* value, const char* name) {
    switch (sqlite3_value_type(value)) {
        case SQLITE_NULL:
            return std::optional<std::string_view>{};
        case SQLITE_TEXT: {
            const auto* const text = reinterpret_cast<const char*>(sqlite3_value_text(value));
            if (text == nullptr) return Problem{Kind::failed, SQLITE_NOMEM, "out of memory"};
            return std::optional<std::string_view>(
                {text, static_cast<std::size_t>(sqlite3_value_bytes(value))});
        }
        default:
            return Problem{Kind::refused, 0, std::string(name) + " must be a text"};
    }
}

Answer<std::string_view> needed_text(sqlite3_value* value, const char* name) {
    const auto text = text_argument(value, name);
    if (!text.ok()) return text.error();
    if (!text.value()) return Problem{Kind::refused, 0, std::string(name) + " is NULL"};
    return *text.value();
}

Answer<Bytes> bytes_argument(sqlite3_value* value, const char* name) {
    if (sqlite3_value_type(value) == SQLITE_BLOB) {
        const auto* const at = static_cast<const std::byte*>(sqlite3_value_blob(value));
        return Bytes(at, static_cast<std::size_t>(sqlite3_value_bytes(value)));
    }
    if (sqlite3_value_type(value) == SQLITE_TEXT) {
        const auto text = needed_text(value, name);
        if (!text.ok()) return text.error();
        return as_bytes(text.value());
    }
    return Problem{Kind::refused, 0, std::string(name) + " must be a blob or a text"};
}

void report(sqlite3_context* context, std::string_view function, const Problem& problem) {
    const std::string text = std::string(function) + ": " + problem.text;
    sqlite3_result_error(context, text.c_str(), static_cast<int>(text.size()));
    if (problem.code != 0) {
        sqlite3_result_error_code(context, problem.code);
    } else if (problem.kind == Kind::conflict || problem.kind == Kind::refused) {
        sqlite3_result_error_code(context, SQLITE_CONSTRAINT_FUNCTION);
    }
}

}  // namespace ferry::outbox::extension
