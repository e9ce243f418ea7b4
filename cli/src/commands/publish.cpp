#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/records.hpp"
#include "ferry/wire/limits.hpp"
#include "message_json.hpp"
#include "message_source.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string key;  // routing key: with the default exchange, the queue's name
    std::string payload;
    bool has_payload = false;
    std::string file;
    std::string exchange;
    std::string routing_key;
    std::vector<std::string> headers;
    std::string ordering_key;
    std::string content_type;
    std::string id;
    std::string correlation_id;
    std::string reply_to;
    std::string producer;
    bool mandatory = false;
    std::string timeout = "30s";
    std::string delay;
    std::uint64_t deliver_at = 0;
    std::string ttl;
    std::uint32_t priority = 0;
};

/// What the broker made of the messages, counted on the I/O thread.
class Tally {
public:
    void add(std::uint64_t first, std::uint64_t last, const transport::Outcome& outcome) {
        const std::uint64_t count = last - first + 1;
        switch (outcome.kind) {
            case transport::Outcome::Kind::confirmed:
                confirmed_ += count;
                if (outcome.repeated) repeated_ += count;
                break;
            case transport::Outcome::Kind::duplicate:
                duplicates_ += count;
                break;
            case transport::Outcome::Kind::in_doubt:
                in_doubt_ += count;
                break;
            case transport::Outcome::Kind::refused: {
                refused_ += count;
                const std::lock_guard guard(mutex_);
                if (why_.empty()) {
                    why_ = std::string(wire::code_info(outcome.code).name) + ": " +
                           std::string(outcome.text);
                }
            }
        }
    }
    [[nodiscard]] std::uint64_t stored() const { return confirmed_ + duplicates_; }
    [[nodiscard]] std::uint64_t refused() const { return refused_; }
    [[nodiscard]] Json json(std::uint64_t taken) const {
        return {{"published", taken},
                {"confirmed", confirmed_.load()},
                {"duplicates", duplicates_.load()},
                {"repeated", repeated_.load()},
                {"refused", refused_.load()},
                {"in_doubt", taken - confirmed_ - duplicates_ - refused_}};
    }
    [[nodiscard]] std::string why() const {
        const std::lock_guard guard(mutex_);
        return why_;
    }

private:
    std::atomic<std::uint64_t> confirmed_{0};
    std::atomic<std::uint64_t> duplicates_{0};
    std::atomic<std::uint64_t> repeated_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<std::uint64_t> in_doubt_{0};
    mutable std::mutex mutex_;
    std::string why_;
};

Result<MessageSource> open_source(const Options& options) {
    if (options.has_payload) return MessageSource::of_text(options.payload);
    if (!options.file.empty()) return MessageSource::of_file(options.file);
    if (::isatty(STDIN_FILENO) == 1) {
        std::fputs("ferry: one message per line; end with Ctrl-D\n", stderr);
    }
    return MessageSource::of_lines(stdin);
}

int fill_message(const Options& options, wire::Message& message) {
    message.exchange = options.exchange;
    message.routing_key = options.routing_key.empty() ? options.key : options.routing_key;
    message.properties.id = options.id;
    message.properties.correlation_id = options.correlation_id;
    message.properties.reply_to = options.reply_to;
    message.properties.ordering_key = options.ordering_key;
    message.properties.content_type = options.content_type;
    message.properties.priority = static_cast<std::uint8_t>(options.priority);
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    const auto from_now = [&](const std::string& text) {
        return static_cast<std::uint64_t>((now + *parse_duration(text)).count());
    };
    if (!options.delay.empty()) message.properties.deliver_at_ms = from_now(options.delay);
    if (options.deliver_at != 0) message.properties.deliver_at_ms = options.deliver_at;
    if (!options.ttl.empty()) message.properties.expires_at_ms = from_now(options.ttl);
    for (const std::string& text : options.headers) {
        auto header = parse_header(text);
        if (!header) return fail(exit_usage, "--header wants name=value, not '" + text + "'");
        message.properties.headers.push_back(std::move(*header));
    }
    return exit_done;
}

/// Takes one payload on its way.
using Put = std::function<Result<std::uint64_t>(const std::string& payload)>;

// Gives the messages to `put` as fast as it takes them; `taken` counts them.
int feed(MessageSource& source, std::uint64_t payload_max, const Put& put, std::uint64_t& taken) {
    Progress progress("published", 0);
    std::string payload;
    while (!interrupted()) {
        const Result<bool> more = source.next(payload);
        if (!more.ok()) return fail(more.error(), "publishing");
        if (!more.value()) break;
        if (payload_max != 0 && payload.size() > payload_max) {
            return fail(exit_refused, "message " + std::to_string(taken + 1) + " has " +
                                          std::to_string(payload.size()) +
                                          " bytes; the broker takes at most " +
                                          std::to_string(payload_max));
        }
        const auto sequence = put(payload);
        if (!sequence.ok()) return fail(sequence.error(), "publishing");
        progress.at(++taken);
    }
    return exit_done;
}

int report(const Context& context, const Tally& tally, std::uint64_t taken, const Status& flushed,
           int status) {
    if (context.json) {
        print_json(tally.json(taken));
    } else if (taken != 1) {
        std::fprintf(stderr, "%s published, %s confirmed\n", with_commas(taken).c_str(),
                     with_commas(tally.stored()).c_str());
    }
    if (!flushed.ok()) {
        return fail(exit_unreachable, with_commas(taken - tally.stored() - tally.refused()) +
                                          " messages are neither confirmed nor refused: the broker "
                                          "may or may not have stored them");
    }
    if (tally.refused() > 0) {
        return fail(exit_refused, with_commas(tally.refused()) + " refused. " + tally.why());
    }
    return status;
}

int publish_to_broker(const Context& context, const Options& options, MessageSource& source,
                      const wire::Message& message) {
    Tally tally;  // outlives the client, whose thread adds to it
    transport::ClientOptions client_options;
    client_options.producer = options.producer;
    client_options.on_confirm = [&tally](std::uint64_t first, std::uint64_t last,
                                         const transport::Outcome& outcome) {
        tally.add(first, last, outcome);
    };
    auto connected = connect(context, std::move(client_options));
    if (!connected.ok()) return fail(connected.error());
    transport::Client& client = *connected.value();
    std::vector<std::byte> properties;
    wire::Encoder encoder(properties);
    wire::write_properties(encoder, message.properties);
    // Who names a queue means that queue: dropping the message in silence would be losing it.
    const transport::PublishOptions publish{options.mandatory || message.exchange.empty()};
    std::uint64_t taken = 0;
    const auto put = [&](const std::string& payload) {
        return client.enqueue(message.exchange, message.routing_key, as_bytes(payload), properties,
                              publish);
    };
    const int status = feed(source, client.server().payload_bytes_max, put, taken);
    return report(context, tally, taken, client.flush(*parse_duration(options.timeout)), status);
}

int publish_to_kafka(const Context& context, const Options& options, MessageSource& source,
                     const wire::Message& message) {
    if (!options.producer.empty()) {
        return fail(exit_refused,
                    "NOT_SUPPORTED: Kafka has no lasting producers; leave --producer out");
    }
    if (const auto no = transport::kafka::unsupported(message.properties); !no.empty()) {
        return fail(exit_refused, no);
    }
    Tally tally;
    transport::kafka::PublisherOptions wanted;
    wanted.url = context.url;
    const auto timeout = *parse_duration(options.timeout);
    wanted.message_timeout_ms = static_cast<std::uint32_t>(timeout.count());
    wanted.on_confirm = [&tally](std::uint64_t first, std::uint64_t last,
                                 const transport::Outcome& outcome) {
        tally.add(first, last, outcome);
    };
    auto publisher = transport::kafka::make_publisher(std::move(wanted));
    if (!publisher.ok()) return fail(publisher.error());
    std::uint64_t taken = 0;
    const auto put = [&](const std::string& payload) {
        return publisher.value()->publish_async(message.exchange, message.routing_key,
                                                message.properties, as_bytes(payload), {});
    };
    const int status = feed(source, 0, put, taken);
    // What times out is told by then.
    const Status flushed = publisher.value()->flush(timeout + std::chrono::seconds(2));
    const bool unsure = taken > tally.stored() + tally.refused();
    return report(context, tally, taken,
                  unsure ? Status(Error{Errc::indeterminate, 0, 0, "in doubt"}) : flushed, status);
}

int run_publish(const Context& context, const Options& options) {
    wire::Message message;
    if (const int status = fill_message(options, message); status != exit_done) return status;
    Result<MessageSource> source = open_source(options);
    if (!source.ok()) return fail(source.error(), options.file);
    if (const std::string wrong = wire::check_message(message); !wrong.empty()) {
        return fail(exit_refused, wrong);
    }
    return transport::kafka::is_kafka_url(context.url)
               ? publish_to_kafka(context, options, source.value(), message)
               : publish_to_broker(context, options, source.value(), message);
}

}  // namespace

void add_publish(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "publish",
        "Publish one message, a file, or each line of stdin; returns when all are on disk");
    auto options = std::make_shared<Options>();
    command->add_option("queue", options->key, "Queue name, or routing key with --exchange");
    Flag* payload = command->add_option("message", options->payload, "The payload");
    command->add_option("--file", options->file, "Publish this whole file as one message")
        ->excludes(payload);
    command->add_option("--exchange", options->exchange, "Exchange to publish to");
    command->add_option("--routing-key", options->routing_key,
                        "Routing key, if it is not the first word");
    command->add_option("--header", options->headers, "Header name=value; may be repeated")
        ->allow_extra_args(false);
    command->add_option("--key", options->ordering_key, "Ordering key");
    command->add_option("--content-type", options->content_type,
                        "Content type, such as text/plain");
    command->add_option("--id", options->id, "Message id");
    command->add_option("--correlation-id", options->correlation_id, "What it belongs to");
    command->add_option("--reply-to", options->reply_to, "Queue for the answer");
    Flag* delay = add_long_duration(*command, "--delay", options->delay,
                                    "Deliver not before so long from now");
    command
        ->add_option("--deliver-at", options->deliver_at,
                     "Deliver not before this time, ms since 1970")
        ->excludes(delay);
    add_long_duration(*command, "--ttl", options->ttl, "Expires so long from now");
    command
        ->add_option("--priority", options->priority,
                     "0 to 9; higher ones go first in a queue with priorities")
        ->range(0, limits::priority_max);
    command->add_option("--producer", options->producer,
                        "Publish as this lasting producer (default: one for this run only)");
    command->add_flag("--mandatory", options->mandatory,
                      "Refuse what reaches no queue (always so without --exchange)");
    add_duration(*command, "--timeout", options->timeout, "How long to wait for the last confirm");
    command->footer(
        examples({"ferry publish orders 'hello'",
                  "ferry publish orders --file order.json --content-type application/json",
                  "seq 1000000 | ferry publish orders",
                  "ferry publish eu.paid 'x' --exchange events --header region=eu --mandatory",
                  "ferry publish orders 'hello' --key c1 --url kafka://host1:9092,host2:9092"}));
    command->callback([&context, options, payload] {
        options->has_payload = payload->count() > 0;
        context.run = [&context, options] {
            if (options->key.empty() && options->routing_key.empty() && options->exchange.empty()) {
                return fail(exit_usage, "name a queue, or an exchange with --exchange");
            }
            return run_publish(context, *options);
        };
    });
}

}  // namespace ferry::cli
