#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ferry/engine/types.hpp"
#include "ferry/wire/encoder.hpp"

// What the broker says in the native protocol; docs/protocol.md, "Verbs".
namespace ferry::server::native {

void write_ok(wire::Buffer& out, std::uint64_t request);
void write_error(wire::Buffer& out, std::uint64_t request, wire::Code code, std::string_view text);
void write_heartbeat(wire::Buffer& out);
void write_confirm(wire::Buffer& out, const engine::Confirm& confirm);
void write_refused(wire::Buffer& out, const engine::Refuse& refuse);
void write_settled(wire::Buffer& out, const engine::Settled& settled);
void write_cancelled(wire::Buffer& out, const engine::Cancelled& cancelled);
void write_activated(wire::Buffer& out, const engine::Activated& activated);
void write_lock_told(wire::Buffer& out, const engine::LockTold& told);
void write_answer(wire::Buffer& out, const engine::Reply& reply);

/// One deliver frame of `count` messages of `deliver`, from the `skip`-th; `messages` are their
/// bytes.
void write_deliver(wire::Buffer& out, const engine::Deliver& deliver, std::uint32_t skip,
                   std::uint32_t count, std::uint64_t published_ms, Bytes messages);

/// The messages of a deliver_some frame.
struct SomeMessages {
    std::vector<std::uint64_t> positions;     // of each, where it lies
    std::vector<std::uint64_t> published_ms;  // of each, when the broker took it
    std::vector<Bytes> bytes;                 // of all, in pieces

    [[nodiscard]] std::size_t size() const { return positions.size(); }
    [[nodiscard]] bool empty() const { return positions.empty(); }
    void clear() {
        positions.clear();
        published_ms.clear();
        bytes.clear();
    }
};
void write_deliver_some(wire::Buffer& out, const engine::Deliver& deliver,
                        const SomeMessages& some);

/// Begins `[ok, request, {` with `entries` entries to come. Returns the mark for wire::end_frame().
[[nodiscard]] std::size_t begin_ok(wire::Buffer& out, std::uint64_t request, std::uint32_t entries);

/// `whole`: with what only queue_show tells.
void write_queue(wire::Encoder& out, const engine::QueueView& queue, bool whole = false);
/// `client`: the name that it gave itself.
void write_consumer(wire::Encoder& out, const engine::ConsumerView& consumer,
                    std::string_view client);
/// `bindings`: null for a listing, which only counts them.
void write_exchange(wire::Encoder& out, const engine::ExchangeView& exchange,
                    const std::vector<engine::Binding>* bindings);
[[nodiscard]] std::string_view overflow_name(engine::Overflow overflow);
/// A map of the settings that are not zero or empty.
void write_policy(wire::Encoder& out, const engine::QueuePolicy& policy);
[[nodiscard]] std::string_view retry_name(engine::RetryKind kind);
/// What a consistent-hash exchange hashes, as clients say it.
[[nodiscard]] std::string hash_text(engine::HashOn on, std::string_view header);
[[nodiscard]] std::string_view type_name(engine::ExchangeType type);

}  // namespace ferry::server::native
