#include "ferry/transport/url.hpp"

#include <charconv>

namespace ferry::transport {

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
    if (!text.empty() && text.front() == '[') {
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
    if (url.host.size() > 255 || url.host.find_first_of("/?#@ ") != std::string::npos) {
        return rejected("a broker's URL is ferry://host:port");
    }
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
