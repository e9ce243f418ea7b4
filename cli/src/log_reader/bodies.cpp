#include "log_reader/bodies.hpp"

#include <string>

namespace ferry::log_reader {
namespace {

std::string hex(std::span<const std::byte> bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const std::byte b : bytes) {
        out += digits[static_cast<std::size_t>(b) >> 4];
        out += digits[static_cast<std::size_t>(b) & 15U];
    }
    return out;
}

}  // namespace

nlohmann::ordered_json body_json(std::span<const std::byte> body, bool whole) {
    nlohmann::ordered_json out;
    out["hex"] = hex(whole ? body : body.first(std::min<std::size_t>(body.size(), 32)));
    return out;
}

}  // namespace ferry::log_reader
