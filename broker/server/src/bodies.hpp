#pragma once

#include <functional>

#include "ferry/engine/types.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::server {

/// Where sessions get the bodies of log records from.
///
/// Threads   The loop's.
class Bodies {
public:
    /// Null: the body is in memory now. Otherwise why it cannot be read.
    using Done = std::function<void(const Error*)>;

    virtual ~Bodies() = default;
    /// The body if it is in memory, else empty. Valid until anything but find() is called.
    virtual Bytes find(engine::Position record) = 0;
    /// The same, but reads it if that takes no waiting for the disk: for what is wanted now,
    /// because it is read on the loop.
    virtual Bytes find_now(engine::Position record) { return find(record); }
    /// Reads it from disk. `done` is called later, never from within; find() finds it then.
    virtual void fetch(engine::Position record, Done done) = 0;
};

}  // namespace ferry::server
