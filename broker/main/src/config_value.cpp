#include "config_value.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace ferry::config {
namespace {

using Unit = std::pair<std::string_view, std::uint64_t>;

constexpr std::array<Unit, 5> size_units{
    {{"TiB", 1ULL << 40}, {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}}};
constexpr std::array<Unit, 5> time_units{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"min", 60'000}, {"s", 1000}, {"ms", 1}}};

struct Split {
    std::uint64_t number;
    std::string_view unit;
};

std::optional<Split> split(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end == text.data()) return std::nullopt;
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    while (unit.starts_with(' ')) unit.remove_prefix(1);
    return Split{number, unit};
}

std::optional<std::uint64_t> scaled(std::string_view text, std::span<const Unit> units) {
    const auto parts = split(text);
    if (!parts) return std::nullopt;
    for (const Unit& unit : units) {
        if (unit.first != parts->unit) continue;
        if (parts->number > std::numeric_limits<std::uint64_t>::max() / unit.second) {
            return std::nullopt;
        }
        return parts->number * unit.second;
    }
    return std::nullopt;
}

std::string in_largest_unit(std::uint64_t value, std::span<const Unit> units) {
    for (const Unit& unit : units) {
        if (value >= unit.second && value % unit.second == 0) {
            return std::to_string(value / unit.second) + std::string(unit.first);
        }
    }
    return "0" + std::string(units.back().first);
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
    const auto parts = split(text);
    if (parts && parts->unit.empty()) return parts->number;
    return scaled(text, size_units);
}

std::optional<std::uint64_t> parse_duration_ms(std::string_view text) {
    return scaled(text, time_units);
}

std::optional<server::Address> parse_address(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == text.npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const std::string_view port_text = text.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const port_end = port_text.data() + port_text.size();
    const auto parsed = std::from_chars(port_text.data(), port_end, port);
    if (port_text.empty() || parsed.ec != std::errc() || parsed.ptr != port_end) {
        return std::nullopt;
    }
    const bool bracketed = host.size() >= 2 && host.starts_with('[') && host.ends_with(']');
    if (bracketed) host = host.substr(1, host.size() - 2);
    if (host == "localhost" && !bracketed) host = "127.0.0.1";
    if (host.find('\0') != host.npos) return std::nullopt;  // inet_pton would not see the rest
    const std::string name(host);
    in6_addr parsed_host{};
    const int family = bracketed ? AF_INET6 : AF_INET;
    if (inet_pton(family, name.c_str(), &parsed_host) != 1) return std::nullopt;
    return server::Address{name, port};
}

bool is_loopback(const server::Address& address) {
    in6_addr v6{};
    if (inet_pton(AF_INET6, address.host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
    in_addr v4{};
    return inet_pton(AF_INET, address.host.c_str(), &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

std::string size_text(std::uint64_t bytes) {
    return in_largest_unit(bytes, size_units);
}

std::string duration_text(std::uint64_t ms) {
    return in_largest_unit(ms, time_units);
}

std::string address_text(const server::Address& address) {
    const bool v6 = address.host.find(':') != std::string::npos;
    return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace ferry::config
