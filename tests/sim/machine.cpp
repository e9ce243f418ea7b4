#include "machine.hpp"

#include <algorithm>

#include "ferry/outbox/schema.hpp"

namespace ferry::simulation {

namespace {

constexpr std::uint32_t first_relay = 300;
constexpr std::uint32_t first_handler = 400;
constexpr std::uint64_t relay_lease_ms = 2'000;
constexpr int opens_max = 3;

}  // namespace

/// The consumer whose effects go through the inbox.
class Machine::Handler final : public Consumer {
public:
    Handler(Stage& stage, std::uint32_t process, std::uint32_t queue, Machine& machine, bool noted)
        : Consumer(stage, process, queue), machine_(machine), noted_(noted) {}

private:
    void handle(const Received& message) override {
        const std::uint64_t think = world_.below(stage_.swarm.think_ns_max);
        later_here(think, [this, message] {
            const bool done = machine_.handle(message);
            if (phase_ == Phase::down) return;  // the power went in there
            if (done) ids_[message.tag] = message.properties.id;
            answer(message.tag, done ? Answer::ack : Answer::give_back, done ? 0 : 200);
        });
    }
    void on_settled(std::uint64_t tag, bool durable) override {
        const auto at = ids_.find(tag);
        if (at == ids_.end()) return;
        machine_.settled(at->second, durable);
        ids_.erase(at);
    }
    void on_ready() override {
        ids_.clear();
        known_ = false;
        look();
    }
    std::shared_ptr<DeliverTap> make_deliver_tap() override {
        return std::make_shared<DeliverTap>(stage_.recorder, process_, queue_, noted_);
    }
    void look() {
        show_request_ = next_request();
        ask(wire::Verb::queue_show, show_request_, 1,
            [&](wire::Encoder& e) { e.str(queue_name(queue_)); });
        later_here(world_.between(100 * ms, 3 * second), [this] { look(); });
    }
    void on_answer(const wire::FrameHead& head, wire::Cursor& cursor) override {
        if (head.request != show_request_ || head.verb != wire::Verb::ok) return;
        std::uint64_t floor = 0;
        each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
            return key == "floor" && at.read_uint(floor);
        });
        machine_.tend(log_id_, floor, !known_);
        known_ = true;
    }

    Machine& machine_;
    const bool noted_;                          // what it is given stands in the history
    std::map<std::uint64_t, std::string> ids_;  // by tag; acks that are under way
    std::uint64_t show_request_ = 0;
    bool known_ = false;
};

Machine::Machine(Stage& stage, SqliteDisks& disks, const Place& place)
    : stage_(stage),
      world_(stage.world),
      disks_(disks),
      process_(place.process),
      queue_(place.queue),
      host_(place.host),
      path_(host_ + "/app.db"),
      disk_(stage.world),
      clock_(stage.world.now_ns()),
      relay_random_(stage.world.random.next()),
      handler_(std::make_unique<Handler>(stage, first_handler + place.number, place.queue, *this,
                                         place.noted)) {
    const std::uint64_t relays = world_.between(1, 2);
    for (std::uint64_t i = 0; i < relays; ++i) {
        relays_.push_back(std::make_unique<Relay>());
        Relay& relay = *relays_.back();
        relay.link = std::make_unique<RelayLink>(
            stage, first_relay + 10 * place.number + static_cast<std::uint32_t>(i),
            [this, &relay] { plan_relay(relay, us, false); }, [this] { disk_.seen(); });
    }
    disks_.add(host_, disk_);
    disk_.files().make_directory(host_).ignore("a disk in memory takes a directory");
    disk_.files().sync_directory("/").ignore("a disk in memory syncs");
}

Machine::~Machine() {
    disks_.freeze(host_);
    end_relays();
    app_.reset();
}

void Machine::end_relays() {
    for (const auto& relay : relays_) relay->worker.reset();
}

std::vector<Client*> Machine::clients() {
    std::vector<Client*> all{handler_.get()};
    for (const auto& relay : relays_) all.push_back(relay->link.get());
    return all;
}

void Machine::start() {
    world_.after(world_.between(us, 50 * ms), life_, [this] { open(); });
}

void Machine::open() {
    std::string why;
    for (int i = 0; i < opens_max; ++i) {
        why = try_open();
        if (why.empty()) break;
        end_relays();
        closing();
        app_.reset();
    }
    if (!why.empty()) return world_.fail("the database of an application does not open: " + why);
    down_ = false;
    look_back();
    disk_.seen();
    world_.trace("application is up", process_);
    handler_->start();
    for (const auto& relay : relays_) plan_relay(*relay, us, false);
    go_on();
}

std::string Machine::try_open() {
    const auto said = [](const sqlite::Status& status) {
        return status.ok() ? std::string() : status.error().text;
    };
    auto opened = sqlite::Database::open(path_, sqlite::Database::Access::create);
    if (!opened.ok()) return opened.error().text;
    app_ = std::make_unique<Process>(std::move(opened).value());
    const sqlite::Database& database = app_->database;
    if (auto why = said(database.run(std::string("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; "
                                                 "PRAGMA wal_autocheckpoint=24; ") +
                                     tables()));
        !why.empty())
        return why;
    outbox::Options options;
    options.init = true;
    options.wake_hook = false;
    options.clock = &clock_;
    auto outbox = outbox::Outbox::open(database.handle(), options);
    if (!outbox.ok()) return outbox.error().text;
    app_->outbox = std::make_unique<outbox::Outbox>(std::move(outbox).value());
    if (auto why = said(consumer::Inbox::init(path_)); !why.empty()) return why;
    if (auto why = prepare(database); !why.empty()) return why;
    consumer::InboxOptions inbox_options = inbox();
    inbox_options.clock = &clock_;
    auto inbox = consumer::Inbox::open(path_, inbox_options);
    if (!inbox.ok()) return inbox.error().text;
    app_->inbox = std::move(inbox).value();
    for (const auto& relay : relays_) open_relay(*relay);
    return {};
}

void Machine::open_relay(Relay& relay) {
    auto store = outbox::relay::Store::open(path_);
    if (!store.ok()) return world_.fail("the relay does not open: " + store.error().text);
    outbox::relay::Options options;
    options.database = path_;
    options.publisher = [&relay](transport::SequencedEvents& events) {
        return transport::Answer<std::unique_ptr<transport::SequencedPublisher>>(
            relay.link->publisher(events));
    };
    options.lease_ms = relay_lease_ms;
    options.fallback_ms = 500;
    options.rules.backoff_max_ms = 2'000;
    options.rules.attempts_max = 1'000'000;  // nobody is there to say "retry"
    options.mark_rows_max = 16;
    options.log = [this](outbox::relay::LogLevel, std::string_view line) {
        world_.say("relay", line);
    };
    options.clock = &clock_;
    options.random = &relay_random_;
    relay.waker = std::make_unique<outbox::relay::Waker>();
    relay.meter = std::make_unique<outbox::relay::Meter>();
    relay.worker = std::make_unique<outbox::relay::Worker>(
        std::move(options), std::move(store).value(), *relay.waker, *relay.meter);
}

// ---- the relays' threads ----

void Machine::plan_relay(Relay& relay, std::uint64_t ns, bool announced) {
    relay.announced = relay.announced || announced;
    const std::uint64_t plan = ++relay.plan;
    if (relay.stopped_until > world_.now_ns())
        ns = std::max(ns, relay.stopped_until - world_.now_ns());
    world_.after(ns + world_.below(20 * us), life_, [this, &relay, plan] {
        if (plan == relay.plan && !down_) step_relay(relay);
    });
}

void Machine::step_relay(Relay& relay) {
    const std::uint64_t plan = relay.plan;
    const std::uint64_t rest = relay.worker->step(std::exchange(relay.announced, false));
    if (const std::string why = relay.worker->failure(); !why.empty())
        return world_.fail("a relay gave up: " + why);
    if (plan == relay.plan) plan_relay(relay, std::max<std::uint64_t>(rest, 1) * ms, false);
}

void Machine::stop_relay() {
    if (down_) return;
    Relay& relay = *relays_[world_.below(relays_.size())];
    const std::uint64_t ns = world_.spread(100 * ms, 4 * relay_lease_ms * ms);
    world_.trace("relay stands still", relay.link->process(), ns / ms);
    relay.stopped_until = world_.now_ns() + ns;
    relay.link->stop_for(ns);
    plan_relay(relay, us, false);
}

consumer::Handled Machine::apply(const Received& message,
                                 const std::function<consumer::Handled(consumer::Effects&)>& what) {
    transport::Received received;
    auto bytes = std::make_shared<std::vector<std::byte>>(message.payload.size());
    std::copy_n(as_bytes(message.payload).data(), bytes->size(), bytes->data());
    received.delivery.position = message.position;
    received.delivery.attempt = message.attempt;
    received.delivery.token = message.token;
    received.delivery.message.payload = *bytes;
    received.delivery.message.routing_key = message.routing_key;
    received.bytes = bytes;
    const consumer::Incoming incoming(received, message.properties);
    return app_->inbox->apply(incoming, what);
}

void Machine::settled(const std::string& id, bool durable) {
    if (down_ || app_ == nullptr) return;
    if (durable) {
        app_->inbox->settled({&id, 1});
    } else {
        app_->inbox->unsettled({&id, 1});
    }
}

void Machine::tend(std::uint64_t log_id, std::uint64_t floor, bool first) {
    if (down_) return;
    const consumer::Place place{queue_name(queue_), std::to_string(log_id), floor};
    const Status kept = first ? app_->inbox->check_place(place) : app_->inbox->tend(place);
    world_.trace("inbox tended", process_, floor);
    if (cut_soon_) return go_down(true);
    if (!kept.ok()) world_.fail("the inbox does not go on: " + app_->inbox->last_problem());
}

// ---- up and down ----

void Machine::go_down(bool power) {
    if (down_) return;
    world_.trace(power ? "application loses power" : "application killed", process_);
    down_ = true;
    cut_soon_ = false;
    for (const auto& relay : relays_) relay->stopped_until = 0;
    life_.end();
    life_.begin();
    for (Client* one : clients()) {
        if (power && one->connection() != nullptr) {
            one->connection()->stall(Connection::client, UINT64_MAX);
            one->connection()->stall(Connection::broker, UINT64_MAX);
        }
        if (!power && one->connection() != nullptr) one->connection()->reset(Connection::client);
        one->vanish();
    }
    // Not from within its own calls.
    world_.after(0, life_, [this, power] {
        disks_.freeze(host_);
        end_relays();
        closing();
        app_.reset();
        if (power) disk_.cut_power();
        disks_.thaw(host_);
        world_.after(world_.spread(10 * ms, 5 * second), life_, [this] { open(); });
    });
}

void Machine::lose_power() {
    if (world_.chance(500)) {
        cut_soon_ = true;
    } else {
        go_down(true);
    }
}

void Machine::announce() {
    for (const auto& relay : relays_) {
        if (world_.chance(700)) plan_relay(*relay, us, true);
    }
}

std::string Machine::unsent() {
    const std::string who = "application " + std::to_string(process_);
    if (down_ || app_ == nullptr) return who + " is down";
    const auto rows = app_->database.integer("SELECT count(*) FROM ferry_outbox");
    if (!rows.ok()) return who + " cannot read its outbox";
    if (rows.value().value_or(1) != 0) return who + " has messages in its outbox";
    return {};
}

}  // namespace ferry::simulation
