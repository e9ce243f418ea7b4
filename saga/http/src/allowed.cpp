#include "allowed.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "ferry/saga/http_calls.hpp"

namespace ferry::saga_http {
namespace {

/// Deliberately not what inet_aton takes: 127.1 or 0x7f000001 are refused.
bool loopback_name(const std::string& host) {
    in_addr four{};
    if (::inet_pton(AF_INET, host.c_str(), &four) == 1) return ntohl(four.s_addr) >> 24U == 127;
    return host == "localhost" || host == "::1";
}

}  // namespace

std::optional<Allowed> Allowed::of(const std::vector<std::string>& entries) {
    Allowed out;
    for (const std::string& entry : entries) {
        if (entry == "*") {
            out.entries_.push_back({});
            continue;
        }
        const auto parts = saga::split_url("http://" + entry);
        if (!parts || entry.find_first_of("/?") != std::string::npos) return std::nullopt;
        const bool with_port = entry.back() != ']' && entry.rfind(':') != std::string::npos;
        out.entries_.push_back({parts->host, with_port ? parts->port : std::uint16_t{0}});
    }
    return out;
}

std::string Allowed::refuses(const std::string& url) const {
    const auto parts = saga::split_url(url);
    if (!parts) return "\"" + url.substr(0, 200) + "\" is no URL that can be called";
    if (entries_.empty() && loopback_name(parts->host)) return {};
    const auto fits = [&](const Entry& entry) {
        return (entry.host.empty() || entry.host == parts->host) &&
               (entry.port == 0 || entry.port == parts->port);
    };
    if (std::any_of(entries_.begin(), entries_.end(), fits)) return {};
    return "calls to " + parts->host + ":" + std::to_string(parts->port) +
           " are not allowed: ferry saga serve --http-allow " + parts->host + " allows them" +
           (entries_.empty() ? " (without it only this machine may be called)" : "");
}

bool is_loopback(const sockaddr& address) {
    if (address.sa_family == AF_INET) {
        sockaddr_in four{};
        std::memcpy(&four, &address, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24U == 127;
    }
    if (address.sa_family != AF_INET6) return false;
    sockaddr_in6 six{};
    std::memcpy(&six, &address, sizeof six);
    if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) return six.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
}

}  // namespace ferry::saga_http
