#include "simulation.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "app.hpp"
#include "broker.hpp"
#include "consumer.hpp"
#include "faults.hpp"
#include "ferry/history/checker.hpp"
#include "library_producer.hpp"
#include "library_transactor.hpp"
#include "lock_client.hpp"
#include "operator.hpp"
#include "producer.hpp"
#include "sagas.hpp"
#include "transactor.hpp"

namespace ferry::simulation {
namespace {

constexpr std::uint32_t first_producer = 10;
constexpr std::uint32_t first_consumer = 100;
constexpr std::uint32_t first_collector = 150;
constexpr std::uint32_t first_transactor = 160;
constexpr std::uint32_t first_lock_client = 180;
constexpr std::uint32_t first_library_producer = 300;
constexpr std::uint32_t first_library_consumer = 310;
constexpr std::uint32_t first_library_transactor = 320;
constexpr std::uint32_t saga_host = 5;  // of the machines
constexpr std::uint32_t operator_process = 2;
constexpr std::uint64_t look_every_ns = second;
constexpr std::uint64_t events_max = 3'000'000;

/// Everybody in one run.
class Play {
public:
    Play(std::uint64_t seed, const Diet& diet)
        : swarm_(draw(seed, diet)),
          diet_(diet),
          world_(mix(seed, swarm_.drawn)),
          recorder_(world_),
          broker_(world_, swarm_, recorder_),
          stage_{world_, swarm_, recorder_, broker_},
          disks_(world_, broker_.clock()),
          operator_(stage_, operator_process) {}

    void run() {
        raise_curtain();
        const std::uint64_t early_ns = diet_.until_ms * ms;
        run_until(world_.now_ns() +
                  (early_ns == 0 ? swarm_.duration_ns : std::min(early_ns, swarm_.duration_ns)));
        heal();
        come_to_rest();
        if (!world_.failed()) look_back();
    }
    World& world() { return world_; }
    Recorder& recorder() { return recorder_; }
    [[nodiscard]] const Swarm& swarm() const { return swarm_; }
    [[nodiscard]] std::uint64_t starts() const { return broker_.starts(); }
    [[nodiscard]] std::uint32_t struck() const { return faults_->struck(); }
    [[nodiscard]] history::Rules rules() const;

private:
    void raise_curtain();
    void add_features();
    void add_library();
    void add_sagas();
    Machine& any_machine() { return *machines_[world_.below(machines_.size())]; }
    bool run_until(std::uint64_t ns);
    void heal();
    void come_to_rest();
    void look_back();
    [[nodiscard]] std::string unrest();

    const Swarm swarm_;
    const Diet diet_;
    World world_;
    Recorder recorder_;
    Broker broker_;
    Stage stage_;
    SqliteDisks disks_;
    std::vector<std::unique_ptr<App>> apps_;
    std::vector<std::unique_ptr<Machine>> saga_machines_;
    std::vector<Machine*> machines_;  // of both
    std::vector<std::unique_ptr<Producer>> producers_;
    std::vector<std::unique_ptr<Consumer>> consumers_;
    std::vector<std::unique_ptr<Transactor>> transactors_;
    Results results_;
    std::vector<std::unique_ptr<LockClient>> lock_clients_;
    std::vector<std::unique_ptr<LibraryClient>> library_;
    std::vector<LibraryProducer*> library_producers_;  // of them
    Operator operator_;
    std::unique_ptr<Faults> faults_;
    std::uint64_t healed_at_ = 0;
};

void Play::raise_curtain() {
    broker_.start();
    for (std::uint32_t i = 0; i < swarm_.producers; ++i)
        producers_.push_back(
            std::make_unique<Producer>(stage_, first_producer + i, world_.chance(600)));
    for (std::uint32_t i = 0; i < swarm_.consumers; ++i)
        consumers_.push_back(
            std::make_unique<Consumer>(stage_, first_consumer + i, 1 + i % swarm_.queues));
    add_features();
    std::vector<Mortal*> clients;
    for (const auto& one : producers_) clients.push_back(one.get());
    for (const auto& one : consumers_) clients.push_back(one.get());
    for (const auto& one : transactors_) clients.push_back(one.get());
    for (const auto& one : lock_clients_) clients.push_back(one.get());
    // Where consumers come late there is a backlog, on the disk and in index blocks.
    const std::uint64_t late_ns = world_.chance(250) ? swarm_.duration_ns : us;
    for (const auto& one : producers_) one->start();
    for (const auto& one : consumers_) one->start(world_.below(late_ns));
    for (const auto& one : transactors_) one->start();
    for (const auto& one : lock_clients_) one->start();
    operator_.start();
    add_library();
    for (const auto& one : library_) clients.push_back(one.get());
    for (std::uint32_t i = 0; i < swarm_.apps; ++i) {
        apps_.push_back(std::make_unique<App>(stage_, disks_, i, swarm_.queues + 1 + i));
        apps_.back()->start();
        machines_.push_back(apps_.back().get());
    }
    if (swarm_.has(Feature::sagas)) add_sagas();
    faults_ = std::make_unique<Faults>(stage_, std::move(clients), operator_);
    faults_->cut_application = [this] {
        if (!machines_.empty()) any_machine().lose_power();
    };
    faults_->stop_relay = [this] {
        if (!machines_.empty()) any_machine().stop_relay();
    };
    faults_->clocks = {&broker_.clock()};
    for (Machine* one : machines_) faults_->clocks.push_back(&one->clock());
    faults_->kill_application = [this] {
        if (!machines_.empty()) any_machine().go_down(false);
    };
    faults_->skipped = diet_.skipped;
    faults_->begin();
}

void Play::add_sagas() {
    const saga::Definition definition = draw_saga(swarm_);
    for (const saga::Complaint& one : check(definition))
        return world_.fail("the saga that was drawn is none: " + one.where + ": " + one.what);
    saga_machines_.push_back(std::make_unique<SagaHost>(stage_, disks_, saga_host, definition));
    for (std::uint32_t i = 0; i < swarm_.saga_workers; ++i) {
        saga_machines_.push_back(std::make_unique<SagaWorker>(stage_, disks_, saga_host + 1 + i,
                                                              swarm_.worker_queue(i), definition));
    }
    for (const auto& one : saga_machines_) {
        one->start();
        machines_.push_back(one.get());
    }
}

// Who does what only some runs have.
void Play::add_features() {
    const auto collect = [this](std::uint32_t number, std::uint32_t queue) {
        consumers_.push_back(std::make_unique<Consumer>(stage_, first_collector + number, queue));
    };
    if (swarm_.has(Feature::dead_letters)) collect(0, swarm_.dead_queue());
    if (swarm_.has(Feature::transactions) || swarm_.library_transactors != 0)
        collect(1, swarm_.result_queue());
    for (std::uint32_t i = 0; i < swarm_.transactors; ++i) {
        transactors_.push_back(std::make_unique<Transactor>(stage_, first_transactor + i,
                                                            1 + i % swarm_.queues, results_));
    }
    for (std::uint32_t i = 0; i < swarm_.lock_clients; ++i)
        lock_clients_.push_back(std::make_unique<LockClient>(stage_, first_lock_client + i));
}

void Play::add_library() {
    for (std::uint32_t i = 0; i < swarm_.library_producers; ++i) {
        auto one = std::make_unique<LibraryProducer>(stage_, first_library_producer + i);
        library_producers_.push_back(one.get());
        library_.push_back(std::move(one));
    }
    for (std::uint32_t i = 0; i < swarm_.library_consumers; ++i) {
        library_.push_back(std::make_unique<LibraryConsumer>(stage_, first_library_consumer + i,
                                                             1 + i % swarm_.queues));
    }
    for (std::uint32_t i = 0; i < swarm_.library_transactors; ++i) {
        library_.push_back(std::make_unique<LibraryTransactor>(stage_, first_library_transactor + i,
                                                               1 + i % swarm_.queues, results_));
    }
    for (const auto& one : library_) one->start(world_.below(second));
}

bool Play::run_until(std::uint64_t ns) {
    while (!world_.failed() && world_.step(ns)) {
        if (world_.events() > events_max) world_.fail("it never comes to rest: too many events");
    }
    return !world_.failed();
}

void Play::heal() {
    world_.trace("healed");
    stage_.healed = true;
    healed_at_ = world_.now_ns();
    faults_->end();
    broker_.heal();
    // A queue whose index could not be read stands still until the broker starts anew: its operator
    // was told, and does that.
    if (swarm_.has(Fault::read_error) && broker_.serving()) broker_.kill(100 * ms);
    for (const auto& one : producers_) one->heal();
    for (const auto& one : lock_clients_) one->heal();
    for (LibraryProducer* one : library_producers_) one->heal();
    for (Machine* one : machines_) one->heal();
}

std::string Play::unrest() {
    for (const auto& one : producers_) {
        if (!one->done()) return "producer " + std::to_string(one->process()) + " waits";
    }
    for (const auto& one : transactors_) {
        if (!one->at_rest()) return "transactor " + std::to_string(one->process()) + " waits";
    }
    for (const auto& one : lock_clients_) {
        if (!one->at_rest()) return "lock client " + std::to_string(one->process()) + " waits";
    }
    for (const auto& one : library_) {
        if (std::string why = one->unrest(); !why.empty()) return why;
    }
    for (Machine* one : machines_) {
        if (std::string why = one->unrest(); !why.empty()) return why;
    }
    if (!broker_.serving()) return "the broker is down";
    const Backlog backlog = broker_.backlog();
    if (backlog.all() == 0) return {};
    return "the broker has " + std::to_string(backlog.ready) + " ready, " +
           std::to_string(backlog.unacked) + " unacked, " + std::to_string(backlog.delayed) +
           " delayed, " + std::to_string(backlog.leaving) + " leaving";
}

void Play::come_to_rest() {
    const std::uint64_t until = world_.now_ns() + swarm_.heal_ns;
    while (!world_.failed()) {
        if (unrest().empty()) return;
        if (world_.now_ns() >= until)
            return world_.fail("it does not come to rest after the faults: " + unrest());
        run_until(std::min(until, world_.now_ns() + look_every_ns));
    }
}

// What came to rest stays so over a crash: nothing that was acked comes back.
void Play::look_back() {
    run_until(world_.now_ns() + 2 * second);
    if (world_.chance(500)) {
        broker_.cut_power(100 * ms);
    } else {
        broker_.kill(100 * ms);
    }
    run_until(world_.now_ns() + 30 * second);
    if (world_.failed()) return;
    if (const std::string wrong = unrest(); !wrong.empty())
        return world_.fail("after a last crash: " + wrong);
    for (Machine* one : machines_) {
        if (const std::string wrong = one->verify(); !wrong.empty()) return world_.fail(wrong);
    }
    for (std::uint32_t queue = 1; queue <= swarm_.result_queue(); ++queue) {
        history::Event event;
        event.process = broker_process;
        event.type = history::Type::ok;
        event.queue = queue;
        event.what = history::What::depth;
        recorder_.add(event);
        event.what = history::What::drained;
        recorder_.add(event);
    }
}

history::Rules Play::rules() const {
    history::Rules rules;
    for (std::uint32_t queue = 1; queue <= swarm_.queues + swarm_.apps; ++queue) {
        if (swarm_.is_ordered(queue)) rules.ordered_queues.insert(queue);
        if (!swarm_.buries(queue)) continue;
        rules.dead_letter_from.insert(queue);
        if (swarm_.deliveries_max != 0) rules.deliveries_max[queue] = swarm_.deliveries_max;
    }
    if (swarm_.has(Feature::dead_letters)) rules.dead_letter_queues = {swarm_.dead_queue()};
    for (std::uint32_t lock = 1; lock <= swarm_.locks; ++lock)
        rules.lock_permits[lock] = swarm_.lock_permits;
    rules.wall_jumps = swarm_.has(Fault::wall_jump);
    rules.brokers = {broker_process};
    for (const auto& one : consumers_) rules.windows[one->process()] = swarm_.prefetch;
    for (const auto& one : transactors_) rules.windows[one->process()] = swarm_.prefetch;
    for (const auto& one : library_) rules.windows[one->process()] = swarm_.prefetch;
    for (const auto& one : apps_) rules.windows[one->handler()] = swarm_.prefetch;
    rules.lease_ns = swarm_.lease_ms * ms;
    // From when the broker takes a message for a consumer to when it leaves: bodies are read, the
    // network is full. Only a stalled connection takes longer, and then the session is lost.
    rules.tolerance_ns = 2 * second;
    rules.retry_delay_ns = 4 * second;
    rules.healed_ns = healed_at_;
    rules.attempts = history::Attempts::growing;
    rules.broker_order = true;
    return rules;
}

// A message that was confirmed, and every sign of it that came later is taken out of the notes.
void lose_one(history::History& history) {
    using history::Type;
    using history::What;
    std::uint64_t id = 0;
    for (const history::Event& event : history) {
        if (event.what == What::publish && event.type == Type::ok) id = event.id;
    }
    std::erase_if(history, [&](const history::Event& event) {
        return event.id == id && event.what != What::publish;
    });
}

}  // namespace

Outcome simulate(std::uint64_t seed, const Diet& diet, bool canary, bool talkative) {
    Outcome out;
    Play play(seed, diet);
    play.world().talkative = talkative;
    play.run();
    if (canary) lose_one(play.recorder().history());
    out.failure = play.world().failure();
    if (out.failure.empty()) {
        const history::Report report = history::check(play.recorder().history(), play.rules());
        if (!report.clean()) out.failure = text_of(report, play.recorder().history());
    }
    out.swarm = text_of(play.swarm());
    out.trace_hash = play.world().trace_hash();
    out.events = play.world().events();
    out.virtual_ns = play.world().now_ns();
    out.operations = play.recorder().history().size();
    out.crashes = play.starts();
    out.struck = play.struck();
    if (!out.failure.empty()) out.last_events = play.world().last_events();
    out.history = std::move(play.recorder().history());
    return out;
}

}  // namespace ferry::simulation
