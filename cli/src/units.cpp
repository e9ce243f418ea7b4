#include "units.hpp"

#include <array>
#include <cmath>
#include <cstdlib>
#include <string>

namespace ferry::cli {
namespace {

// The number at the beginning of `text`; what is behind it goes to `unit`.
std::optional<double> leading_number(std::string_view text, std::string_view& unit) {
    const std::size_t length = text.find_first_not_of("0123456789.");
    const std::string digits(text.substr(0, length));
    if (digits.empty() || digits == "." || digits.find('.') != digits.rfind('.'))
        return std::nullopt;
    unit = length == std::string_view::npos ? std::string_view{} : text.substr(length);
    return std::strtod(digits.c_str(), nullptr);
}

struct Unit {
    std::string_view name;
    double factor;
};

template <std::size_t N>
std::optional<std::uint64_t> scaled(std::string_view text, const std::array<Unit, N>& units) {
    std::string_view name;
    const auto number = leading_number(text, name);
    if (!number) return std::nullopt;
    for (const Unit& unit : units) {
        if (unit.name != name) continue;
        const double value = *number * unit.factor;
        if (!(value < 9.0e15)) return std::nullopt;  // exact in a double, and far beyond any use
        return static_cast<std::uint64_t>(std::llround(value));
    }
    return std::nullopt;
}

constexpr std::array duration_units{Unit{"", 1000.0},      Unit{"ms", 1.0},
                                    Unit{"s", 1000.0},     Unit{"m", 60'000.0},
                                    Unit{"min", 60'000.0}, Unit{"h", 3'600'000.0}};
constexpr double kibi = 1024.0;
constexpr std::array size_units{Unit{"", 1.0},
                                Unit{"B", 1.0},
                                Unit{"k", kibi},
                                Unit{"KiB", kibi},
                                Unit{"M", kibi* kibi},
                                Unit{"MiB", kibi* kibi},
                                Unit{"G", kibi* kibi* kibi},
                                Unit{"GiB", kibi* kibi* kibi}};

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    const auto ms = scaled(text, duration_units);
    if (!ms) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(*ms));
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    return scaled(text, size_units);
}

std::string human_span(std::uint64_t ms) {
    if (ms < 1000) return std::to_string(ms) + " ms";
    if (ms < 120'000) return std::to_string(ms / 1000) + " s";
    if (ms < 7'200'000) return std::to_string(ms / 60'000) + " min";
    return std::to_string(ms / 3'600'000) + " h";
}

}  // namespace ferry::cli
