#include "log_reader/hex.hpp"

#include <string_view>

namespace ferry::log_reader {

std::string hex(std::span<const std::byte> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        out += digits[static_cast<std::size_t>(b) >> 4];
        out += digits[static_cast<std::size_t>(b) & 15U];
    }
    return out;
}

nlohmann::ordered_json printable(std::span<const std::byte> bytes) {
    using Json = nlohmann::ordered_json;
    Json text = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    // The library itself is the judge of what it can print unchanged.
    const std::string lenient = text.dump(-1, ' ', false, Json::error_handler_t::ignore);
    const std::string kept = Json::parse(lenient).get<std::string>();
    if (kept.size() == bytes.size()) return text;
    return Json{{"hex", hex(bytes)}};
}

}  // namespace ferry::log_reader
