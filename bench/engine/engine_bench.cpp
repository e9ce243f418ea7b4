// What the engine alone costs per message: plan, record, queue, dispatch, ack; a journal that only
// counts.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/wire/message.hpp"

namespace {

using namespace ferry;

class CountingJournal final : public engine::Journal {
public:
    Place append(std::span<const Bytes> parts) override {
        const engine::Position at = next_;
        std::size_t size = 8;
        for (const Bytes part : parts) size += part.size();
        next_ += size;
        return {at, at / segment_bytes * segment_bytes};
    }
    [[nodiscard]] engine::Position end() const { return next_; }

private:
    static constexpr engine::Position segment_bytes = 64ULL << 20;
    engine::Position next_ = 64;
};

wire::Buffer batch_of(std::size_t messages, std::size_t queues, std::size_t payload) {
    wire::Buffer bytes;
    wire::Encoder encoder(bytes);
    for (std::size_t i = 0; i < messages; ++i) {
        wire::Message message;
        message.routing_key = "orders" + std::to_string(i % queues);
        message.payload.assign(payload, 'x');
        wire::write_message(encoder, message);
    }
    return bytes;
}

// Arguments: messages per frame, queues.
void PublishDeliverAck(benchmark::State& state) {
    const auto per_frame = static_cast<std::uint32_t>(state.range(0));
    const auto queues = static_cast<std::size_t>(state.range(1));
    CountingJournal journal;
    engine::Effects effects;
    engine::Engine engine(journal, effects, {});
    engine.recovered(false, {});
    engine.open_session(1);
    engine.open_producer(1, 1, "bench", std::nullopt, true, {});
    for (std::size_t q = 0; q < queues; ++q) {
        engine.declare_queue(1, 1, "orders" + std::to_string(q), {}, {});
        engine::SubscribeOptions options;
        options.window_messages = 100'000;
        options.window_bytes = 64U << 20;
        engine.subscribe(1, 1, q, "orders" + std::to_string(q), options, {});
    }
    const wire::Buffer frame = batch_of(per_frame, queues, 100);
    engine::Sequence sequence = 1;
    std::uint64_t delivered = 0;
    for (auto _ : state) {
        if (!engine.publish({1, 1, sequence, 0, sequence - 1, per_frame, frame}, {}))
            state.SkipWithError("malformed");
        sequence += per_frame;
        engine.durable(journal.end());
        engine.dispatch({});
        std::vector<std::pair<std::uint64_t, engine::Range<engine::Tag>>> got;
        for (const engine::Effect& effect : effects) {
            if (const auto* d = std::get_if<engine::Deliver>(&effect)) {
                got.emplace_back(
                    d->subscription,
                    engine::Range<engine::Tag>{d->first_tag, d->first_tag + d->extent.count - 1});
                delivered += d->extent.count;
            }
        }
        effects.clear();
        for (const auto& [subscription, tags] : got)
            engine.ack(1, 0, subscription, std::span(&tags, 1), {});
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(delivered));
}
BENCHMARK(PublishDeliverAck)->Args({512, 1})->Args({64, 1})->Args({1, 1})->Args({512, 1000});

wire::Buffer keyed_batch(std::size_t messages, std::uint64_t keys, std::uint64_t& seed) {
    wire::Buffer bytes;
    wire::Encoder encoder(bytes);
    for (std::size_t i = 0; i < messages; ++i) {
        wire::Message message;
        message.routing_key = "orders";
        message.payload.assign(100, 'x');
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        message.properties.ordering_key = "key-" + std::to_string((seed >> 33U) % keys);
        wire::write_message(encoder, message);
    }
    return bytes;
}

// An ordered queue with a backlog. Arguments: keys, consumers. Each turn publishes a frame, and
// acks what came the turn before.
void OrderedWithABacklog(benchmark::State& state) {
    constexpr std::uint32_t per_frame = 512;
    const auto keys = static_cast<std::uint64_t>(state.range(0));
    const auto consumers = static_cast<std::uint64_t>(state.range(1));
    CountingJournal journal;
    engine::Effects effects;
    engine::Engine engine(journal, effects, {});
    engine.recovered(false, {});
    engine.open_session(1);
    engine.open_producer(1, 1, "bench", std::nullopt, true, {});
    engine::QueueOptions queue;
    queue.ordered = true;
    engine.declare_queue(1, 1, "orders", queue, {});
    std::uint64_t seed = 7;
    std::vector<wire::Buffer> frames;
    for (int i = 0; i < 64; ++i) frames.push_back(keyed_batch(per_frame, keys, seed));
    engine::Sequence sequence = 1;
    std::size_t next = 0;
    const auto publish = [&] {
        const wire::Buffer& frame = frames[next++ % frames.size()];
        if (!engine.publish({1, 1, sequence, 0, sequence - 1, per_frame, frame}, {}))
            state.SkipWithError("malformed");
        sequence += per_frame;
    };
    for (int i = 0; i < 12; ++i) publish();  // the backlog, which stays in memory
    for (std::uint64_t i = 0; i < consumers; ++i) {
        engine::SubscribeOptions options;
        options.window_messages = 4096;
        options.window_bytes = 64U << 20;
        options.some_at_a_time = true;
        engine.subscribe(1, 1, 10 + i, "orders", options, {});
    }
    std::uint64_t delivered = 0;
    std::vector<std::pair<std::uint64_t, engine::Range<engine::Tag>>> got;
    std::uint64_t acked = 0;
    for (auto _ : state) {
        if (acked + 6'000 > sequence) publish();
        engine.durable(journal.end());
        engine.dispatch({});
        got.clear();
        for (const engine::Effect& effect : effects) {
            if (const auto* d = std::get_if<engine::Deliver>(&effect))
                got.emplace_back(
                    d->subscription,
                    engine::Range<engine::Tag>{d->first_tag, d->first_tag + d->messages() - 1});
        }
        effects.clear();
        for (const auto& [subscription, tags] : got) {
            engine.ack(1, 0, subscription, std::span(&tags, 1), {});
            acked += tags.last - tags.first + 1;
        }
    }
    delivered = acked;
    state.SetItemsProcessed(static_cast<std::int64_t>(delivered));
}
BENCHMARK(OrderedWithABacklog)->Args({1000, 1})->Args({1000, 4})->Args({100'000, 4});

}  // namespace
BENCHMARK_MAIN();
