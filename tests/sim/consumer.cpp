#include "consumer.hpp"

#include <algorithm>

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

namespace {

constexpr std::uint64_t tag_mask = (1ULL << 40U) - 1;

// False: there is none.
bool read_body(wire::Cursor& cursor, Received& out) {
    wire::MessageView view;
    if (!wire::read_message(cursor, view)) return false;
    out.routing_key = view.routing_key;
    out.payload = as_text(view.payload);
    return wire::read_properties(view.properties, out.properties);
}

}  // namespace

std::vector<Received> read_deliver_some(wire::Cursor& cursor) {
    std::vector<Received> out;
    std::uint64_t tag = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(tag) || !cursor.read_array(count)) return out;
    for (std::uint32_t i = 0; i < count; ++i) {
        Received one;
        one.tag = tag + i;
        one.attempt = 1;
        if (!cursor.read_uint(one.position)) return {};
        one.token = one.position;
        out.push_back(std::move(one));
    }
    std::uint32_t bodies = 0;
    if (!cursor.skip() || !cursor.read_array(bodies) || bodies != count) return {};
    for (Received& one : out) {
        if (!read_body(cursor, one)) return {};
    }
    return out;
}

std::vector<Received> read_deliver(wire::Cursor& cursor) {
    std::vector<Received> out;
    std::uint64_t tag = 0;
    std::uint64_t position = 0;
    std::uint64_t attempt = 0;
    std::uint64_t token = 0;
    std::uint64_t published = 0;
    std::uint32_t count = 0;
    const bool head = cursor.read_uint(tag) && cursor.read_uint(position) &&
                      cursor.read_uint(attempt) && cursor.read_uint(token) &&
                      cursor.read_uint(published) && cursor.read_array(count);
    for (std::uint32_t i = 0; head && i < count; ++i) {
        Received one;
        one.tag = tag + i;
        one.position = position + i;
        one.attempt = static_cast<std::uint32_t>(attempt);
        one.token = token;
        if (!read_body(cursor, one)) break;
        out.push_back(std::move(one));
    }
    return out;
}

// ---- the tap ----

void DeliverTap::said(Bytes frames) {
    each_frame(frames, [&](const wire::FrameHead& head, wire::Cursor& cursor) {
        if (head.verb == wire::Verb::deliver) delivered(head.request, read_deliver(cursor));
        if (head.verb == wire::Verb::deliver_some)
            delivered(head.request, read_deliver_some(cursor));
        if (head.verb == wire::Verb::settled) settled(head.request, cursor);
        if (head.verb == wire::Verb::error) requests_.erase(head.request);
        // The broker took the subscription back, with what was out: after a read error, for one.
        if (head.verb == wire::Verb::cancelled) end_leases();
        said_other(head, cursor);
        return true;
    });
}

void DeliverTap::delivered(std::uint64_t subscription, const std::vector<Received>& messages) {
    // The broker took it back before it left, or nobody is there to hear it.
    if (over_ || gone_ || !noted_) return;
    for (const Received& one : messages) {
        Event event;
        event.process = process_;
        event.type = Type::ok;
        event.what = What::deliver;
        event.queue = queue_;
        event.id = id_in(one.payload);
        event.payload = hash_of(one.payload);
        event.position = one.position;
        event.lease = one.token;
        event.attempt = one.attempt;
        event.redelivered = one.attempt > 1;
        const std::string& key = one.properties.ordering_key;
        if (key.size() > 1) event.key = std::stoull(key.substr(1));
        leases_[tag_of(subscription, one.tag)] = event;
        live_.insert(tag_of(subscription, one.tag));
        recorder_.add(event);
    }
}

void DeliverTap::note(Event event, Type type, What what) {
    event.type = type;
    event.what = what;
    recorder_.add(event);
}

void DeliverTap::asked(std::uint64_t request, What what,
                       const std::vector<std::pair<std::uint64_t, std::uint64_t>>& tags) {
    if (over_ || !noted_) return;
    Request& entry = requests_[request];
    entry.what = what;
    for (const auto& [first, last] : tags) {
        for (std::uint64_t tag = first; tag <= last; ++tag) {
            entry.tags.push_back(tag);
            note(leases_.at(tag), Type::invoke, what);
        }
    }
}

void DeliverTap::settled(std::uint64_t request, wire::Cursor& cursor) {
    const auto at = requests_.find(request);
    if (at == requests_.end()) return;
    const auto lost = read_ranges(cursor);
    for (const std::uint64_t tag : at->second.tags) {
        const bool is_lost = std::any_of(lost.begin(), lost.end(), [&](const auto& range) {
            return range.first <= (tag & tag_mask) && (tag & tag_mask) <= range.second;
        });
        note(leases_.at(tag), is_lost ? Type::fail : Type::ok, at->second.what);
        live_.erase(tag);
    }
    requests_.erase(at);
}

void DeliverTap::client_gone() {
    if (gone_) return;
    gone_ = true;
    end_leases();
}

void DeliverTap::end_leases() {
    for (const std::uint64_t tag : live_) note(leases_.at(tag), Type::ok, What::lease_ended);
    live_.clear();
}

void DeliverTap::session_over() {
    if (over_) return;
    over_ = true;
    for (const auto& entry : requests_) {
        for (const std::uint64_t tag : entry.second.tags)
            note(leases_.at(tag), Type::info, entry.second.what);
    }
    requests_.clear();
    end_leases();
}

// ---- the consumer ----

void Consumer::on_lost() {
    held_.clear();
    for (const auto& entry : asked_) on_settled(entry.second, false);
    asked_.clear();
    if (tap_ != nullptr) tap_->client_gone();
}

Consumer::Consumer(Stage& stage, std::uint32_t process, std::uint32_t queue)
    : Client(stage, process), queue_(queue) {}

std::shared_ptr<Tap> Consumer::make_tap() {
    tap_ = make_deliver_tap();
    return tap_;
}

std::shared_ptr<DeliverTap> Consumer::make_deliver_tap() {
    return std::make_shared<DeliverTap>(stage_.recorder, process_, queue_);
}

void Consumer::set_up() {
    declare(queue_);
    subscribe();
}

void Consumer::subscribe() {
    held_.clear();
    subscribe_request_ = next_request();
    ask(wire::Verb::subscribe, subscribe_request_, 5, [&](wire::Encoder& e) {
        e.uint(subscription).str(queue_name(queue_)).uint(stage_.swarm.prefetch).uint(1U << 20);
        e.map(1).str("lease_ms").uint(stage_.swarm.lease_ms);
    });
}

void Consumer::on_frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::deliver) {
        for (const Received& one : read_deliver(cursor)) {
            held_.insert(one.tag);
            world_.trace("delivered", process_, id_in(one.payload), one.attempt);
            handle(one);
        }
        return;
    }
    if (head.verb == wire::Verb::cancelled) {
        world_.trace("cancelled", process_);
        return hang_up();
    }
    if (head.request == subscribe_request_ && subscribe_request_ != 0) {
        if (head.verb == wire::Verb::error) return hang_up();
        phase_ = Phase::ready;
        world_.trace("consumer subscribed", process_, queue_);
        return on_ready();
    }
    const auto asked = asked_.find(head.request);
    if (head.verb == wire::Verb::settled && asked != asked_.end()) {
        const bool durable = read_ranges(cursor).empty();
        const std::uint64_t tag = asked->second;
        asked_.erase(asked);
        return on_settled(tag, durable);
    }
    on_answer(head, cursor);
}

void Consumer::handle(const Received& message) {
    const Swarm& swarm = stage_.swarm;
    const std::uint64_t tag = message.tag;
    if (!stage_.healed && world_.chance(swarm.forget_per_mille)) {
        // It comes back to it when the lease is over, or nearly.
        const std::uint64_t late = world_.between(swarm.lease_ms / 2, 2 * swarm.lease_ms);
        return later_here(late * ms, [this, tag] { answer(tag, Answer::ack); });
    }
    if (swarm.buries(queue_) && world_.chance(swarm.reject_per_mille)) {
        return later_here(world_.below(swarm.think_ns_max),
                          [this, tag] { answer(tag, Answer::reject); });
    }
    const bool back = !stage_.healed && world_.chance(swarm.nack_per_mille);
    const std::uint64_t delay_ms = world_.chance(500) ? 0 : world_.below(3000);
    later_here(world_.below(swarm.think_ns_max), [this, tag, back, delay_ms] {
        answer(tag, back ? Answer::give_back : Answer::ack, delay_ms);
    });
}

void Consumer::answer(std::uint64_t tag, Answer how, std::uint64_t delay_ms) {
    if (phase_ == Phase::down || held_.erase(tag) == 0) return;
    const std::uint64_t request = next_request();
    const bool ack = how == Answer::ack;
    const bool reject = how == Answer::reject;
    tap_->asked(request, ack ? What::ack : reject ? What::reject : What::nack, {{tag, tag}});
    if (ack) asked_[request] = tag;
    world_.trace(ack ? "ack" : reject ? "reject" : "nack", process_, tag);
    ask(ack ? wire::Verb::ack : wire::Verb::nack, request,
        ack      ? 2
        : reject ? 3
                 : 4,
        [&](wire::Encoder& e) {
            e.uint(subscription).array(2).uint(tag).uint(tag);
            if (!ack) e.boolean(!reject);
            if (!ack && !reject) e.uint(delay_ms);
        });
}

}  // namespace ferry::simulation
