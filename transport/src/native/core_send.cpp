#include <algorithm>

#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::uint64_t request_bit = 1ULL << 63;  // sequences never get there

// Neighbours with one delay go out as one range.
void add_delay(std::vector<SubscriptionState::Extension>& delays,
               const SubscriptionState::Extension& next) {
    if (!delays.empty() && delays.back().lease_ms == next.lease_ms &&
        delays.back().range.last + 1 == next.range.first) {
        delays.back().range.last = next.range.last;
        return;
    }
    delays.push_back(next);
}

}  // namespace

// ---- requests ----

Answer<wire::Buffer> Core::call(RequestPtr request, Timeout timeout) {
    if (on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    const auto deadline = std::chrono::steady_clock::now() + timeout_or_default(timeout);
    std::unique_lock lock(mutex_);
    if (over_) return over_because_;
    if (request->fields.size() + 64 > std::max<std::uint64_t>(server_.frame_bytes_max, 4096)) {
        return ClientError{Errc::rejected, wire::Code::frame_too_large,
                           "the request is larger than the broker's frame limit"};
    }
    request->id = request_bit | ++next_id_;
    unsent_.push_back(request);
    lock.unlock();
    wake();
    lock.lock();
    if (!request->changed.wait_until(lock, deadline, [&] { return request->done; })) {
        requests_.erase(request->id);
        std::erase(unsent_, request);
        if (request->sent) {
            return ClientError{Errc::indeterminate, wire::Code::ok,
                               "the broker did not answer in time"};
        }
        return ClientError{Errc::unreachable, wire::Code::ok,
                           "no connection to " + url_.text() + ": " + last_failure_};
    }
    if (request->failed) return request->error;
    return std::move(request->result);
}

Status Core::publish_call(const Message& request, bool need_consumer,
                          std::function<void(const Outcome&)> done) {
    if (!wire::check_message(request).empty())
        return Error{Errc::rejected, 0, 0, "the request, or a property of it, is over a limit"};
    wire::Buffer properties;
    wire::Encoder encoder(properties);
    wire::write_properties(encoder, request.properties);
    const std::uint64_t flags =
        wire::publish_unhurried | (need_consumer ? wire::publish_to_consumer : 0);
    const PublishPipe::Item item{request.exchange, request.routing_key, properties,
                                 as_bytes(request.payload), flags};
    bool wakes = false;
    const auto taken = pipe_.enqueue(
        item, [done = std::move(done)](std::uint64_t, const Outcome& outcome) { done(outcome); },
        !on_io_thread(), wakes);
    if (wakes) wake();
    if (!taken.ok()) return taken.error();
    return ok_status();
}

void Core::post(RequestPtr request) {
    {
        const std::lock_guard lock(mutex_);
        if (over_) return;
        request->id = request_bit | ++next_id_;
        unsent_.push_back(std::move(request));
    }
    wake();
}

void Core::send(const RequestPtr& request) {
    wire::Buffer& out = link_->control();
    if (request->quiet) {
        const std::size_t mark = wire::begin_frame(out, request->verb, 2 + request->field_count);
        wire::Encoder(out).uint(0).raw(request->fields);
        wire::end_frame(out, mark);
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        if (request->id == 0) request->id = request_bit | ++next_id_;
        request->sent = true;
        requests_[request->id] = request;
    }
    if (request->subscription != nullptr) {
        SubscriptionState& state = *request->subscription;
        const std::lock_guard lock(state.mutex);
        if (state.generation != generation_) state.last_tag = 0;
        state.generation = generation_;
    }
    const std::size_t mark = wire::begin_frame(out, request->verb, 2 + request->field_count);
    wire::Encoder(out).uint(request->id).raw(request->fields);
    wire::end_frame(out, mark);
}

void Core::send_waiting_requests() {
    std::vector<RequestPtr> requests;
    {
        const std::lock_guard lock(mutex_);
        requests.swap(unsent_);
    }
    for (const RequestPtr& request : requests) {
        if (request->generation != 0 && request->generation != generation_) {
            fail_request(request, ClientError{Errc::indeterminate, wire::Code::lease_lost,
                                              "the leases were lost with their connection"});
        } else {
            send(request);
        }
    }
}

// ---- settlements ----

Status Core::note(SubscriptionState& state, const DeliveryTag& first, const DeliveryTag& last,
                  Settlement settlement, std::uint64_t lease_ms) {
    {
        const std::lock_guard lock(state.mutex);
        if (first.subscription != state.id || last.subscription != state.id ||
            first.generation != last.generation || first.generation == 0 || first.tag == 0 ||
            first.tag > last.tag) {
            return Error{Errc::rejected, 0, 0, "these tags are not a range of this subscription"};
        }
        if (state.options.no_ack) {
            return Error{Errc::rejected, 0, 0, "with no_ack there is nothing to settle"};
        }
        if (!state.active) return Error{Errc::not_found, 0, 0, "the subscription has ended"};
        if (state.generation != first.generation && !FERRY_PLANTED("client-stale-ack-sent")) {
            return Error{Errc::indeterminate, 0, 0, "the lease was lost with its connection"};
        }
        if (last.tag > state.last_tag) {
            return Error{Errc::rejected, 0, 0, "this tag was never delivered"};
        }
        switch (settlement) {
            case Settlement::ack:
                add_range(state.notes.acks, first.tag, last.tag);
                break;
            case Settlement::requeue:
                add_range(state.notes.requeues, first.tag, last.tag);
                break;
            case Settlement::reject:
                add_range(state.notes.rejects, first.tag, last.tag);
                break;
            case Settlement::extend:
                state.notes.extensions.push_back({Range{first.tag, last.tag}, lease_ms});
                break;
            case Settlement::delay:
                if (lease_ms > limits::retry_delay_ms_max)
                    return Error{Errc::rejected, 0, 0, "a delay is at most 7 days"};
                add_delay(state.notes.delays, {Range{first.tag, last.tag}, lease_ms});
                break;
        }
        if (std::exchange(state.noted, true)) return ok_status();
    }
    {
        const std::lock_guard lock(mutex_);
        if (over_) return Error{Errc::unreachable, 0, 0, "the client is closed"};
        with_notes_.push_back(state.shared_from_this());
    }
    wake();
    return ok_status();
}

void Core::send_notes() {
    std::vector<std::shared_ptr<SubscriptionState>> states;
    {
        const std::lock_guard lock(mutex_);
        if (with_notes_.empty()) return;
        states.swap(with_notes_);
    }
    for (const auto& state : states) {
        SubscriptionState::Notes notes;
        {
            const std::lock_guard lock(state->mutex);
            std::swap(notes, state->notes);
            state->noted = false;
        }
        send_ranges(*state, wire::Verb::ack, notes.acks, [](wire::Encoder&) {});
        send_ranges(*state, wire::Verb::nack, notes.requeues,
                    [](wire::Encoder& out) { out.boolean(true); });
        send_ranges(*state, wire::Verb::nack, notes.rejects,
                    [](wire::Encoder& out) { out.boolean(false); });
        for (const auto& delay : notes.delays) {
            send_ranges(
                *state, wire::Verb::nack, {delay.range},
                [&](wire::Encoder& out) { out.boolean(true).uint(delay.lease_ms); }, 1);
        }
        for (const auto& extension : notes.extensions) {
            send_ranges(*state, wire::Verb::extend, {extension.range},
                        [&](wire::Encoder& out) { out.uint(extension.lease_ms); });
        }
    }
}

template <class F>
void Core::send_ranges(SubscriptionState& state, wire::Verb verb, const std::vector<Range>& ranges,
                       F&& extra, std::uint32_t more_fields) {
    for (std::size_t at = 0; at < ranges.size(); at += limits::ranges_per_frame_max) {
        const std::size_t count =
            std::min<std::size_t>(ranges.size() - at, limits::ranges_per_frame_max);
        const RequestPtr request =
            session_request(verb, (verb == wire::Verb::ack ? 2 : 3) + more_fields);
        wire::Encoder fields(request->fields);
        fields.uint(state.id);
        encode_ranges(ranges.data() + at, count, fields);
        extra(fields);
        const bool wants_answer = state.options.on_lease_lost || verb == wire::Verb::extend;
        if (wants_answer) {
            request->on_done = [call = state.options.on_lease_lost](const Request& answered) {
                std::vector<Range> lost_ones;
                wire::Cursor cursor(answered.result);
                if (answered.failed || !call || !decode_ranges(cursor, lost_ones)) return;
                for (const Range& range : lost_ones) call(range.first, range.last);
            };
            send(request);
            continue;
        }
        wire::Buffer& out = link_->control();
        const std::size_t mark = wire::begin_frame(out, verb, 2 + request->field_count);
        wire::Encoder(out).uint(0).raw(request->fields);
        wire::end_frame(out, mark);
    }
}

// ---- subscriptions ----

std::shared_ptr<SubscriptionState> Core::add_subscription(std::string_view queue,
                                                          const SubscribeOptions& options,
                                                          DeliveryHandler handler, bool pull) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t id = ++next_subscription_;
    auto state = std::make_shared<SubscriptionState>(id, queue, options, std::move(handler), pull);
    subscriptions_.emplace(id, state);
    return state;
}

std::shared_ptr<SubscriptionState> Core::find_subscription(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = subscriptions_.find(id);
    return found == subscriptions_.end() ? nullptr : found->second;
}

std::shared_ptr<SubscriptionState> Core::pull_state(std::string_view queue, bool no_ack) {
    const std::string key = (no_ack ? "-" : "+") + std::string(queue);
    {
        const std::lock_guard lock(mutex_);
        const auto found = pulls_.find(key);
        if (found != pulls_.end()) {
            const auto state = subscriptions_.find(found->second);
            if (state != subscriptions_.end()) return state->second;
        }
    }
    SubscribeOptions options;
    options.no_ack = no_ack;
    auto state = add_subscription(queue, options, nullptr, true);
    const std::lock_guard lock(mutex_);
    pulls_[key] = state->id;
    return state;
}

void Core::forget_subscription(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    subscriptions_.erase(id);
}

// The network has waited for the application; when enough was fetched it may go on.
void Core::read_again_if_possible() {
    if (!reading_paused_) return;
    std::vector<std::shared_ptr<SubscriptionState>> all;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, state] : subscriptions_) all.push_back(state);
    }
    for (const auto& state : all) {
        const std::lock_guard lock(state->mutex);
        if (!state->stopped_reading) continue;
        if (!state->half_empty()) return;
        state->stopped_reading = false;
    }
    reading_paused_ = false;
    link_->resume_reading();
}

std::string Core::blocked() const {
    const std::lock_guard lock(mutex_);
    return blocked_;
}

ServerInfo Core::server() const {
    const std::lock_guard lock(mutex_);
    return server_;
}

}  // namespace ferry::transport::native
