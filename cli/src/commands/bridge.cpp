#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "address.hpp"
#include "commands/commands.hpp"
#include "ferry/consumer/source.hpp"
#include "ferry/http/http_server.hpp"
#include "ferry/transport/kafka/publisher.hpp"
#include "options.hpp"
#include "output.hpp"

// Copies from one side to the other. A message is acked where it came from when the other side has
// confirmed it, so nothing is lost; after a crash some are copied again, under the same id.
namespace ferry::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
namespace kafka = transport::kafka;

constexpr std::uint32_t window = 5'000;  // copied and not confirmed
constexpr milliseconds patience{10'000};
constexpr milliseconds turn{100};

struct Options {
    std::string queue;
    std::string from;
    std::string to;
    std::string to_queue;
    std::string http;
    std::uint64_t count = 0;
    std::string idle;  // end when nothing came for so long
};

/// Totals, and the acks that are due. Threads: any.
struct Ledger {
    std::atomic<std::uint64_t> copied{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> reduced{0};  // copied without what the other side cannot do
    std::atomic<std::uint64_t> named{0};    // had no id and got one
    std::atomic<std::uint64_t> under_way{0};
    std::mutex mutex;
    std::vector<transport::DeliveryTag> to_ack;
    std::string why;

    void answered(const transport::DeliveryTag& tag, const transport::Outcome& outcome) {
        {
            const std::scoped_lock lock(mutex);
            if (outcome.ok()) {
                to_ack.push_back(tag);
            } else if (why.empty()) {
                why = std::string(wire::code_info(outcome.code).name) + ": " +
                      std::string(outcome.text);
            }
        }
        ++(outcome.ok() ? copied : refused);
        --under_way;
    }
    std::vector<transport::DeliveryTag> take() {
        const std::scoped_lock lock(mutex);
        return std::exchange(to_ack, {});
    }
    std::string metrics() const {
        std::string out;
        for (const auto& [name, help, value] :
             {std::tuple{"copied", "messages that the other side confirmed", copied.load()},
              std::tuple{"refused", "messages that the other side refused", refused.load()},
              std::tuple{"reduced", "messages copied without delay, priority or time to live",
                         reduced.load()},
              std::tuple{"named", "messages that had no id and got one", named.load()}}) {
            const std::string full = std::string("ferry_bridge_") + name + "_total";
            out += "# HELP " + full + ' ' + help + "\n# TYPE " + full + " counter\n" + full + ' ' +
                   std::to_string(value) + '\n';
        }
        return out;
    }
};

/// The side that is written to.
struct Target {
    std::unique_ptr<transport::Publisher> publisher;
    std::function<std::string()> metrics;
    bool kafka = false;
};

transport::Answer<Target> open_target(const Options& options, const transport::Security& security) {
    Target target;
    if (kafka::is_kafka_url(options.to)) {
        kafka::PublisherOptions wanted;
        wanted.url = options.to;
        wanted.name = "ferry bridge";
        wanted.message_timeout_ms = 0;
        auto made = kafka::make_publisher(std::move(wanted));
        if (!made.ok()) return made.error();
        target.kafka = true;
        target.metrics = [publisher = made.value().get()] { return publisher->metrics(); };
        target.publisher = std::move(made).value();
        return target;
    }
    transport::ClientOptions wanted;
    wanted.url = options.to;
    wanted.security = security;
    wanted.name = "ferry bridge";
    wanted.retry_refused = true;
    auto made = transport::Client::connect(std::move(wanted));
    if (!made.ok()) return made.error();
    target.metrics = [] { return std::string(); };
    target.publisher = std::move(made).value();
    return target;
}

/// What the message is called on the other side and after every crash.
bool name_message(transport::Message& message, const consumer::Place& place,
                  std::uint64_t position) {
    if (!message.properties.id.empty()) return false;
    std::string log = place.log_id;
    for (char& c : log) {
        if (c == ':') c = '-';
    }
    message.properties.id = "bridge:" + log.substr(0, 120) + ":" + place.queue.substr(0, 80) + ":" +
                            std::to_string(position);
    return true;
}

class Bridge {
public:
    Bridge(const Options& options, consumer::Source& source, Target target)
        : options_(options), source_(source), target_(std::move(target)) {}

    int run() {
        const auto place = source_.place();
        if (!place.ok()) return fail(place.error(), "looking at " + options_.queue);
        const milliseconds idle =
            options_.idle.empty() ? milliseconds(0) : *parse_duration(options_.idle);
        auto came = steady_clock::now();
        std::uint64_t taken = 0;
        int status = exit_done;
        while (!interrupted() && status == exit_done && ledger.refused == 0) {
            if (options_.count != 0 && taken >= options_.count) break;
            if (idle.count() > 0 && steady_clock::now() - came > idle) break;
            if (ledger.under_way < window) {
                auto received = source_.next(ledger.under_way > 0 ? milliseconds(5) : turn);
                if (received.ok()) {
                    came = steady_clock::now();
                    ++taken;
                    status = copy(received.value(), place.value());
                } else if (received.error().code != Errc::would_block) {
                    status = fail(received.error(), "reading " + options_.queue);
                }
            }
            if (status == exit_done && (taken % ack_every == 0 || ledger.under_way >= window ||
                                        steady_clock::now() - acked_ > turn)) {
                status = settle();
            }
        }
        target_.publisher->flush(patience).ignore("what is not confirmed is not acked");
        if (const int last = settle(); status == exit_done) status = last;
        if (ledger.refused > 0) return fail(exit_refused, "the other side refused. " + ledger.why);
        return status;
    }

    std::string metrics() const { return ledger.metrics() + source_.metrics() + target_.metrics(); }

    Ledger ledger;

private:
    static constexpr std::uint64_t ack_every = 500;

    int copy(const transport::Received& received, const consumer::Place& place) {
        transport::Message message;
        if (!transport::to_message(received.delivery.message, message)) {
            return fail(exit_refused, "a message with malformed properties is at position " +
                                          std::to_string(received.delivery.position));
        }
        auto& properties = message.properties;
        // It was due when it was delivered; what is left of its life the other side cannot count.
        const bool due = std::exchange(properties.deliver_at_ms, 0) != 0;
        if (target_.kafka) {
            const bool life = std::exchange(properties.expires_at_ms, 0) != 0;
            const bool urgent = std::exchange(properties.priority, std::uint8_t{0}) != 0;
            if (life || urgent) ++ledger.reduced;
        }
        static_cast<void>(due);
        if (name_message(message, place, received.delivery.position)) ++ledger.named;
        message.exchange.clear();
        message.routing_key = options_.to_queue.empty() ? options_.queue : options_.to_queue;
        ++ledger.under_way;
        const auto tag = received.delivery.tag;
        const auto taken = target_.publisher->publish_async(
            message, [this, tag](std::uint64_t, const transport::Outcome& outcome) {
                ledger.answered(tag, outcome);
            });
        if (taken.ok()) return exit_done;
        --ledger.under_way;
        return fail(taken.error(), "copying to " + options_.to);
    }

    int settle() {
        acked_ = steady_clock::now();
        const auto tags = ledger.take();
        if (tags.empty()) return exit_done;
        const auto lost = source_.settle(tags);
        // They come again, and are copied again under the same id.
        if (!lost.ok() && lost.error().code != Errc::indeterminate &&
            lost.error().code != Errc::unreachable) {
            return fail(lost.error(), "acking in " + options_.queue);
        }
        return exit_done;
    }

    const Options& options_;
    consumer::Source& source_;
    const Target target_;
    steady_clock::time_point acked_ = steady_clock::now();
};

int run_bridge(const Context& context, const Options& options) {
    catch_interrupts();
    consumer::BrokerSourceOptions reading;
    reading.queue = options.queue;
    reading.security = context.security;
    reading.prefetch = 2 * window;
    auto source = consumer::open_source(options.from, "ferry bridge", reading, patience);
    if (!source.ok()) return fail(source.error());
    auto target = open_target(options, context.security);
    if (!target.ok()) return fail(target.error());
    Bridge bridge(options, *source.value(), std::move(target).value());
    std::unique_ptr<http::HttpServer> server;
    if (!options.http.empty()) {
        std::string host;
        std::uint16_t port = 0;
        if (!split_address(options.http, host, port)) {
            return fail(exit_usage, "an address is HOST:PORT, such as 127.0.0.1:7424");
        }
        http::HttpHandlers handlers;
        handlers.program = "ferry bridge";
        handlers.metrics = [&bridge] { return bridge.metrics(); };
        handlers.ready = [&source] {
            return http::Health{source.value()->connected(), "the side that is read is away"};
        };
        auto served = http::HttpServer::start(host, port, std::move(handlers));
        if (!served.ok()) return fail(served.error(), options.http);
        server = std::move(served).value();
    }
    const int status = bridge.run();
    server.reset();
    source.value()->close();
    if (context.json) {
        print_json({{"copied", bridge.ledger.copied.load()},
                    {"refused", bridge.ledger.refused.load()},
                    {"reduced", bridge.ledger.reduced.load()},
                    {"named", bridge.ledger.named.load()}});
    } else {
        std::fprintf(stderr, "%s messages copied\n",
                     with_commas(bridge.ledger.copied.load()).c_str());
    }
    return status;
}

}  // namespace

void add_bridge(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "bridge", "Copy a queue to a Kafka topic, or a topic to a queue, and ack what was copied");
    auto options = std::make_shared<Options>();
    command->add_option("queue", options->queue, "The queue or topic that is read")->required();
    command->add_option("--from", options->from, "Where it is read; default: --url");
    command->add_option("--to", options->to, "Where it is copied to")->required();
    command->add_option("--to-queue", options->to_queue,
                        "The queue or topic there; default: the same name");
    command->add_option("--count", options->count, "Stop after so many")->range(1, UINT64_MAX);
    add_duration(*command, "--idle", options->idle, "Stop when none came for so long");
    command->add_option("--http", options->http, "Serve /metrics and /health/* at HOST:PORT");
    command->footer(examples(
        {"ferry bridge orders --from ferry://broker:7420 --to kafka://host:9092",
         "ferry bridge orders --from kafka://host:9092 --to ferry://broker:7420 --idle 10s"}));
    command->callback([&context, options] {
        context.run = [&context, options] {
            if (options->from.empty()) options->from = context.url;
            return run_bridge(context, *options);
        };
    });
}

}  // namespace ferry::cli
