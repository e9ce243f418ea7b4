#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "ferry/transport/error.hpp"
#include "ferry/transport/message.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport {

class Client;
namespace native {
class Core;
struct TransactionState;
}  // namespace native

struct TransactionOptions {
    /// Refuse the whole transaction with NO_ROUTE if one of its messages reaches no queue.
    bool mandatory = true;
};

/// A transaction that is on the broker's disk, all of it.
struct Committed {
    /// The answer was lost with its connection; the broker was asked again and had it already.
    bool found_again = false;
};

/// Called once, on the I/O thread, as callbacks of publish_async are.
using CommitCallback = std::function<void(const Answer<Committed>& outcome)>;

/// Publishes to any exchanges and queues, and acks and rejects of any deliveries of one client: one
/// record in the broker's log, there as a whole or not at all, whatever crashes in which moment.
/// Made by Client::transaction(); after commit() it is empty and can be used again.
///
/// Threads    One at a time. Different transactions: any.
/// Lifetime   Contents are copied before a call returns. May outlive its Client; commit then fails.
/// Reconnect  Deliveries that it acks lose their leases with the connection. A transaction that was
///            under way then is looked up at the broker: it is told as committed (found_again) or
///            as refused with LEASE_LOST, never as unknown, and never takes effect after it was
///            told as refused. One that only publishes is sent again.
/// Limits     What fits into one frame (1 MiB unless configured otherwise), 65,536 messages, 16,384
///            ranges of tags, 4,096 subscriptions.
/// Errors     Of commit: the broker's refusal, after which nothing of it has happened: LEASE_LOST
///            names the delivery, NO_ROUTE, QUEUE_FULL and others the message. indeterminate: the
///            client was closed, or `timeout` passed, before the answer.
class Transaction {
public:
    /// Errors  rejected: malformed, over a limit, or too much for one transaction; nothing was
    /// added.
    Status publish(const Message& message);
    /// The same without a Message to be made: as Client::enqueue, `properties` is msgpack made by
    /// wire::write_properties, or empty.
    Status enqueue(std::string_view exchange, std::string_view routing_key, Bytes payload,
                   Bytes properties = {});
    /// Errors  rejected: no such delivery, or of another connection than the others, or too many.
    Status ack(const DeliveryTag& tag);
    Status ack_range(const DeliveryTag& first, const DeliveryTag& last);
    /// The message becomes a dead letter if its queue has those; otherwise it is dropped.
    Status reject(const DeliveryTag& tag);

    /// Nothing was added since it was made or committed.
    [[nodiscard]] bool empty() const;
    [[nodiscard]] std::uint32_t messages() const;
    /// Forgets what was added.
    void clear();

    /// Waits for the broker's disk. Timeout{0}: ClientOptions::request_timeout_ms. Not from a
    /// callback.
    Answer<Committed> commit(Timeout timeout = Timeout{0});
    /// Waits only while 4,096 transactions or 16 MiB of them are under way. Never in a callback,
    /// where 20,480 or 64 MiB may be: more than a subscription's window needs (would_block then: it
    /// is still as it was). Others: unreachable, the client is closed; rejected, it is empty.
    Status commit_async(CommitCallback done);

    Transaction(Transaction&&) noexcept;
    Transaction& operator=(Transaction&&) noexcept;
    ~Transaction();

private:
    friend class Client;
    Transaction(std::shared_ptr<native::Core> core, const TransactionOptions& options);
    native::TransactionState& state();
    Status settle(const DeliveryTag& first, const DeliveryTag& last, bool reject);

    std::shared_ptr<native::Core> core_;
    TransactionOptions options_;
    std::unique_ptr<native::TransactionState> state_;  // null: it is empty
};

}  // namespace ferry::transport
