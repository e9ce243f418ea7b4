#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <string_view>
#include <vector>

#include "ferry/transport/admin.hpp"
#include "ferry/transport/call.hpp"
#include "ferry/transport/lock.hpp"
#include "ferry/transport/options.hpp"
#include "ferry/transport/port.hpp"
#include "ferry/transport/prepared.hpp"
#include "ferry/transport/service.hpp"
#include "ferry/transport/subscription.hpp"
#include "ferry/transport/transaction.hpp"

namespace ferry::transport {

/// What a future of publish_future holds.
struct PublishResult {
    std::uint64_t sequence = 0;
    Outcome::Kind kind = Outcome::Kind::confirmed;
    wire::Code code = wire::Code::ok;
    std::string text;
};

struct PullResult {
    std::vector<Received> messages;
    std::uint64_t ready = 0;  // left in the queue
};

struct PullOptions {
    std::uint32_t messages = 1;
    std::uint64_t bytes = 1U << 20;
    bool no_ack = false;
};

/// A connection to the broker that repairs itself: the native protocol (docs/protocol.md) with its
/// own I/O thread.
///
/// Threads    Any, also at the same time. Callbacks run on the I/O thread without a lock held; they
///            may call everything that does not wait. What would wait is refused there: rejected,
///            or would_block for a full window. They must not destroy the client.
/// Lifetime   Strings and payloads are copied before a call returns. The destructor closes at once:
///            what is unconfirmed then is told to callbacks as in_doubt. close() waits for it.
/// Reconnect  By itself, for ever. Unconfirmed messages are kept and sent again under the same
///            sequence, so each is stored once. Declarations (ClientOptions::redeclare) and
///            subscriptions are made again. Unacked deliveries are lost: their tags are stale.
/// Timeouts   Timeout{0} means ClientOptions::request_timeout_ms.
/// Errors     unreachable: not sent, no connection within the timeout, or the client is closed.
///            indeterminate: sent, but the timeout passed or the connection broke before the
///            answer. Others: the broker's, see errc_of and ClientError::wire_code.
class Client final : public Publisher {
public:
    /// Connects and says hello. Blocks until it is done or has failed.
    ///
    /// Errors    rejected (bad options or URL), unreachable, or the broker's refusal.
    static Answer<std::unique_ptr<Client>> connect(ClientOptions options);

    // ---- publish ----

    /// See Publisher. `done` may be empty.
    Result<std::uint64_t> publish_async(const Message& message, ConfirmCallback done) override;
    Result<std::uint64_t> publish_async(const Message& message, ConfirmCallback done,
                                        const PublishOptions& options);
    std::future<PublishResult> publish_future(const Message& message,
                                              const PublishOptions& options = {});
    /// Returns when the message is on the broker's disk. Gives its sequence.
    ///
    /// After a timeout (indeterminate) the message is still the client's and is delivered if ever
    /// it can be.
    Answer<std::uint64_t> publish(const Message& message, const PublishOptions& options = {},
                                  Timeout timeout = Timeout{0});
    /// The fast way: encodes straight into the batch, without a heap allocation. `properties` is
    /// msgpack made by wire::write_properties, or empty. What becomes of it is told to
    /// ClientOptions::on_confirm.
    ///
    /// Blocking, Errors  as Publisher::publish_async.
    Result<std::uint64_t> enqueue(std::string_view exchange, std::string_view routing_key,
                                  Bytes payload, Bytes properties = {},
                                  const PublishOptions& options = {});
    /// The same for many payloads with one key, for the price of one lock and one wake-up per
    /// batch. Returns the sequence of the last; they are not consecutive if others publish
    /// meanwhile. An error may come after the first ones were taken only if the client was closed,
    /// or (would_block) if the window was full: *taken says how many.
    Result<std::uint64_t> enqueue_many(std::string_view exchange, std::string_view routing_key,
                                       std::span<const Bytes> payloads,
                                       std::size_t* taken = nullptr,
                                       const PublishOptions& options = {});
    /// See Publisher. Timeout{0} means request_timeout_ms here too.
    Status flush(Timeout timeout) override;
    /// Messages taken and neither confirmed nor refused.
    [[nodiscard]] std::uint64_t unconfirmed() const;
    /// Sequence of the last message taken, and the producer's name.
    [[nodiscard]] std::uint64_t last_sequence() const;
    [[nodiscard]] std::string producer() const;

    // ---- consume ----

    /// Without a handler messages are fetched with Subscription::next. A handler may run before
    /// this call has returned; while it runs nothing else of this client goes on.
    Answer<std::shared_ptr<Subscription>> subscribe(std::string_view queue,
                                                    const SubscribeOptions& options,
                                                    DeliveryHandler handler = {},
                                                    Timeout timeout = Timeout{0});
    /// Takes up to so many messages that are ready now; does not wait for some to come.
    Answer<PullResult> pull(std::string_view queue, const PullOptions& options = {},
                            Timeout timeout = Timeout{0});
    /// For deliveries of pull() and of any subscription of this client. Only notes, as in
    /// Subscription.
    Status ack(const DeliveryTag& tag);
    Status nack(const DeliveryTag& tag, bool requeue);
    /// Gives it back: it comes again `delay` from now, at most 7 days.
    Status nack_later(const DeliveryTag& tag, Timeout delay);
    /// Acks the tags and waits until that is on the broker's disk. Returns the tags whose lease was
    /// lost before: for them nothing changed.
    Answer<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags,
                                            Timeout timeout = Timeout{0});

    // ---- publish and consume at once ----

    /// Publishes and acks that happen together or not at all; see Transaction.
    Transaction transaction(const TransactionOptions& options = {});
    /// Returns when no transaction is under way. would_block: not within `timeout`.
    Status flush_transactions(Timeout timeout = Timeout{0});

    // ---- prepare, then submit or drop: for producers that have no outbox (docs/checkback.md) ----

    /// Returns when the message is on the broker's disk. Nobody gets it before it is submitted. A
    /// message without an id gets that of its preparation. The same again is a duplicate.
    ///
    /// Errors    refused as a publish with mandatory would be (nothing was prepared);
    /// NO_SUCH_QUEUE:
    ///           the check queue; PREPARED_DIFFERENTLY, PREPARED_DECIDED: the id was used before;
    ///           LIMIT_REACHED.
    Answer<PreparedResult> prepare(const Message& message, const PrepareOptions& options,
                                   Timeout timeout = Timeout{0});
    /// Publishes it; returns when that is durable. Ask as often as you like: it is published once.
    ///
    /// Errors    NO_ROUTE, QUEUE_FULL, DISK_FULL and others of a publish: it stays prepared.
    ///           PREPARED_DECIDED: it was dropped. NO_SUCH_PREPARED: never prepared, or decided
    ///           long ago (decisions are remembered for a day).
    Answer<PreparedResult> submit(std::string_view id, Timeout timeout = Timeout{0});
    /// It will not be published. Errors: PREPARED_DECIDED (it was submitted), NO_SUCH_PREPARED.
    Answer<PreparedResult> drop(std::string_view id, Timeout timeout = Timeout{0});
    /// The broker asks for it now, and from the first check on.
    Answer<PreparedResult> resume_prepared(std::string_view id, Timeout timeout = Timeout{0});
    Answer<PreparedPage> list_prepared(std::string_view after = {}, std::uint32_t at_most = 1000,
                                       bool parked_only = false, Timeout timeout = Timeout{0});
    Answer<PreparedInfo> show_prepared(std::string_view id, Timeout timeout = Timeout{0});

    // ---- calls: requests and replies (docs/calls.md) ----

    /// Publishes a request and waits for its reply, which comes straight to this connection. Its
    /// reply_to, correlation_id and (if not set) expires_at are the client's to fill in.
    ///
    /// Errors    would_block: nobody replied in time; done or not, nobody knows. indeterminate: the
    ///           connection broke. NO_CONSUMER and others: refused, surely not done.
    Answer<Message> call(const Message& request, const CallOptions& options = {});
    /// Does not wait; not ok: nothing was sent and `done` is not called.
    Status call_async(const Message& request, CallCallback done, const CallOptions& options = {});
    std::future<Answer<Message>> call_future(const Message& request,
                                             const CallOptions& options = {});
    [[nodiscard]] CallStats call_stats() const;
    /// Replies to a delivered request and acks it, in one step: neither goes without the other.
    /// Only notes, as ack does; if the connection breaks before it is sent the request comes again.
    ///
    /// Errors    rejected: it wants no reply, or the reply is over a limit. not_found: its
    ///           subscription has ended. Then it is not acked either.
    Status reply(const Delivery& request, const Message& reply);

    // ---- locks (docs/locks.md) ----

    /// Waits in line until the lock is this holder's, at most `wait` (Timeout::max(): for ever).
    ///
    /// Errors    would_block: others had it for so long; the place in line is given up.
    ///           BAD_OPTION, LIMIT_REACHED, DISK_FULL, DECLARED_DIFFERENTLY (other permits).
    Answer<std::unique_ptr<Lock>> lock(std::string_view name, const LockOptions& options,
                                       Timeout wait);
    /// Does not wait in line: LOCK_HELD if somebody else has it.
    Answer<std::unique_ptr<Lock>> try_lock(std::string_view name, const LockOptions& options = {},
                                           Timeout timeout = Timeout{0});
    Answer<LockPage> list_locks(std::string_view after = {}, std::uint32_t at_most = 1000,
                                Timeout timeout = Timeout{0});
    /// Who holds it and who waits. Errors: NO_SUCH_LOCK.
    Answer<LockInfo> show_lock(std::string_view name, Timeout timeout = Timeout{0});
    /// Takes it from the holder with this token, or (0) from all, as if they were lost. Returns
    /// how many had it.
    Answer<std::uint64_t> force_unlock(std::string_view name, std::uint64_t token,
                                       Timeout timeout = Timeout{0});

    // ---- services: who is there (docs/services.md) ----

    /// Registers an instance of a service and keeps it alive, over reconnects and restarts of the
    /// broker, until the Registration goes.
    Answer<std::unique_ptr<Registration>> register_service(std::string_view service,
                                                           const RegisterOptions& options = {},
                                                           Timeout timeout = Timeout{0});
    /// Waits until it is known who is there, and tells `handler` of every change from then on.
    /// An empty name watches all services.
    Answer<std::unique_ptr<ServiceWatch>> watch_service(std::string_view service,
                                                        ServiceHandler handler = {},
                                                        Timeout timeout = Timeout{0});
    /// In order of service and instance; `after` the last one of the page before. An empty name
    /// lists all services.
    Answer<ServicePage> list_services(std::string_view service = {},
                                      const ServiceInstance& after = {},
                                      std::uint32_t at_most = 1000, Timeout timeout = Timeout{0});

    // ---- administer ----

    /// An empty name: the client invents one (Result's name), which stays the same over reconnects.
    Answer<DeclaredQueue> declare_queue(std::string_view name, const QueueOptions& options = {},
                                        Timeout timeout = Timeout{0});
    /// These three: how many messages went.
    Answer<std::uint64_t> delete_queue(std::string_view name,
                                       const DeleteQueueOptions& options = {},
                                       Timeout timeout = Timeout{0});
    Answer<std::uint64_t> purge_queue(std::string_view name, Timeout timeout = Timeout{0});
    Answer<QueuePage> list_queues(std::string_view after = {}, std::uint32_t at_most = 1000,
                                  Timeout timeout = Timeout{0});
    /// Who consumes: of one queue or (empty) of all. Page by page: `after` is the last page's
    /// `next`. A consumer that leaves meanwhile may hide another one.
    Answer<ConsumerPage> list_consumers(std::string_view queue = {},
                                        const ConsumerPlace& after = {},
                                        std::uint32_t at_most = 1000, Timeout timeout = Timeout{0});
    Answer<QueueInfo> show_queue(std::string_view name, Timeout timeout = Timeout{0});
    /// `where`: "ready", "unacked", "delayed" (also for a retry) or "leaving".
    Answer<std::vector<PeekedMessage>> peek_queue(std::string_view name, std::uint64_t skip,
                                                  std::uint32_t messages,
                                                  std::uint64_t bytes = 512U << 10,
                                                  Timeout timeout = Timeout{0},
                                                  std::string_view where = "ready");
    /// Moves messages of `queue` to `target`, or (empty) dead letters back to the queues in which
    /// they died. Returns how many are sure to go; they arrive a moment later, each once.
    Answer<std::uint64_t> move_messages(std::string_view queue, std::string_view target,
                                        const MoveSelection& selection = {},
                                        Timeout timeout = Timeout{0});
    /// Takes back delayed messages of `queue` with this id that are not due yet. Returns how many.
    Answer<std::uint64_t> cancel(std::string_view queue, std::string_view id,
                                 Timeout timeout = Timeout{0});
    /// Drops the ready message at this position.
    Answer<std::uint64_t> drop_message(std::string_view queue, std::uint64_t position,
                                       Timeout timeout = Timeout{0});
    Answer<Done> declare_exchange(std::string_view name, std::string_view type,
                                  const ExchangeOptions& options = {},
                                  Timeout timeout = Timeout{0});
    Answer<Done> delete_exchange(std::string_view name, bool if_unused = false,
                                 Timeout timeout = Timeout{0});
    Answer<ExchangePage> list_exchanges(std::string_view after = {}, std::uint32_t at_most = 1000,
                                        Timeout timeout = Timeout{0});
    Answer<ExchangeInfo> show_exchange(std::string_view name, Timeout timeout = Timeout{0});
    Answer<Done> bind(const Binding& binding, Timeout timeout = Timeout{0});
    Answer<Done> unbind(const Binding& binding, Timeout timeout = Timeout{0});
    /// Makes or replaces a policy. Returns how many queues take settings from it.
    Answer<std::uint64_t> set_policy(std::string_view name, const PolicyOptions& options,
                                     Timeout timeout = Timeout{0});
    Answer<std::uint64_t> delete_policy(std::string_view name, Timeout timeout = Timeout{0});
    Answer<PolicyPage> list_policies(std::string_view after = {}, std::uint32_t at_most = 1000,
                                     Timeout timeout = Timeout{0});
    /// Why messages of `queue`, or the one that `target` names, are not delivered.
    Answer<std::vector<Fact>> why(std::string_view queue, const WhyTarget& target = {},
                                  Timeout timeout = Timeout{0});
    /// Makes or replaces a schedule.
    Answer<Done> set_schedule(std::string_view name, const ScheduleOptions& options,
                              Timeout timeout = Timeout{0});
    Answer<Done> delete_schedule(std::string_view name, Timeout timeout = Timeout{0});
    Answer<Done> pause_schedule(std::string_view name, bool paused, Timeout timeout = Timeout{0});
    Answer<SchedulePage> list_schedules(std::string_view after = {}, std::uint32_t at_most = 1000,
                                        Timeout timeout = Timeout{0});
    Answer<ScheduleInfo> show_schedule(std::string_view name, Timeout timeout = Timeout{0});
    /// The next times at which such a schedule would be due; `from_ms` 0 is now.
    Answer<std::vector<std::uint64_t>> next_times(std::string_view cron, std::string_view zone,
                                                  std::uint64_t from_ms, std::uint32_t count,
                                                  Timeout timeout = Timeout{0});
    Answer<BrokerStats> stats(Timeout timeout = Timeout{0});
    /// `directory` is on the broker's machine, new or empty.
    Answer<BackupInfo> backup(std::string_view directory, Timeout timeout = Timeout{0});
    /// A round trip to the broker; nanoseconds.
    Answer<std::uint64_t> ping(Timeout timeout = Timeout{0});

    // ---- the connection ----

    [[nodiscard]] ServerInfo server() const;
    [[nodiscard]] bool connected() const;
    /// What the broker is short of, so that it takes no messages: "memory" or "disk". Empty: it
    /// takes them. Publishing goes on into the window, and waits when that is full.
    [[nodiscard]] std::string blocked() const;
    /// Stops taking messages, waits until all is confirmed and acks are sent, says goodbye.
    /// indeterminate: not within `timeout`; the client is closed all the same.
    Status close(Timeout timeout = Timeout{0});

    ~Client() override;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

private:
    explicit Client(std::shared_ptr<native::Core> core);

    std::shared_ptr<native::Core> core_;
};

}  // namespace ferry::transport
