#include "bench/pinger.hpp"

#include <utility>

#include "bench/publisher.hpp"

namespace ferry::cli::bench {
namespace {

// The first rounds warm up caches, the allocator and the broker's file; they are not counted.
std::uint64_t warm_up_rounds(const Settings& settings) {
    return settings.count / 10;
}

}  // namespace

Pinger::Pinger(const Settings& settings, std::string queue, bool deliveries, Signal& signal)
    : settings_(settings),
      queue_(std::move(queue)),
      deliveries_(deliveries),
      signal_(signal),
      payload_(settings.size, std::byte{'x'}) {}

Pinger::~Pinger() {
    subscription_.reset();
    // The I/O thread must be gone before what its callbacks use.
    client_.reset();
}

transport::Answer<Done> Pinger::run(const Context& context) {
    transport::ClientOptions options;
    options.on_confirm = [this](std::uint64_t, std::uint64_t, const transport::Outcome& outcome) {
        if (!outcome.ok()) signal_.fail("a message was not confirmed");
        if (!deliveries_) came_back();
    };
    options.on_state = [this](const transport::StateChange& change) {
        if (change.state == transport::StateChange::State::disconnected) {
            signal_.fail("the connection broke while measuring");
        }
    };
    auto client = connect(context, std::move(options));
    if (!client.ok()) return client.error();
    client_ = std::move(client).value();
    if (deliveries_) {
        auto subscription = client_->subscribe(
            queue_, {},
            [this](std::span<const transport::Delivery> deliveries) { on_deliveries(deliveries); });
        if (!subscription.ok()) return subscription.error();
        subscription_ = std::move(subscription).value();
    }
    send();
    const std::uint64_t rounds = settings_.count + warm_up_rounds(settings_);
    const bool fine = signal_.wait_until([&] { return rounds_.load() >= rounds; });
    if (!fine) return transport::ClientError{Errc::unreachable, wire::Code::ok, signal_.why()};
    return Done{};
}

void Pinger::send() {
    sent_ns_ = now_ns();
    const auto sequence = client_->enqueue("", queue_, payload_);
    if (!sequence.ok()) signal_.fail("publishing: " + std::string(sequence.error().what));
}

void Pinger::came_back() {
    const std::uint64_t took = now_ns() - sent_ns_;
    const std::uint64_t warm_up = warm_up_rounds(settings_);
    const std::uint64_t round = rounds_.load(std::memory_order_relaxed) + 1;
    if (round > warm_up) latency_.add(took);
    rounds_.store(round, std::memory_order_release);
    if (round >= settings_.count + warm_up) {
        signal_.changed();
    } else if (!signal_.failed()) {
        send();
    }
}

void Pinger::on_deliveries(std::span<const transport::Delivery> deliveries) {
    for (const transport::Delivery& delivery : deliveries) {
        const Status acked = client_->ack(delivery.tag);
        if (!acked.ok()) signal_.fail("acking: " + std::string(acked.error().what));
        came_back();
    }
}

}  // namespace ferry::cli::bench
