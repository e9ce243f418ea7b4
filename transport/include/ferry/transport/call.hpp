#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "ferry/transport/error.hpp"
#include "ferry/transport/message.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport {

struct CallOptions {
    /// How long to wait for the reply; the request expires with it. 0: request_timeout_ms.
    Timeout timeout{0};
    /// Refused with NO_CONSUMER at once if nobody consumes from any queue that the request reaches.
    bool need_consumer = true;
};

/// Header of a reply that says that the request failed, and why. What it means is between the two.
inline constexpr std::string_view reply_error_header = "ferry-error";

/// The reply, or why there is none: would_block (nobody replied in time), NO_CONSUMER, NO_ROUTE and
/// other refusals (surely not done), indeterminate (the connection broke: done or not). Called
/// once, on the I/O thread.
using CallCallback = std::function<void(const Answer<Message>& reply)>;

/// Since the client was made. A call ends in one of `answered`, `unanswered`, `refused`, `broken`.
struct CallStats {
    std::uint64_t calls = 0;
    std::uint64_t answered = 0;
    std::uint64_t unanswered = 0;  // no reply in time
    std::uint64_t refused = 0;     // by the broker
    std::uint64_t broken = 0;      // the connection broke before the reply
    std::uint64_t late = 0;        // replies to calls that had ended
    std::uint64_t open = 0;        // now
};

}  // namespace ferry::transport
