#include "client.hpp"

#include <algorithm>

namespace ferry::simulation {

std::string queue_name(std::uint32_t queue) {
    return "q" + std::to_string(queue);
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> read_ranges(wire::Cursor& cursor) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
    std::uint32_t count = 0;
    if (!cursor.read_array(count)) return out;
    for (std::uint32_t i = 0; i + 1 < count; i += 2) {
        std::uint64_t first = 0;
        std::uint64_t last = 0;
        if (!cursor.read_uint(first) || !cursor.read_uint(last)) return out;
        out.emplace_back(first, last);
    }
    return out;
}

Client::Client(Stage& stage, std::uint32_t process)
    : stage_(stage), world_(stage.world), process_(process) {}

void Client::start(std::uint64_t after_ns) {
    connect_in(after_ns + world_.between(us, 10 * ms));
}

void Client::connect_in(std::uint64_t ns) {
    if (phase_ != Phase::down) return;
    later(ns, [this] { connect(); });
}

void Client::connect() {
    if (phase_ != Phase::down || !reconnects()) return;
    auto tap = make_tap();
    connection_ = stage_.broker.connect(std::move(tap));
    if (connection_ == nullptr) {
        if (reconnects()) connect_in(world_.between(10 * ms, 500 * ms));
        return;
    }
    here_.begin();
    phase_ = Phase::greeting;
    partial_.clear();
    heard_at_ = said_at_ = world_.now_ns();
    const std::weak_ptr<char> here = here_.token();
    connection_->attach(Connection::client, {[this, here](Bytes bytes) {
                                                 if (!here.expired()) received(bytes);
                                             },
                                             [this, here] {
                                                 if (!here.expired()) lost();
                                             },
                                             {}});
    ask(wire::Verb::hello, next_request(), 2, [&](wire::Encoder& e) {
        e.uint(wire::protocol_version).map(1).str("heartbeat_ms").uint(stage_.swarm.heartbeat_ms);
    });
    if (ticking_) return;
    ticking_ = true;
    tick();
}

void Client::tick() {
    if (!stopped() && phase_ != Phase::down) {
        const std::uint64_t interval = stage_.swarm.heartbeat_ms * ms;
        if (world_.now_ns() - heard_at_ > 2 * interval) {
            world_.trace("client hears nothing", process_);
            connection_->reset(Connection::client);
            lost();
        } else if (world_.now_ns() - said_at_ >= interval / 2) {
            ask(wire::Verb::heartbeat, 0, 0, [](wire::Encoder&) {});
        }
    }
    world_.after(stage_.swarm.heartbeat_ms * ms / 4, life_, [this] { tick(); });
}

void Client::send(const wire::Buffer& frame) {
    said_at_ = world_.now_ns();
    connection_->send(Connection::client, frame);
}

void Client::received(Bytes bytes) {
    heard_at_ = world_.now_ns();
    partial_.insert(partial_.end(), bytes.begin(), bytes.end());
    const std::weak_ptr<char> here = here_.token();
    // What a frame leads to may end this connection and begin another.
    wire::Buffer taken;
    taken.swap(partial_);
    const std::size_t used = each_frame(taken, [&](const wire::FrameHead& head, wire::Cursor& at) {
        frame(head, at);
        return !here.expired();
    });
    if (here.expired()) return;
    partial_.assign(taken.begin() + static_cast<std::ptrdiff_t>(used), taken.end());
}

void Client::frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::heartbeat) return;
    if (phase_ == Phase::greeting && head.verb == wire::Verb::ok) {
        phase_ = Phase::setting_up;
        each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
            return key == "log_id" && at.read_uint(log_id_);
        });
        set_up();
        return;
    }
    if (head.verb == wire::Verb::error && head.request == 0) {
        std::uint64_t code = 0;
        if (cursor.read_uint(code)) world_.trace("client is told an error", process_, code);
        hang_up();
        return;
    }
    on_frame(head, cursor);
}

void Client::hang_up() {
    if (phase_ == Phase::down) return;
    connection_->close(Connection::client);
    lost();
}

void Client::lost() {
    if (phase_ == Phase::down) return;
    phase_ = Phase::down;
    here_.end();
    connection_->detach(Connection::client);
    connection_.reset();
    stage_.recorder.connection_lost(process_);
    on_lost();
    if (reconnects()) connect_in(world_.between(5 * ms, 300 * ms));
}

void Client::stop_for(std::uint64_t ns) {
    stopped_until_ = std::max(stopped_until_, world_.now_ns() + ns);
    world_.trace("client stands still", process_, ns / ms);
    if (connection_ == nullptr) return;
    connection_->read(Connection::client, false);
    const ConnectionRef held = connection_;
    world_.after(ns, here_, [this, held] {
        if (!stopped()) held->read(Connection::client, true);
    });
}

void Client::kill(std::uint64_t down_ns) {
    world_.trace("client killed", process_);
    if (phase_ != Phase::down) connection_->reset(Connection::client);
    vanish();
    later(down_ns, [this] { connect(); });
}

void Client::vanish() {
    if (phase_ != Phase::down) {
        connection_->detach(Connection::client);
        connection_.reset();
    }
    phase_ = Phase::down;
    here_.end();
    life_.end();
    life_.begin();
    ticking_ = false;
    stopped_until_ = 0;
    stage_.recorder.connection_lost(process_);
    on_killed();
}

void write_declaration(wire::Encoder& out, const Swarm& swarm, std::uint32_t queue) {
    const bool buries = swarm.buries(queue);
    const bool limited = buries && swarm.deliveries_max != 0;
    const bool slow = buries && swarm.retry_delay_ms != 0;
    const std::uint64_t life_ms = swarm.life_ns(queue) / ms;
    const std::uint32_t options =
        2U + (buries ? 1U : 0U) + (limited ? 1U : 0U) + (slow ? 2U : 0U) + (life_ms != 0 ? 1U : 0U);
    out.str(queue_name(queue)).map(options);
    out.str("ordered").boolean(swarm.is_ordered(queue)).str("lease_ms").uint(swarm.lease_ms);
    if (buries) out.str("dead_letter_key").str(queue_name(swarm.dead_queue()));
    if (limited) out.str("max_deliveries").uint(swarm.deliveries_max);
    if (slow) out.str("retry").str("fixed").str("retry_delay_ms").uint(swarm.retry_delay_ms);
    if (life_ms != 0) out.str("message_ttl_ms").uint(life_ms);
}

void Client::declare(std::uint32_t queue) {
    ask(wire::Verb::queue_declare, next_request(), 2,
        [&](wire::Encoder& e) { write_declaration(e, stage_.swarm, queue); });
}

void Client::later(std::uint64_t ns, std::function<void()> what) {
    world_.after(ns, life_, [this, what = std::move(what)] {
        if (!stopped()) return what();
        later(stopped_until_ - world_.now_ns() + us, what);
    });
}

void Client::later_here(std::uint64_t ns, std::function<void()> what) {
    later(ns, [here = here_.token(), what = std::move(what)] {
        if (!here.expired()) what();
    });
}

}  // namespace ferry::simulation
