#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/transport/message.hpp"
#include "ferry/transport/port.hpp"
#include "ferry/transport/security.hpp"

namespace ferry::transport {

/// First and last, both included.
struct SequenceRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    bool operator==(const SequenceRange&) const = default;
};

/// What the message system remembers of a producer: every sequence up to `mark` was taken for good,
/// except the `open` ones, in ascending order.
struct ProducerState {
    /// False: the message system remembers nothing of producers (Kafka); mark and open are empty,
    /// and what was sent without being written down is sent again, for the inbox to tell.
    bool remembers = true;
    std::uint64_t epoch = 0;
    std::uint64_t mark = 0;
    std::vector<SequenceRange> open;
    std::uint64_t payload_bytes_max = 0;
    std::uint64_t frame_bytes_max = 0;
};

/// A message under its publisher's own number. Views live until the call returns.
struct SequencedMessage {
    std::string_view exchange;
    std::string_view routing_key;
    Bytes properties;  // msgpack made by wire::write_properties, or empty
    Bytes payload;
    bool mandatory = false;  // refuse with NO_ROUTE what reaches no queue
};

/// Told by a SequencedPublisher, on its own thread or inside a call; must return soon and must not
/// call the publisher.
class SequencedEvents {
public:
    virtual ~SequencedEvents() = default;
    /// Each published sequence is answered once: confirmed, duplicate or refused. SEQUENCE_GAP
    /// means that an earlier one was refused and this one is as if it had never been sent.
    virtual void on_answered(SequenceRange sequences, const Outcome& outcome) = 0;
    /// What was not answered will not be. FENCED: this producer's epoch is over.
    virtual void on_lost(const ClientError& why) = 0;
};

/// Publishing by somebody who keeps the messages himself, in a database: he numbers them, and after
/// a lost connection asks for the mark and sends again from there. Nothing is kept here beyond the
/// window.
///
/// Sequences above the mark are published in ascending order without gaps; what is left out is
/// declared by hold(). A refused message stops everything behind it (SEQUENCE_GAP), so that nothing
/// overtakes it unseen. Open sequences may be published at any time.
///
/// Threads   One at a time for all calls; close() from any.
/// Lifetime  The events outlive the publisher.
class SequencedPublisher {
public:
    virtual ~SequencedPublisher() = default;

    /// Makes a fresh connection, and asks for the producer. A higher epoch than the stored one
    /// begins it anew with mark 0. No event of an earlier connection comes after it has returned.
    ///
    /// Blocking  Until the connect timeout.
    /// Errors    unreachable; or what was refused, FENCED above all (see ClientError::wire_code).
    virtual Answer<ProducerState> open(std::string_view producer, std::uint64_t epoch) = 0;
    /// Takes a message into the batch that gathers. Allocates nothing per message.
    ///
    /// Errors    would_block (window full), rejected (over a limit: it can never be sent here),
    ///           unreachable (not open, or lost). Nothing was taken.
    virtual Status publish(std::uint64_t sequence, const SequencedMessage& message) = 0;
    /// Declares sequences that come later or never; they follow on the last one published or held.
    virtual Status hold(SequenceRange sequences) = 0;
    /// From now on every sequence up to this one is finished for good.
    virtual void settled(std::uint64_t upto) = 0;
    /// Sends what has gathered.
    virtual void flush() = 0;
    /// Messages taken and not answered.
    [[nodiscard]] virtual std::uint64_t unanswered() const = 0;
    /// In the text format of Prometheus; may be empty.
    [[nodiscard]] virtual std::string metrics() const { return {}; }
    /// Ends the connection; open() fails from now on, also one that waits. Any thread.
    virtual void close() = 0;
};

struct SequencedOptions {
    std::string url = "ferry://127.0.0.1:7420";
    std::string name = "ferry-relay";  // shown by the broker
    Security security;
    std::uint32_t connect_timeout_ms = 2000;
    std::uint32_t heartbeat_ms = 10000;
    std::uint32_t batch_messages = 4096;  // per frame; also bounded by the broker's frame limit
    std::uint32_t batch_bytes = 256U << 10;
    std::uint32_t window_messages = 16384;  // unanswered
    std::uint64_t window_bytes = 16ULL << 20;
};

/// Over the native protocol, with its own I/O thread.
///
/// Errors    rejected (bad URL), io_failed (no event loop).
Answer<std::unique_ptr<SequencedPublisher>> make_sequenced_publisher(SequencedOptions options,
                                                                     SequencedEvents& events);

}  // namespace ferry::transport
