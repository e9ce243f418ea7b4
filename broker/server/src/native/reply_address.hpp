#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "ferry/engine/types.hpp"

namespace ferry::server::native {

inline constexpr std::string_view reply_prefix = "amq.reply.";

/// Where replies for this connection go. Sessions are never numbered alike, over restarts too, so
/// an address is never somebody else's later.
inline std::string reply_address(engine::SessionId session) {
    return std::string(reply_prefix) + std::to_string(session);
}

/// The connection that an address stands for; nothing: it is no such address.
inline std::optional<engine::SessionId> session_of_reply(std::string_view address) {
    if (!address.starts_with(reply_prefix)) return std::nullopt;
    address.remove_prefix(reply_prefix.size());
    engine::SessionId session = 0;
    const auto read = std::from_chars(address.data(), address.data() + address.size(), session);
    if (read.ec != std::errc() || read.ptr != address.data() + address.size()) return std::nullopt;
    return session;
}

}  // namespace ferry::server::native
