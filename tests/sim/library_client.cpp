#include "library_client.hpp"

#include <algorithm>

#include "native/caller_drives.hpp"

namespace ferry::simulation {

using transport::StateChange;

LibraryClient::LibraryClient(Stage& stage, std::uint32_t process, std::uint32_t queue)
    : stage_(stage),
      world_(stage.world),
      process_(process),
      queue_(queue),
      random_(mix(stage.swarm.seed, process)) {}

void LibraryClient::start(std::uint64_t after_ns) {
    later(after_ns + world_.between(us, 10 * ms), [this] { begin(); });
}

transport::ClientOptions LibraryClient::options() {
    transport::ClientOptions options;
    // A name has two addresses, one of which may be dead.
    if (world_.chance(300)) options.url = "ferry://broker";
    options.connect_retry = true;
    options.connect_timeout_ms = static_cast<std::uint32_t>(world_.between(500, 5000));
    options.heartbeat_ms = static_cast<std::uint32_t>(stage_.swarm.heartbeat_ms);
    options.backoff_min_ms = static_cast<std::uint32_t>(world_.between(1, 100));
    options.backoff_max_ms = static_cast<std::uint32_t>(world_.between(100, 5000));
    options.on_state = [this](const StateChange& change) {
        if (dying_) return;
        world_.trace("library state", process_, static_cast<std::uint64_t>(change.state),
                     static_cast<std::uint64_t>(change.code));
        if (change.state == StateChange::State::closed)
            return wrong("gave up for good: " + change.text);
        if (change.state == StateChange::State::history_lost)
            return wrong("finds that the broker forgot what it had confirmed");
    };
    choose(options);
    return options;
}

void LibraryClient::begin() {
    ++life_number_;
    loop_ = std::make_unique<uv::Loop>(world_, stage_.swarm.weather,
                                       static_cast<uv::Surroundings&>(*this));
    transport::native::CallerDrives drives(random_);
    auto connected = transport::Client::connect(options());
    if (!connected.ok()) return wrong("does not begin: " + connected.error().text);
    client_ = std::move(connected.value());
    core_ = drives.core;
    begun();
}

void LibraryClient::finish() {
    if (client_ == nullptr) return;
    dying_ = true;
    loop_->die();
    core_->end();
    client_.reset();
    core_.reset();
    loop_.reset();
    dying_ = false;
}

ConnectionRef LibraryClient::connect() {
    auto tap =
        std::make_shared<LibraryTap>(world_, stage_.recorder, static_cast<LibraryTap::User&>(*this),
                                     process_, queue_, life_number_);
    ConnectionRef connection = stage_.broker.connect(tap);
    if (connection == nullptr) return nullptr;
    connection_ = connection;
    tap_ = std::move(tap);
    return connection;
}

void LibraryClient::said(Bytes bytes) {
    tap_->heard(bytes);
}

void LibraryClient::hung_up() {
    connection_.reset();
    tap_->client_gone();
    stage_.recorder.connection_lost(process_);
    on_lost();
}

void LibraryClient::stop_for(std::uint64_t ns) {
    world_.trace("library client stands still", process_, ns / ms);
    if (loop_ != nullptr) loop_->stop_for(ns);
}

void LibraryClient::kill(std::uint64_t down_ns) {
    world_.trace("library client killed", process_);
    // Its kernel ends the connection; what was sent before may still arrive.
    if (connection_ != nullptr && world_.chance(500)) connection_->reset(Connection::client);
    finish();
    connection_.reset();
    if (tap_ != nullptr) tap_->client_gone();
    tap_.reset();
    stage_.recorder.connection_lost(process_);
    on_killed();
    life_.end();
    life_.begin();
    later(down_ns, [this] { begin(); });
}

void LibraryClient::declare(std::uint32_t queue) {
    auto request = std::make_shared<transport::native::Request>();
    request->verb = wire::Verb::queue_declare;
    request->field_count = 2;
    request->repeatable = true;
    wire::Encoder out(request->fields);
    write_declaration(out, stage_.swarm, queue);
    request->on_done = [this, queue](const transport::native::Request& answered) {
        if (!answered.failed || dying_) return;
        later(world_.between(50 * ms, 500 * ms), [this, queue] { declare(queue); });
    };
    core_->post(std::move(request));
}

void LibraryClient::later(std::uint64_t ns, std::function<void()> what) {
    world_.after(ns, life_, [this, what = std::move(what)] {
        if (loop_ == nullptr || !loop_->stopped()) return what();
        later(10 * ms, what);
    });
}

void LibraryClient::wrong(const std::string& what) {
    world_.fail("the client library of process " + std::to_string(process_) + " " + what);
}

std::string LibraryClient::unrest() const {
    if (client_ != nullptr && client_->connected()) return {};
    return "the client library of process " + std::to_string(process_) + " has no connection";
}

}  // namespace ferry::simulation
