#include "ferry/transport/client.hpp"

#include <algorithm>

#include "native/caller_drives.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

// Connecting, publishing, consuming. Administration is in client_admin.cpp.
namespace ferry::transport {

using native::Core;
using native::PublishPipe;

namespace {

Error no_publisher() {
    return Error{Errc::rejected, 0, 0, "this client was opened without a producer"};
}

std::uint64_t flags_of(const PublishOptions& options) {
    return options.mandatory ? wire::publish_mandatory : 0;
}

ClientError with_text(const Error& error) {
    return ClientError{error.code, wire::Code::ok, std::string(error.what)};
}

}  // namespace

Client::Client(std::shared_ptr<native::Core> core) : core_(std::move(core)) {}

Client::~Client() {
    core_->stop();
}

Answer<std::unique_ptr<Client>> Client::connect(ClientOptions options) {
    const auto url = parse_url(options.url);
    if (!url.ok()) return with_text(url.error());
    if (options.name.size() > 255 || options.producer.size() > 255) {
        return ClientError{Errc::rejected, wire::Code::ok, "names have at most 255 bytes"};
    }
    auto credentials = native::Credentials::make(options.security, url.value());
    if (!credentials.ok()) return credentials.error();
    if (native::CallerDrives* const caller = native::CallerDrives::here()) {
        caller->core = std::make_shared<Core>(std::move(options), url.value(), credentials.value(),
                                              caller->random);
        caller->core->begin();
        return std::unique_ptr<Client>(new Client(caller->core));
    }
    auto core = std::make_shared<Core>(std::move(options), url.value(), credentials.value());
    auto started = core->start();
    if (!started.ok()) {
        core->stop();
        return started.error();
    }
    return std::unique_ptr<Client>(new Client(std::move(core)));
}

// ---- publish ----

Result<std::uint64_t> Client::publish_async(const Message& message, ConfirmCallback done) {
    return publish_async(message, std::move(done), PublishOptions{});
}

Result<std::uint64_t> Client::publish_async(const Message& message, ConfirmCallback done,
                                            const PublishOptions& options) {
    if (!core_->options().publisher) return no_publisher();
    wire::Buffer properties;
    wire::Encoder encoder(properties);
    wire::write_properties(encoder, message.properties);
    wire::Properties readable;  // what others could not read is refused here
    if (!wire::read_properties(properties, readable)) {
        return Error{Errc::rejected, 0, 0, "a property or header is over its limit"};
    }
    const PublishPipe::Item item{message.exchange, message.routing_key, properties,
                                 as_bytes(message.payload), flags_of(options)};
    bool wake = false;
    auto sequence = core_->pipe().enqueue(item, std::move(done), !core_->on_io_thread(), wake);
    if (wake) core_->wake();
    return sequence;
}

std::future<PublishResult> Client::publish_future(const Message& message,
                                                  const PublishOptions& options) {
    auto promise = std::make_shared<std::promise<PublishResult>>();
    auto future = promise->get_future();
    const auto taken = publish_async(
        message,
        [promise](std::uint64_t sequence, const Outcome& outcome) {
            promise->set_value(
                PublishResult{sequence, outcome.kind, outcome.code, std::string(outcome.text)});
        },
        options);
    if (!taken.ok()) {
        promise->set_value(PublishResult{0, Outcome::Kind::refused, wire::Code::ok,
                                         std::string(taken.error().what)});
    }
    return future;
}

Answer<std::uint64_t> Client::publish(const Message& message, const PublishOptions& options,
                                      Timeout timeout) {
    if (core_->on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    struct Waiter {
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<Answer<std::uint64_t>> answer;
    };
    auto waiter = std::make_shared<Waiter>();
    const auto deadline = std::chrono::steady_clock::now() + core_->timeout_or_default(timeout);
    const auto taken = publish_async(
        message,
        [waiter](std::uint64_t sequence, const Outcome& outcome) {
            const std::lock_guard lock(waiter->mutex);
            if (outcome.ok()) {
                waiter->answer.emplace(sequence);
            } else if (outcome.kind == Outcome::Kind::refused) {
                waiter->answer.emplace(refused_by_broker(outcome.code, outcome.text));
            } else {
                waiter->answer.emplace(
                    ClientError{Errc::indeterminate, outcome.code, std::string(outcome.text)});
            }
            waiter->changed.notify_all();
        },
        options);
    if (!taken.ok()) return with_text(taken.error());
    std::unique_lock lock(waiter->mutex);
    if (!waiter->changed.wait_until(lock, deadline, [&] { return waiter->answer.has_value(); })) {
        return ClientError{Errc::indeterminate, wire::Code::ok,
                           "the broker did not confirm the message in time"};
    }
    return *waiter->answer;
}

Result<std::uint64_t> Client::enqueue(std::string_view exchange, std::string_view routing_key,
                                      Bytes payload, Bytes properties,
                                      const PublishOptions& options) {
    if (!core_->options().publisher) return no_publisher();
    bool wake = false;
    const PublishPipe::Item item{exchange, routing_key, properties, payload, flags_of(options)};
    auto sequence = core_->pipe().enqueue(item, nullptr, !core_->on_io_thread(), wake);
    if (wake) core_->wake();
    return sequence;
}

Result<std::uint64_t> Client::enqueue_many(std::string_view exchange, std::string_view routing_key,
                                           std::span<const Bytes> payloads, std::size_t* taken,
                                           const PublishOptions& options) {
    if (!core_->options().publisher) return no_publisher();
    std::size_t count = 0;
    const PublishPipe::Item item{exchange, routing_key, {}, {}, flags_of(options)};
    auto last = core_->pipe().enqueue_many(item, payloads, count, !core_->on_io_thread(),
                                           [this] { core_->wake(); });
    if (taken != nullptr) *taken = count;
    return last;
}

Status Client::flush(Timeout timeout) {
    if (!core_->options().publisher) return ok_status();
    if (core_->on_io_thread()) {
        return Error{Errc::rejected, 0, 0, "waiting is not allowed in a callback of the client"};
    }
    return core_->pipe().flush(std::chrono::steady_clock::now() +
                               core_->timeout_or_default(timeout));
}

std::uint64_t Client::unconfirmed() const {
    return core_->pipe().unconfirmed();
}
std::uint64_t Client::last_sequence() const {
    return core_->pipe().last_sequence();
}
std::string Client::producer() const {
    return core_->producer();
}

// ---- consume ----

namespace {

native::RequestPtr subscribe_request(const std::shared_ptr<native::SubscriptionState>& state) {
    auto request = std::make_shared<native::Request>();
    request->verb = wire::Verb::subscribe;
    request->field_count = 5;
    request->repeatable = true;
    request->subscription = state;
    const std::lock_guard lock(state->mutex);
    native::encode_subscribe(*state, request->fields);
    return request;
}

}  // namespace

Answer<std::shared_ptr<Subscription>> Client::subscribe(std::string_view queue,
                                                        const SubscribeOptions& options,
                                                        DeliveryHandler handler, Timeout timeout) {
    auto state = core_->add_subscription(queue, options, std::move(handler), false);
    // Before the broker hears of it: its first delivery may be handled before this call returns.
    std::shared_ptr<Subscription> subscription(new Subscription(core_, state));
    auto request = subscribe_request(state);
    if (core_->driven_by_caller()) {
        core_->post_subscribe(std::move(request));
        return subscription;
    }
    const auto answer = core_->call(std::move(request), timeout);
    if (!answer.ok()) {
        const std::lock_guard lock(state->mutex);
        // Refused: there is nothing to end. Otherwise the destructor tells the broker.
        if (answer.error().wire_code != wire::Code::ok) state->active = false;
        return answer.error();
    }
    return subscription;
}

Answer<PullResult> Client::pull(std::string_view queue, const PullOptions& options,
                                Timeout timeout) {
    const auto state = core_->pull_state(queue, options.no_ack);
    const std::lock_guard one_at_a_time(state->pull_mutex);
    auto request = std::make_shared<native::Request>();
    request->verb = wire::Verb::pull;
    request->field_count = 5;
    request->subscription = state;
    wire::Encoder(request->fields)
        .uint(state->id)
        .str(queue)
        .uint(options.messages)
        .uint(options.bytes)
        .map(1)
        .str("no_ack")
        .boolean(options.no_ack);
    const auto answer = core_->call(std::move(request), timeout);
    if (!answer.ok()) return answer.error();
    PullResult result;
    if (!native::decode_figure(answer.value(), "ready", result.ready)) {
        return ClientError{Errc::indeterminate, wire::Code::ok, "the broker's answer is malformed"};
    }
    const std::lock_guard lock(state->mutex);
    result.messages.assign(std::make_move_iterator(state->waiting.begin()),
                           std::make_move_iterator(state->waiting.end()));
    state->waiting.clear();
    state->waiting_bytes = 0;
    return result;
}

Status Client::ack(const DeliveryTag& tag) {
    const auto state = core_->find_subscription(tag.subscription);
    if (state == nullptr) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
    return core_->note(*state, tag, tag, Core::Settlement::ack, 0);
}

Status Client::nack(const DeliveryTag& tag, bool requeue) {
    const auto state = core_->find_subscription(tag.subscription);
    if (state == nullptr) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
    const auto settlement = requeue ? Core::Settlement::requeue : Core::Settlement::reject;
    return core_->note(*state, tag, tag, settlement, 0);
}

Status Client::nack_later(const DeliveryTag& tag, Timeout delay) {
    const auto state = core_->find_subscription(tag.subscription);
    if (state == nullptr) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
    return core_->note(*state, tag, tag, Core::Settlement::delay,
                       static_cast<std::uint64_t>(std::max<Timeout::rep>(delay.count(), 0)));
}

namespace {

/// Tags of one subscription, of one connection, as few ranges.
struct Group {
    DeliveryTag like;
    std::vector<native::Range> ranges;
};

std::vector<Group> grouped(std::span<const DeliveryTag> tags) {
    std::vector<DeliveryTag> sorted(tags.begin(), tags.end());
    std::sort(sorted.begin(), sorted.end(), [](const DeliveryTag& a, const DeliveryTag& b) {
        return std::tie(a.subscription, a.generation, a.tag) <
               std::tie(b.subscription, b.generation, b.tag);
    });
    std::vector<Group> groups;
    for (const DeliveryTag& tag : sorted) {
        if (groups.empty() || groups.back().like.subscription != tag.subscription ||
            groups.back().like.generation != tag.generation ||
            groups.back().ranges.size() >= limits::ranges_per_frame_max) {
            groups.push_back(Group{tag, {}});
        }
        auto& ranges = groups.back().ranges;
        if (ranges.empty() || ranges.back().last != tag.tag) add_range(ranges, tag.tag, tag.tag);
    }
    return groups;
}

}  // namespace

Answer<std::vector<DeliveryTag>> Client::settle(std::span<const DeliveryTag> tags,
                                                Timeout timeout) {
    std::vector<DeliveryTag> lost;
    const auto lose = [&](const DeliveryTag& like, const native::Range& range) {
        for (std::uint64_t tag = range.first; tag <= range.last; ++tag) {
            lost.push_back(DeliveryTag{like.subscription, tag, like.generation});
        }
    };
    for (const Group& group : grouped(tags)) {
        auto request = std::make_shared<native::Request>();
        request->verb = wire::Verb::ack;
        request->field_count = 2;
        request->generation = group.like.generation;
        wire::Encoder fields(request->fields);
        fields.uint(group.like.subscription);
        native::encode_ranges(group.ranges.data(), group.ranges.size(), fields);
        const auto answer = core_->call(std::move(request), timeout);
        if (!answer.ok() && answer.error().wire_code == wire::Code::lease_lost) {
            for (const native::Range& range : group.ranges) lose(group.like, range);
            continue;
        }
        if (!answer.ok()) return answer.error();
        std::vector<native::Range> ranges;
        wire::Cursor cursor(answer.value());
        if (!native::decode_ranges(cursor, ranges)) {
            return ClientError{Errc::indeterminate, wire::Code::ok,
                               "the broker's answer is malformed"};
        }
        for (const native::Range& range : ranges) {
            // Only what was asked for: a range from the network may be of any length.
            const native::Range& asked_first = group.ranges.front();
            const native::Range& asked_last = group.ranges.back();
            lose(group.like,
                 {std::max(range.first, asked_first.first), std::min(range.last, asked_last.last)});
        }
    }
    return lost;
}

// ---- the connection ----

ServerInfo Client::server() const {
    return core_->server();
}
bool Client::connected() const {
    return core_->connected();
}
std::string Client::blocked() const {
    return core_->blocked();
}

Status Client::close(Timeout timeout) {
    if (core_->on_io_thread()) {
        return Error{Errc::rejected, 0, 0, "waiting is not allowed in a callback of the client"};
    }
    const auto deadline = std::chrono::steady_clock::now() + core_->timeout_or_default(timeout);
    Status status = ok_status();
    if (core_->options().publisher) {
        core_->pipe().stop_taking();
        status = core_->pipe().flush(deadline);
    }
    const Status settled = core_->transactions().wait_idle(deadline);
    if (!settled.ok() && status.ok()) status = settled;
    core_->expect_the_end();
    if (core_->connected()) {
        auto request = std::make_shared<native::Request>();
        request->verb = wire::Verb::goodbye;
        const auto left =
            std::chrono::duration_cast<Timeout>(deadline - std::chrono::steady_clock::now());
        const auto answer = core_->call(std::move(request), std::max(left, Timeout{100}));
        if (!answer.ok() && status.ok()) status = answer.error().error();
    }
    core_->stop();
    return status;
}

}  // namespace ferry::transport
