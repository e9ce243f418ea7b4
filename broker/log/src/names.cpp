#include "names.hpp"

namespace ferry::log {

namespace {

constexpr std::size_t digits = 16;

void append_hex(std::string& out, std::uint64_t value) {
    for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 15U];
}

std::optional<std::uint64_t> parse_hex(std::string_view text) {
    std::uint64_t value = 0;
    for (char c : text) {
        unsigned digit = 0;
        if (c >= '0' && c <= '9')
            digit = static_cast<unsigned>(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = static_cast<unsigned>(c - 'a') + 10;
        else
            return std::nullopt;
        value = (value << 4U) | digit;
    }
    return value;
}

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool parse_numbered(const std::string& name, std::string_view suffix,
                    std::vector<NumberedName>& out) {
    if (name.size() != 2 * digits + 1 + suffix.size() || name[digits] != '-' ||
        !ends_with(name, suffix))
        return false;
    const std::string_view text = name;
    const auto position = parse_hex(text.substr(0, digits));
    const auto epoch = parse_hex(text.substr(digits + 1, digits));
    if (!position || !epoch) return false;
    out.push_back(NumberedName{*position, *epoch, name});
    return true;
}

}  // namespace

std::string file_name(Position position, std::uint64_t epoch, std::string_view suffix) {
    std::string name;
    name.reserve(2 * digits + 1 + suffix.size());
    append_hex(name, position);
    name += '-';
    append_hex(name, epoch);
    name += suffix;
    return name;
}

DirectoryListing sort_names(const std::vector<std::string>& names) {
    DirectoryListing out;
    for (const std::string& name : names) {
        if (ends_with(name, ".tmp"))
            out.temporary.push_back(name);
        else if (name.rfind("spare-", 0) == 0 && ends_with(name, ".seg"))
            out.spares.push_back(name);
        else if (name == "ballast")
            out.ballast = true;
        else if (parse_numbered(name, ".seg", out.plain) ||
                 parse_numbered(name, ".cmp", out.compacted) ||
                 parse_numbered(name, ".ckp", out.checkpoints) ||
                 parse_numbered(name, ".gone", out.gone))
            continue;
    }
    return out;
}

}  // namespace ferry::log
