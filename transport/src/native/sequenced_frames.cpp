#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "native/decode.hpp"
#include "native/sequenced.hpp"

// What goes to the broker and comes from it. It is not believed: every field is checked, and a
// broker that breaks the protocol loses this connection.
namespace ferry::transport::native {
namespace {

constexpr std::uint64_t request_bit = 1ULL << 63;  // sequences never get there
constexpr std::uint64_t session_request = request_bit;

}  // namespace

void SequencedCore::protocol_error(std::string_view what) {
    fail(ClientError{Errc::unreachable, wire::Code::malformed_frame,
                     "the broker broke the protocol: " + std::string(what)});
}

void SequencedCore::on_gone(const std::string& why) {
    fail(ClientError{Errc::unreachable, wire::Code::ok, why});
}

void SequencedCore::ask(wire::Verb verb, std::uint32_t field_count, const wire::Buffer& fields) {
    wire::Buffer& out = link_->control();
    const std::size_t mark = wire::begin_frame(out, verb, 2 + field_count);
    wire::Encoder(out).uint(session_request).raw(fields);
    wire::end_frame(out, mark);
    turn();
}

void SequencedCore::say_hello() {
    wire::Buffer fields;
    wire::Encoder out(fields);
    out.uint(wire::protocol_version).map(3 + credentials_->option_count());
    out.str("name").str(options_.name);
    out.str("heartbeat_ms").uint(std::clamp(options_.heartbeat_ms, 1000U, 600000U));
    out.str("capabilities").array(0);
    credentials_->write_options(out, link_->tls());
    ask(wire::Verb::hello, 2, fields);
}

void SequencedCore::on_challenge(wire::Cursor& cursor) {
    std::string_view challenge;
    const bool asked = phase_ == Phase::greeting && cursor.read_str(challenge);
    const auto answer = asked ? credentials_->answer(challenge) : std::nullopt;
    if (!answer) return protocol_error("a challenge that is none");
    wire::Buffer& out = link_->control();
    const std::size_t mark = wire::begin_frame(out, wire::Verb::auth_response, 3);
    wire::Encoder(out).uint(0).str(*answer);
    wire::end_frame(out, mark);
    turn();
}

void SequencedCore::on_hello(wire::Cursor& cursor) {
    ServerInfo info;
    const Bytes result(cursor.position(), cursor.remaining());
    if (!decode_hello(result, info)) {
        return protocol_error("its answer to hello is malformed");
    }
    if (!credentials_->accepts(result)) {
        return fail(ClientError{Errc::rejected, wire::Code::authentication_failed,
                                "it does not know the password: not the broker"});
    }
    // A broker may say anything; batches need some room and memory a bound.
    info.frame_bytes_max = std::clamp<std::uint64_t>(
        info.frame_bytes_max, limits::frame_bytes_before_hello_max, limits::frame_bytes_cap);
    heartbeat_ms_ = std::clamp<std::uint64_t>(info.heartbeat_ms, 100, 600000);
    wire::Buffer fields;
    wire::Encoder out(fields);
    {
        const std::lock_guard lock(mutex_);
        frame_bytes_max_ = info.frame_bytes_max;
        payload_bytes_max_ = std::min(info.payload_bytes_max, info.frame_bytes_max);
        out.str(producer_).map(epoch_ == 0 ? 0 : 1);
        if (epoch_ != 0) out.str("epoch").uint(epoch_);
    }
    phase_ = Phase::opening;
    ask(wire::Verb::producer, 2, fields);
}

void SequencedCore::on_producer(wire::Cursor& cursor) {
    ProducerAnswer told;
    if (!decode_producer(Bytes(cursor.position(), cursor.remaining()), told)) {
        return protocol_error("its answer to producer is malformed");
    }
    ProducerState state;
    state.epoch = told.epoch;
    state.mark = told.mark;
    for (const Range& range : told.open) {
        const bool ascending = state.open.empty() || range.first > state.open.back().last;
        if (!ascending || range.first == 0 || range.last > told.mark) {
            return protocol_error("the open sequences are not below the mark in order");
        }
        state.open.push_back(SequenceRange{range.first, range.last});
    }
    phase_ = Phase::ready;
    uv_timer_stop(&attempt_timer_);
    const std::uint64_t often = std::max<std::uint64_t>(heartbeat_ms_ / 4, 50);
    uv_timer_start(
        &tick_timer_, [](uv_timer_t* timer) { static_cast<SequencedCore*>(timer->data)->tick(); },
        often, often);
    {
        const std::lock_guard lock(mutex_);
        state.payload_bytes_max = payload_bytes_max_;
        state.frame_bytes_max = frame_bytes_max_;
        handle_ = told.producer;
        ready_ = !want_open_ && !closed_;
    }
    answer_open(std::move(state));
}

void SequencedCore::on_frame(Bytes body) {
    wire::Cursor cursor(body);
    wire::FrameHead head;
    if (!wire::read_head(cursor, head)) return protocol_error("a frame has no verb");
    switch (head.verb) {
        case wire::Verb::confirm:
            return on_confirm(head, cursor);
        case wire::Verb::refused:
            return on_refused(head, cursor);
        case wire::Verb::error:
            return on_error(head, cursor);
        case wire::Verb::auth_challenge:
            return on_challenge(cursor);
        case wire::Verb::heartbeat:
            return;
        case wire::Verb::ok:
            if (head.request != session_request) return;  // a hold was taken
            if (head.fields < 3) return protocol_error("an answer has no result");
            if (phase_ == Phase::greeting) return on_hello(cursor);
            if (phase_ == Phase::opening) return on_producer(cursor);
            return protocol_error("an answer to what was not asked");
        default:
            protocol_error("a frame that no publisher gets");
    }
}

bool SequencedCore::take_answer(std::uint64_t first, std::uint64_t last) {
    const std::lock_guard lock(mutex_);
    if (first == 0 || first > last) return false;
    while (first <= last) {
        auto frame = sent_.upper_bound(first);
        if (frame == sent_.begin()) return false;
        --frame;
        Sent& sent = frame->second;
        if (sent.last < first) return false;
        const std::uint64_t upto = std::min(last, sent.last);
        const std::uint64_t count = upto - first + 1;
        if (count > sent.remaining) return false;
        sent.remaining -= count;
        unanswered_ -= count;
        if (sent.remaining == 0) {
            unanswered_bytes_ -= sent.bytes;
            sent_.erase(frame);
        }
        first = upto + 1;
    }
    return true;
}

void SequencedCore::on_confirm(const wire::FrameHead& head, wire::Cursor& cursor) {
    ConfirmFields fields;
    if (!read_confirm(cursor, fields) || phase_ != Phase::ready || fields.producer != handle_ ||
        !take_answer(head.request, fields.last)) {
        return protocol_error("a confirm of what was not sent");
    }
    events_.on_answered({head.request, fields.last}, fields.outcome());
}

void SequencedCore::on_refused(const wire::FrameHead& head, wire::Cursor& cursor) {
    RefusedFields fields;
    if (!read_refused(cursor, fields) || phase_ != Phase::ready || fields.producer != handle_) {
        return protocol_error("a refusal of what was not sent");
    }
    if (fields.code == wire::Code::fenced || fields.code == wire::Code::no_such_producer) {
        return fail(refused_by_broker(fields.code, fields.text));
    }
    if (!take_answer(head.request, fields.last)) {
        return protocol_error("a refusal of what was not sent");
    }
    events_.on_answered({head.request, fields.last},
                        Outcome{Outcome::Kind::refused, fields.code, fields.text});
}

void SequencedCore::on_error(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t number = 0;
    std::string_view text;
    if (!cursor.read_uint(number) || number == 0 || number > 0xffff || !cursor.read_str(text)) {
        return protocol_error("an error has no code or text");
    }
    const auto code = static_cast<wire::Code>(number);
    const bool of_a_hold = phase_ == Phase::ready && head.request > request_bit;
    // A hold that no longer follows on: what is published behind it is refused in the same way,
    // and that is told.
    if (of_a_hold && code == wire::Code::sequence_gap) return;
    fail(refused_by_broker(code, text));
}

}  // namespace ferry::transport::native
