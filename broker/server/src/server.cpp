#include "ferry/server/server.hpp"

#include <uv.h>

#include "cold_reader.hpp"
#include "driver.hpp"
#include "ferry/platform/assert.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "journal.hpp"
#include "recovery.hpp"

namespace ferry::server {

struct Server::State {
    BrokerConfig config;
    uv_loop_t loop{};
    bool loop_open = false;
    Listener listener;
    std::unique_ptr<FileSystem> files = make_posix_file_system();
    std::unique_ptr<log::CommitLog> log;
    std::unique_ptr<LogJournal> journal;
    engine::Effects effects;
    std::unique_ptr<engine::Engine> engine;
    std::unique_ptr<ColdReader> bodies;
    std::unique_ptr<Figures> figures;
    std::unique_ptr<Gate> gate;
    std::unique_ptr<AuditLog> audit_log;
    std::unique_ptr<Driver> driver;
    RecoverySummary recovery;
    bool ran = false;

    ~State() {
        if (driver != nullptr && !ran) driver->close();
        log.reset();  // its threads call into the driver
        driver.reset();
        if (!loop_open) return;
        listener.close();
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

std::unique_ptr<Server> Server::create(const BrokerConfig& config, telemetry::Metrics& metrics,
                                       LogLine log_line, std::string* error_text) {
    std::string ignored;
    if (error_text == nullptr) error_text = &ignored;
    auto state = std::make_unique<State>();
    State& s = *state;
    s.config = config;
    if (const int status = uv_loop_init(&s.loop); status != 0) {
        *error_text = std::string("cannot make an event loop: ") + uv_strerror(status);
        return nullptr;
    }
    s.loop_open = true;
    s.gate = std::make_unique<Gate>(s.config);
    if (*error_text = s.gate->open(); !error_text->empty()) return nullptr;
    if (!config.audit_file.empty()) {
        s.audit_log = AuditLog::open(config.audit_file, error_text);
        if (s.audit_log == nullptr) return nullptr;
    }
    // The port first: if it is taken, the directory stays untouched. Clients that come early wait.
    if (!s.listener.open(&s.loop, config.listen, error_text)) return nullptr;
    const Now begin = system_clock().now();
    s.log = open_log(*s.files, config, error_text);
    if (s.log == nullptr) return nullptr;
    s.journal = std::make_unique<LogJournal>(*s.log);
    engine::Settings settings;
    settings.lease_ms_default = config.lease_ms;
    settings.payload_bytes_max = config.payload_bytes_max();
    settings.id_key_low = s.log->recovered().log_id;
    s.engine = std::make_unique<engine::Engine>(*s.journal, s.effects, settings);
    if (!recover(*s.log, *s.engine, system_clock().now(), s.recovery, error_text)) return nullptr;
    s.engine->configure_policies(config.policies, system_clock().now());
    s.bodies = std::make_unique<ColdReader>(&s.loop, *s.log);
    s.figures = std::make_unique<Figures>(metrics);
    s.driver = std::make_unique<Driver>(
        Driver::Parts{&s.loop, s.config, system_clock(), *s.engine, s.effects, *s.log, *s.bodies,
                      *s.figures, s.listener, *s.gate, s.audit_log.get()},
        std::move(log_line));
    s.recovery.milliseconds = (system_clock().now().mono.ns - begin.mono.ns) / 1'000'000;
    return std::unique_ptr<Server>(new Server(std::move(state)));
}

ExitReason Server::run() {
    FERRY_ASSERT(!state_->ran, "run() is called once");
    state_->ran = true;
    return state_->driver->run();
}

void Server::stop() {
    state_->driver->stop();
}

void Server::on_certificate(std::function<void()> called) {
    state_->gate->on_certificate = std::move(called);
}

const Address& Server::address() const {
    return state_->listener.address();
}

const RecoverySummary& Server::recovery() const {
    return state_->recovery;
}

bool Server::ready(std::string* reason) const {
    return state_->driver->ready(reason);
}

}  // namespace ferry::server
