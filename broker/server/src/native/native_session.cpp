#include "native_session.hpp"

#include <algorithm>

#include "ferry/platform/planted.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "ferry/wire/limits.hpp"
#include "frames.hpp"
#include "peek.hpp"
#include "sign_in.hpp"

namespace ferry::server::native {
namespace {

using wire::Code;
using wire::Verb;

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t hello_within_ns = 10'000 * ns_per_ms;
constexpr std::uint64_t frame_within_ns = 30'000 * ns_per_ms;
constexpr std::uint64_t slow_bytes_per_second = 1024;
constexpr std::uint64_t tick_ns = 250 * ns_per_ms;  // how often on_tick() comes
constexpr std::uint32_t publish_fields = 6;
constexpr std::uint32_t transaction_fields = 8;
constexpr std::uint32_t transactions_fields = 7;
constexpr std::uint64_t own_request = UINT64_MAX;

}  // namespace

NativeSession::NativeSession(Hub& hub, Link& link, engine::SessionId id)
    : hub_(hub), link_(link), id_(id), deliveries_(hub, link, id) {
    opened_ = heard_ = hub_.now().mono;
    ++hub_.figures.greeting;
    deliveries_.on_damaged = [this](std::uint64_t subscription, const Error& error) {
        on_damaged(subscription, error);
    };
}

NativeSession::~NativeSession() = default;

std::size_t NativeSession::consume(Bytes bytes) {
    heard_ = hub_.now().mono;
    std::size_t used = 0;
    while (phase_ == Phase::greeting || phase_ == Phase::serving) {
        const std::uint32_t most = phase_ == Phase::greeting ? limits::frame_bytes_before_hello_max
                                                             : hub_.config.frame_bytes_max;
        const wire::FrameSlice slice = wire::next_frame(bytes.subspan(used), most);
        if (slice.state == wire::FrameSlice::State::too_large) {
            fail(0, Code::frame_too_large,
                 "frames have at most " + std::to_string(most) + " bytes here");
            break;
        }
        if (slice.state == wire::FrameSlice::State::incomplete) {
            wanted_ = std::max<std::size_t>(slice.needed, limits::frame_length_bytes);
            const std::uint64_t left = bytes.size() - used;
            if (left == 0) {
                partial_since_ = Instant{};
            } else if (used != 0 || partial_since_.ns == 0) {
                partial_since_ = heard_;
            }
            partial_bytes_ = left;
            return used;
        }
        on_frame(slice.body);
        used += slice.used;
    }
    return bytes.size();  // nothing more is wanted
}

void NativeSession::on_frame(Bytes body) {
    wire::Cursor cursor(body);
    wire::FrameHead head;
    if (!wire::read_head(cursor, head)) {
        fail(0, Code::malformed_frame, "a frame is an array of verb, request id, …");
        return;
    }
    if (phase_ == Phase::greeting &&
        head.verb != (sign_in_ == nullptr ? Verb::hello : Verb::auth_response)) {
        fail(head.request, Code::unexpected_verb,
             sign_in_ == nullptr ? "say hello first" : "answer the challenge first");
        return;
    }
    // Fields of later versions are ignored, but what a frame holds must be msgpack to its end
    // before any of it is acted upon. (The engine looks at every byte of a publish itself.)
    const bool whole_by_engine =
        (head.verb == Verb::publish && head.fields <= publish_fields) ||
        (head.verb == Verb::transactions && head.fields <= transactions_fields) ||
        (head.verb == Verb::transaction && head.fields <= transaction_fields);
    if (!whole_by_engine) {
        wire::Cursor all = cursor;
        bool whole = true;
        for (std::uint32_t i = 2; whole && i < head.fields; ++i) whole = all.skip();
        if (!whole || !all.at_end()) {
            fail(head.request, Code::malformed_frame, "the frame is not one msgpack array");
            return;
        }
    }
    Request request{cursor, head.request, head.fields, body};
    if (rights_ != nullptr && !let_through(head.verb, request)) return;
    if (!take(head.verb, request) && phase_ != Phase::over) {
        fail(request.id, Code::malformed_frame,
             "the fields are not what verb " + std::to_string(static_cast<unsigned>(head.verb)) +
                 " demands");
    }
}

bool NativeSession::take(Verb verb, Request& request) {
    switch (verb) {
        case Verb::publish:
            return publish(request);
        case Verb::ack:
            return ack(request);
        case Verb::heartbeat:
            return true;
        case Verb::goodbye:
            return goodbye(request);
        case Verb::transactions:
            return transactions(request);
        case Verb::transaction:
            return transaction(request);
        case Verb::producer:
            return producer(request);
        case Verb::hold:
            return hold(request);
        case Verb::hello:
            if (phase_ == Phase::greeting) return hello(request);
            fail(request.id, Code::unexpected_verb, "hello was said before");
            return true;
        case Verb::auth_response:
            if (phase_ == Phase::greeting) return auth_response(request);
            fail(request.id, Code::unexpected_verb, "nothing was asked");
            return true;
        default:
            return take_consuming(verb, request);
    }
}

bool NativeSession::take_query(Verb verb, Request& request) {
    switch (verb) {
        case Verb::queue_list:
            return queue_list(request);
        case Verb::queue_show:
            return queue_show(request);
        case Verb::queue_peek:
            return queue_peek(request);
        case Verb::exchange_list:
            return exchange_list(request);
        case Verb::exchange_show:
            return exchange_show(request);
        case Verb::consumer_list:
            return consumer_list(request);
        case Verb::why:
            return why(request);
        case Verb::stats:
            return stats(request);
        case Verb::backup:
            return backup(request);
        default:
            fail(request.id, Code::unexpected_verb,
                 "a client does not send verb " + std::to_string(static_cast<unsigned>(verb)));
            return true;
    }
}

bool NativeSession::goodbye(Request& request) {
    goodbye_ = request.id;
    phase_ = Phase::leaving;
    link_.pause(Pause::leaving);
    leave_when_done();
    return true;
}

void NativeSession::drain() {
    if (phase_ == Phase::over) return;
    draining_ = true;
    if (phase_ == Phase::serving) phase_ = Phase::leaving;
    link_.pause(Pause::leaving);
    leave_when_done();
}

void NativeSession::abandon() {
    if (phase_ == Phase::over) return;
    fail(0, Code::storage_failed, {});
}

void NativeSession::leave_when_done() {
    const bool leaving = phase_ == Phase::leaving || (draining_ && phase_ == Phase::greeting);
    if (!leaving || unconfirmed_ != 0 || unanswered_ != 0 || !peeks_.empty()) return;
    if (!goodbye_) {
        fail(0, Code::shutting_down, {});
        return;
    }
    if (!deliveries_.empty() && !draining_) return;  // pulled messages are under way
    write_ok(link_.out(), *goodbye_);
    link_.sent();
    end();
}

bool NativeSession::refuse(const Request& request, Code code, std::string_view text) {
    write_error(link_.out(), request.id, code, text);
    link_.sent();
    return true;
}

void NativeSession::fail(std::uint64_t request, Code code, std::string_view text) {
    if (phase_ == Phase::over) return;
    if (static_cast<std::uint64_t>(code) < 200) {
        ++hub_.figures.protocol_errors;
        std::string line = "session " + std::to_string(id_) + " closed: ";
        line += wire::code_info(code).name;
        line += ", ";
        line += text;
        hub_.note(LogLevel::warn, line);
    }
    write_error(link_.out(), request, code, text);
    link_.sent();
    end();
}

// What a connection has registered goes with its goodbye, or has its time to come back.
void NativeSession::leave_registry(bool clean) {
    for (const auto& [id, watch] : watches_) hub_.registry.unwatch(id_, watch.service);
    watches_.clear();
    hub_.registry.session_over(id_, clean);
    hub_.touch();
}

// The engine forgets the session at once; the connection ends when its last bytes have left.
void NativeSession::end() {
    if (phase_ == Phase::over) return;
    leave_registry(goodbye_.has_value());
    if (phase_ == Phase::greeting && !engine_knows_) --hub_.figures.greeting;
    phase_ = Phase::over;
    leave_account();
    if (engine_knows_) {
        engine_knows_ = false;
        hub_.engine.close_session(id_, hub_.now());
        hub_.touch();
    }
    peeks_.clear();
    link_.finish();
}

void NativeSession::on_closed() {
    if (phase_ == Phase::over) return;
    leave_registry(false);
    if (phase_ == Phase::greeting && !engine_knows_) --hub_.figures.greeting;
    phase_ = Phase::over;
    leave_account();
    if (!engine_knows_) return;
    engine_knows_ = false;
    hub_.engine.close_session(id_, hub_.now());
    hub_.touch();
}

// Request id 0 means "no answer wanted" where that is allowed, and counts as such everywhere.
void NativeSession::await_answer(std::uint64_t request) {
    if (request != 0) ++unanswered_;
    hub_.touch();
}

void NativeSession::answered(std::uint64_t request) {
    if (request != 0 && unanswered_ != 0) --unanswered_;
    if (phase_ == Phase::leaving) leave_when_done();
}

void NativeSession::carry_out(engine::Effect& effect) {
    if (phase_ == Phase::over) return;
    if (auto* deliver = std::get_if<engine::Deliver>(&effect)) {
        deliveries_.add(std::move(*deliver));
        deliveries_.pump();
    } else if (const auto* confirm = std::get_if<engine::Confirm>(&effect)) {
        write_confirm(link_.out(), *confirm);
        link_.sent();
        confirmed(confirm->producer, confirm->sequences, true);
    } else if (const auto* refused = std::get_if<engine::Refuse>(&effect)) {
        if (refused->code == Code::permission_denied) note_denied("publish", refused->text);
        write_refused(link_.out(), *refused);
        link_.sent();
        confirmed(refused->producer, refused->sequences, false);
    } else if (const auto* settled = std::get_if<engine::Settled>(&effect)) {
        write_settled(link_.out(), *settled);
        link_.sent();
        answered(settled->request);
    } else if (auto* reply = std::get_if<engine::Reply>(&effect)) {
        on_reply(*reply);
    } else if (auto* cancelled = std::get_if<engine::Cancelled>(&effect)) {
        deliveries_.add(std::move(*cancelled));
        deliveries_.pump();
    } else if (const auto* activated = std::get_if<engine::Activated>(&effect)) {
        if (!tells_activations_) return;
        deliveries_.add(*activated);
        deliveries_.pump();
    } else if (auto* told = std::get_if<engine::LockTold>(&effect)) {
        deliveries_.add(std::move(*told));
        deliveries_.pump();
    } else if (const auto* close = std::get_if<engine::CloseSession>(&effect)) {
        fail(0, close->code, close->text);
    }
}

// Answers do not overtake deliveries: a pull's messages come before its ok, and the number of an
// ended subscription can be used again when its last delivery has been sent.
void NativeSession::on_reply(engine::Reply& reply) {
    if (reply.request == own_request && own_requests_ != 0) {
        --own_requests_;
        return;
    }
    const auto* failure = std::get_if<engine::Failure>(&reply.answer);
    if (reply.request == 0 && failure != nullptr) {
        // Acks of a subscription that was cancelled meanwhile. Other failures have no request that
        // they could be told to, so they concern the connection.
        if (failure->code != Code::no_such_subscription) fail(0, failure->code, failure->text);
        return;
    }
    if (failure != nullptr && failure->code == Code::permission_denied)
        note_denied("publish", failure->text);
    if (auto* facts = std::get_if<engine::WhyAnswer>(&reply.answer)) name_clients(*facts);
    const std::uint64_t request = reply.request;
    deliveries_.add(std::move(reply));
    deliveries_.pump();
    answered(request);
}

void NativeSession::confirmed(std::uint64_t producer,
                              const engine::Range<engine::Sequence>& sequences, bool stored) {
    const std::uint64_t count = sequences.last - sequences.first + 1;
    unconfirmed_ -= std::min(unconfirmed_, count);
    if (unconfirmed_ <= hub_.config.connection_unconfirmed_max / 2) {
        link_.resume(Pause::unconfirmed);
    }
    if (timed_last_ != 0 && timed_producer_ == producer && timed_last_ <= sequences.last) {
        if (stored) {
            const auto waited = static_cast<double>(hub_.now().mono.ns - timed_from_.ns);
            hub_.figures.metrics.observe_confirm_us(waited / 1000.0, timed_count_);
        }
        timed_last_ = 0;
    }
    if (phase_ == Phase::leaving) leave_when_done();
}

void NativeSession::on_damaged(std::uint64_t subscription, const Error& error) {
    ++hub_.figures.read_errors;
    std::string text = "stored bytes at position " + std::to_string(error.position) +
                       " cannot be read: " + std::string(error.what);
    hub_.note(LogLevel::error, text);
    deliveries_.forget(subscription);
    ++own_requests_;
    hub_.engine.unsubscribe(id_, own_request, subscription, hub_.now());
    hub_.touch();
    engine::Cancelled cancelled;
    cancelled.session = id_;
    cancelled.subscription = subscription;
    cancelled.code = Code::damaged;
    cancelled.text = std::move(text);
    deliveries_.add(std::move(cancelled));
}

void NativeSession::on_body() {
    if (phase_ == Phase::over) return;
    deliveries_.pump();
    std::erase_if(peeks_, [](const std::unique_ptr<Peek>& peek) { return peek->go_on(); });
    if (phase_ == Phase::leaving) leave_when_done();
}

void NativeSession::forget_in_peeks(engine::Position record) {
    for (const std::unique_ptr<Peek>& peek : peeks_) peek->skip(record);
}

void NativeSession::on_writable() {
    if (phase_ == Phase::over) return;
    deliveries_.pump();
    catch_up();
    if (phase_ == Phase::leaving) leave_when_done();
}

void NativeSession::on_tick(Now now) {
    if (phase_ == Phase::over) return;
    if (phase_ == Phase::greeting) {
        if (sign_in_ != nullptr && sign_in_->refuse_at.ns != 0) {
            if (now.mono.ns < sign_in_->refuse_at.ns) return;
            fail(sign_in_->request, Code::authentication_failed, sign_in_->answer);
            return;
        }
        if (now.mono.ns - opened_.ns > hello_within_ns) {
            fail(0, Code::timed_out, "hello did not come within 10 seconds");
        }
        return;
    }
    if (phase_ != Phase::serving) return;
    catch_up();
    if (account_ != nullptr && !over_rate(0)) link_.resume(Pause::rate);
    if (link_.paused()) {
        heard_ = now.mono;  // silence is our own doing
        if (partial_since_.ns != 0) partial_since_ = now.mono;
    }
    const bool deaf = FERRY_PLANTED("server-half-open-connection-kept");
    if (!deaf && now.mono.ns >= heard_.ns + 2 * heartbeat_ns_) {
        fail(0, Code::timed_out, "nothing was heard for two heartbeat intervals");
        return;
    }
    if (partial_since_.ns != 0 && now.mono.ns - partial_since_.ns > frame_within_ns) {
        const std::uint64_t seconds = (now.mono.ns - partial_since_.ns) / (1000 * ns_per_ms);
        if (partial_bytes_ < seconds * slow_bytes_per_second) {
            fail(0, Code::timed_out, "a frame did not come to its end");
            return;
        }
    }
    if (link_.idle() && now.mono.ns + tick_ns >= link_.said_at().ns + heartbeat_ns_) {
        write_heartbeat(link_.out());
        link_.sent();
    }
}

void NativeSession::for_each_pinned(const std::function<void(engine::Position)>& pinned) const {
    deliveries_.for_each_record(pinned);
}

}  // namespace ferry::server::native
