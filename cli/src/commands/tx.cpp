#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/wire/limits.hpp"
#include "message_json.hpp"
#include "message_source.hpp"
#include "options.hpp"
#include "output.hpp"

// What is done with a transaction from a shell: `tx` reads its steps from stdin, `forward` moves
// messages on, each batch taken and published at once.
namespace ferry::cli {
namespace {

using std::chrono::milliseconds;

// ---- tx ----

struct TxOptions {
    bool optional_route = false;
};

struct Tally {
    std::uint64_t taken = 0;
    std::uint64_t published = 0;
};

/// Reads what `ferry consume --json` prints, as far as it can be published. Returns what is wrong.
std::string read_message(const Json& json, wire::Message& out) {
    if (!json.is_object()) return "publish wants an object";
    for (const auto& [name, value] : json.items()) {
        const auto text = [&value, &name](std::string& target) -> std::string {
            if (!value.is_string()) return "\"" + name + "\" is a text";
            target = value.get<std::string>();
            return {};
        };
        const auto number = [&value, &name](std::uint64_t& target) -> std::string {
            if (!value.is_number_unsigned()) return "\"" + name + "\" is a whole number";
            target = value.get<std::uint64_t>();
            return {};
        };
        wire::Properties& p = out.properties;
        std::string wrong;
        if (name == "exchange") {
            wrong = text(out.exchange);
        } else if (name == "routing_key" || name == "queue") {
            wrong = text(out.routing_key);
        } else if (name == "payload") {
            wrong = text(out.payload);
        } else if (name == "id") {
            wrong = text(p.id);
        } else if (name == "ordering_key") {
            wrong = text(p.ordering_key);
        } else if (name == "content_type") {
            wrong = text(p.content_type);
        } else if (name == "correlation_id") {
            wrong = text(p.correlation_id);
        } else if (name == "reply_to") {
            wrong = text(p.reply_to);
        } else if (name == "deliver_at_ms") {
            wrong = number(p.deliver_at_ms);
        } else if (name == "expires_at_ms") {
            wrong = number(p.expires_at_ms);
        } else if (name == "priority") {
            std::uint64_t priority = 0;
            wrong = number(priority);
            if (wrong.empty() && priority > limits::priority_max) wrong = "a priority is 0 to 9";
            p.priority = static_cast<std::uint8_t>(std::min<std::uint64_t>(priority, 9));
        } else if (name == "headers" && value.is_object()) {
            for (const auto& [header, content] : value.items()) {
                auto parsed =
                    parse_header(header + "=" +
                                 (content.is_string() ? "\"" + content.get<std::string>() + "\""
                                                      : content.dump()));
                if (!parsed) return "a header has no name";
                p.headers.push_back(std::move(*parsed));
            }
        } else {
            wrong = "\"" + name + "\" is not known; see ferry tx --help";
        }
        if (!wrong.empty()) return wrong;
    }
    return wire::check_message(out);
}

// Takes up to 1,000 messages of a queue into the transaction and prints them.
int take(const Context& context, transport::Client& client, const Json& step,
         transport::Transaction& transaction, Tally& tally) {
    const Json& queue = step["take"];
    std::uint64_t count = 1;
    if (step.contains("count")) {
        if (!step["count"].is_number_unsigned() || step["count"].get<std::uint64_t>() == 0 ||
            step["count"].get<std::uint64_t>() > 1000) {
            return fail(exit_usage, "\"count\" is 1 to 1000");
        }
        count = step["count"].get<std::uint64_t>();
    }
    if (!queue.is_string()) return fail(exit_usage, "\"take\" names a queue");
    const std::string name = queue.get<std::string>();
    transport::PullOptions pull;
    pull.bytes = 8ULL << 20;
    std::uint64_t got = 0;
    while (got < count) {
        pull.messages = static_cast<std::uint32_t>(count - got);
        const auto batch = client.pull(name, pull);
        if (!batch.ok()) return fail(batch.error());
        if (batch.value().messages.empty()) break;
        for (const transport::Received& received : batch.value().messages) {
            const transport::Delivery& delivery = received.delivery;
            if (const Status added = transaction.ack(delivery.tag); !added.ok())
                return fail(added.error(), "taking from " + name);
            wire::Message message;
            if (context.json && transport::to_message(delivery.message, message)) {
                print_json(message_json(
                    message, {name, delivery.position, delivery.attempt, delivery.published_ms}));
            } else {
                const Bytes payload = delivery.message.payload;
                write_out({reinterpret_cast<const char*>(payload.data()), payload.size()});
                write_out("\n");
            }
            ++got;
        }
    }
    tally.taken += got;
    if (got == count) return exit_done;
    return fail(exit_refused,
                name + " has only " + with_commas(got) + " messages ready; nothing was changed");
}

int step(const Context& context, transport::Client& client, const std::string& line,
         transport::Transaction& transaction, Tally& tally) {
    const Json parsed = Json::parse(line, nullptr, false);
    if (parsed.is_object() && parsed.contains("take"))
        return take(context, client, parsed, transaction, tally);
    if (!parsed.is_object() || !parsed.contains("publish") || parsed.size() != 1) {
        return fail(
            exit_usage,
            R"(a line is {"publish": {...}} or {"take": "queue", "count": 1}, not ')" + line + "'");
    }
    wire::Message message;
    if (const std::string wrong = read_message(parsed["publish"], message); !wrong.empty())
        return fail(exit_usage, wrong);
    if (const Status added = transaction.publish(message); !added.ok())
        return fail(added.error(), "publishing");
    ++tally.published;
    return exit_done;
}

int run_tx(const Context& context, const TxOptions& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    transport::TransactionOptions wanted;
    wanted.mandatory = !options.optional_route;
    transport::Transaction transaction = client.value()->transaction(wanted);
    Tally tally;
    MessageSource source = MessageSource::of_lines(stdin);
    std::string line;
    while (true) {
        const Result<bool> more = source.next(line);
        if (!more.ok()) return fail(more.error(), "reading the steps");
        if (!more.value()) break;
        if (line.empty()) continue;
        const int status = step(context, *client.value(), line, transaction, tally);
        if (status != exit_done) return status;
    }
    if (transaction.empty()) return fail(exit_usage, "the transaction is empty");
    if (!flush_out()) return fail(exit_refused, "cannot write to stdout; nothing was changed");
    const auto committed = transaction.commit();
    if (!committed.ok()) return fail(committed.error());
    if (context.json) {
        print_json({{"committed", true}, {"taken", tally.taken}, {"published", tally.published}});
    } else {
        std::fprintf(stderr, "committed: %s taken, %s published\n",
                     with_commas(tally.taken).c_str(), with_commas(tally.published).c_str());
    }
    return exit_done;
}

// ---- forward ----

struct ForwardOptions {
    std::string queue;
    std::string key;
    std::string exchange;
    std::uint64_t count = 0;  // 0: no end
    std::uint32_t batch = 100;
    bool follow = false;
};

/// Publishes copies and acks the originals, all in one transaction or in as few as they fit into.
class Forwarder {
public:
    Forwarder(transport::Client& client, const ForwardOptions& options)
        : options_(options), transaction_(client.transaction()) {}

    int add(const transport::Delivery& delivery) {
        wire::Message copy;
        if (!transport::to_message(delivery.message, copy))
            return fail(exit_refused, "a message's properties cannot be read");
        copy.exchange = options_.exchange;
        copy.properties.deliver_at_ms = 0;
        if (!options_.key.empty()) copy.routing_key = options_.key;
        Status added = transaction_.publish(copy);
        if (!added.ok() && !transaction_.empty()) {  // full: this one begins the next
            if (const int status = commit(); status != exit_done) return status;
            added = transaction_.publish(copy);
        }
        if (added.ok()) added = transaction_.ack(delivery.tag);
        if (!added.ok()) return fail(added.error(), "forwarding");
        ++in_it_;
        return exit_done;
    }
    int commit() {
        if (transaction_.empty()) return exit_done;
        const auto committed = transaction_.commit();
        if (!committed.ok()) return fail(committed.error());
        moved_ += in_it_;
        in_it_ = 0;
        return exit_done;
    }
    [[nodiscard]] std::uint64_t moved() const { return moved_; }
    [[nodiscard]] bool enough() const {
        return options_.count != 0 && moved_ + in_it_ >= options_.count;
    }
    [[nodiscard]] std::uint32_t wanted() const {
        if (options_.count == 0) return options_.batch;
        return static_cast<std::uint32_t>(
            std::min<std::uint64_t>(options_.batch, options_.count - moved_ - in_it_));
    }

private:
    const ForwardOptions& options_;
    transport::Transaction transaction_;
    std::uint64_t in_it_ = 0;
    std::uint64_t moved_ = 0;
};

int forward_ready(transport::Client& client, const ForwardOptions& options, Forwarder& forwarder) {
    while (!forwarder.enough() && !interrupted()) {
        transport::PullOptions pull;
        pull.messages = forwarder.wanted();
        const auto batch = client.pull(options.queue, pull);
        if (!batch.ok()) return fail(batch.error());
        if (batch.value().messages.empty()) return exit_done;
        for (const transport::Received& received : batch.value().messages) {
            const int status = forwarder.add(received.delivery);
            if (status != exit_done) return status;
        }
        if (const int status = forwarder.commit(); status != exit_done) return status;
    }
    return exit_done;
}

int forward_all(transport::Client& client, const ForwardOptions& options, Forwarder& forwarder) {
    transport::SubscribeOptions subscribe;
    subscribe.window_messages = forwarder.wanted();
    auto subscription = client.subscribe(options.queue, subscribe);
    if (!subscription.ok()) return fail(subscription.error());
    while (!forwarder.enough() && !interrupted()) {
        auto received = subscription.value()->next(milliseconds(200));
        while (received.ok()) {
            const int status = forwarder.add(received.value().delivery);
            if (status != exit_done) return status;
            if (forwarder.enough()) break;
            received = subscription.value()->next(milliseconds(0));
        }
        if (!received.ok() && received.error().code != Errc::would_block)
            return fail(received.error(), "consuming from " + options.queue);
        if (const int status = forwarder.commit(); status != exit_done) return status;
    }
    return exit_done;
}

int run_forward(const Context& context, const ForwardOptions& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    catch_interrupts();
    Forwarder forwarder(*client.value(), options);
    const int status = options.follow ? forward_all(*client.value(), options, forwarder)
                                      : forward_ready(*client.value(), options, forwarder);
    if (context.json) {
        print_json({{"forwarded", forwarder.moved()}});
    } else {
        std::fprintf(stderr, "%s messages forwarded\n", with_commas(forwarder.moved()).c_str());
    }
    return status;
}

}  // namespace

void add_tx(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "tx", "Take and publish messages in one transaction: all of it or nothing");
    auto options = std::make_shared<TxOptions>();
    command->add_flag("--optional-route", options->optional_route,
                      "Drop messages that reach no queue instead of refusing the transaction");
    command->footer(
        "Steps come on stdin, one JSON object a line; the end of the input commits:\n"
        "  {\"take\": \"QUEUE\", \"count\": 1}     messages that are ready, printed and acked\n"
        "  {\"publish\": {\"exchange\": \"\", \"routing_key\": \"QUEUE\", \"payload\": \"text\"}}\n"
        "    also id, headers, ordering_key, content_type, priority, deliver_at_ms, "
        "expires_at_ms,\n"
        "    reply_to, correlation_id\n\n" +
        examples({"printf '%s\\n' '{\"take\":\"jobs\"}' "
                  "'{\"publish\":{\"routing_key\":\"done\",\"payload\":\"job 17\"}}' | ferry tx"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return run_tx(context, *options); };
    });
}

void add_forward(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "forward", "Move messages on: taken from a queue and published in one transaction");
    auto options = std::make_shared<ForwardOptions>();
    command->add_option("queue", options->queue, "The queue to take from")->required();
    command->add_option("key", options->key,
                        "Queue to publish to, or routing key with --exchange (then optional)");
    command->add_option("--exchange", options->exchange, "Exchange to publish to");
    command->add_option("--count", options->count, "Stop after so many")->range(1, UINT64_MAX);
    command->add_option("--batch", options->batch, "At most so many in one transaction")
        ->range(1, 1000)
        ->capture_default_str();
    command->add_flag("--follow,-f", options->follow, "Wait for more until Ctrl-C");
    command->footer(
        examples({"ferry forward jobs jobs.eu", "ferry forward jobs --exchange events --follow"}));
    command->callback([&context, options] {
        context.run = [&context, options] {
            if (options->key.empty() && options->exchange.empty())
                return fail(exit_usage, "name a queue to publish to, or an exchange");
            return run_forward(context, *options);
        };
    });
}

}  // namespace ferry::cli
