#include "bench/publisher.hpp"

#include <algorithm>
#include <chrono>

namespace ferry::cli::bench {

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

Publisher::Publisher(const Settings& settings, std::span<const std::string> queues, Signal& signal)
    : settings_(settings),
      queues_(queues),
      signal_(signal),
      payload_(settings.size, std::byte{'x'}) {
    payloads_.assign(settings.batch, Bytes(payload_));
    for (std::uint32_t i = 0; i < settings.keys; ++i) {
        wire::Properties properties;
        properties.ordering_key = "key-" + std::to_string(i);
        wire::Encoder encoder(keys_.emplace_back());
        wire::write_properties(encoder, properties);
    }
}

Publisher::~Publisher() {
    // The I/O thread must be gone before what its callbacks use.
    client_.reset();
}

transport::Answer<Done> Publisher::connect(const Context& context) {
    transport::ClientOptions options;
    // pump() keeps the window; the client's own must never be the one that is full.
    options.window_messages = settings_.window + settings_.batch;
    options.window_bytes = std::uint64_t{options.window_messages} * (settings_.size + 512U);
    options.batch_messages = settings_.batch;
    options.batch_bytes = 1U << 20;
    options.block_when_full = false;
    options.on_confirm = [this](std::uint64_t first, std::uint64_t last,
                                const transport::Outcome& outcome) {
        on_confirm(first, last, outcome);
    };
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

void Publisher::start() {
    pump();
}

void Publisher::on_confirm(std::uint64_t first, std::uint64_t last,
                           const transport::Outcome& outcome) {
    if (!outcome.ok()) {
        signal_.fail(
            "a message was not confirmed: " + std::string(wire::code_info(outcome.code).name) +
            " " + std::string(outcome.text));
        return;
    }
    const std::uint64_t now = now_ns();
    {
        const std::lock_guard guard(mutex_);
        while (!under_way_.empty() && under_way_.front().last <= last) {
            const Chunk& chunk = under_way_.front();
            latency_.add(now - chunk.sent_ns, chunk.messages);
            under_way_.pop_front();
        }
    }
    const std::uint64_t confirmed = confirmed_.load(std::memory_order_relaxed) + (last - first + 1);
    confirmed_.store(confirmed, std::memory_order_release);
    if (confirmed >= settings_.count) {
        signal_.changed();
    } else {
        pump();
    }
}

void Publisher::pump() {
    const std::lock_guard guard(mutex_);
    while (taken_ < settings_.count) {
        const std::uint64_t open = taken_ - confirmed();
        const std::uint64_t room = settings_.window > open ? settings_.window - open : 0;
        const std::uint64_t left = settings_.count - taken_;
        const std::uint64_t wanted = std::min<std::uint64_t>(settings_.batch, left);
        // Whole chunks only: crumbs would make every frame small once the window has been full.
        if (room < wanted && open > 0) return;
        if (!give(static_cast<std::uint32_t>(std::min(wanted, std::max<std::uint64_t>(room, 1)))))
            return;
    }
}

bool Publisher::give(std::uint32_t messages) {
    const std::uint64_t now = now_ns();
    if (payload_.size() >= sizeof now) std::memcpy(payload_.data(), &now, sizeof now);
    // One publisher, so sequences are consecutive; noted before the confirm can come.
    under_way_.push_back({taken_ + messages, now, messages});
    Status given = ok_status();
    if (queues_.size() == 1 && keys_.empty()) {
        const auto last =
            client_->enqueue_many("", queues_[0], std::span(payloads_).first(messages));
        if (!last.ok()) given = last.error();
    } else {
        for (std::uint32_t i = 0; i < messages && given.ok(); ++i) {
            const Bytes properties =
                keys_.empty() ? Bytes{} : Bytes(keys_[random_.below(keys_.size())]);
            const auto taken = client_->enqueue("", queues_[next_queue_], payload_, properties);
            if (!taken.ok()) given = taken.error();
            next_queue_ = next_queue_ + 1 == queues_.size() ? 0 : next_queue_ + 1;
        }
    }
    taken_ += messages;
    if (!given.ok()) signal_.fail("publishing: " + std::string(given.error().what));
    return given.ok();
}

}  // namespace ferry::cli::bench
