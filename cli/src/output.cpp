#include "output.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace ferry::cli {
namespace {

std::string_view heading(const std::string& cell) {
    return cell.starts_with('>') ? std::string_view(cell).substr(1) : std::string_view(cell);
}

// Length of the UTF-8 sequence that begins with `lead`, 0 if none does; `min` is its smallest code
// point.
std::size_t sequence_length(unsigned char lead, std::uint32_t& bits, std::uint32_t& min) {
    if ((lead & 0xE0U) == 0xC0U) return bits = lead & 0x1FU, min = 0x80, 2;
    if ((lead & 0xF0U) == 0xE0U) return bits = lead & 0x0FU, min = 0x800, 3;
    if ((lead & 0xF8U) == 0xF0U) return bits = lead & 0x07U, min = 0x10000, 4;
    return 0;
}

}  // namespace

void print_json(const Json& value) {
    const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
    if (rows.empty()) return {};
    const std::vector<std::string>& head = rows.front();
    std::vector<std::size_t> widths(head.size(), 0);
    for (std::size_t row = 0; row < rows.size(); ++row) {
        for (std::size_t i = 0; i < std::min(widths.size(), rows[row].size()); ++i) {
            const std::size_t width = row == 0 ? heading(rows[row][i]).size() : rows[row][i].size();
            widths[i] = std::max(widths[i], width);
        }
    }
    std::string out;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        std::string line;
        for (std::size_t i = 0; i < rows[row].size() && i < widths.size(); ++i) {
            const std::string_view cell =
                row == 0 ? heading(rows[row][i]) : std::string_view(rows[row][i]);
            const std::string padding(widths[i] - cell.size(), ' ');
            if (i > 0) line += "  ";
            if (head[i].starts_with('>')) {
                line.append(padding).append(cell);
            } else {
                line.append(cell).append(padding);
            }
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    }
    return out;
}

void print_table(const std::vector<std::vector<std::string>>& rows) {
    write_out(format_table(rows));
}

bool valid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        if (lead < 0x80U) {
            ++i;
            continue;
        }
        std::uint32_t code = 0;
        std::uint32_t min = 0;
        const std::size_t length = sequence_length(lead, code, min);
        if (length == 0 || length > text.size() - i) return false;
        for (std::size_t k = 1; k < length; ++k) {
            const auto next = static_cast<unsigned char>(text[i + k]);
            if ((next & 0xC0U) != 0x80U) return false;
            code = code << 6 | (next & 0x3FU);
        }
        if (code < min || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
        i += length;
    }
    return true;
}

std::string base64(Bytes bytes) {
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
        for (std::size_t k = 0; k < 3; ++k) {
            group = group << 8 | (k < have ? static_cast<std::uint32_t>(bytes[i + k]) : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) {
            out += k <= have ? digits[(group >> (18 - 6 * k)) & 0x3FU] : '=';
        }
    }
    return out;
}

bool from_base64(std::string_view text, std::string& out) {
    constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.clear();
    if (text.size() % 4 != 0) return false;
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
        ++padding;
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool pad = i + padding >= text.size();
        const std::size_t digit = pad ? 0 : digits.find(text[i]);
        if (digit == std::string_view::npos) return false;
        group = group << 6 | static_cast<std::uint32_t>(digit);
        if (i % 4 != 3) continue;
        for (unsigned shift = 24; shift > 0; shift -= 8)
            out += static_cast<char>(group >> (shift - 8) & 0xffU);
        group = 0;
    }
    out.erase(out.size() - padding);
    return true;
}

std::string with_commas(std::uint64_t value) {
    std::string digits = std::to_string(value);
    for (std::size_t at = digits.size(); at > 3;) {
        at -= 3;
        digits.insert(at, 1, ',');
    }
    return digits;
}

std::string human_bytes(std::uint64_t bytes) {
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024.0 && unit + 1 < units.size()) {
        value /= 1024.0;
        ++unit;
    }
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text.data();
}

std::string hex16(std::uint64_t value) {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
    return text.data();
}

bool write_out(std::string_view text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
}

bool flush_out() {
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

}  // namespace ferry::cli
