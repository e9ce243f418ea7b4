#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

// What the broker says. It is not believed: every field is checked, and a broker that breaks the
// protocol loses this client, which then connects anew.
namespace ferry::transport::native {
namespace {

constexpr std::uint64_t refused_retry_ms = 200;
constexpr std::uint64_t request_bit = 1ULL << 63;  // sequences never get there
constexpr std::size_t message_bytes_min = 6;  // the array, two empty strings, nil, an empty bin

bool passes_by_itself(wire::Code code) {
    return code == wire::Code::disk_full || code == wire::Code::limit_reached ||
           code == wire::Code::shutting_down || code == wire::Code::queue_full;
}

}  // namespace

void Core::protocol_error(std::string_view what) {
    last_code_ = wire::Code::malformed_frame;
    lost("the broker broke the protocol: " + std::string(what));
}

void Core::on_frame(Bytes body) {
    turn_comes_ = true;
    wire::Cursor cursor(body);
    wire::FrameHead head;
    if (!wire::read_head(cursor, head)) {
        protocol_error("a frame has no verb");
        return;
    }
    switch (head.verb) {
        case wire::Verb::confirm:
            return on_confirm(head, cursor);
        case wire::Verb::deliver:
            return on_deliver(head, cursor, body);
        case wire::Verb::deliver_some:
            return on_deliver_some(head, cursor, body);
        case wire::Verb::activated:
            return on_activated(head, cursor);
        case wire::Verb::refused:
            return on_refused(head, cursor);
        case wire::Verb::ok:
        case wire::Verb::settled:
            return on_answer(head, cursor);
        case wire::Verb::auth_challenge:
            return on_challenge(cursor);
        case wire::Verb::error:
            return on_error(head, cursor);
        case wire::Verb::blocked:
        case wire::Verb::unblocked:
            return on_blocked(head.verb, cursor);
        case wire::Verb::cancelled:
            return on_cancelled(head, cursor);
        case wire::Verb::reply:
            return on_reply(cursor);
        case wire::Verb::service_told:
            if (!services_.on_told(head.request, cursor))
                protocol_error("what it says of a service is malformed");
            return;
        case wire::Verb::lock_told:
            return on_lock_told(head, cursor);
        case wire::Verb::heartbeat:
            return;
        default:
            protocol_error("a frame has a verb that no broker uses");
    }
}

// ---- answers ----

RequestPtr Core::take_request(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = requests_.find(id);
    if (found == requests_.end()) return nullptr;
    RequestPtr request = std::move(found->second);
    requests_.erase(found);
    return request;
}

void Core::finish(const RequestPtr& request, Bytes result) {
    if (request->subscription && request->verb == wire::Verb::subscribe) {
        const std::lock_guard lock(request->subscription->mutex);
        request->subscription->established = true;
    }
    {
        const std::lock_guard lock(mutex_);
        request->result.assign(result.begin(), result.end());
    }
    // Before the caller wakes: what it does next may rely on what is noted here.
    if (request->on_done) request->on_done(*request);
    const std::lock_guard lock(mutex_);
    request->done = true;
    request->changed.notify_all();
}

void Core::fail_request(const RequestPtr& request, ClientError error) {
    {
        const std::lock_guard lock(mutex_);
        request->failed = true;
        request->error = std::move(error);
    }
    if (request->on_done) request->on_done(*request);
    const std::lock_guard lock(mutex_);
    request->done = true;
    request->changed.notify_all();
}

void Core::on_answer(const wire::FrameHead& head, wire::Cursor& cursor) {
    const RequestPtr request = take_request(head.request);
    if (request == nullptr) return;  // nobody waits for it any more
    const bool settles = head.verb == wire::Verb::settled;
    const bool asked_to_settle = request->verb == wire::Verb::ack ||
                                 request->verb == wire::Verb::nack ||
                                 request->verb == wire::Verb::extend;
    if (settles != asked_to_settle || head.fields < 3) {
        fail_request(request, ClientError{Errc::indeterminate, wire::Code::ok,
                                          "the broker's answer does not fit the request"});
        protocol_error("an answer does not fit its request");
        return;
    }
    finish(request, Bytes(cursor.position(), cursor.remaining()));
}

void Core::on_error(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t number = 0;
    std::string_view text;
    if (!cursor.read_uint(number) || number == 0 || number > 0xffff || !cursor.read_str(text)) {
        protocol_error("an error has no code or text");
        return;
    }
    const auto code = static_cast<wire::Code>(number);
    ClientError error = refused_by_broker(code, text);
    if (const RequestPtr request = take_request(head.request)) {
        fail_request(request, std::move(error));
        return;
    }
    if (head.request >= request_bit) return;  // to a request that was given up
    if (code == wire::Code::fenced) {
        give_up(code, error.text);
        return;
    }
    const std::uint64_t last = head.request == 0 ? 0 : pipe_.frame_end(head.request);
    if (last != 0 && code != wire::Code::no_such_producer) {
        refuse(head.request, last, code, error.text);
        return;
    }
    last_code_ = code;
    lost(error.text);
}

void Core::on_cancelled(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t number = 0;
    std::string_view text;
    if (!cursor.read_uint(number) || number > 0xffff || !cursor.read_str(text)) {
        protocol_error("a cancellation has no code or text");
        return;
    }
    if (const auto state = find_subscription(head.request)) {
        end_subscription(state, static_cast<wire::Code>(number), text);
    }
}

void Core::on_reply(wire::Cursor& cursor) {
    wire::MessageView view;
    if (!wire::read_message(cursor, view)) {
        protocol_error("a reply is malformed");
        return;
    }
    calls_.on_reply(view);
}

void Core::on_lock_told(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::string_view name;
    std::uint64_t token = 0;
    bool granted = false;
    if (!cursor.read_str(name) || !cursor.read_uint(token) || !cursor.read_bool(granted)) {
        protocol_error("what it says of a lock is malformed");
        return;
    }
    locks_.on_told(head.request, name, token, granted);
}

void Core::on_blocked(wire::Verb verb, wire::Cursor& cursor) {
    std::string_view reason;
    holds_back_ = verb == wire::Verb::blocked;
    if (holds_back_ && (!cursor.read_str(reason) || reason.empty())) {
        protocol_error("it is blocked and does not say by what");
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        blocked_ = reason.substr(0, limits::short_text_bytes_max);
    }
    tell_state(holds_back_ ? StateChange::State::blocked : StateChange::State::unblocked,
               wire::Code::ok, std::string(reason.substr(0, limits::short_text_bytes_max)));
}

// ---- publishing ----

void Core::on_confirm(const wire::FrameHead& head, wire::Cursor& cursor) {
    ConfirmFields fields;
    PublishPipe::Told told;
    const bool read = read_confirm(cursor, fields);
    if (read && transactions_.owns(fields.producer) &&
        transactions_.on_confirm(head.request, fields.last,
                                 (fields.flags & wire::confirm_duplicate) != 0)) {
        return;
    }
    if (!read || phase_ != Phase::ready || fields.producer != handle_ ||
        !pipe_.confirm(head.request, fields.last, told)) {
        protocol_error("a confirm of what was not sent");
        return;
    }
    tell(told, fields.outcome());
}

void Core::on_refused(const wire::FrameHead& head, wire::Cursor& cursor) {
    RefusedFields fields;
    const bool read = read_refused(cursor, fields);
    if (read && transactions_.owns(fields.producer) &&
        transactions_.on_refused(head.request, fields.last,
                                 refused_by_broker(fields.code, fields.text))) {
        return;
    }
    if (!read || phase_ != Phase::ready || fields.producer != handle_) {
        protocol_error("a refusal of what was not sent");
        return;
    }
    refuse(head.request, fields.last, fields.code, fields.text);
}

void Core::refuse(std::uint64_t first, std::uint64_t last, wire::Code code, std::string_view text) {
    if (code == wire::Code::fenced) {
        give_up(code, refused_by_broker(code, text).text);
        return;
    }
    PublishPipe::Told told;
    if (options_.retry_refused && passes_by_itself(code)) {
        if (!pipe_.retry_later(first, last)) {
            protocol_error("a refusal of what was not sent");
            return;
        }
        if (uv_is_active(reinterpret_cast<uv_handle_t*>(&retry_timer_))) return;
        uv_timer_start(
            &retry_timer_,
            [](uv_timer_t* timer) {
                auto* const core = static_cast<Core*>(timer->data);
                core->pipe_.send_retries();
                core->turn();
            },
            refused_retry_ms, 0);
        return;
    }
    if (!pipe_.resolve(first, last, told)) {
        protocol_error("a refusal of what was not sent");
        return;
    }
    tell(told, Outcome{Outcome::Kind::refused, code, text});
}

// ---- deliveries ----

// Null: unsubscribed while it was under way.
std::shared_ptr<SubscriptionState> Core::receiver(std::uint64_t id, std::uint64_t last_tag) {
    auto state = find_subscription(id);
    if (state == nullptr) return nullptr;
    const std::lock_guard lock(state->mutex);
    if (!state->active || state->generation != generation_) return nullptr;
    state->last_tag = std::max(state->last_tag, last_tag);
    return state;
}

// Who fetches messages later needs bytes that stay: one copy of the frame for all of them.
std::shared_ptr<const wire::Buffer> Core::keep(const SubscriptionState& state, wire::Cursor& cursor,
                                               Bytes body) {
    if (state.handler != nullptr) return nullptr;
    auto kept = std::make_shared<const wire::Buffer>(body.begin(), body.end());
    const auto offset = static_cast<std::size_t>(cursor.position() - body.data());
    cursor = wire::Cursor(Bytes(*kept).subspan(offset));
    return kept;
}

void Core::on_activated(const wire::FrameHead& head, wire::Cursor& cursor) {
    bool active = false;
    if (!cursor.read_bool(active)) {
        protocol_error("a notice of the active consumer is malformed");
        return;
    }
    const auto state = receiver(head.request, 0);
    if (state == nullptr || !state->options.on_active) return;
    const std::lock_guard calling(state->call_mutex);
    if (!state->silenced.load()) state->options.on_active(active);
}

void Core::on_deliver_some(const wire::FrameHead& head, wire::Cursor& cursor, Bytes body) {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    bool read = cursor.read_uint(first) && cursor.read_array(count) && first != 0 &&
                first < request_bit && count != 0 &&
                count <= cursor.remaining() / (message_bytes_min + 2);
    deliveries_.clear();
    Delivery like;
    like.attempt = 1;
    for (std::uint32_t i = 0; read && i < count; ++i) {
        read = cursor.read_uint(like.position);
        like.token = like.position;
        deliveries_.push_back(like);
    }
    std::uint32_t times = 0;
    read = read && cursor.read_array(times) && times == count;
    for (std::uint32_t i = 0; read && i < count; ++i)
        read = cursor.read_uint(deliveries_[i].published_ms);
    std::uint32_t messages = 0;
    if (!read || !cursor.read_array(messages) || messages != count) {
        protocol_error("a delivery is malformed");
        return;
    }
    const auto state = receiver(head.request, first + count - 1);
    if (state == nullptr) return;
    const std::shared_ptr<const wire::Buffer> kept = keep(*state, cursor, body);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!wire::read_message(cursor, deliveries_[i].message)) {
            protocol_error("a delivered message is malformed");
            return;
        }
        deliveries_[i].tag = DeliveryTag{state->id, first + i, generation_};
    }
    hand_over(*state, kept);
}

void Core::on_deliver(const wire::FrameHead& head, wire::Cursor& cursor, Bytes body) {
    std::uint64_t first = 0;
    Delivery like;
    std::uint32_t count = 0;
    const bool read = cursor.read_uint(first) && cursor.read_uint(like.position) &&
                      cursor.read_uint(like.attempt) && cursor.read_uint(like.token) &&
                      cursor.read_uint(like.published_ms) && cursor.read_array(count);
    if (!read || first == 0 || first >= request_bit || count == 0 ||
        count > cursor.remaining() / message_bytes_min) {
        protocol_error("a delivery is malformed");
        return;
    }
    const auto state = receiver(head.request, first + count - 1);
    if (state == nullptr) return;
    const std::shared_ptr<const wire::Buffer> kept = keep(*state, cursor, body);
    deliveries_.clear();
    like.tag = DeliveryTag{state->id, first, generation_};
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!wire::read_message(cursor, like.message)) {
            protocol_error("a delivered message is malformed");
            return;
        }
        deliveries_.push_back(like);
        ++like.tag.tag;
        ++like.position;
    }
    hand_over(*state, kept);
}

void Core::hand_over(SubscriptionState& state, const std::shared_ptr<const wire::Buffer>& kept) {
    if (kept == nullptr) {
        const std::lock_guard calling(state.call_mutex);
        if (!state.silenced.load()) state.handler(deliveries_);
        return;
    }
    const std::lock_guard lock(state.mutex);
    for (const Delivery& delivery : deliveries_) {
        state.waiting_bytes += delivery.message.whole.size();
        state.waiting.push_back(Received{delivery, kept});
    }
    state.arrived.notify_all();
    if (!state.pull && state.overfull()) {
        state.stopped_reading = true;
        reading_paused_ = true;
        link_->pause_reading();
    }
}

}  // namespace ferry::transport::native
