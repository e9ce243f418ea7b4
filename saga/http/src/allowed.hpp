#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;

namespace ferry::saga_http {

/// Who may be called.
class Allowed {
public:
    /// Nothing: an entry is no HOST, HOST:PORT or *.
    static std::optional<Allowed> of(const std::vector<std::string>& entries);

    /// One sentence; empty: it may.
    [[nodiscard]] std::string refuses(const std::string& url) const;
    /// Names are only as good as who resolves them.
    [[nodiscard]] bool only_loopback() const { return entries_.empty(); }

private:
    struct Entry {
        std::string host;        // empty: all
        std::uint16_t port = 0;  // 0: all
    };
    std::vector<Entry> entries_;
};

[[nodiscard]] bool is_loopback(const sockaddr& address);

}  // namespace ferry::saga_http
