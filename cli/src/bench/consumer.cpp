#include "bench/consumer.hpp"

#include <algorithm>
#include <cstring>

#include "bench/publisher.hpp"

namespace ferry::cli::bench {

Consumer::Consumer(const Settings& settings, std::span<const std::string> queues, Signal& signal,
                   std::atomic<std::uint64_t>& received)
    : settings_(settings), queues_(queues), signal_(signal), received_(received) {}

Consumer::~Consumer() {
    // The I/O thread must be gone before the lanes that its handlers refer to.
    client_.reset();
}

transport::Answer<Done> Consumer::connect(const Context& context) {
    transport::ClientOptions options;
    options.publisher = false;
    options.on_state = [this](const transport::StateChange& change) {
        if (change.state == transport::StateChange::State::disconnected) {
            signal_.fail("the connection broke while measuring");
        }
    };
    auto client = cli::connect(context, std::move(options));
    if (!client.ok()) return client.error();
    client_ = std::move(client).value();
    return Done{};
}

transport::Answer<Done> Consumer::subscribe() {
    transport::SubscribeOptions options;
    options.window_messages = settings_.prefetch;
    options.window_bytes = std::clamp<std::uint64_t>(
        std::uint64_t{settings_.prefetch} * (settings_.size + 256U), 1U << 20, 256U << 20);
    options.resubscribe = false;
    for (const std::string& queue : queues_) {
        lanes_.push_back(std::make_unique<Lane>());
        Lane& lane = *lanes_.back();
        auto subscription = client_->subscribe(
            queue, options, [this, &lane](std::span<const transport::Delivery> deliveries) {
                on_deliveries(lane, deliveries);
            });
        if (!subscription.ok()) return subscription.error();
        lane.subscription = std::move(subscription).value();
        lane.ready.store(lane.subscription.get(), std::memory_order_release);
    }
    return Done{};
}

Status Consumer::ack(Lane& lane, std::span<const transport::Delivery> deliveries) {
    const transport::DeliveryTag first = lane.held.tag != 0 ? lane.held : deliveries.front().tag;
    transport::DeliveryTag last = deliveries.back().tag;
    // In an ordered queue what is held would hold its key.
    if (!settings_.ordered) {
        lane.held = last;
        last.tag -= 1;
    }
    if (last.tag < first.tag) return ok_status();
    // The first deliveries may come before subscribe() has returned; any client call can ack them.
    transport::Subscription* subscription = lane.ready.load(std::memory_order_acquire);
    if (subscription != nullptr) return subscription->ack_range(first, last);
    for (transport::DeliveryTag tag = first; tag.tag <= last.tag; ++tag.tag) {
        if (Status acked = client_->ack(tag); !acked.ok()) return acked;
    }
    return ok_status();
}

void Consumer::on_deliveries(Lane& lane, std::span<const transport::Delivery> deliveries) {
    if (deliveries.empty()) return;
    measure(deliveries);
    const Status acked = ack(lane, deliveries);
    if (!acked.ok()) signal_.fail("acking: " + std::string(acked.error().what));
    const std::uint64_t received =
        received_.fetch_add(deliveries.size(), std::memory_order_acq_rel) + deliveries.size();
    if (received >= settings_.count) signal_.changed();
}

// Messages given to the client together carry the same time, so only changes need looking at.
void Consumer::measure(std::span<const transport::Delivery> deliveries) {
    const std::uint64_t now = now_ns();
    std::uint64_t run_sent = 0;
    std::uint64_t run = 0;
    for (const transport::Delivery& delivery : deliveries) {
        std::uint64_t sent = 0;
        if (delivery.message.payload.size() < sizeof sent) return;
        std::memcpy(&sent, delivery.message.payload.data(), sizeof sent);
        if (sent != run_sent && run > 0) {
            age_.add(now > run_sent ? now - run_sent : 0, run);
            run = 0;
        }
        run_sent = sent;
        ++run;
    }
    age_.add(now > run_sent ? now - run_sent : 0, run);
}

transport::Answer<Done> Consumer::settle() {
    std::vector<transport::DeliveryTag> last;
    for (const auto& lane : lanes_) {
        if (lane->held.tag != 0) last.push_back(lane->held);
    }
    const auto lost = client_->settle(last);
    if (!lost.ok()) return lost.error();
    return Done{};
}

}  // namespace ferry::cli::bench
