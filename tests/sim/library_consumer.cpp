#include "library_consumer.hpp"

#include <utility>

namespace ferry::simulation {

using history::What;

namespace {

constexpr std::uint64_t fetch_every_ns_max = 50 * ms;

}  // namespace

LibraryConsumer::LibraryConsumer(Stage& stage, std::uint32_t process, std::uint32_t queue)
    : LibraryClient(stage, process, queue), fetches_(world_.chance(300)) {}

void LibraryConsumer::choose(transport::ClientOptions& options) {
    options.publisher = false;
}

void LibraryConsumer::begun() {
    declare(queue_);
    subscribe();
    if (fetches_) fetch();
}

void LibraryConsumer::subscribe() {
    const Swarm& swarm = stage_.swarm;
    transport::SubscribeOptions options;
    options.window_messages = swarm.prefetch;
    options.window_bytes = 1U << 20;
    options.lease_ms = swarm.lease_ms;
    // With it acks are answered, which the notes need.
    options.on_lease_lost = [this](std::uint64_t first, std::uint64_t last) {
        if (lives()) world_.trace("library lost leases", process_, first, last);
    };
    options.on_cancelled = [this](wire::Code code, std::string_view) {
        if (!lives()) return;
        world_.trace("library's subscription ended", process_, static_cast<std::uint64_t>(code));
        again();
    };
    transport::DeliveryHandler handler;
    if (!fetches_) {
        handler = [this](std::span<const transport::Delivery> deliveries) {
            if (!lives()) return;
            for (const transport::Delivery& one : deliveries) received(one);
        };
    }
    auto made = client().subscribe(queue_name(queue_), options, std::move(handler));
    if (!made.ok()) return wrong("does not subscribe: " + made.error().text);
    subscription_ = made.value();
}

// The library does not make it again: that is for the application.
void LibraryConsumer::again() {
    held_.clear();
    if (std::exchange(planned_, true)) return;
    later(world_.between(10 * ms, 500 * ms), [this] {
        planned_ = false;
        declare(queue_);
        subscribe();
    });
}

void LibraryConsumer::fetch() {
    while (subscription_ != nullptr) {
        const auto next = subscription_->next(transport::Timeout{0});
        if (!next.ok()) break;
        received(next.value().delivery);
    }
    later(world_.between(ms, fetch_every_ns_max), [this] { fetch(); });
}

void LibraryConsumer::received(const transport::Delivery& delivery) {
    if (!subscription_->active()) return;  // it had waited for next()
    const std::uint64_t tag = tag_of(delivery.tag.subscription, delivery.tag.tag);
    const std::uint64_t id = id_in(as_text(delivery.message.payload));
    world_.trace("library delivers", process_, id, delivery.attempt);
    if (delivery.tag.generation != core()->generation())
        return wrong("hands out what came over a connection that is gone");
    if (!tap()->knows(tag)) return wrong("hands out what the broker never sent");
    const history::Event& sent = tap()->lease(tag);
    if (sent.id != id || sent.position != delivery.position || sent.lease != delivery.token ||
        sent.attempt != delivery.attempt)
        return wrong("hands out something else than the broker sent");
    const Held held{delivery.tag, id};
    if (!held_.emplace(tag, held).second || settled_.count(tag) != 0)
        return wrong("hands out a delivery twice");
    handle(held);
}

void LibraryConsumer::handle(const Held& message) {
    const Swarm& swarm = stage_.swarm;
    const auto in = [this, message](std::uint64_t ns, What how) {
        later(ns, [this, message, how] { settle(message, how); });
    };
    if (!stage_.healed && world_.chance(swarm.forget_per_mille))
        return in(world_.between(swarm.lease_ms / 2, 2 * swarm.lease_ms) * ms, What::ack);
    const std::uint64_t think = world_.below(swarm.think_ns_max);
    if (swarm.buries(queue_) && world_.chance(swarm.reject_per_mille))
        return in(think, What::reject);
    if (!stage_.healed && world_.chance(swarm.nack_per_mille)) return in(think, What::nack);
    if (world_.chance(50)) {
        later(think / 2, [this, message] {
            if (!holds(message.tag)) return;
            subscription_->extend(message.tag, message.tag, stage_.swarm.lease_ms)
                .ignore("a lease that is lost is not extended");
        });
    }
    in(think, What::ack);
}

bool LibraryConsumer::holds(const transport::DeliveryTag& tag) const {
    const auto at = held_.find(tag_of(tag.subscription, tag.tag));
    return at != held_.end() && at->second.tag.generation == tag.generation;
}

void LibraryConsumer::drop(const transport::DeliveryTag& tag) {
    if (holds(tag)) held_.erase(tag_of(tag.subscription, tag.tag));
}

void LibraryConsumer::settle(const Held& message, What how) {
    if (!holds(message.tag)) {
        // An application may not know of that yet.
        if (subscription_->ack(message.tag).ok())
            wrong("takes an ack of what was lost with its connection");
        return;
    }
    drop(message.tag);
    settled_[tag_of(message.tag.subscription, message.tag.tag)] = how;
    world_.trace("library settles", process_, message.tag.tag, static_cast<std::uint64_t>(how));
    Status status = ok_status();
    if (how == What::ack) {
        status = subscription_->ack(message.tag);
    } else if (how == What::reject) {
        status = subscription_->nack(message.tag, false);
    } else if (world_.chance(500)) {
        status = subscription_->nack(message.tag, true);
    } else {
        status = subscription_->nack_later(message.tag, transport::Timeout{world_.below(3000)});
    }
    if (!status.ok()) wrong("does not take a settlement: " + std::string(status.error().what));
}

bool LibraryConsumer::meant(std::uint64_t tag, What what) const {
    const auto at = settled_.find(tag);
    return at != settled_.end() && at->second == what;
}

// The deliveries of a connection are lost with it.
void LibraryConsumer::on_lost() {
    held_.clear();
    settled_.clear();
}

void LibraryConsumer::on_killed() {
    subscription_.reset();
    planned_ = false;
    LibraryConsumer::on_lost();
}

std::string LibraryConsumer::unrest() const {
    if (std::string why = LibraryClient::unrest(); !why.empty()) return why;
    if (subscription_->active() && tap()->subscribed()) return {};
    return "library consumer " + std::to_string(process_) + " has no subscription";
}

}  // namespace ferry::simulation
