#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/platform/assert.hpp"
#include "input.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

class NextPlace final : public engine::Journal {
public:
    Place append(std::span<const Bytes> parts) override {
        std::size_t size = 8;
        for (const Bytes& part : parts) size += part.size();
        return take(size);
    }
    Place take(std::size_t size) {
        if (next_ - segment_ > 4096) segment_ = next_;
        const Place place{next_, segment_};
        next_ += size;
        return place;
    }

private:
    engine::Position segment_ = 0;
    engine::Position next_ = 64;
};

// Whatever state came out of recovery has to be usable.
void use(engine::Engine& engine, NextPlace& journal, engine::Effects& effects) {
    Now now{Instant{1}, 1'700'000'000'000};
    engine.recovered(true, now);
    engine.durable(1ULL << 62);
    engine.open_session(1);
    std::uint64_t request = 1;
    for (const engine::QueueView& queue : engine.queues("", 8, now)) {
        engine::SubscribeOptions options;
        options.window_messages = 20;
        options.window_bytes = 1000;
        engine.subscribe(1, request, request, queue.name, options, now);
        ++request;
    }
    engine.dispatch(now);
    effects.clear();
    engine.close_session(1, now);
    std::vector<std::byte> state;
    engine.save(state, false);
    engine::Effects none;
    engine::Engine copy(journal, none, {});
    require(copy.load(state).ok());
    engine.live_in(0, UINT64_MAX).blocks.clear();
}

}  // namespace

void records(Bytes bytes) {
    Input input(bytes);
    NextPlace journal;
    engine::Effects effects;
    engine::Engine engine(journal, effects, {});
    if (input.u8() % 2 == 1) {
        const Bytes checkpoint = input.take(input.u16());
        if (!engine.load(checkpoint).ok()) return;
        journal.take(1 << 16);
    }
    std::vector<std::byte> scratch;
    while (!input.empty()) {
        const Bytes body = input.take(input.u16());
        if (body.empty()) return;
        engine::Extent extent;
        extent.first = 100;
        extent.index = static_cast<std::uint16_t>(body.size() % 3);
        extent.count = 1 + static_cast<std::uint32_t>(body.size() % 4);
        extent.set_offset(static_cast<std::uint32_t>(body.size() % 60));
        engine::message_bytes(body, extent, 0, extent.count, scratch).ignore("any answer will do");
        engine::extents_of_block(body).ignore("any answer will do");
        const std::pair<std::uint32_t, std::uint32_t> ranges[] = {{0, 1}, {2, 2}};
        engine::slice_record(body, ranges).ignore("any answer will do");
        if (!engine.replay(journal.take(8 + body.size()), body).ok()) return;
    }
    use(engine, journal, effects);
}

}  // namespace ferry::fuzz
