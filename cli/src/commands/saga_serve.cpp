#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "address.hpp"
#include "command.hpp"
#include "commands/saga.hpp"
#include "ferry/http/http_server.hpp"
#include "ferry/outbox/relay.hpp"
#include "ferry/saga/orchestrator.hpp"
#include "ferry/saga_http/curl_calls.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "options.hpp"
#include "output.hpp"
#include "reach.hpp"

namespace ferry::cli {
namespace {

namespace relay = outbox::relay;

/// Of the relay, whose lease nobody has to wait for longer than this.
constexpr std::uint64_t relay_lease_ms_max = 3'000;

struct Options {
    std::string database;
    std::string definitions;
    std::string http;
    std::string name;
    std::string lease = "10s";
    std::vector<std::string> http_allow;
    std::uint32_t http_at_once = saga::limits::http_at_once;
    std::string drain = "10s";
    std::string retain = "720h";
    bool declare = true;
};

/// One line on stderr. Under systemd with the priority that journald reads.
void log_line(std::string_view line) {
    static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
    std::fprintf(stderr, "%s%.*s\n",
                 journal ? "<4>" : "ferry saga: ", static_cast<int>(line.size()), line.data());
}

/// False: it was told why.
bool read_definitions(const std::string& path, std::vector<saga::Definition>& out) {
    auto read = read_saga_definitions(path);
    if (!read) return false;
    for (const saga::FileComplaint& one : read->complaints) fail(exit_refused, one.text());
    out = std::move(read->definitions);
    return read->complaints.empty();
}

std::set<std::string> queues_of(const std::vector<saga::Definition>& definitions) {
    std::set<std::string> out;
    const auto add = [&](const saga::Route& route) {
        if (route.exchange.empty() && !route.key.empty()) out.insert(route.key);
    };
    for (const saga::Definition& definition : definitions) {
        for (const saga::Step& step : definition.steps) {
            add(step.command);
            if (step.compensation) add(*step.compensation);
        }
    }
    return out;
}

sqlite::Answer<std::unique_ptr<saga::Orchestrator>> open(
    const Options& options, const std::vector<saga::Definition>& definitions) {
    if (auto made = saga::Orchestrator::init(options.database); !made.ok()) return made.error();
    saga_http::CurlOptions calling;
    calling.allow = options.http_allow;
    calling.at_once = options.http_at_once;
    auto calls = saga_http::curl_calls(std::move(calling));
    if (!calls.ok()) {
        return sqlite::Problem{sqlite::Kind::refused, 0, std::string(calls.error().what)};
    }
    saga::OrchestratorOptions opening;
    opening.database = options.database;
    opening.name = options.name;
    opening.retain = *parse_duration(options.retain);
    opening.lease = *parse_duration(options.lease);
    opening.http = std::move(calls).value();
    opening.on_event = log_line;
    auto orchestrator = saga::Orchestrator::open(std::move(opening));
    if (!orchestrator.ok()) return orchestrator.error();
    for (const saga::Definition& definition : definitions) {
        if (auto added = orchestrator.value()->add(definition); !added.ok()) return added.error();
    }
    return orchestrator;
}

Result<std::unique_ptr<http::HttpServer>> serve_http(const Options& options,
                                                     const saga::Orchestrator& orchestrator,
                                                     const relay::Relay& sending) {
    std::string host;
    std::uint16_t port = 0;
    if (!split_address(options.http, host, port)) {
        return Error{Errc::rejected, 0, 0, "an address is HOST:PORT, such as 127.0.0.1:7423"};
    }
    http::HttpHandlers handlers;
    handlers.program = "ferry saga";
    handlers.metrics = [&] { return orchestrator.metrics() + sending.metrics(); };
    handlers.ready = [&] {
        const saga::SagaHealth health = orchestrator.health();
        return http::Health{health.ok, health.reason};
    };
    return http::HttpServer::start(host, port, std::move(handlers));
}

int run(const Context& context, const Options& options, saga::Orchestrator& orchestrator,
        relay::Relay& sending) {
    consumer::BrokerSourceOptions source_options;
    source_options.queue = orchestrator.queue();
    source_options.security = context.security;
    source_options.prefetch = 2'000;
    source_options.dead_letter_queue = orchestrator.queue() + ".dead";
    const consumer::Duration turn{1'000};
    auto source = consumer::open_source(context.url, "ferry saga", source_options, turn);
    while (!source.ok() && goes_away(source.error().code) && !interrupted()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        source = consumer::open_source(context.url, "ferry saga", source_options, turn);
    }
    if (!source.ok()) return interrupted() ? exit_done : fail(source.error());
    if (auto running = orchestrator.run(std::move(source).value()); !running.ok()) {
        return fail(running.error(), "taking answers from " + orchestrator.queue());
    }
    std::unique_ptr<http::HttpServer> server;
    if (!options.http.empty()) {
        auto served = serve_http(options, orchestrator, sending);
        if (!served.ok()) {
            return fail(served.error().code == Errc::rejected ? exit_usage : exit_refused,
                        options.http + ": " + std::string(served.error().what));
        }
        server = std::move(served).value();
        std::fprintf(stderr, "ferry saga: metrics on port %u\n", unsigned{server->port()});
    }
    std::printf("sagas of %s run; answers come by %s\n", options.database.c_str(),
                orchestrator.queue().c_str());
    flush_out();
    std::string failure;
    while (!interrupted() && failure.empty()) {
        if (sending.wait_ended(std::chrono::milliseconds(100))) failure = sending.failure();
    }
    const auto patience = *parse_duration(options.drain);
    server.reset();
    const bool clean = orchestrator.stop(patience).ok() && sending.stop(patience);
    if (!failure.empty()) return fail(exit_refused, failure);
    std::fprintf(stderr, "ferry saga: stopped%s\n",
                 clean ? "" : "; what was under way is done by the next one");
    return exit_done;
}

/// False: it was told why, or it was interrupted.
bool declare(const Context& context, const std::set<std::string>& queues) {
    if (!transport::kafka::is_kafka_url(context.url)) {
        return reach_and_declare(context, "ferry saga", queues, log_line) != nullptr;
    }
    const std::vector<std::string> topics(queues.begin(), queues.end());
    while (!interrupted()) {
        const auto made =
            consumer::ensure_queues(context.url, "ferry saga", topics, consumer::Duration(1'000));
        if (made.ok()) return true;
        if (!goes_away(made.error().code)) {
            fail(made.error());
            return false;
        }
        log_line(made.error().text);
    }
    return false;
}

int serve(const Context& context, const Options& options) {
    std::vector<saga::Definition> definitions;
    if (!options.definitions.empty() && !read_definitions(options.definitions, definitions)) {
        return exit_refused;
    }
    catch_interrupts();
    auto orchestrator = open(options, definitions);
    if (!orchestrator.ok()) return fail(exit_refused, orchestrator.error().text);
    std::set<std::string> queues =
        options.declare ? queues_of(definitions) : std::set<std::string>();
    queues.insert(orchestrator.value()->queue());
    queues.insert(orchestrator.value()->queue() + ".dead");
    if (!declare(context, queues)) return interrupted() ? exit_done : exit_refused;
    relay::Options sending;
    sending.database = options.database;
    sending.url = context.url;
    sending.security = context.security;
    sending.lease_ms = std::min<std::uint64_t>(
        relay_lease_ms_max, static_cast<std::uint64_t>(parse_duration(options.lease)->count()));
    sending.log = [](relay::LogLevel level, std::string_view line) {
        if (level != relay::LogLevel::info) log_line(line);
    };
    auto started = relay::Relay::start(std::move(sending));
    if (!started.ok()) return fail(exit_refused, started.error().text);
    return run(context, options, *orchestrator.value(), *started.value());
}

}  // namespace

void add_saga_serve(Command& saga, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command =
        add_saga_command(saga, context, "serve", "Run sagas: orchestrator and relay in one process",
                         [&context, options] { return serve(context, *options); },
                         {"ferry saga serve --db saga.db --definitions config/sagas",
                          "ferry saga serve --db saga.db --http 127.0.0.1:7423"});
    command
        ->add_option("--db", options->database, "The orchestrator's SQLite file; made if missing")
        ->required();
    command->add_option("--definitions", options->definitions,
                        "A directory of *.toml, or one file; those stored before stay");
    command->add_option("--name", options->name, "Of this orchestrator; default: a random one");
    command->add_option("--http", options->http, "Serve /metrics and /health/* at HOST:PORT");
    command->add_flag("--declare,!--no-declare", options->declare,
                      "Declare the queues that definitions name (default)");
    add_duration(*command, "--lease", options->lease,
                 "After so long without a sign of life others take over its work; 100ms at least");
    command
        ->add_option("--http-allow", options->http_allow,
                     "HOST, HOST:PORT or *: whom definitions may call by HTTP; without it only "
                     "this machine. Repeatable")
        ->allow_extra_args(false);
    command->add_option("--http-at-once", options->http_at_once, "HTTP calls at the same time")
        ->range(1, saga::limits::http_at_once_max)
        ->capture_default_str();
    add_duration(*command, "--drain", options->drain,
                 "On SIGTERM wait so long for what is under way");
    add_long_duration(*command, "--retain", options->retain,
                      "Keep sagas that have ended for so long; 0: for ever");
}

}  // namespace ferry::cli
