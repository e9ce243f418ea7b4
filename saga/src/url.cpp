#include <algorithm>
#include <charconv>

#include "ferry/saga/http_calls.hpp"

namespace ferry::saga {

std::optional<UrlParts> split_url(std::string_view url) {
    if (url.size() > limits::url_bytes_max) return std::nullopt;
    const auto printable = [](char c) {
        return c > 0x20 && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\' && c != '^' &&
               c != '`' && c != '{' && c != '|' && c != '}' && c != '@' && c != '#';
    };
    if (!std::all_of(url.begin(), url.end(), printable)) return std::nullopt;
    UrlParts out;
    out.secure = url.starts_with("https://");
    if (!out.secure && !url.starts_with("http://")) return std::nullopt;
    out.port = out.secure ? 443 : 80;
    url.remove_prefix(out.secure ? 8 : 7);
    std::string_view authority = url.substr(0, url.find_first_of("/?"));
    const bool brackets = authority.starts_with("[");
    const std::size_t end = brackets ? authority.find(']') : authority.find(':');
    std::string_view host = authority.substr(brackets ? 1 : 0, end - (brackets ? 1 : 0));
    std::string_view port;
    if (brackets) {
        if (end == std::string_view::npos) return std::nullopt;
        port = authority.substr(end + 1);
        if (!port.empty() && port.front() != ':') return std::nullopt;
    } else if (end != std::string_view::npos) {
        port = authority.substr(end);
    }
    const std::string_view letters = brackets ? "0123456789abcdefABCDEF:."
                                              : "abcdefghijklmnopqrstuvwxyz"
                                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    if (host.empty() || host.size() > 253 ||
        host.find_first_not_of(letters) != std::string_view::npos) {
        return std::nullopt;
    }
    if (!port.empty()) {
        port.remove_prefix(1);
        const auto [rest, error] =
            std::from_chars(port.data(), port.data() + port.size(), out.port);
        if (error != std::errc() || rest != port.data() + port.size() || out.port == 0) {
            return std::nullopt;
        }
    }
    out.host = host;
    for (char& c : out.host) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

}  // namespace ferry::saga
