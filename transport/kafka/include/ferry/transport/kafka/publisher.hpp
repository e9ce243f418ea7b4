#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/port.hpp"
#include "ferry/transport/sequenced.hpp"

namespace ferry::transport::kafka {

struct PublisherOptions {
    std::string url;
    std::string name = "ferry";  // client.id, unless the options file has one
    std::uint32_t connect_timeout_ms = 5'000;
    /// A message that Kafka has not confirmed after so long is told as in_doubt. 0: never.
    std::uint32_t message_timeout_ms = 120'000;
    std::uint32_t window_messages = 65'536;
    std::uint64_t window_bytes = 64ULL << 20;
    std::uint32_t linger_ms = 2;
    bool block_when_full = true;
    /// What went wrong, for the log: one sentence. Any thread; must return soon.
    std::function<void(std::string_view)> on_event;
    /// Told for every message, also those with a callback of their own.
    RangeCallback on_confirm;
};

/// The idempotent producer of Kafka, acks=all: within one life of it every message is in its
/// partition once and in the order of the calls. Exchange or (default exchange) routing key is the
/// topic, the ordering key is the record's key.
///
/// Threads    Any, also at the same time. Callbacks come on a thread of its own.
/// Errors     rejected: delay, time to live and priority, naming them; headers named ferry.*.
///            Outcomes: refused with NO_ROUTE (no such topic, or not allowed to write to it),
///            MESSAGE_TOO_LARGE and others.
/// Reconnect  By itself. After a fatal error (the producer was fenced, its order was lost)
///            everything is told as in_doubt and publishing gives unreachable.
class Publisher : public transport::Publisher {
public:
    /// The same without copying a Message. `properties` may be kept for many calls.
    virtual Result<std::uint64_t> publish_async(std::string_view exchange,
                                                std::string_view routing_key,
                                                const Properties& properties, Bytes payload,
                                                ConfirmCallback done) = 0;
    using transport::Publisher::publish_async;
    /// Prometheus text format; docs/kafka.md lists the names.
    [[nodiscard]] virtual std::string metrics() const = 0;
    [[nodiscard]] virtual std::uint64_t unconfirmed() const = 0;
};

/// Blocks until a broker of the cluster has answered.
///
/// Errors    rejected (URL, options file), unreachable, refused (authentication).
[[nodiscard]] Answer<std::unique_ptr<Publisher>> make_publisher(PublisherOptions options);

/// For a relay. Kafka keeps no marks for it: open() gives ProducerState::remembers = false, and a
/// message that was sent and not written down is sent again under the same id, for the inbox.
///
/// open() with a lower epoch than this process used before is not noticed: the outbox's own lease
/// keeps two relays of one database apart.
[[nodiscard]] Answer<std::unique_ptr<SequencedPublisher>> make_sequenced_publisher(
    SequencedOptions options, SequencedEvents& events);

}  // namespace ferry::transport::kafka
