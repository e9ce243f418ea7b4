#pragma once

#include <cstdint>
#include <string>

namespace ferry::bench {

/// Three-step sagas through a real broker: orchestrator, relays and three participants, each with a
/// database of its own, all in this process. Prints sagas/s, or with `alone` the time of one saga
/// at a time.
int full_path(const std::string& ferryd, std::uint64_t sagas, const std::string& directory,
              bool alone);

}  // namespace ferry::bench
