#include "faults.hpp"

namespace ferry::simulation {
namespace {

constexpr std::int64_t year_ms = 365LL * 24 * 3600 * 1000;

}  // namespace

Faults::Faults(Stage& stage, std::vector<Mortal*> clients, Operator& administrator)
    : stage_(stage),
      world_(stage.world),
      clients_(std::move(clients)),
      administrator_(administrator) {
    for (std::size_t i = 0; i < fault_count; ++i) {
        if (((stage_.swarm.drawn >> i) & 1U) != 0) kinds_.push_back(static_cast<Fault>(i));
    }
}

void Faults::begin() {
    if (!kinds_.empty()) next();
}

void Faults::end() {
    life_.end();
}

void Faults::next() {
    world_.after(world_.below(2 * stage_.swarm.fault_every_ns) + ms, life_, [this] {
        // What is left out leaves everything before it as it was.
        const Fault fault = kinds_[world_.below(kinds_.size())];
        if (skipped.count(++struck_) == 0 && stage_.swarm.has(fault)) strike(fault);
        next();
    });
}

void Faults::strike(Fault fault) {
    Broker& broker = stage_.broker;
    sim::SimFileSystem& files = broker.disk().files();
    const std::uint64_t down = world_.spread(ms, 5 * second);
    Mortal& client = *clients_[world_.below(clients_.size())];
    switch (fault) {
        case Fault::broker_kill:
            return broker.kill(down);
        case Fault::broker_power:
            return broker.cut_power(down);
        case Fault::broker_stop:
            return broker.stop_cleanly(down);
        case Fault::sync_error:
            world_.trace("a sync will fail");
            return files.inject({.at = world_.between(1, 4),
                                 .count = 1,
                                 .kind = sim::Fault::Kind::io_error,
                                 .only = sim::Call::sync_data});
        case Fault::disk_full:
            return fill_disk();
        case Fault::read_error:
            world_.trace("reads will fail");
            return files.inject({.at = world_.between(1, 5),
                                 .count = world_.between(1, 3),
                                 .kind = sim::Fault::Kind::io_error,
                                 .only = sim::Call::read});
        case Fault::slow_disk:
            broker.disk().slow = true;
            broker.disk().slow_ns_max = world_.spread(50 * ms, 30 * second);
            world_.trace("the disk is slow", broker.disk().slow_ns_max / ms);
            return world_.after(world_.spread(second, 20 * second), life_,
                                [this] { stage_.broker.disk().slow = false; });
        case Fault::wall_jump:
            return jump();
        case Fault::cut:
        case Fault::half_open:
        case Fault::stall:
            return hurt_connection(fault);
        case Fault::client_stop:
            if (stop_relay && world_.chance(300)) return stop_relay();
            return client.stop_for(world_.spread(100 * ms, 3 * stage_.swarm.lease_ms * ms));
        case Fault::client_kill:
            if (kill_application && world_.chance(300)) return kill_application();
            return client.kill(down);
        case Fault::app_power:
            if (cut_application) cut_application();
            return;
        case Fault::purge:
            return administrator_.purge(
                1 + static_cast<std::uint32_t>(world_.below(stage_.swarm.queues)));
        case Fault::count_:
            return;
    }
}

void Faults::fill_disk() {
    sim::SimFileSystem& files = stage_.broker.disk().files();
    const auto space = files.space(".");
    if (!space.ok()) return;
    const std::uint64_t used = space.value().total_bytes - space.value().available_bytes;
    const std::uint64_t left = world_.below(3 * stage_.swarm.segment_bytes);
    world_.trace("the disk is full, nearly", left);
    files.set_capacity(used + left);
    world_.after(world_.spread(100 * ms, 20 * second), life_, [this] {
        world_.trace("there is room on the disk again");
        stage_.broker.disk().files().set_capacity(1ULL << 40);
    });
}

void Faults::jump() {
    const std::uint64_t kind = world_.below(3);
    const std::int64_t most = kind == 0 ? 2'000 : kind == 1 ? 3'600'000 : 3 * year_ms;
    const auto by = static_cast<std::int64_t>(world_.below(static_cast<std::uint64_t>(most)));
    world_.trace("the wall clock jumps", static_cast<std::uint64_t>(by));
    clocks[world_.below(clocks.size())]->jump_ms(world_.chance(500) ? by : -by);
}

void Faults::hurt_connection(Fault fault) {
    const ConnectionRef connection = stage_.broker.any_connection();
    if (connection == nullptr) return;
    world_.trace(name_of(fault));
    if (fault == Fault::cut) return connection->cut();
    const std::uint64_t until =
        fault == Fault::half_open
            ? UINT64_MAX
            : world_.now_ns() + world_.spread(ms, 3 * stage_.swarm.heartbeat_ms * ms);
    const std::uint64_t which = world_.below(3);
    if (which != 0) connection->stall(Connection::client, until);
    if (which != 1) connection->stall(Connection::broker, until);
}

}  // namespace ferry::simulation
