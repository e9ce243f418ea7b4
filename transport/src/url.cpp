#include "ferry/transport/url.hpp"

#include <charconv>

namespace ferry::transport {
namespace {

constexpr std::string_view name_letters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

// Names may have what the local resolver takes, numbers what inet_pton and a zone need; who looks
// them up decides whether there is such a host.
bool can_be_a_host(std::string_view host, bool bracketed) {
    if (host.empty() || host.size() > 255) return false;
    if (!bracketed) return host.find_first_not_of(name_letters) == std::string_view::npos;
    const std::size_t zone = host.find('%');
    const std::string_view number = host.substr(0, zone);
    if (number.find(':') == std::string_view::npos ||
        number.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) {
        return false;
    }
    if (zone == std::string_view::npos) return true;
    const std::string_view name = host.substr(zone + 1);
    return !name.empty() && name.find_first_not_of(name_letters) == std::string_view::npos;
}

}  // namespace

std::string Url::text() const {
    const bool v6 = host.find(':') != std::string::npos;
    return (tls ? "ferrys://" : "ferry://") + (v6 ? "[" + host + "]" : host) + ":" +
           std::to_string(port);
}

Result<Url> parse_url(std::string_view text) {
    const auto rejected = [](std::string_view what) { return Error{Errc::rejected, 0, 0, what}; };
    bool tls = false;
    const std::size_t scheme = text.find("://");
    if (scheme != std::string_view::npos) {
        if (text.substr(0, scheme) == "kafka") {
            return rejected("kafka:// is not built into this version; use ferry://host:port");
        }
        tls = text.substr(0, scheme) == "ferrys";
        if (!tls && text.substr(0, scheme) != "ferry")
            return rejected("a broker's URL is ferry://host:port or ferrys://host:port");
        text.remove_prefix(scheme + 3);
    }
    if (!text.empty() && text.back() == '/') text.remove_suffix(1);
    if (text.find('@') != std::string_view::npos) {
        return rejected(
            "a URL has no user and password, which others would see; use the options for them");
    }
    Url url;
    url.tls = tls;
    std::string_view port;
    bool has_port = false;
    const bool bracketed = !text.empty() && text.front() == '[';
    if (bracketed) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos)
            return rejected("the bracket of the IPv6 address is open");
        url.host = text.substr(1, end - 1);
        port = text.substr(end + 1);
        has_port = !port.empty();
        if (has_port && port.front() != ':') return rejected("only :port may follow the host");
        if (has_port) port.remove_prefix(1);
    } else {
        const std::size_t colon = text.find(':');
        url.host = text.substr(0, colon);
        has_port = colon != std::string_view::npos;
        if (has_port) port = text.substr(colon + 1);
    }
    if (url.host.empty()) return rejected("the URL has no host");
    if (!can_be_a_host(url.host, bracketed)) return rejected("a broker's URL is ferry://host:port");
    if (has_port) {
        const char* const end = port.data() + port.size();
        const auto read = std::from_chars(port.data(), end, url.port);
        if (read.ec != std::errc{} || read.ptr != end || url.port == 0) {
            return rejected("the port must be a number from 1 to 65535");
        }
    }
    return url;
}

}  // namespace ferry::transport
