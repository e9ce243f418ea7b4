#pragma once

#include <chrono>
#include <string>

#include "chaos/plan.hpp"
#include "context.hpp"

namespace ferry::cli::chaos {

/// The built-in handler, until SIGTERM: an effect, the row of a message's id in `database`, for
/// each message of `queue`. The exit status.
int handle(const Context& context, const std::string& queue, const std::string& database,
           std::chrono::milliseconds lease, Mistake mistake);

}  // namespace ferry::cli::chaos
