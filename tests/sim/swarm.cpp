#include "swarm.hpp"

#include <algorithm>

namespace ferry::simulation {

const char* name_of(Fault fault) {
    static constexpr const char* names[] = {
        "broker-kill", "broker-power", "broker-stop", "sync-error", "disk-full",
        "read-error",  "slow-disk",    "wall-jump",   "cut",        "half-open",
        "stall",       "client-stop",  "client-kill", "app-power",  "purge"};
    static_assert(std::size(names) == fault_count);
    return names[static_cast<std::size_t>(fault)];
}

const char* name_of(Feature feature) {
    static constexpr const char* names[] = {"dead-letters", "lives", "transactions",
                                            "locks",        "sagas", "library"};
    static_assert(std::size(names) == feature_count);
    return names[static_cast<std::size_t>(feature)];
}

namespace {

constexpr std::uint64_t heal_ns = 400 * second;
// Thirty sagas on the way back, and workers that take two commands a second: what waited too long
// was sent again and lies in their queue, too, so all is through much later.
constexpr std::uint64_t saga_heal_ns = 4'000 * second;

// From dice of their own: what seeds decided before there were these they decide as ever.
void draw_features(Swarm& s, const Diet& diet) {
    World dice(mix(s.seed, 0xFEA7));
    for (const Feature feature :
         {Feature::dead_letters, Feature::lives, Feature::transactions, Feature::locks}) {
        if (dice.chance(220)) s.features |= 1U << static_cast<unsigned>(feature);
    }
    s.features &= ~diet.without_features;
    const auto some_queues = [&] {
        return static_cast<std::uint32_t>(1 + dice.below((1ULL << s.queues) - 1));
    };
    const auto small = [&](std::uint64_t least, std::uint64_t most) {
        return static_cast<std::uint32_t>(dice.between(least, most));
    };
    if (s.has(Feature::dead_letters)) {
        s.dead_from = some_queues();
        s.deliveries_max = dice.chance(600) ? small(1, 5) : 0;
        s.reject_per_mille = small(0, 150);
        s.retry_delay_ms = dice.chance(300) ? dice.between(10, 3000) : 0;
    }
    if (s.has(Feature::lives)) {
        s.lives = some_queues();
        s.life_ms = dice.spread(200, 30'000);
    }
    if (s.has(Feature::transactions)) {
        s.transactors = small(1, 2);
        s.transaction_max = small(1, 8);
    }
    if (s.has(Feature::locks)) {
        s.lock_clients = std::max(1U, small(2, 5) / diet.actors_divisor);
        s.locks = small(1, 2);
        s.lock_permits = dice.chance(300) ? small(2, 3) : 1;
        s.lock_ttl_ms = dice.between(1000, 6000);
        s.lock_delay_ms = dice.chance(500) ? dice.below(3000) : 0;
    }
    // Seldom: their databases take most of the time of a run.
    if (dice.chance(60)) s.features |= 1U << static_cast<unsigned>(Feature::sagas);
    s.features &= ~diet.without_features;
    if (s.has(Feature::sagas)) s.saga_workers = small(1, 2);
}

// From dice of their own, as above. At least one of the three.
void draw_library(Swarm& s, const Diet& diet) {
    World dice(mix(s.seed, 0x11B));
    if (!dice.chance(400)) return;
    const auto some = [&](std::uint64_t most) {
        return static_cast<std::uint32_t>(dice.below(most + 1));
    };
    s.features |= 1U << static_cast<unsigned>(Feature::library);
    s.features &= ~diet.without_features;
    if (!s.has(Feature::library)) return;
    s.library_producers = some(2);
    s.library_consumers = some(2);
    s.library_transactors = some(2);
    if (s.library_producers + s.library_consumers + s.library_transactors != 0) return;
    s.library_producers = s.library_consumers = 1;
}

void draw_broker(World& dice, Swarm& s) {
    s.segment_bytes = std::uint64_t{32U << 10} << dice.below(3);
    if (dice.chance(60)) s.segment_bytes = 1U << 20;
    s.batch_bytes = 32U << 10;
    s.frame_bytes = 27U << 10;
    s.cache_bytes = dice.chance(500) ? 4U << 10 : 64U << 10;
    s.checkpoint_bytes = dice.spread(4U << 10, 256U << 10);
    s.spares = static_cast<std::uint32_t>(dice.below(3));
    s.extents_in_memory = dice.chance(300) ? 8 : 1U << 20;
    s.housekeeping_ns_max = dice.spread(ms, 2 * second);
    s.sync_ns_max = dice.spread(100 * us, 50 * ms);
    s.output_bytes = dice.chance(200) ? 4U << 10 : 1U << 20;
}

void draw_clients(World& dice, Swarm& s, const Diet& diet) {
    const auto some = [&](std::uint64_t most) {
        const std::uint64_t drawn = dice.between(1, most);
        return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, drawn / diet.actors_divisor));
    };
    s.queues = some(3);
    s.producers = some(4);
    s.consumers = std::max(some(5), s.queues);
    s.apps = dice.chance(300) ? some(2) : 0;
    s.messages =
        std::max(1U, static_cast<std::uint32_t>(dice.spread(10, 120)) / diet.messages_divisor);
    s.payload_max = static_cast<std::uint32_t>(dice.spread(16, 1500));
    s.batch_max = static_cast<std::uint32_t>(dice.spread(1, 12));
    s.window = static_cast<std::uint32_t>(dice.spread(1, 64));
    s.prefetch = static_cast<std::uint32_t>(dice.spread(1, 64));
    s.lease_ms = dice.between(1000, 8000);
    s.heartbeat_ms = dice.between(1000, 6000);
    s.think_ns_max = dice.spread(100 * us, second);
    s.nack_per_mille = dice.chance(500) ? static_cast<std::uint32_t>(dice.below(150)) : 0;
    s.forget_per_mille = dice.chance(400) ? static_cast<std::uint32_t>(dice.below(60)) : 0;
    s.ordered = dice.chance(350) ? static_cast<std::uint32_t>(dice.below(32)) : 0;
    s.keys = s.ordered != 0 || dice.chance(500);
}

}  // namespace

Swarm draw(std::uint64_t seed, const Diet& diet) {
    World dice(mix(seed, 0x5EED));
    Swarm s;
    s.seed = seed;
    draw_broker(dice, s);
    draw_clients(dice, s, diet);
    s.duration_ns = dice.spread(10 * second, 120 * second);
    s.pause_ns_max = 2 * s.duration_ns * s.batch_max / (2 * std::max(1U, s.messages));
    s.heal_ns = heal_ns;
    // A quarter of all runs is quiet: they show what must hold when nothing is wrong.
    if (!dice.chance(250)) {
        const std::uint64_t share = dice.between(50, 700);
        for (std::size_t i = 0; i < fault_count; ++i)
            if (dice.chance(share)) s.faults |= 1U << i;
    }
    s.drawn = s.faults;
    s.faults &= ~diet.without;
    s.fault_every_ns = s.duration_ns / dice.between(2, 25);
    s.weather.chunk_max = dice.spread(256, 64U << 10);
    s.weather.delay_ns_max = dice.spread(10 * us, 30 * ms);
    s.weather.window_bytes = dice.spread(2U << 10, 256U << 10);
    if (s.weather.chunk_max < 1024) s.weather.delay_ns_max = std::min(s.weather.delay_ns_max, ms);
    draw_features(s, diet);
    if (s.has(Feature::sagas)) s.heal_ns = saga_heal_ns;
    draw_library(s, diet);
    if (!dice.chance(60)) return s;
    // Byte by byte: few and small messages, or nothing else would be done any more.
    s.weather.chunk_max = dice.between(1, 3);
    s.weather.delay_ns_max = 20 * us;
    s.payload_max = std::min(s.payload_max, 40U);
    s.messages = std::min(s.messages, 20U);
    return s;
}

std::string text_of(const Swarm& s) {
    std::string out =
        "  " + std::to_string(s.duration_ns / second) + " s, " + std::to_string(s.queues) +
        " queues, " + std::to_string(s.producers) + " producers of " + std::to_string(s.messages) +
        ", " + std::to_string(s.consumers) + " consumers, " + std::to_string(s.apps) +
        " applications; segments of " + std::to_string(s.segment_bytes >> 10) + " KiB, prefetch " +
        std::to_string(s.prefetch) + ", lease " + std::to_string(s.lease_ms) + " ms, chunks of " +
        std::to_string(s.weather.chunk_max) + "\n  faults:";
    for (std::size_t i = 0; i < fault_count; ++i)
        if (s.has(static_cast<Fault>(i))) out += std::string(" ") + name_of(static_cast<Fault>(i));
    out += s.faults == 0 ? " none\n" : "\n";
    if (s.features == 0) return out;
    out += "  with:";
    for (std::size_t i = 0; i < feature_count; ++i) {
        const auto feature = static_cast<Feature>(i);
        if (s.has(feature)) out += std::string(" ") + name_of(feature);
    }
    return out + "\n";
}

}  // namespace ferry::simulation
