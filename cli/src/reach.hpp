#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "context.hpp"

namespace ferry::cli {

/// What a broker that is stopped, restarted or shutting down answers, if it answers.
[[nodiscard]] bool goes_away(Errc code);

/// Waits for the broker as long as it takes, and declares queues. Tries again for as long as the
/// broker is away: it may go at any moment, also right after it was reached. `name` is what the
/// broker's listings call this client; `say` tells people that it takes long. Null: it was told
/// why, or it was interrupted. Requires  interrupts are caught.
[[nodiscard]] std::unique_ptr<transport::Client> reach_and_declare(
    const Context& context, const std::string& name, const std::set<std::string>& queues,
    const std::function<void(std::string_view)>& say);

}  // namespace ferry::cli
