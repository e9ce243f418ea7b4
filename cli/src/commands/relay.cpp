#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "address.hpp"
#include "commands/commands.hpp"
#include "ferry/http/http_server.hpp"
#include "ferry/outbox/relay.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

namespace relay = outbox::relay;

struct RelayOptions {
    std::string database;
    std::string retain = "0";
    std::string policy = "block";
    std::string http;
    std::string drain = "10s";
    std::string lease = "10s";
    std::uint32_t attempts = relay::Rules{}.attempts_max;
    std::uint64_t pace = relay::Options{}.active_rows_per_s;
    bool optional_queues = false;
    bool new_epoch = false;
    bool once = false;
};

/// One line on stderr. Under systemd with the priority that journald reads.
void log_line(relay::LogLevel level, std::string_view line) {
    static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
    const bool error = level == relay::LogLevel::error;
    const bool warning = level == relay::LogLevel::warning;
    const char* const before = journal ? (error     ? "<3>"
                                          : warning ? "<4>"
                                                    : "<6>")
                                       : (error     ? "ferry relay: ERROR: "
                                          : warning ? "ferry relay: warning: "
                                                    : "ferry relay: ");
    std::fprintf(stderr, "%s%.*s\n", before, static_cast<int>(line.size()), line.data());
}

Result<std::unique_ptr<http::HttpServer>> serve(const RelayOptions& options,
                                                const relay::Relay& running) {
    std::string host;
    std::uint16_t port = 0;
    if (!split_address(options.http, host, port)) {
        return Error{Errc::rejected, 0, 0, "an address is HOST:PORT, such as 127.0.0.1:7421"};
    }
    http::HttpHandlers handlers;
    handlers.program = "ferry relay";
    handlers.metrics = [&running] { return running.metrics(); };
    handlers.ready = [&running] {
        const relay::Figures figures = running.figures();
        if (figures.stuck) return http::Health{false, "too many messages wait behind refused ones"};
        if (!figures.leading) return http::Health{true, {}};
        return http::Health{figures.connected, "the broker is not connected"};
    };
    return http::HttpServer::start(host, port, std::move(handlers));
}

int report(const Context& context, const relay::Figures& figures, bool clean) {
    if (context.json) {
        print_json({{"sent", figures.sent},
                    {"duplicates", figures.duplicates},
                    {"refused", figures.refused},
                    {"marked", figures.marked},
                    {"parked", figures.parked},
                    {"new_epochs", figures.new_epochs},
                    {"clean", clean}});
    }
    std::fprintf(stderr, "ferry relay: %s messages sent, %s parked%s\n",
                 with_commas(figures.sent).c_str(), with_commas(figures.parked).c_str(),
                 clean ? "" : "; what was under way is found again by the next relay");
    return exit_done;
}

int run_relay(const Context& context, const RelayOptions& options) {
    relay::Options wanted;
    wanted.database = options.database;
    wanted.url = context.url;
    wanted.security = context.security;
    wanted.retain_ms = static_cast<std::uint64_t>(parse_duration(options.retain)->count());
    wanted.lease_ms = static_cast<std::uint64_t>(parse_duration(options.lease)->count());
    wanted.rules.policy = options.policy == "skip" ? relay::Policy::skip : relay::Policy::block;
    wanted.rules.attempts_max = options.attempts;
    wanted.active_rows_per_s = options.pace;
    wanted.mandatory = !options.optional_queues;
    wanted.new_epoch = options.new_epoch;
    wanted.once = options.once;
    wanted.log = log_line;
    catch_interrupts();
    auto started = relay::Relay::start(std::move(wanted));
    if (!started.ok()) {
        const bool usage = started.error().kind == sqlite::Kind::refused &&
                           started.error().text.starts_with(context.url);
        return fail(usage ? exit_usage : exit_refused, started.error().text);
    }
    relay::Relay& running = *started.value();
    std::unique_ptr<http::HttpServer> server;
    if (!options.http.empty()) {
        auto served = serve(options, running);
        if (!served.ok()) {
            return fail(served.error().code == Errc::rejected ? exit_usage : exit_refused,
                        options.http + ": " + std::string(served.error().what));
        }
        server = std::move(served).value();
        std::fprintf(stderr, "ferry relay: metrics on port %u\n", unsigned{server->port()});
    }
    bool ended = false;
    while (!ended && !interrupted()) ended = running.wait_ended(std::chrono::milliseconds(100));
    const std::string failure = running.failure();
    const auto patience = *parse_duration(options.drain);
    const bool clean = running.stop(patience);
    server.reset();
    if (!failure.empty()) return fail(options.once ? exit_unreachable : exit_refused, failure);
    return report(context, running.figures(), clean);
}

}  // namespace

void add_relay(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "relay", "Send the messages of an outbox to the broker, in order, each once");
    auto options = std::make_shared<RelayOptions>();
    command->add_option("database", options->database, "The application's SQLite file")
        ->required()
        ->type_name("DB");
    add_duration(*command, "--retain", options->retain,
                 "Keep sent messages in ferry_outbox_sent for so long");
    command
        ->add_option("--policy", options->policy,
                     "When a message is parked, those of its ordering key wait (block) or go on "
                     "(skip)")
        ->one_of({"block", "skip"})
        ->capture_default_str();
    command
        ->add_option("--attempts", options->attempts, "Refusals of one message before it is parked")
        ->range(1, 1000)
        ->capture_default_str();
    command
        ->add_option("--pace", options->pace,
                     "Rows of a backlog per second while the application commits, or twice what it "
                     "adds")
        ->range(1, 10'000'000)
        ->capture_default_str();
    command->add_option("--http", options->http, "Serve /metrics and /health/* at HOST:PORT");
    command->add_flag("--optional-queues", options->optional_queues,
                      "Messages for queues that do not exist are dropped instead of parked");
    add_duration(*command, "--drain", options->drain,
                 "On SIGTERM wait so long for what is under way");
    add_duration(*command, "--lease", options->lease,
                 "Another relay of this database takes over when this one was silent for so long")
        ->capture_default_str();
    command->add_flag("--new-epoch", options->new_epoch,
                      "First take a new epoch: after a restored backup, on Kafka");
    command->add_flag("--once", options->once, "End when everything was sent that can be");
    command->footer(examples(
        {"ferry relay orders.db", "ferry relay orders.db --url ferry://broker:7420 --retain 24h",
         "ferry relay orders.db --http 127.0.0.1:7421", "ferry relay orders.db --once",
         "ferry relay orders.db --url kafka://host1:9092,host2:9092"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return run_relay(context, *options); };
    });
}

}  // namespace ferry::cli
