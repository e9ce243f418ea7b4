#include "lock_client.hpp"

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

/// Notes who is told to have a lock, and until when it surely has it: the time to live counts at
/// the broker from when a request arrives, so at the least from when it was sent; and for the
/// lock's delay after that nobody else gets it.
class LockClient::LockTap final : public Tap {
public:
    LockTap(Stage& stage, std::uint32_t process) : stage_(stage), process_(process) {}

    void sent(std::uint64_t request, std::uint32_t lock, std::uint64_t token) {
        sent_[request] = {lock, token, stage_.world.now_ns()};
    }
    void lets_go(std::uint32_t lock, std::uint64_t token) {
        note(What::unlock, Type::invoke, lock, token, 0);
    }
    void said(Bytes frames) override {
        each_frame(frames, [&](const wire::FrameHead& head, wire::Cursor& cursor) {
            if (head.verb == wire::Verb::lock_told) told(head.request, cursor);
            if (head.verb == wire::Verb::ok) answered(head.request, cursor);
            return true;
        });
    }
    void session_over() override {}

private:
    struct Sent {
        std::uint32_t lock = 0;
        std::uint64_t token = 0;  // 0: it is asked for
        std::uint64_t at_ns = 0;
    };
    void answered(std::uint64_t request, wire::Cursor& cursor) {
        const auto at = sent_.find(request);
        if (at == sent_.end()) return;
        std::uint64_t token = at->second.token;
        each_entry(cursor, [&](std::string_view key, wire::Cursor& in) {
            return key == "token" && in.read_uint(token);
        });
        const Swarm& swarm = stage_.swarm;
        const std::uint64_t until =
            at->second.at_ns + (swarm.lock_ttl_ms + swarm.lock_delay_ms) * ms;
        if (token != 0) note(What::lock, Type::ok, at->second.lock, token, until);
    }
    void told(std::uint64_t request, wire::Cursor& cursor) {
        std::string_view name;
        std::uint64_t token = 0;
        bool granted = false;
        if (!cursor.read_str(name) || !cursor.read_uint(token) || !cursor.read_bool(granted))
            return;
        const auto at = sent_.find(request);
        // When it was granted is not known, only that it was: its first renewal says how long.
        if (granted && at != sent_.end()) note(What::lock, Type::ok, at->second.lock, token, 0);
    }
    void note(What what, Type type, std::uint32_t lock, std::uint64_t token, std::uint64_t until) {
        Event event;
        event.process = process_;
        event.type = type;
        event.what = what;
        event.id = lock;
        event.lease = token;
        event.expires_ns = until;
        stage_.recorder.add(event);
    }
    Stage& stage_;
    const std::uint32_t process_;
    std::map<std::uint64_t, Sent> sent_;
};

LockClient::LockClient(Stage& stage, std::uint32_t process) : Client(stage, process) {}

std::shared_ptr<Tap> LockClient::make_tap() {
    tap_ = std::make_shared<LockTap>(stage_, process_);
    return tap_;
}

// What it had, or stood in line for, it takes up again; what it wanted to let go too.
void LockClient::set_up() {
    phase_ = Phase::ready;
    switch (state_) {
        case State::resting:
            if (!begun_) round_over(0);
            begun_ = true;
            return;
        case State::letting_go:
            return let_go();
        case State::asking:
        case State::waiting:
        case State::holding:
            return ask_for_it();
    }
}

void LockClient::round_over(std::uint64_t pause_ns) {
    state_ = State::resting;
    token_ = 0;
    ++round_;
    later(pause_ns + world_.below(2 * second), [this, round = round_] {
        if (round == round_ && state_ == State::resting) begin_round();
    });
}

void LockClient::begin_round() {
    if (stage_.healed) return;
    if (phase_ != Phase::ready) return round_over(second);
    lock_ = 1 + static_cast<std::uint32_t>(world_.below(stage_.swarm.locks));
    stands_in_line_ = world_.chance(600);
    ask_for_it();
}

void LockClient::ask_for_it() {
    const Swarm& swarm = stage_.swarm;
    if (state_ == State::resting) state_ = State::asking;
    request_ = next_request();
    tap_->sent(request_, lock_, 0);
    ask(wire::Verb::lock, request_, 3, [&](wire::Encoder& e) {
        e.str(lock_name()).str(holder()).map(4).str("wait").boolean(stands_in_line_);
        e.str("ttl_ms").uint(swarm.lock_ttl_ms).str("delay_ms").uint(swarm.lock_delay_ms);
        e.str("permits").uint(swarm.lock_permits);
    });
}

void LockClient::granted(std::uint64_t token) {
    if (token == token_) return;  // it came back to it
    world_.trace("lock", process_, lock_, token);
    // One that was lost may be given to it anew.
    state_ = State::holding;
    token_ = token;
    renewals_left_ = world_.below(6);
    ++round_;
    renew();
}

// Some stop renewing and come back too late: the broker has taken the lock away by then.
void LockClient::renew() {
    if (phase_ == Phase::ready && state_ == State::holding && renew_request_ == 0 &&
        request_ == 0) {
        renew_request_ = next_request();
        tap_->sent(renew_request_, lock_, token_);
        ask(wire::Verb::lock_renew, renew_request_, 3,
            [&](wire::Encoder& e) { e.str(lock_name()).str(holder()).uint(token_); });
    }
    const std::uint64_t third = stage_.swarm.lock_ttl_ms * ms / 3;
    const bool forgets = renewals_left_ == 0 && !stage_.healed && world_.chance(300);
    const std::uint64_t wait = forgets ? 6 * third : world_.below(third);
    later(wait, [this, round = round_] {
        if (round != round_ || state_ != State::holding) return;
        if (renewals_left_ == 0 || stage_.healed) return let_go();
        --renewals_left_;
        renew();
    });
}

void LockClient::let_go() {
    state_ = State::letting_go;
    if (phase_ != Phase::ready) return;  // when it is connected again
    request_ = next_request();
    tap_->lets_go(lock_, token_);
    world_.trace("unlock", process_, lock_, token_);
    ask(wire::Verb::unlock, request_, 4,
        [&](wire::Encoder& e) { e.str(lock_name()).str(holder()).uint(token_).map(0); });
}

void LockClient::on_frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::lock_told) {
        std::string_view name;
        std::uint64_t token = 0;
        bool given = false;
        if (!cursor.read_str(name) || !cursor.read_uint(token) || !cursor.read_bool(given)) return;
        if (name != lock_name() || state_ == State::resting) return;
        if (given) return granted(token);
        if (token == token_ && token != 0) round_over(0);
        return;
    }
    const bool ok = head.verb == wire::Verb::ok;
    if (!ok && head.verb != wire::Verb::error) return;
    if (renew_request_ != 0 && head.request == renew_request_) {
        renew_request_ = 0;
        if (!ok && state_ == State::holding) round_over(0);
        return;
    }
    if (request_ == 0 || head.request != request_) return;
    request_ = 0;
    if (state_ == State::letting_go || !ok) return round_over(ok ? 0 : 100 * ms);
    std::uint64_t token = 0;
    each_entry(cursor, [&](std::string_view key, wire::Cursor& in) {
        return key == "token" && in.read_uint(token);
    });
    if (token != 0) return granted(token);
    token_ = 0;
    state_ = State::waiting;
}

// It comes back under the same name, and does not know what it had.
void LockClient::on_killed() {
    on_lost();
    state_ = State::resting;
    token_ = 0;
    ++round_;
    begun_ = false;
}

void LockClient::heal() {
    ++round_;
    if (state_ == State::resting) return;
    later(us, [this, round = round_] {
        if (round == round_ && state_ == State::holding) let_go();
    });
}

}  // namespace ferry::simulation
