#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/late.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport::kafka {

struct SubscriptionOptions {
    std::string url;
    std::string queue;           // the topic, unless Settings::topics says another
    std::string group;           // empty: the queue's name
    std::string name = "ferry";  // client.id, unless the options file has one
    std::uint32_t connect_timeout_ms = 5'000;
    std::uint32_t prefetch = 1'000;  // taken from Kafka and not settled
    /// How long a partition that goes to another consumer is held for what runs here.
    std::uint32_t drain_ms = 3'000;
    std::uint32_t commit_every_ms = 200;  // of acks that nobody waits for
    /// Where messages wait for a later attempt, and where those go that are given up; topics. The
    /// first is read as well. Empty: there is none.
    std::string retry_topic;
    std::string dead_letter_topic;
    std::function<void(std::string_view)> on_event;
};

/// A member of a consumer group, cooperative-sticky, at least once: an offset is committed when
/// everything before it in its partition was acked; acks behind an open message wait for it.
///
/// Threads    Any, also at the same time. It has a thread of its own that polls, so a handler may
///            take as long as it likes.
/// Credit     What is taken and not settled is at most `prefetch`; Kafka is not read meanwhile.
///            A partition with an open message and 20,000 acked ones behind it is paused.
/// Order      Of a partition, hence of a key. A message that is given back comes again later.
/// Rebalance  A partition that goes is held for drain_ms, in which what was handed out can be
///            acked; then its tags are lost(), their acks are ignored, and its new owner gets them
///            again. Others go on meanwhile.
/// Attempts   Are counted in this process and in the retry topic; Kafka counts no deliveries.
class Subscription : public Consumer {
public:
    /// Appends the next message and what else is there, up to `at_most`; errors as next().
    virtual Status next_some(Timeout timeout, std::size_t at_most, std::vector<Received>& out) = 0;
    /// next_some() for whoever has a use for payload and key alone of most messages: their other
    /// parts are read when asked for. Until then, or until they are gone, librdkafka keeps what it
    /// read them from; so complete() what is kept for long.
    virtual Status next_late(Timeout timeout, std::size_t at_most,
                             const std::function<void(const LateReceived&)>& put) = 0;
    /// Acks, commits and waits for that. Returns tags that were lost before. An ack behind an open
    /// message of its partition is kept here and is not in Kafka yet.
    ///
    /// Errors    unreachable or indeterminate: so may all of them.
    virtual Answer<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags,
                                                    Timeout timeout) = 0;
    /// Acks them, as settle() will, without waiting: others may come in their place meanwhile. Each
    /// is given to settle() later, which says whether it was lost; after an error of settle(),
    /// again. Without that they would take room for ever.
    virtual void done(std::span<const DeliveryTag> tags) = 0;
    /// It goes to the retry topic with its attempt counted, and is acked here when it is there.
    /// Does not wait. A delay of 0 or without a retry topic: it stays here and is handed out again.
    virtual Status nack_later(const DeliveryTag& tag, Timeout delay) = 0;
    /// Copies the message into the dead-letter topic and acks it; waits for both.
    ///
    /// Errors    not_found: there is no such topic. rejected, indeterminate: it is still here.
    virtual Status dead_letter(const DeliveryTag& tag, const Message& copy, Timeout timeout) = 0;
    /// Tags that were lost since the last call.
    virtual std::vector<DeliveryTag> lost() = 0;

    /// Of the cluster; and the topic with its number of partitions: it changes when their order of
    /// keys does (R16).
    [[nodiscard]] virtual std::string place() const = 0;
    [[nodiscard]] virtual bool connected() const = 0;
    [[nodiscard]] virtual std::string metrics() const = 0;
    /// Partitions that come here now; and whether Kafka has no more for us at the moment.
    [[nodiscard]] virtual std::uint32_t partitions() const = 0;
    [[nodiscard]] virtual bool at_end() const = 0;
    /// Commits, leaves the group. next() gives not_found from then on.
    virtual void close() = 0;
};

/// Errors    rejected (URL, names), unreachable, NO_ROUTE (no such topic, or not allowed).
[[nodiscard]] Answer<std::unique_ptr<Subscription>> subscribe(SubscriptionOptions options);

}  // namespace ferry::transport::kafka
