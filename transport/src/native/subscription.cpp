#include "ferry/transport/subscription.hpp"

#include "native/core.hpp"
#include "native/decode.hpp"

namespace ferry::transport {

using native::Core;

Subscription::Subscription(std::shared_ptr<native::Core> core,
                           std::shared_ptr<native::SubscriptionState> state)
    : core_(std::move(core)), state_(std::move(state)) {}

namespace {

native::RequestPtr unsubscribe_request(std::uint64_t id) {
    auto request = std::make_shared<native::Request>();
    request->verb = wire::Verb::unsubscribe;
    request->field_count = 1;
    wire::Encoder(request->fields).uint(id);
    return request;
}

}  // namespace

Subscription::~Subscription() {
    if (core_->on_io_thread()) {
        state_->silenced.store(true);  // no handler can begin while this thread is here
    } else {
        const std::lock_guard calling(state_->call_mutex);  // waits for one that runs
        state_->silenced.store(true);
    }
    bool tell = false;
    {
        const std::lock_guard lock(state_->mutex);
        tell = state_->active && state_->generation != 0;
        state_->active = false;
        state_->waiting.clear();
        state_->arrived.notify_all();
    }
    core_->forget_subscription(state_->id);
    if (!tell) return;
    auto request = unsubscribe_request(state_->id);
    request->session = true;  // a reconnect ends the subscription as well
    core_->post(std::move(request));
}

Result<Received> Subscription::next(Timeout timeout) {
    if (state_->handler) {
        return Error{Errc::rejected, 0, 0, "this subscription hands its messages to its handler"};
    }
    if (timeout.count() > 0 && core_->on_io_thread()) {
        return Error{Errc::rejected, 0, 0, "waiting is not allowed in a callback of the client"};
    }
    bool read_again = false;
    std::unique_lock lock(state_->mutex);
    const auto there = [this] { return !state_->waiting.empty() || !state_->active; };
    if (!there() && (timeout.count() <= 0 || !state_->arrived.wait_for(lock, timeout, there))) {
        return Error{Errc::would_block, 0, 0, "no message came in time"};
    }
    if (state_->waiting.empty()) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
    Received received = std::move(state_->waiting.front());
    state_->waiting.pop_front();
    state_->waiting_bytes -= received.delivery.message.whole.size();
    read_again = state_->stopped_reading && state_->half_empty();
    lock.unlock();
    if (read_again) core_->wake();
    return received;
}

Status Subscription::ack(const DeliveryTag& tag) {
    return ack_range(tag, tag);
}

Status Subscription::nack(const DeliveryTag& tag, bool requeue) {
    return nack_range(tag, tag, requeue);
}

Status Subscription::nack_later(const DeliveryTag& tag, Timeout delay) {
    return core_->note(*state_, tag, tag, Core::Settlement::delay,
                       static_cast<std::uint64_t>(std::max<Timeout::rep>(delay.count(), 0)));
}

Status Subscription::ack_range(const DeliveryTag& first, const DeliveryTag& last) {
    return core_->note(*state_, first, last, Core::Settlement::ack, 0);
}

Status Subscription::nack_range(const DeliveryTag& first, const DeliveryTag& last, bool requeue) {
    const auto settlement = requeue ? Core::Settlement::requeue : Core::Settlement::reject;
    return core_->note(*state_, first, last, settlement, 0);
}

Status Subscription::extend(const DeliveryTag& first, const DeliveryTag& last,
                            std::uint64_t lease_ms) {
    return core_->note(*state_, first, last, Core::Settlement::extend, lease_ms);
}

Answer<Done> Subscription::credit(std::uint32_t messages, std::uint64_t bytes, Timeout timeout) {
    {
        const std::lock_guard lock(state_->mutex);
        state_->window_messages = messages;
        state_->window_bytes = bytes;
    }
    auto request = std::make_shared<native::Request>();
    request->verb = wire::Verb::credit;
    request->field_count = 3;
    wire::Encoder(request->fields).uint(state_->id).uint(messages).uint(bytes);
    auto answer = core_->call(std::move(request), timeout);
    if (!answer.ok()) return answer.error();
    return Done{};
}

Answer<Done> Subscription::unsubscribe(Timeout timeout) {
    {
        const std::lock_guard lock(state_->mutex);
        if (!state_->active) return Done{};
    }
    auto request = unsubscribe_request(state_->id);
    if (core_->on_io_thread()) {
        state_->silenced.store(true);
        request->session = true;
        core_->post(std::move(request));
    } else {
        const auto answer = core_->call(std::move(request), timeout);
        const bool gone = answer.ok() ||
                          answer.error().wire_code == wire::Code::no_such_subscription ||
                          answer.error().code == Errc::indeterminate;  // with its connection
        if (!gone) return answer.error();
        const std::lock_guard calling(state_->call_mutex);
        state_->silenced.store(true);
    }
    {
        const std::lock_guard lock(state_->mutex);
        state_->active = false;
        state_->arrived.notify_all();
    }
    core_->forget_subscription(state_->id);
    return Done{};
}

const std::string& Subscription::queue() const {
    return state_->queue;
}
std::uint64_t Subscription::id() const {
    return state_->id;
}
bool Subscription::active() const {
    const std::lock_guard lock(state_->mutex);
    return state_->active;
}

}  // namespace ferry::transport
