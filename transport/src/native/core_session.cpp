#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::uint64_t redeclare_retry_ms = 250;

}  // namespace

RequestPtr Core::session_request(wire::Verb verb, std::uint32_t field_count) {
    auto request = std::make_shared<Request>();
    request->verb = verb;
    request->field_count = field_count;
    request->session = true;
    return request;
}

// ---- hello ----

void Core::say_hello() {
    const RequestPtr request = session_request(wire::Verb::hello, 2);
    wire::Encoder out(request->fields);
    out.uint(wire::protocol_version).map(3 + credentials_->option_count());
    out.str("name").str(options_.name);
    out.str("heartbeat_ms").uint(std::clamp(options_.heartbeat_ms, 1000U, 600000U));
    out.str("capabilities").array(3).str(wire::capability_single_active);
    out.str(wire::capability_deliver_some).str(wire::capability_blocked);
    credentials_->write_options(out, link_->tls());
    request->on_done = [this](const Request& answered) { on_hello(answered); };
    send(request);
    turn();
}

void Core::on_challenge(wire::Cursor& cursor) {
    std::string_view challenge;
    const bool asked = phase_ == Phase::greeting && cursor.read_str(challenge);
    const auto answer = asked ? credentials_->answer(challenge) : std::nullopt;
    if (!answer) {
        protocol_error("a challenge that is none");
        return;
    }
    wire::Buffer& out = link_->control();
    const std::size_t mark = wire::begin_frame(out, wire::Verb::auth_response, 3);
    wire::Encoder(out).uint(0).str(*answer);
    wire::end_frame(out, mark);
    turn();
}

void Core::on_hello(const Request& request) {
    if (request.failed) {
        const wire::Code code = request.error.wire_code;
        if (!wire::code_info(code).retry_helps) {
            give_up(code, request.error.text);
        } else {
            last_code_ = code;
            lost(request.error.text);
        }
        return;
    }
    ServerInfo info;
    if (!decode_hello(request.result, info)) {
        protocol_error("its answer to hello is malformed");
        return;
    }
    if (!credentials_->accepts(request.result)) {
        give_up(
            wire::Code::authentication_failed,
            "whoever answers at " + url_.text() + " does not know the password: not the broker");
        return;
    }
    // A broker may say anything; batches need some room and memory a bound.
    info.frame_bytes_max = std::clamp<std::uint64_t>(
        info.frame_bytes_max, limits::frame_bytes_before_hello_max, limits::frame_bytes_cap);
    info.payload_bytes_max = std::min(info.payload_bytes_max, info.frame_bytes_max);
    heartbeat_ms_ = std::clamp<std::uint64_t>(info.heartbeat_ms, 100, 600000);
    {
        const std::lock_guard lock(mutex_);
        server_ = info;
    }
    frame_bytes_max_.store(info.frame_bytes_max);
    payload_bytes_max_.store(info.payload_bytes_max);
    calls_.connected(info.reply_to, info.now_ms);
    phase_ = Phase::opening;
    rebased_ = false;
    redeclare_round();
    if (options_.publisher) {
        open_producer();
    } else {
        become_ready();
    }
}

// ---- the producer ----

void Core::open_producer() {
    const RequestPtr request = session_request(wire::Verb::producer, 2);
    wire::Encoder out(request->fields);
    out.str(producer_name_);
    out.map(1U + (epoch_known_ ? 1U : 0U));
    out.str("temporary").boolean(options_.producer.empty());
    if (epoch_known_) out.str("epoch").uint(epoch_);
    request->on_done = [this](const Request& answered) { on_producer(answered); };
    send(request);
    turn();
}

void Core::on_producer(const Request& request) {
    if (phase_ != Phase::opening) return;
    if (request.failed) {
        const wire::Code code = request.error.wire_code;
        if (wire::code_info(code).retry_helps) {
            last_code_ = code;
            lost(request.error.text);
        } else {
            give_up(code, request.error.text);
        }
        return;
    }
    ProducerAnswer answer;
    if (!decode_producer(request.result, answer)) {
        protocol_error("its answer to producer is malformed");
        return;
    }
    handle_ = answer.producer;
    epoch_ = answer.epoch;
    epoch_known_ = true;
    const ServerInfo info = server();
    const PublishPipe::Opening opening{answer.mark, info.frame_bytes_max, info.payload_bytes_max};
    if (!begun_) {
        begun_ = true;
        pipe_.begin(opening);
        become_ready();
        return;
    }
    if (pipe_.used_by_others(answer.mark)) {
        give_up(wire::Code::fenced, "somebody else publishes as \"" + producer_name_ + "\" too");
        return;
    }
    // First of all: what is given up here is among the sequences that must be held.
    PublishPipe::Told told;
    pipe_.send_again(opening, told);
    tell(told, Outcome{Outcome::Kind::refused, wire::Code::message_too_large,
                       "the broker's frame limit is lower than it was"});
    if (phase_ != Phase::opening) return;
    const auto holds = pipe_.holds(answer.mark);
    if (!holds.has_value()) {
        if (rebased_) {
            lost("a new epoch did not begin at its beginning");
            return;
        }
        rebased_ = true;
        ++epoch_;
        pipe_.rebase();
        tell_state(
            StateChange::State::history_lost, wire::Code::ok,
            "the broker knows less of producer \"" + producer_name_ + "\" than it had confirmed");
        open_producer();
        return;
    }
    if (!holds->empty()) {
        const RequestPtr hold = session_request(wire::Verb::hold, 2);
        wire::Encoder out(hold->fields);
        out.uint(handle_).array(static_cast<std::uint32_t>(holds->size() * 2));
        for (const Range& range : *holds) out.uint(range.first).uint(range.last);
        hold->on_done = [this](const Request& answered) {
            if (answered.failed) lost("sequences could not be held: " + answered.error.text);
        };
        send(hold);
    }
    become_ready();
}

void Core::become_ready() {
    if (phase_ != Phase::opening) return;
    phase_ = Phase::ready;
    ever_ready_ = true;
    connected_at_ms_ = uv_now(&loop_);
    ready_.store(true);
    uv_timer_stop(&attempt_timer_);
    const std::uint64_t often = std::max<std::uint64_t>(heartbeat_ms_ / 4, 50);
    uv_timer_start(
        &tick_timer_, [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->tick(); }, often,
        often);
    settle_start(Done{});
    tell_state(StateChange::State::connected, wire::Code::ok, {});
    turn();
}

// ---- what existed before ----

void Core::remember(Declared declared, bool transient) {
    if (options_.redeclare == Redeclare::none) return;
    const std::lock_guard lock(mutex_);
    const auto names = [&](const std::string& key) {
        return !key.empty() && std::any_of(declared_.begin(), declared_.end(),
                                           [&](const Declared& d) { return d.key == key; });
    };
    // A binding lasts as long as both of its ends.
    const bool leads_to_transient = names(declared.touches) || names(declared.touches_too);
    if (!transient && !leads_to_transient && options_.redeclare != Redeclare::all) return;
    std::erase_if(declared_, [&](const Declared& d) { return d.key == declared.key; });
    declared_.push_back(std::move(declared));
}

void Core::forget_declared(const std::string& key) {
    const std::lock_guard lock(mutex_);
    std::erase_if(declared_, [&](const Declared& d) {
        return d.key == key || d.touches == key || d.touches_too == key;
    });
}

void Core::redeclare_round() {
    std::vector<Declared> declared;
    std::vector<std::shared_ptr<SubscriptionState>> subscribed;
    {
        const std::lock_guard lock(mutex_);
        declared = declared_;
        for (const auto& [id, state] : subscriptions_) subscribed.push_back(state);
    }
    round_again_ = false;
    round_pending_ = 1;  // this function itself
    for (const Declared& what : declared) {
        if (std::find(declared_here_.begin(), declared_here_.end(), what.key) !=
            declared_here_.end()) {
            continue;
        }
        const RequestPtr request = session_request(what.verb, what.field_count);
        request->fields = what.fields;
        request->on_done = [this, key = what.key](const Request& answered) {
            on_redeclared(key, answered);
        };
        ++round_pending_;
        send(request);
    }
    for (const auto& state : subscribed) send_subscribe_again(state);
    end_round_step();
}

void Core::on_redeclared(const std::string& key, const Request& request) {
    if (request.failed && wire::code_info(request.error.wire_code).retry_helps) {
        // Typically our own former connection, which the broker has not yet found dead, still owns
        // it.
        round_again_ = true;
    } else {
        declared_here_.push_back(key);
        if (request.failed) {
            const bool binding = key.starts_with("binding ");  // the rest of its key is not text
            tell_state(StateChange::State::redeclare_failed, request.error.wire_code,
                       (binding ? "a binding" : key) + ": " + request.error.text);
        }
    }
    end_round_step();
}

void Core::send_subscribe_again(const std::shared_ptr<SubscriptionState>& state) {
    const RequestPtr request = session_request(wire::Verb::subscribe, 5);
    {
        const std::lock_guard lock(state->mutex);
        if (state->pull || !state->active || !state->established || state->generation != 0) return;
        encode_subscribe(*state, request->fields);
    }
    request->subscription = state;
    request->on_done = [this, state](const Request& answered) {
        if (answered.failed) {
            const wire::Code code = answered.error.wire_code;
            const bool queue_may_come = code == wire::Code::no_such_queue && round_again_;
            if (queue_may_come || wire::code_info(code).retry_helps) {
                const std::lock_guard lock(state->mutex);
                state->generation = 0;
                round_again_ = true;
            } else {
                end_subscription(state, code, answered.error.text);
            }
        }
        end_round_step();
    };
    ++round_pending_;
    send(request);
}

void Core::post_subscribe(RequestPtr request) {
    request->on_done = [this, state = request->subscription](const Request& answered) {
        if (answered.failed) end_subscription(state, answered.error.wire_code, answered.error.text);
    };
    post(std::move(request));
}

void Core::end_round_step() {
    if (--round_pending_ > 0 || !round_again_) return;
    uv_timer_start(
        &round_timer_,
        [](uv_timer_t* timer) {
            auto* const core = static_cast<Core*>(timer->data);
            core->redeclare_round();
            core->turn();
        },
        redeclare_retry_ms, 0);
}

void Core::end_subscription(const std::shared_ptr<SubscriptionState>& state, wire::Code code,
                            std::string_view text) {
    {
        const std::lock_guard lock(state->mutex);
        if (!state->active) return;
        state->active = false;
        state->generation = 0;
        state->arrived.notify_all();
    }
    forget_subscription(state->id);
    // Whoever closes the client knows it.
    const bool silenced = state->silenced.load() || ending_.load();
    if (!silenced && state->options.on_cancelled) state->options.on_cancelled(code, text);
}

}  // namespace ferry::transport::native
