#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ferry/transport/options.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport {

namespace native {
class Core;
struct SubscriptionState;
}  // namespace native

/// One consumer's interest in one queue. Made by Client::subscribe.
///
/// Threads   Any, also at the same time, also from callbacks.
/// Lifetime  May outlive its Client; calls then fail with not_found or unreachable. Destroying it
///           unsubscribes and waits for a handler that runs on another thread.
/// Settling  ack, nack and extend only take a note: the notes of one turn of the I/O thread go out
///           as few ranges. Client::settle waits until the broker has them on disk.
class Subscription final : public Consumer {
public:
    /// Only for subscriptions made without a handler. About the window's number of messages wait
    /// here; with no_ack a full queue stops reading the whole connection, so give such a
    /// subscription a client of its own. A message keeps the bytes of its whole frame alive.
    ///
    /// Errors    would_block (nothing within `timeout`), not_found (ended, or client closed),
    ///           rejected (has a handler; or would wait on the I/O thread).
    Result<Received> next(Timeout timeout) override;

    /// Errors    indeterminate: the tag is from before a reconnect, its lease is lost.
    ///           not_found: the subscription has ended.
    ///           rejected: such a tag was never delivered, or no_ack leaves nothing to settle.
    Status ack(const DeliveryTag& tag) override;
    Status nack(const DeliveryTag& tag, bool requeue) override;
    /// Gives it back: it comes again `delay` from now, at most 7 days, with its attempts counted.
    Status nack_later(const DeliveryTag& tag, Timeout delay);
    /// All tags from `first` to `last`, both included; both of the same connection.
    Status ack_range(const DeliveryTag& first, const DeliveryTag& last);
    Status nack_range(const DeliveryTag& first, const DeliveryTag& last, bool requeue);
    /// The lease ends `lease_ms` from now.
    Status extend(const DeliveryTag& first, const DeliveryTag& last, std::uint64_t lease_ms);

    /// Changes the window of unacked messages.
    Answer<Done> credit(std::uint32_t messages, std::uint64_t bytes, Timeout timeout = Timeout{0});
    /// Notes are sent first; unacked messages return to the queue. No handler runs after it has
    /// returned (unless it is called from one).
    Answer<Done> unsubscribe(Timeout timeout = Timeout{0});

    [[nodiscard]] const std::string& queue() const;
    [[nodiscard]] std::uint64_t id() const;
    /// False after it was cancelled or unsubscribed.
    [[nodiscard]] bool active() const;

    ~Subscription() override;
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

private:
    friend class Client;
    Subscription(std::shared_ptr<native::Core> core,
                 std::shared_ptr<native::SubscriptionState> state);

    std::shared_ptr<native::Core> core_;
    std::shared_ptr<native::SubscriptionState> state_;
};

}  // namespace ferry::transport
