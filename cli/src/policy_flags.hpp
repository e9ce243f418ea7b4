#pragma once

#include <string>

#include "command.hpp"
#include "ferry/transport/admin.hpp"

namespace ferry::cli {

/// A queue's settings on the command line, for `queue declare` and `policy set`.
struct PolicyFlags {
    transport::QueuePolicy policy;
    std::string retry_delay;
    std::string retry_delay_max;
    std::string ttl;
    std::string expires;
    std::string max_bytes;
    std::string dedupe_window;
};

void add_policy_flags(Command& command, PolicyFlags& flags);
/// What they say together, once the line was parsed.
[[nodiscard]] transport::QueuePolicy policy_of(const PolicyFlags& flags);

}  // namespace ferry::cli
