// Reads the configuration, wires HTTP, metrics and the server together, and turns what happened
// into an exit status. Order matters: the HTTP port is taken before the data directory is touched,
// so that a port in use changes nothing on disk; and /health/ready answers (503) while recovery
// runs.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include "command_line.hpp"
#include "config_value.hpp"
#include "ferry/http/http_server.hpp"
#include "ferry/server/server.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "process.hpp"

namespace ferry::config {
namespace {

using server::LogLevel;

spdlog::level::level_enum spd_level(LogLevel level) {
    switch (level) {
        case LogLevel::trace:
            return spdlog::level::trace;
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warn:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
        case LogLevel::off:
            return spdlog::level::off;
    }
    return spdlog::level::info;
}

void set_up_logging(LogLevel level) {
    auto logger = spdlog::stderr_logger_mt("ferryd");
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    logger->set_level(spd_level(level));
    spdlog::set_default_logger(std::move(logger));
}

/// A health check must fail when the loop hangs, and the loop updates the metrics about once a
/// second.
constexpr std::chrono::seconds loop_silence_max{30};

/// What the HTTP thread sees of a server that is made after it.
class Probe {
public:
    explicit Probe(const telemetry::Metrics& metrics) : metrics_(metrics) {}

    void attach(const server::Server* server) { server_.store(server); }

    [[nodiscard]] http::HttpHandlers handlers() const {
        http::HttpHandlers handlers;
        handlers.program = "ferryd";
        handlers.metrics = [this] { return metrics_.render(); };
        handlers.live = [this] { return live(); };
        handlers.ready = [this] { return ready(); };
        return handlers;
    }

private:
    [[nodiscard]] http::Health live() const {
        if (server_.load() == nullptr || metrics_.since_update() < loop_silence_max) return {};
        return {false,
                "the event loop has not turned for " +
                    duration_text(static_cast<std::uint64_t>(metrics_.since_update().count()))};
    }

    [[nodiscard]] http::Health ready() const {
        const server::Server* server = server_.load();
        if (server == nullptr) return {false, "starting: recovering the log"};
        http::Health health;
        health.ok = server->ready(&health.reason);
        return health;
    }

    const telemetry::Metrics& metrics_;
    std::atomic<const server::Server*> server_{nullptr};
};

int fail_to_start(const std::string& sentence) {
    std::cerr << "ferryd: " << sentence << std::endl;
    return exit_cannot_start;
}

/// Null with an empty error: none was asked for.
std::unique_ptr<http::HttpServer> start_http(const Configuration& configuration, const Probe& probe,
                                             std::string& error) {
    const server::BrokerConfig& config = configuration.broker;
    if (!config.http) return nullptr;
    std::optional<http::HttpTls> tls;
    if (configuration.http_tls) {
        tls = http::HttpTls{config.tls.certificate, config.tls.key,
                            configuration.http_clients ? config.tls.client_ca : std::string()};
    }
    auto started = http::HttpServer::start(config.http->host, config.http->port, probe.handlers(),
                                           std::move(tls));
    if (started.ok()) return std::move(started).value();
    const std::string address = address_text(*config.http);
    error = started.error().code == Errc::conflict
                ? "http.address " + address +
                      " is in use by another program; choose another with --http"
                : "cannot serve HTTP on " + address + ": " + std::string(started.error().what);
    return nullptr;
}

void announce(const Configuration& configuration, const server::Server& server,
              const http::HttpServer* http) {
    const server::BrokerConfig& config = configuration.broker;
    const server::RecoverySummary& found = server.recovery();
    std::cout << "ferryd ready: listening on " << address_text(server.address()) << ", ";
    if (http != nullptr) {
        std::cout << "metrics " << (configuration.http_tls ? "https://" : "http://")
                  << address_text({config.http->host, http->port()}) << "/metrics, ";
    }
    std::cout << "data " << config.data_dir << ", recovered " << found.queues << " queues, "
              << found.messages << " messages in " << found.milliseconds << " ms" << std::endl;
}

int run(const Configuration& configuration) {
    const server::BrokerConfig& config = configuration.broker;
    set_up_logging(config.log_level);
    ignore_signals_that_are_errors();
    const std::uint64_t files = raise_open_files_limit();
    constexpr std::uint64_t files_for_itself = 64;
    if (files < config.connections_max + files_for_itself) {
        spdlog::warn("the limit of open files is {}: fewer than limits.connections = {} will fit",
                     files, config.connections_max);
    }
    if (config.log.durability == log::Durability::interval) {
        spdlog::warn(
            "data.durability is \"interval\": a power cut may lose the last {} of confirmed "
            "messages",
            duration_text(config.log.interval_ms));
    }
    if (configuration.allow_insecure) {
        spdlog::warn(
            "insecure listening is allowed: whoever reaches the ports may see and do what nothing "
            "else forbids");
    }
    telemetry::Metrics metrics(config.metrics_queues_max, FERRY_VERSION);
    Probe probe(metrics);
    std::string error;
    std::unique_ptr<http::HttpServer> http = start_http(configuration, probe, error);
    if (!error.empty()) return fail_to_start(error);
    const auto log_line = [](LogLevel level, std::string_view text) {
        spdlog::log(spd_level(level), "{}", text);
    };
    const auto server = server::Server::create(config, metrics, log_line, &error);
    if (server == nullptr) return fail_to_start(error);
    probe.attach(server.get());
    if (http != nullptr) {
        server->on_certificate([&http] {
            const Status read = http->reload();
            if (!read.ok()) spdlog::error("https goes on as before: {}", read.error().what);
        });
    }
    announce(configuration, *server, http.get());
    const server::ExitReason reason = server->run();
    http.reset();  // its thread looks at the server: it goes first
    if (reason == server::ExitReason::storage_failed) {
        std::cerr << "ferryd: the disk failed; whatever was not confirmed is in doubt. Check the "
                     "disk, then "
                     "start again: recovery decides"
                  << std::endl;
        return exit_storage_failed;
    }
    return exit_clean;
}

}  // namespace
}  // namespace ferry::config

int main(int argc, char** argv) {
    int exit_code = 0;
    const auto configuration = ferry::config::read_command_line(argc, argv, &exit_code);
    return configuration ? ferry::config::run(*configuration) : exit_code;
}
