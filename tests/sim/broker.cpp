#include "broker.hpp"

#include "broker_run.hpp"

namespace ferry::simulation {
namespace {

constexpr std::uint64_t start_refusals_max = 40;

server::BrokerConfig config_of(const Swarm& swarm) {
    server::BrokerConfig config;
    config.data_dir = "data";
    config.log.segment_bytes = swarm.segment_bytes;
    config.log.batch_bytes_max = static_cast<std::uint32_t>(swarm.batch_bytes);
    config.log.spare_segments = swarm.spares;
    config.log.cache_bytes = swarm.cache_bytes;
    config.log.scrub_bytes_per_second = 0;
    config.log.low_water_bytes = 0;
    config.checkpoint_bytes = swarm.checkpoint_bytes;
    config.frame_bytes_max = swarm.frame_bytes;
    config.output_bytes_max = swarm.output_bytes;
    config.pending_bytes_max = 256U << 10;
    config.heartbeat_ms = static_cast<std::uint32_t>(swarm.heartbeat_ms);
    config.drain_ms = 3000;
    config.log_level = server::LogLevel::off;
    return config;
}

}  // namespace

Broker::Broker(World& world, const Swarm& swarm, Recorder& recorder)
    : world_(world),
      swarm_(swarm),
      recorder_(recorder),
      clock_(world.now_ns()),
      disk_(world),
      log_random_(world.random.next()),
      config_(config_of(swarm)) {
    disk_.sync_ns_max = swarm.sync_ns_max;
}

Broker::~Broker() = default;

bool Broker::serving() const {
    return run_ != nullptr;
}

void Broker::start() {
    if (starting_ || run_ != nullptr) return;
    starting_ = true;
    world_.after(world_.between(ms, 50 * ms), machine_, [this] { open(); });
}

void Broker::open() {
    engine::Settings settings;
    settings.payload_bytes_max = config_.payload_bytes_max();
    settings.lease_ms_default = swarm_.lease_ms;
    settings.extents_in_memory_max = swarm_.extents_in_memory;
    auto process = std::make_unique<Process>(world_, disk_, clock_, log_random_, config_, settings);
    if (const std::string why = process->open(); !why.empty()) {
        world_.trace("broker does not start", ++refused_starts_);
        // A disk that fails reads or syncs, or is full: whoever runs it tries again. Without such
        // a fault it has to start.
        const bool excused =
            !healed_ && (swarm_.has(Fault::read_error) || swarm_.has(Fault::sync_error) ||
                         swarm_.has(Fault::disk_full));
        if (!excused || refused_starts_ > start_refusals_max) {
            world_.fail("the broker does not start: " + why);
            return;
        }
        process.reset();
        world_.after(world_.between(100 * ms, second), machine_, [this] { open(); });
        return;
    }
    recovering_ = std::move(process);
    // Recovery takes its time, and the power may go meanwhile.
    world_.after(world_.between(ms, 100 * ms), machine_, [this] {
        starting_ = false;
        ++starts_;
        world_.trace("broker serves", starts_);
        run_ = std::make_unique<Run>(std::move(recovering_), swarm_, [this] { storage_failed(); });
        run_->begin();
    });
}

void Broker::storage_failed() {
    world_.after(0, machine_, [this] { gone(world_.between(10 * ms, second), false); });
}

void Broker::gone(std::uint64_t down_ns, bool power) {
    machine_.end();
    machine_.begin();
    starting_ = false;
    if (run_ != nullptr) {
        run_->die(power);
        history::Event crash;
        crash.process = broker_process;
        crash.type = history::Type::ok;
        crash.what = history::What::crash;
        recorder_.add(crash);
        run_.reset();
    }
    recovering_.reset();
    if (power) disk_.cut_power();
    world_.after(down_ns, machine_, [this] { start(); });
}

void Broker::kill(std::uint64_t down_ns) {
    world_.trace("broker killed");
    gone(down_ns, false);
}

void Broker::cut_power(std::uint64_t down_ns) {
    world_.trace("broker loses power");
    gone(down_ns, true);
}

void Broker::stop_cleanly(std::uint64_t down_ns) {
    if (run_ == nullptr) return;
    world_.trace("broker is asked to stop");
    run_->begin_drain(
        [this, down_ns] { world_.after(0, machine_, [this, down_ns] { gone(down_ns, false); }); });
}

ConnectionRef Broker::connect(std::shared_ptr<Tap> tap) {
    if (run_ == nullptr) return nullptr;
    auto connection = std::make_shared<Connection>(world_, swarm_.weather);
    run_->accept(connection, std::move(tap));
    return connection;
}

ConnectionRef Broker::any_connection() {
    return run_ == nullptr ? nullptr : run_->any_connection();
}

Backlog Broker::backlog() const {
    Backlog all;
    for (const engine::QueueView& queue : run_->engine.queues("", 1000, clock_.now())) {
        all.ready += queue.ready;
        all.unacked += queue.unacked;
        all.delayed += queue.delayed;
        all.leaving += queue.leaving;
    }
    return all;
}

void Broker::heal() {
    healed_ = true;
    disk_.slow = false;
    disk_.files().clear_faults();
    disk_.files().set_capacity(1ULL << 40);
    clock_.put_right();
    if (run_ != nullptr) run_->heal();
    if (run_ == nullptr && !starting_) start();
}

}  // namespace ferry::simulation
