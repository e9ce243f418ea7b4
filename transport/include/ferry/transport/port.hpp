#pragma once

#include <chrono>
#include <cstdint>

#include "ferry/transport/message.hpp"

namespace ferry::transport {

using Timeout = std::chrono::milliseconds;

/// What a relay needs of a message system. Messages of one publisher arrive in the order of the
/// calls.
///
/// Threads   Any, also at the same time.
class Publisher {
public:
    virtual ~Publisher() = default;

    /// Takes a message and returns its sequence; `done` is called once, later, on another thread.
    ///
    /// Blocking  While the window of unconfirmed messages is full.
    /// Errors    rejected (message over a limit), would_block (full, and blocking is off),
    ///           unreachable (closed). Then nothing was taken and `done` is not called.
    virtual Result<std::uint64_t> publish_async(const Message& message, ConfirmCallback done) = 0;

    /// Waits until everything taken before has been confirmed or refused and its callbacks have
    /// returned. indeterminate: not within `timeout`.
    virtual Status flush(Timeout timeout) = 0;
};

/// What an inbox needs of a message system.
///
/// Threads   Any, also at the same time.
class Consumer {
public:
    virtual ~Consumer() = default;

    /// The next message. would_block: none within `timeout`. not_found: the consumer has ended.
    virtual Result<Received> next(Timeout timeout) = 0;
    /// Done with it: it will not come again, once the broker has this on disk. indeterminate: the
    /// lease was lost with its connection; the message comes again or came to somebody else.
    virtual Status ack(const DeliveryTag& tag) = 0;
    /// Gives it back (requeue) or has it dropped.
    virtual Status nack(const DeliveryTag& tag, bool requeue) = 0;
};

}  // namespace ferry::transport
