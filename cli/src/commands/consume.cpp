#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/transport/kafka/subscription.hpp"
#include "message_json.hpp"
#include "options.hpp"
#include "output.hpp"

// Two ways to consume. Without --follow and --timeout messages are pulled until the queue is empty,
// which the broker knows exactly; otherwise they are pushed. In both a message is acked only after
// stdout has taken it, and the last ack is waited for: what was printed and acked does not come
// again.
namespace ferry::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Options {
    std::string queue;
    std::uint64_t count = 0;  // 0: no end
    bool follow = false;
    std::string format = "payload";
    bool ack = true;
    bool reject = false;
    std::string nack_delay;  // empty: no nack
    std::uint32_t window = 1000;
    std::string timeout;
    std::string member;
    std::uint32_t weight = 1;
    std::string group;  // Kafka
};

constexpr std::uint64_t window_bytes = 8ULL << 20;

class Printer {
public:
    Printer(const Options& options, bool json) : options_(options), json_(json) {}

    /// False: stdout does not take it.
    bool print(const transport::Delivery& delivery) {
        ++printed_;
        if (!json_) {
            const Bytes payload = delivery.message.payload;
            return write_out({reinterpret_cast<const char*>(payload.data()), payload.size()}) &&
                   write_out("\n");
        }
        wire::Message message;
        if (!transport::to_message(delivery.message, message)) message.properties = {};
        print_json(message_json(
            message, {options_.queue, delivery.position, delivery.attempt, delivery.published_ms}));
        return std::ferror(stdout) == 0;
    }
    [[nodiscard]] std::uint64_t printed() const { return printed_; }
    [[nodiscard]] bool enough() const { return options_.count != 0 && printed_ >= options_.count; }
    [[nodiscard]] std::uint64_t wanted(std::uint64_t at_most) const {
        return options_.count == 0 ? at_most : std::min(at_most, options_.count - printed_);
    }

private:
    const Options& options_;
    bool json_;
    std::uint64_t printed_ = 0;
};

int settle(transport::Client& client, const std::vector<transport::DeliveryTag>& tags) {
    if (tags.empty()) return exit_done;
    const auto lost = client.settle(tags);
    if (!lost.ok()) return fail(lost.error());
    if (!lost.value().empty()) {
        std::fprintf(stderr, "ferry: %zu leases ended before the ack; those messages come again\n",
                     lost.value().size());
    }
    return exit_done;
}

// Refuses what was printed instead of acking it.
int refuse(transport::Client& client, const Options& options,
           const std::vector<transport::DeliveryTag>& tags) {
    for (const transport::DeliveryTag& tag : tags) {
        const Status noted = options.reject
                                 ? client.nack(tag, false)
                                 : client.nack_later(tag, *parse_duration(options.nack_delay));
        if (!noted.ok()) return fail(noted.error(), "refusing a message");
    }
    return exit_done;
}

int pull_all(transport::Client& client, const Options& options, Printer& printer) {
    while (!printer.enough() && !interrupted()) {
        transport::PullOptions pull;
        pull.messages = static_cast<std::uint32_t>(printer.wanted(options.window));
        const auto batch = client.pull(options.queue, pull);
        if (!batch.ok()) return fail(batch.error());
        if (batch.value().messages.empty()) break;
        std::vector<transport::DeliveryTag> tags;
        for (const transport::Received& received : batch.value().messages) {
            if (!printer.print(received.delivery))
                return fail(exit_refused, "cannot write to stdout");
            tags.push_back(received.delivery.tag);
        }
        if (!flush_out()) return fail(exit_refused, "cannot write to stdout");
        if (!options.ack) continue;
        const bool refused = options.reject || !options.nack_delay.empty();
        const int status = refused ? refuse(client, options, tags) : settle(client, tags);
        if (status != exit_done) return status;
        // What goes back at once would come for ever.
        if (refused) break;
    }
    return exit_done;
}

/// How long to wait for one more message; empty: no longer.
std::optional<milliseconds> patience(const Options& options, steady_clock::time_point deadline) {
    // Short enough that Ctrl-C is answered at once.
    constexpr milliseconds turn{200};
    if (interrupted()) return std::nullopt;
    if (options.timeout.empty()) return turn;
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()) + milliseconds(1);
    if (left.count() <= 1) return std::nullopt;
    return std::min(turn, left);
}

// Prints what is there, acks it in one go when nothing more is waiting locally, and waits for more.
int receive(transport::Client& client, transport::Subscription& subscription,
            const Options& options, Printer& printer) {
    const milliseconds silence =
        options.timeout.empty() ? milliseconds(0) : *parse_duration(options.timeout);
    auto deadline = steady_clock::now() + silence;
    std::vector<transport::DeliveryTag> unacked;
    const std::size_t ack_every = std::max<std::size_t>(1, options.window / 2);
    // With a count, every ack would make room for one message more than is wanted: the window
    // shrinks first.
    const auto shrink_window = [&]() -> int {
        if (options.count == 0 || printer.wanted(options.window) == options.window)
            return exit_done;
        const auto window = static_cast<std::uint32_t>(printer.wanted(options.window));
        const auto done = subscription.credit(window, window_bytes);
        return done.ok() ? exit_done : fail(done.error());
    };
    // While messages stream in acks need no answer; the last one before a silence is waited for.
    const auto flush = [&](bool wait) -> int {
        if (!flush_out()) return fail(exit_refused, "cannot write to stdout");
        if (!options.ack || unacked.empty()) return exit_done;
        if (const int status = shrink_window(); status != exit_done) return status;
        const std::vector<transport::DeliveryTag> tags = std::exchange(unacked, {});
        if (wait) return settle(client, tags);
        for (const transport::DeliveryTag& tag : tags) {
            // Stale after a reconnect: the broker gives the message out again, which is what is
            // wanted.
            subscription.ack(tag).ignore("a lost lease means that the message comes again");
        }
        return exit_done;
    };
    while (!printer.enough()) {
        auto received = subscription.next(milliseconds(0));
        if (!received.ok() && received.error().code == Errc::would_block) {
            if (const int status = flush(true); status != exit_done) return status;
            const auto wait = patience(options, deadline);
            if (!wait) break;
            received = subscription.next(*wait);
        }
        if (!received.ok()) {
            if (received.error().code == Errc::would_block) continue;
            if (const int status = flush(true); status != exit_done) return status;
            return fail(received.error(), "consuming from " + options.queue);
        }
        if (!printer.print(received.value().delivery)) {
            return fail(exit_refused, "cannot write to stdout");
        }
        if (options.ack) unacked.push_back(received.value().delivery.tag);
        deadline = steady_clock::now() + silence;
        if (unacked.size() >= ack_every && !printer.enough()) {
            if (const int status = flush(false); status != exit_done) return status;
        }
        if (interrupted()) break;
    }
    return flush(true);
}

int push_all(transport::Client& client, const Options& options, Printer& printer) {
    transport::SubscribeOptions subscribe;
    subscribe.window_messages = static_cast<std::uint32_t>(printer.wanted(options.window));
    subscribe.window_bytes = window_bytes;
    subscribe.member = options.member;
    subscribe.weight = options.weight;
    subscribe.on_active = [](bool active) {
        std::fputs(active ? "ferry: this consumer is active\n"
                          : "ferry: another consumer is active; waiting for its end\n",
                   stderr);
    };
    if (!options.ack) {
        // Nothing is ever acked, so the window is all that can be seen.
        subscribe.window_messages = static_cast<std::uint32_t>(printer.wanted(100'000));
        subscribe.window_bytes = 256ULL << 20;
    }
    auto subscription = client.subscribe(options.queue, subscribe);
    if (!subscription.ok()) return fail(subscription.error());
    const int status = receive(client, *subscription.value(), options, printer);
    if (status != exit_done) return status;
    subscription.value()->unsubscribe().ignore("what is unacked returns with the connection too");
    return status;
}

/// Prints one message of Kafka; nothing: none came before the time is up, or all was read.
std::optional<Result<transport::Received>> next_of_kafka(transport::kafka::Subscription& reading,
                                                         const Options& options,
                                                         steady_clock::time_point deadline) {
    const bool until_end = !options.follow && options.timeout.empty();
    while (const auto wait = patience(options, deadline)) {
        // Asked before: what came in between is taken all the same.
        const bool at_end = reading.at_end();
        auto received = reading.next(until_end ? milliseconds(50) : *wait);
        if (received.ok() || received.error().code != Errc::would_block) return received;
        if (until_end && at_end) break;
    }
    return std::nullopt;
}

int receive_from_kafka(transport::kafka::Subscription& reading, const Options& options,
                       Printer& printer) {
    const milliseconds silence =
        options.timeout.empty() ? milliseconds(0) : *parse_duration(options.timeout);
    std::vector<transport::DeliveryTag> unacked;
    const auto flush = [&]() -> int {
        if (!flush_out()) return fail(exit_refused, "cannot write to stdout");
        if (!options.ack || unacked.empty()) return exit_done;
        const auto lost = reading.settle(std::exchange(unacked, {}), milliseconds(10'000));
        if (!lost.ok()) return fail(lost.error());
        if (!lost.value().empty()) {
            std::fprintf(stderr, "ferry: %zu messages went to another consumer before their ack\n",
                         lost.value().size());
        }
        return exit_done;
    };
    auto deadline = steady_clock::now() + silence;
    while (!printer.enough()) {
        auto received = reading.next(milliseconds(0));
        if (!received.ok() && received.error().code == Errc::would_block) {
            if (const int status = flush(); status != exit_done) return status;
            auto waited = next_of_kafka(reading, options, deadline);
            if (!waited) break;
            received = std::move(*waited);
        }
        if (!received.ok()) {
            flush();
            return fail(received.error(), "consuming from " + options.queue);
        }
        if (!printer.print(received.value().delivery)) {
            return fail(exit_refused, "cannot write to stdout");
        }
        unacked.push_back(received.value().delivery.tag);
        deadline = steady_clock::now() + silence;
        if (unacked.size() >= std::max<std::size_t>(1, options.window / 2)) {
            if (const int status = flush(); status != exit_done) return status;
        }
        if (interrupted()) break;
    }
    return flush();
}

int consume_from_kafka(const Context& context, const Options& options, Printer& printer) {
    for (const auto& [asked, what] : {std::pair{options.reject, "--reject"},
                                      std::pair{!options.nack_delay.empty(), "--nack-delay"},
                                      std::pair{!options.member.empty(), "--member"},
                                      std::pair{options.weight != 1, "--weight"}}) {
        if (asked) {
            return fail(exit_refused, std::string("NOT_SUPPORTED: Kafka has nothing for ") + what);
        }
    }
    transport::kafka::SubscriptionOptions wanted;
    wanted.url = context.url;
    wanted.queue = options.queue;
    wanted.group = options.group;
    wanted.prefetch = options.ack ? options.window : 100'000;
    wanted.on_event = [](std::string_view text) {
        std::fprintf(stderr, "ferry: %.*s\n", static_cast<int>(text.size()), text.data());
    };
    auto reading = transport::kafka::subscribe(std::move(wanted));
    if (!reading.ok()) return fail(reading.error());
    const int status = receive_from_kafka(*reading.value(), options, printer);
    reading.value()->close();
    return status;
}

int consume_from_broker(const Context& context, const Options& options, Printer& printer) {
    auto connected = connect(context);
    if (!connected.ok()) return fail(connected.error());
    transport::Client& client = *connected.value();
    const bool push = options.follow || !options.timeout.empty();
    const int status =
        push ? push_all(client, options, printer) : pull_all(client, options, printer);
    client.close(milliseconds(5000)).ignore("the last acks were waited for already");
    return status;
}

int run_consume(const Context& context, const Options& options) {
    catch_interrupts();
    Printer printer(options, context.json || options.format == "json");
    const int status = transport::kafka::is_kafka_url(context.url)
                           ? consume_from_kafka(context, options, printer)
                           : consume_from_broker(context, options, printer);
    if (status != exit_done) return status;
    if (options.count != 0 && !printer.enough() && !interrupted()) {
        return fail(exit_refused, "only " + with_commas(printer.printed()) + " of " +
                                      with_commas(options.count) + " messages came");
    }
    return exit_done;
}

}  // namespace

void add_consume(Command& app, Context& context) {
    Command* command =
        app.add_subcommand("consume", "Print messages of a queue and take them off it");
    auto options = std::make_shared<Options>();
    command->add_option("queue", options->queue, "The queue")->required();
    command
        ->add_option("--count", options->count, "Stop after so many; exit status 1 if fewer came")
        ->range(1, UINT64_MAX);
    command->add_flag("--follow,-f", options->follow, "Wait for more until Ctrl-C");
    command->add_option("--format", options->format, "payload (a line each) or json")
        ->one_of({"payload", "json"})
        ->capture_default_str();
    command->add_flag(
        "--ack,!--no-ack", options->ack,
        "Take messages off the queue once printed (default); --no-ack leaves them there");
    command->add_flag("--reject", options->reject,
                      "Refuse what is printed: dropped, or a dead letter if the queue has those");
    add_duration(*command, "--nack-delay", options->nack_delay,
                 "Give back what is printed, to come again after so long (0s: at once)");
    command->add_option("--window", options->window, "At most so many unacked at a time")
        ->range(1, 100'000)
        ->capture_default_str();
    add_duration(*command, "--timeout", options->timeout, "Stop when none came for so long");
    command->add_option("--member", options->member,
                        "Ordered queues: a consumer of this name gets the same keys each time");
    command->add_option("--weight", options->weight, "Ordered queues: share of the keys")
        ->range(1, 64)
        ->capture_default_str();
    command->add_option("--group", options->group,
                        "Kafka: the consumer group; default: the queue's name");
    command->footer(examples({"ferry consume orders", "ferry consume orders --follow --format json",
                              "ferry consume orders --count 10 --timeout 5s",
                              "ferry consume orders --count 1 --no-ack",
                              "ferry consume orders --count 1 --nack-delay 30s",
                              "ferry consume orders --url kafka://host:9092 --group billing"}));
    command->callback([&context, options] {
        context.run = [&context, options] {
            if (!options->group.empty() && !transport::kafka::is_kafka_url(context.url)) {
                return fail(exit_usage, "--group is for kafka:// only");
            }
            const bool refuses = options->reject || !options->nack_delay.empty();
            if (refuses && (options->follow || !options->timeout.empty() || !options->ack)) {
                return fail(exit_usage,
                            "--reject and --nack-delay go with --count, not with --follow, "
                            "--timeout or --no-ack");
            }
            return run_consume(context, *options);
        };
    });
}

}  // namespace ferry::cli
