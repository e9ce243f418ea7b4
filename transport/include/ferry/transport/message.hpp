#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ferry/transport/error.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::transport {

using wire::Message;
using wire::MessageView;
using wire::Properties;

/// What became of published messages.
struct Outcome {
    enum class Kind : std::uint8_t {
        confirmed,  // on the broker's disk and routed
        duplicate,  // likewise, by an earlier attempt
        refused,    // surely not stored; `code` and `text` say why
        in_doubt,   // the client was closed before an answer came: stored or not
    };
    Kind kind = Kind::confirmed;
    wire::Code code = wire::Code::ok;
    std::string_view text = {};  // valid during the callback
    /// Stored before under its id: a queue with a dedupe window did not take it again.
    bool repeated = false;

    [[nodiscard]] bool ok() const { return kind == Kind::confirmed || kind == Kind::duplicate; }
};

/// Called once for each message of publish_async, on the I/O thread.
using ConfirmCallback = std::function<void(std::uint64_t sequence, const Outcome& outcome)>;
/// Called for ranges of sequences, first and last included, on the I/O thread. Each sequence comes
/// exactly once.
using RangeCallback =
    std::function<void(std::uint64_t first, std::uint64_t last, const Outcome& outcome)>;

/// Names one delivery. Small, copyable, safe to keep: after a reconnect it is stale and is refused,
/// it can never settle another message.
struct DeliveryTag {
    std::uint64_t subscription = 0;
    std::uint64_t tag = 0;
    std::uint64_t generation = 0;  // of the connection it came over
};

/// A delivered message. Views are valid as long as whoever handed it out says.
struct Delivery {
    DeliveryTag tag;
    std::uint64_t position = 0;      // in the broker's log; grows for ever
    std::uint64_t attempt = 1;       // more than 1: delivered before
    std::uint64_t token = 0;         // fencing token of the lease
    std::uint64_t published_ms = 0;  // the broker's clock
    MessageView message;

    [[nodiscard]] bool redelivered() const { return attempt > 1; }
};

/// A delivery that keeps its bytes alive. Cheap to copy.
struct Received {
    Delivery delivery;
    std::shared_ptr<const std::vector<std::byte>> bytes;
};

/// Copies what a view shows; false: a known property has the wrong type.
[[nodiscard]] bool to_message(const MessageView& view, Message& out);

}  // namespace ferry::transport
