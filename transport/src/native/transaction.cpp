#include "ferry/transport/transaction.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include "ferry/transport/client.hpp"
#include "ferry/wire/limits.hpp"
#include "native/core.hpp"

namespace ferry::transport {

using native::Core;
using native::TransactionState;

namespace {

// A frame's head, and what the parts around the messages take.
constexpr std::size_t frame_reserve = 512;
// What the first message of a transaction makes room for.
constexpr std::size_t messages_expected = 4;
constexpr std::size_t message_overhead = 64;
constexpr std::size_t reserved_max = 64U << 10;

Error rejected(std::string_view what) {
    return Error{Errc::rejected, 0, 0, what};
}

}  // namespace

Transaction Client::transaction(const TransactionOptions& options) {
    return Transaction(core_, options);
}

Status Client::flush_transactions(Timeout timeout) {
    if (core_->on_io_thread())
        return rejected("waiting is not allowed in a callback of the client");
    return core_->transactions().wait_idle(std::chrono::steady_clock::now() +
                                           core_->timeout_or_default(timeout));
}

Transaction::Transaction(std::shared_ptr<native::Core> core, const TransactionOptions& options)
    : core_(std::move(core)), options_(options) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction& Transaction::operator=(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

void Transaction::clear() {
    if (state_ != nullptr) state_->clear();
}
bool Transaction::empty() const {
    return state_ == nullptr || state_->empty();
}
std::uint32_t Transaction::messages() const {
    return state_ == nullptr ? 0 : state_->count;
}
// Made when something is added, and gone with the commit.
TransactionState& Transaction::state() {
    if (state_ == nullptr) state_ = core_->transactions().fresh();
    return *state_;
}

Status Transaction::publish(const Message& message) {
    if (!wire::check_message(message).empty())
        return rejected("a name, key or property of the message is malformed or over its limit");
    TransactionState& into = state();
    if (into.count >= limits::messages_per_frame_max)
        return rejected("a transaction has at most 65536 messages");
    const std::size_t before = into.messages.size();
    // Mostly a few messages of one size: one allocation instead of one for each doubling.
    if (before == 0) {
        into.messages.reserve(std::min(
            messages_expected * (message.payload.size() + message_overhead), reserved_max));
    }
    wire::Encoder encoder(into.messages);
    wire::write_message(encoder, message);
    const bool payload_fits = message.payload.size() <= core_->payload_bytes_max();
    if (!payload_fits || into.bytes() + frame_reserve > core_->frame_bytes_max()) {
        into.messages.resize(before);
        return rejected(payload_fits
                            ? "the transaction would be larger than the broker's frame limit"
                            : "the payload is larger than the broker takes");
    }
    ++into.count;
    return ok_status();
}

Status Transaction::enqueue(std::string_view exchange, std::string_view routing_key, Bytes payload,
                            Bytes properties) {
    const Status fine = native::check_message_head(exchange, routing_key, properties);
    if (!fine.ok()) return fine;
    if (payload.size() > core_->payload_bytes_max())
        return rejected("the payload is larger than the broker takes");
    TransactionState& into = state();
    if (into.count >= limits::messages_per_frame_max)
        return rejected("a transaction has at most 65536 messages");
    const std::size_t bytes = native::encoded_bytes_max(exchange, routing_key, properties, payload);
    if (into.bytes() + bytes + frame_reserve > core_->frame_bytes_max())
        return rejected("the transaction would be larger than the broker's frame limit");
    const std::size_t before = into.messages.size();
    if (before == 0) into.messages.reserve(std::min(messages_expected * bytes, reserved_max));
    into.messages.resize(before + bytes);
    std::byte* const begin = into.messages.data();
    const std::byte* const end =
        native::encode_message(begin + before, exchange, routing_key, properties, payload);
    into.messages.resize(static_cast<std::size_t>(end - begin));
    ++into.count;
    return ok_status();
}

Status Transaction::settle(const DeliveryTag& first, const DeliveryTag& last, bool reject) {
    if (first.subscription != last.subscription || first.generation != last.generation ||
        first.generation == 0 || first.tag == 0 || first.tag > last.tag) {
        return rejected("these tags are not a range of one subscription's deliveries");
    }
    TransactionState& into = state();
    if (into.generation != 0 && into.generation != first.generation)
        return rejected("the deliveries of a transaction are all of one connection");
    if (into.ranges >= limits::ranges_per_frame_max)
        return rejected("a transaction has at most 16384 ranges of tags");
    TransactionState::Part* part = into.part_of(first.subscription);
    // A subscription may have two parts: what it acks and what it rejects.
    if (part == nullptr && into.parts().size() >= limits::transaction_parts_max / 2)
        return rejected("a transaction settles deliveries of at most 2048 subscriptions");
    if (into.bytes() + 20 + frame_reserve > core_->frame_bytes_max())
        return rejected("the transaction would be larger than the broker's frame limit");
    if (part == nullptr) part = &into.add_part(first.subscription);
    std::vector<native::Range>& ranges = reject ? part->rejects : part->acks;
    const std::size_t before = ranges.size();
    native::add_range(ranges, first.tag, last.tag);
    into.ranges += ranges.size() - before;
    into.generation = first.generation;
    return ok_status();
}

Status Transaction::ack(const DeliveryTag& tag) {
    return settle(tag, tag, false);
}
Status Transaction::ack_range(const DeliveryTag& first, const DeliveryTag& last) {
    return settle(first, last, false);
}
Status Transaction::reject(const DeliveryTag& tag) {
    return settle(tag, tag, true);
}

Status Transaction::commit_async(CommitCallback done) {
    if (empty()) return rejected("the transaction is empty");
    state_->mandatory = options_.mandatory;
    state_->done = std::move(done);
    bool wakes = false;
    const Status taken = core_->transactions().submit(state_, !core_->on_io_thread(), wakes);
    if (taken.ok() && wakes) core_->wake();
    return taken;
}

Answer<Committed> Transaction::commit(Timeout timeout) {
    if (core_->on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    struct Waiter {
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<Answer<Committed>> answer;
    };
    auto waiter = std::make_shared<Waiter>();
    const auto deadline = std::chrono::steady_clock::now() + core_->timeout_or_default(timeout);
    const Status taken = commit_async([waiter](const Answer<Committed>& outcome) {
        const std::lock_guard lock(waiter->mutex);
        waiter->answer.emplace(outcome);
        waiter->changed.notify_all();
    });
    if (!taken.ok()) {
        return ClientError{taken.error().code, wire::Code::ok, std::string(taken.error().what)};
    }
    std::unique_lock lock(waiter->mutex);
    if (!waiter->changed.wait_until(lock, deadline, [&] { return waiter->answer.has_value(); })) {
        return ClientError{Errc::indeterminate, wire::Code::ok,
                           "the broker did not answer the transaction in time"};
    }
    return *waiter->answer;
}

}  // namespace ferry::transport
