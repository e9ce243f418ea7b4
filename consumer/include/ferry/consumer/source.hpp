#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/consumer/incoming.hpp"
#include "ferry/transport/client.hpp"
#include "ferry/transport/security.hpp"

namespace ferry::consumer {

/// Where a source's messages lie, to see whether the broker is the one that we knew.
struct Place {
    std::string queue;
    std::string log_id;       // changes when the broker's data is another's
    std::uint64_t floor = 0;  // every message of the queue below this position is settled for ever;
                              // 0: the broker does not say
};

/// What the runtime needs of a queue: the broker's (broker_source) or a test's.
///
/// Threads   Any, also at the same time.
class Source {
public:
    virtual ~Source() = default;

    /// The next message. would_block: none within `timeout`. not_found: ended, for good.
    virtual Result<transport::Received> next(Duration timeout) = 0;
    /// Appends the next one and what else is there, up to `at_most`; errors of the first as next().
    virtual Status next_some(Duration timeout, std::size_t at_most,
                             std::vector<transport::Received>& out);
    /// The same for whoever handles them at once. What most handlers have no use for may still be
    /// to be read, and costs the source memory until it is read or the message is gone.
    virtual Status next_late(Duration timeout, std::size_t at_most, std::vector<Incoming>& out);
    /// Acks and waits until that is on the broker's disk. Returns the tags whose lease was lost
    /// before: these messages come again. unreachable, indeterminate: so may all of them.
    virtual Result<std::vector<transport::DeliveryTag>> settle(
        std::span<const transport::DeliveryTag> tags) = 0;
    /// They were handled, and settle() will be asked for them: a source whose settling takes its
    /// time may give others in their place already. Does not wait.
    virtual void done(std::span<const transport::DeliveryTag> /*tags*/) {}
    /// So long after one settle() the next is worth its cost, unless somebody waits for it or there
    /// is nothing more to handle.
    [[nodiscard]] virtual Duration settle_pause() const { return Duration{0}; }
    /// Puts it back into the queue. It comes again after `delay`, and others pass it meanwhile.
    virtual Status give_back(const transport::DeliveryTag& tag, Duration delay) = 0;
    /// These leases end so long from now.
    virtual Status extend(std::span<const transport::DeliveryTag> tags, Duration lease) = 0;
    /// Moves it to the dead letters, with the reason; returns when it is surely there. At least
    /// once: after an error it may be there as well as in the queue.
    ///
    /// Errors    not_found: there is no place for dead letters. Others pass; ask again later.
    virtual Status dead_letter(const Incoming& message, std::string_view reason) = 0;
    virtual Result<Place> place() = 0;
    /// Tags that have lost their leases since the last call, as far as the broker told.
    virtual std::vector<transport::DeliveryTag> lost() = 0;
    [[nodiscard]] virtual bool connected() const = 0;
    /// What was handed out stays ours however long it takes, without extending anything: a runtime
    /// with one thread may then take messages and handle them in turns. And what is done() is asked
    /// for again when settle() fails.
    [[nodiscard]] virtual bool keeps_what_it_gave() const { return false; }
    /// In the text format of Prometheus, beside those of the runtime.
    [[nodiscard]] virtual std::string metrics() const { return {}; }
    /// No further messages: next() gives not_found soon, what is unacked returns to the queue.
    virtual void close() = 0;
};

struct BrokerSourceOptions {
    std::string queue;
    std::uint32_t prefetch = 256;  // unacked messages at most
    Duration lease{60'000};
    /// Where given-up messages go, by the default exchange, with the handler's reason: published,
    /// confirmed and then acked. Empty: they are rejected, and the broker makes them dead letters
    /// as the queue's policy says (docs/retries.md), in one step but without the handler's words.
    /// A queue without such a policy keeps its poison.
    std::string dead_letter_queue;
    Duration request_timeout{10'000};
    /// Kafka only, where a message cannot wait in its queue: the topic in which those without an
    /// ordering key wait for their next attempt. Empty: they wait in this process.
    std::string retry_queue;
    /// open_source() with ferry:// or ferrys:// only: how its connection signs in.
    transport::Security security;
};

/// A queue of the broker. Uses the client's connection, repairs itself with it.
///
/// Lifetime  `client` outlives the source.
/// Requires  a client with publisher = true when there is a dead-letter queue.
/// Errors    what subscribing says: the queue is not there, options out of range.
[[nodiscard]] transport::Answer<std::unique_ptr<Source>> broker_source(
    transport::Client& client, const BrokerSourceOptions& options);

/// The same with a connection of its own, to whatever the URL names: ferry://HOST:PORT, or
/// kafka://HOST:PORT,… where the queue is a topic and a consumer group (docs/kafka.md). Keeps
/// trying for `patience` if nobody answers.
///
/// Errors    as broker_source; unreachable.
[[nodiscard]] transport::Answer<std::unique_ptr<Source>> open_source(
    const std::string& url, const std::string& name, const BrokerSourceOptions& options,
    Duration patience);

/// Declares plain durable queues, or makes topics, where they are missing. Keeps trying for
/// `patience` if nobody answers.
[[nodiscard]] transport::Answer<Done> ensure_queues(const std::string& url, const std::string& name,
                                                    const std::vector<std::string>& queues,
                                                    Duration patience,
                                                    const transport::Security& security = {});

}  // namespace ferry::consumer
