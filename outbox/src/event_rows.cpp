#include "event_rows.hpp"

#include "ferry/outbox/limits.hpp"
#include "ferry/platform/assert.hpp"
#include "json.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

Status check_name(std::string_view text, const char* what) {
    if (!text.empty() && text.size() <= limits::short_text_bytes_max) return sqlite::ok_status();
    return Problem{Kind::refused, 0,
                   std::string(what) + " must have 1 to " +
                       std::to_string(limits::short_text_bytes_max) + " bytes; this one has " +
                       std::to_string(text.size())};
}

}  // namespace

std::string with_event_headers(std::string_view headers_json, std::string_view stream,
                               std::uint64_t version) {
    std::string out = "{\"" + std::string(stream_header) + "\":";
    const bool readable = append_json_text(stream, out);
    FERRY_ASSERT(readable, "the name of a stream was not checked");
    out += ",\"" + std::string(version_header) + "\":" + std::to_string(version);
    // What is behind the opening brace of the given object; "}" if it is empty.
    std::string_view rest = headers_json.empty() ? "}" : headers_json.substr(1);
    if (!rest.starts_with('}')) out += ',';
    return out.append(rest);
}

Status check_stream(std::string_view stream) {
    if (const Status fits = check_name(stream, "the stream's name"); !fits.ok()) return fits;
    std::string ignored;
    if (append_json_text(stream, ignored)) return sqlite::ok_status();
    return Problem{Kind::refused, 0, "the stream's name is not UTF-8"};
}

Status check_event_type(std::string_view type) {
    return check_name(type, "the event's type");
}

Status check_expected(std::string_view stream, std::uint64_t version,
                      std::optional<std::uint64_t> expected) {
    if (!expected || *expected == version) return sqlite::ok_status();
    return Problem{Kind::conflict, 0,
                   "the stream " + sqlite::bounded(stream, 60) + " is at version " +
                       std::to_string(version) + ", not " + std::to_string(*expected) +
                       " as expected: read it again; nothing was stored"};
}

}  // namespace ferry::outbox
