#pragma once

#include <memory>

#include "native/core.hpp"

namespace ferry::transport::native {

/// While one lives, clients that this thread connects get no thread of their own: the thread drives
/// their loops (Core::begin), as the simulator does. Calls of such a client that would wait are
/// refused, but for two: Client::connect() only begins, and Client::subscribe() returns before it
/// is answered; a refusal is told to on_cancelled.
///
/// Threads  One; it is the only one that knows of it.
class CallerDrives {
public:
    /// `all_chance` is all that such a client has, and outlives it.
    explicit CallerDrives(Random& all_chance);
    ~CallerDrives();
    CallerDrives(const CallerDrives&) = delete;
    CallerDrives& operator=(const CallerDrives&) = delete;

    /// Null: clients have threads.
    [[nodiscard]] static CallerDrives* here();

    Random& random;
    /// Of the client that was connected last. Whoever drives it calls its end() at last.
    std::shared_ptr<Core> core;
};

}  // namespace ferry::transport::native
