#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "network.hpp"
#include "world.hpp"

namespace ferry::simulation {

/// What may go wrong in a run. The seed chooses which of them do, and how often.
enum class Fault : std::uint8_t {
    broker_kill,   ///< the process dies; the machine goes on
    broker_power,  ///< the machine with the broker on it loses power
    broker_stop,   ///< a clean stop, and a start
    sync_error,    ///< an fsync of the broker fails
    disk_full,     ///< the broker's disk is full for a while
    read_error,    ///< reads of the broker fail for a moment
    slow_disk,     ///< the broker's syncs take seconds
    wall_jump,     ///< somebody sets a wall clock, by up to years
    cut,           ///< a connection is cut at a byte
    half_open,     ///< nothing passes in one direction any more, or in both
    stall,         ///< nothing passes for a while
    client_stop,   ///< a client stands still, maybe longer than a lease
    client_kill,   ///< a client dies
    app_power,     ///< the machine with an application's database loses power
    purge,         ///< an operator empties a queue
    count_,
};
inline constexpr std::size_t fault_count = static_cast<std::size_t>(Fault::count_);
[[nodiscard]] const char* name_of(Fault fault);

/// What a run may have beside publishing and consuming. The seed chooses.
enum class Feature : std::uint8_t {
    dead_letters,  ///< messages are rejected, or fail too often, and go to a queue for those
    lives,         ///< messages of some queues expire
    transactions,  ///< processes take messages and publish results, all in one
    locks,         ///< processes compete for locks
    sagas,         ///< an orchestrator with its participants
    library,       ///< processes that use the client library
    count_,
};
inline constexpr std::size_t feature_count = static_cast<std::size_t>(Feature::count_);
[[nodiscard]] const char* name_of(Feature feature);

/// Everything about a run that its seed decides before it begins.
struct Swarm {
    std::uint64_t seed = 0;
    std::uint32_t faults = 0;    // a bit per Fault
    std::uint32_t drawn = 0;     // the same before any was taken away
    std::uint32_t features = 0;  // a bit per Feature
    std::uint64_t fault_every_ns = 0;
    std::uint64_t duration_ns = 0;  // of the phase with faults
    std::uint64_t heal_ns = 0;      // within so long everything must come to rest afterwards

    std::uint32_t queues = 1, producers = 1, consumers = 1, apps = 0;
    std::uint32_t messages = 100;  // of each producer, in all
    std::uint32_t payload_max = 100;
    std::uint32_t batch_max = 1;  // messages in a publish frame
    std::uint32_t window = 16;    // of a producer
    std::uint32_t prefetch = 10;
    std::uint64_t lease_ms = 1000;
    std::uint64_t heartbeat_ms = 2000;
    std::uint64_t think_ns_max = ms;
    std::uint64_t pause_ns_max = ms;  // between two publishes
    std::uint32_t nack_per_mille = 0, forget_per_mille = 0;
    std::uint32_t ordered = 0;  // a bit per queue
    bool keys = false;

    std::uint32_t dead_from = 0;       // a bit per queue
    std::uint32_t deliveries_max = 0;  // 0: no limit
    std::uint32_t reject_per_mille = 0;
    std::uint64_t retry_delay_ms = 0;
    std::uint32_t lives = 0;  // a bit per queue
    std::uint64_t life_ms = 0;
    std::uint32_t transactors = 0, transaction_max = 1;
    std::uint32_t lock_clients = 0, locks = 0, lock_permits = 1;
    std::uint64_t lock_ttl_ms = 0, lock_delay_ms = 0;
    std::uint32_t saga_workers = 0;
    std::uint32_t library_producers = 0, library_consumers = 0, library_transactors = 0;

    std::uint64_t segment_bytes = 0, batch_bytes = 0, cache_bytes = 0, checkpoint_bytes = 0;
    std::uint32_t spares = 1, frame_bytes = 0;
    std::uint64_t extents_in_memory = 0;
    std::uint64_t housekeeping_ns_max = ms;
    std::uint64_t sync_ns_max = ms;
    std::uint64_t output_bytes = 0;
    Weather weather;

    [[nodiscard]] bool has(Fault fault) const {
        return ((faults >> static_cast<unsigned>(fault)) & 1U) != 0;
    }
    [[nodiscard]] bool has(Feature feature) const {
        return ((features >> static_cast<unsigned>(feature)) & 1U) != 0;
    }
    /// Queues are numbered: those of producers, of applications, of dead letters, of results,
    /// of answers to sagas and of their commands.
    [[nodiscard]] std::uint32_t dead_queue() const { return queues + apps + 1; }
    [[nodiscard]] std::uint32_t result_queue() const { return queues + apps + 2; }
    [[nodiscard]] std::uint32_t saga_queue() const { return queues + apps + 3; }
    [[nodiscard]] std::uint32_t worker_queue(std::uint32_t worker) const {
        return queues + apps + 4 + worker;
    }
    [[nodiscard]] bool is_ordered(std::uint32_t queue) const {
        return queue <= queues + apps && bit_of(ordered, queue);
    }
    [[nodiscard]] bool buries(std::uint32_t queue) const { return bit_of(dead_from, queue); }
    /// 0: for ever.
    [[nodiscard]] std::uint64_t life_ns(std::uint32_t queue) const {
        return bit_of(lives, queue) ? life_ms * ms : 0;
    }

private:
    [[nodiscard]] static bool bit_of(std::uint32_t bits, std::uint32_t queue) {
        return ((bits >> (queue - 1)) & 1U) != 0;
    }
};

/// What a shrinking run takes away from what its seed has drawn.
struct Diet {
    std::uint32_t without = 0;           // faults, a bit per Fault
    std::uint32_t without_features = 0;  // a bit per Feature
    std::uint32_t actors_divisor = 1;
    std::uint32_t messages_divisor = 1;
    std::uint64_t until_ms = 0;       // faults end so early; 0: as drawn
    std::set<std::uint32_t> skipped;  // of the faults that strike, by number from 1 on
};

[[nodiscard]] Swarm draw(std::uint64_t seed, const Diet& diet);
[[nodiscard]] std::string text_of(const Swarm& swarm);

}  // namespace ferry::simulation
