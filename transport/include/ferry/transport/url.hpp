#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/platform/result.hpp"

namespace ferry::transport {

inline constexpr std::uint16_t default_port = 7420;

/// Where a broker listens: `ferry://host[:port]`, or `ferrys://` with TLS; IPv6 in brackets. The
/// port is 7420 unless given.
struct Url {
    std::string host;
    std::uint16_t port = default_port;
    bool tls = false;

    [[nodiscard]] std::string text() const;
};

/// Reads a URL; `host` and `host:port` without a scheme are taken as ferry://.
///
/// Errors    rejected: a user or password (they are options, not part of an address), another
/// scheme, no host, a port outside 1 to 65535, or more behind the port
///           than one "/".
[[nodiscard]] Result<Url> parse_url(std::string_view text);

}  // namespace ferry::transport
