#include "log_reader/names.hpp"

namespace ferry::log_reader {
namespace {

// 16 lower-case hex digits, no more and no less.
std::optional<std::uint64_t> parse_hex(std::string_view digits) {
    std::uint64_t value = 0;
    for (const char c : digits) {
        const bool decimal = c >= '0' && c <= '9';
        if (!decimal && !(c >= 'a' && c <= 'f')) return std::nullopt;
        value = value << 4 | static_cast<std::uint64_t>(decimal ? c - '0' : c - 'a' + 10);
    }
    return value;
}

}  // namespace

FileName parse_name(std::string_view name) {
    if (name == "LOCK") return {FileKind::lock};
    if (name.ends_with(".tmp")) return {FileKind::unfinished};
    if (name.starts_with("spare-") && name.ends_with(".seg")) return {FileKind::spare};
    constexpr std::size_t length = 16 + 1 + 16;
    if (name.size() < length || name[16] != '-') return {FileKind::other};
    const auto position = parse_hex(name.substr(0, 16));
    const auto epoch = parse_hex(name.substr(17, 16));
    if (!position || !epoch) return {FileKind::other};
    const std::string_view suffix = name.substr(length);
    if (suffix == ".seg") return {FileKind::segment, *position, *epoch};
    if (suffix == ".cmp") return {FileKind::compacted, *position, *epoch};
    if (suffix == ".ckp") return {FileKind::checkpoint, *position, *epoch};
    if (suffix == ".gone") return {FileKind::gone, *position, *epoch};
    return {FileKind::other};
}

}  // namespace ferry::log_reader
