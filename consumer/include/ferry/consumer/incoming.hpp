#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "ferry/transport/late.hpp"
#include "ferry/transport/message.hpp"

namespace ferry::consumer {

using Duration = std::chrono::milliseconds;

/// Limits of the room that are not options. docs/consumer.md shows the same table.
namespace limits {
inline constexpr std::uint32_t threads_max = 256;
inline constexpr std::uint32_t prefetch_max = 100'000;
inline constexpr std::uint32_t batch_max = 10'000;
inline constexpr std::uint32_t consumer_name_bytes_max = 200;
inline constexpr std::uint32_t resource_bytes_max = 1'000;
inline constexpr std::uint32_t reason_bytes_max = 500;  // of what a handler says
}  // namespace limits

/// A message as a handler sees it.
///
/// Threads   One at a time, properties(), id(), delivery() and routing_key() too: what costs more
/// to
///           read than most handlers have a use for is read when it is first asked for. Cheap to
///           move; the bytes live as long as it does.
class Incoming {
public:
    Incoming() = default;
    Incoming(transport::Received received, wire::Properties properties)
        : received_(std::move(received)),
          properties_(std::make_shared<const wire::Properties>(std::move(properties))) {}
    /// The same with what wire::view_properties saw in its bytes.
    Incoming(transport::Received received, const wire::PropertyViews& seen)
        : received_(std::move(received)),
          ordering_key_(seen.ordering_key),
          published_at_ms_(seen.published_at_ms) {}

    /// Looks at its properties where they lie.
    explicit Incoming(transport::Received received);
    /// The same, unless they are read later.
    explicit Incoming(const transport::LateReceived& received);

    [[nodiscard]] const transport::Delivery& delivery() const {
        if (late_ != nullptr) complete();
        return received_.delivery;
    }
    /// Of delivery(), there without reading anything.
    [[nodiscard]] const transport::DeliveryTag& tag() const { return received_.delivery.tag; }
    [[nodiscard]] std::uint64_t position() const { return received_.delivery.position; }
    /// Copied from the message's bytes by the first call: leave it to those who need it. Without
    /// any if one of the known ones has the wrong type.
    [[nodiscard]] const wire::Properties& properties() const {
        return properties_ != nullptr ? *properties_ : read_now();
    }
    /// A known property has the wrong type.
    [[nodiscard]] bool malformed() const { return malformed_; }
    /// As in properties(), but there without a copy.
    [[nodiscard]] std::string_view ordering_key() const {
        return properties_ != nullptr ? std::string_view(properties_->ordering_key) : ordering_key_;
    }
    [[nodiscard]] std::uint64_t published_at_ms() const {
        return properties_ != nullptr ? properties_->published_at_ms : published_at_ms_;
    }
    [[nodiscard]] std::string_view payload() const {
        return as_text(received_.delivery.message.payload);
    }
    [[nodiscard]] std::string_view routing_key() const { return delivery().message.routing_key; }
    /// What producer, relay and broker call this message on its whole way. Empty: the publisher
    /// gave none.
    [[nodiscard]] const std::string& id() const { return properties().id; }
    /// The number of this attempt, first is 1: the broker's count of deliveries and the failures
    /// that this process has seen since. It may be too high after a crash, never too low.
    [[nodiscard]] std::uint64_t attempt() const { return received_.delivery.attempt + failures_; }
    /// For effects outside of the database (mail, HTTP): the same for every delivery of this
    /// message to this consumer, different for every other. Such effects happen at least once; hand
    /// this key to the other side so that it can tell the repeats.
    [[nodiscard]] std::string idempotency_key(std::string_view consumer) const;
    /// It was a dead letter and was sent back, or moved here by hand: see docs/consumer.md.
    [[nodiscard]] bool redriven() const;
    /// A whole number in the headers.
    [[nodiscard]] bool header(std::string_view name, std::int64_t& value) const;

    /// The runtime's: a later delivery of the same message took the place of this one.
    void take_over(const transport::Delivery& later) {
        received_.delivery.tag = later.tag;
        received_.delivery.attempt = later.attempt;
        received_.delivery.token = later.token;
    }
    /// The runtime's: failures seen by this process.
    void set_failures(std::uint64_t failures) { failures_ = failures; }

private:
    const wire::Properties& read_now() const;
    void complete() const;
    void look();

    mutable transport::Received received_;
    mutable transport::LateParts* late_ = nullptr;
    std::size_t which_ = 0;  // of the late parts
    // In the received bytes.
    std::string_view ordering_key_;
    std::uint64_t published_at_ms_ = 0;
    mutable std::shared_ptr<const wire::Properties> properties_;
    bool malformed_ = false;
    std::uint64_t failures_ = 0;
};

/// Reads a delivery's properties. rejected: one of them has the wrong type.
[[nodiscard]] Result<Incoming> read_incoming(transport::Received received);

/// What a handler made of a message.
struct Handled {
    enum class Kind : std::uint8_t {
        done,    // the effect is there (or was there before): ack
        retry,   // it failed: again after a while; counts as an attempt
        later,   // not its fault (database busy, a partner away): again, spends no attempt
        poison,  // it can never succeed: to the dead letters now
    };
    Kind kind = Kind::done;
    std::string reason;
    Duration after{0};       // 0: the retry policy's
    bool duplicate = false;  // done: and had been before

    static Handled done() { return {}; }
    static Handled retry(std::string reason, Duration after = Duration{0}) {
        return {Kind::retry, std::move(reason), after, false};
    }
    static Handled later(std::string reason, Duration after = Duration{0}) {
        return {Kind::later, std::move(reason), after, false};
    }
    static Handled poison(std::string reason) {
        return {Kind::poison, std::move(reason), Duration{0}, false};
    }
};

}  // namespace ferry::consumer
