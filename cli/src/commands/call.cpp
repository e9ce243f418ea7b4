// `ferry call` and `ferry serve`: requests and their replies.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "child.hpp"
#include "commands/commands.hpp"
#include "ferry/wire/limits.hpp"
#include "message_json.hpp"
#include "message_source.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using transport::Timeout;

struct CallFlags {
    std::string queue;
    std::string exchange;
    std::optional<std::string> body;
    std::vector<std::string> headers;
    std::string content_type;
    std::string timeout = "30s";
    bool wait = false;
};

struct ServeFlags {
    std::string queue;
    std::vector<std::string> command;
    std::uint64_t count = 0;
    std::uint32_t parallel = 1;
};

constexpr Timeout look_every{200};

/// What went wrong at the other end, if the reply says so.
const std::string* error_of(const wire::Message& reply) {
    for (const auto& [name, value] : reply.properties.headers) {
        if (name == transport::reply_error_header) return std::get_if<std::string>(&value);
    }
    return nullptr;
}

std::optional<int> read_request(const CallFlags& flags, wire::Message& out) {
    out.exchange = flags.exchange;
    out.routing_key = flags.queue;
    out.properties.content_type = flags.content_type;
    for (const std::string& text : flags.headers) {
        auto header = parse_header(text);
        if (!header) return fail(exit_usage, "--header wants name=value, not '" + text + "'");
        out.properties.headers.push_back(std::move(*header));
    }
    if (flags.body) {
        out.payload = *flags.body;
        return std::nullopt;
    }
    Result<MessageSource> source = MessageSource::of_file("/dev/stdin");
    if (!source.ok()) return fail(source.error(), "stdin");
    const Result<bool> read = source.value().next(out.payload);
    if (!read.ok()) return fail(read.error(), "stdin");
    return std::nullopt;
}

int call(const Context& context, const CallFlags& flags) {
    wire::Message request;
    if (const auto wrong = read_request(flags, request)) return *wrong;
    transport::ClientOptions options;
    options.publisher = true;
    options.name = "ferry call";
    auto client = connect(context, std::move(options));
    if (!client.ok()) return fail(client.error());
    transport::CallOptions how;
    how.timeout = *parse_duration(flags.timeout);
    how.need_consumer = !flags.wait;
    const auto reply = client.value()->call(request, how);
    if (!reply.ok()) return fail(reply.error());
    if (context.json) {
        print_json(message_json(reply.value(), {.queue = flags.queue}));
    } else {
        write_out(reply.value().payload + "\n");
    }
    if (const std::string* wrong = error_of(reply.value())) return fail(exit_refused, *wrong);
    return exit_done;
}

// Serves requests until it is interrupted, or so many were taken.
class Server {
public:
    Server(transport::Client& client, transport::Subscription& requests, const ServeFlags& flags)
        : client_(client), requests_(requests), flags_(flags) {}

    int run() {
        std::vector<std::thread> workers;
        for (std::uint32_t i = 0; i < flags_.parallel; ++i)
            workers.emplace_back([this] { work(); });
        for (std::thread& worker : workers) worker.join();
        return failed_ ? exit_refused : exit_done;
    }

private:
    void work() {
        while (!interrupted() && !failed_ && (flags_.count == 0 || ++taken_ <= flags_.count)) {
            bool served = false;
            while (!served && !interrupted() && !failed_) served = serve_one();
        }
    }

    bool serve_one() {
        auto received = requests_.next(look_every);
        if (!received.ok()) {
            if (received.error().code == Errc::would_block) return false;
            if (!failed_.exchange(true)) fail(received.error(), "queue " + flags_.queue);
            return false;
        }
        const transport::Delivery& delivery = received.value().delivery;
        wire::Message request;
        if (!transport::to_message(delivery.message, request)) {
            (void)requests_.nack(delivery.tag, false);
            return true;
        }
        wire::Message reply;
        const std::string wrong = answer(request, delivery, reply);
        if (!wrong.empty()) {
            reply.properties.headers.emplace_back(std::string(transport::reply_error_header),
                                                  wrong);
        }
        if (client_.reply(delivery, reply).ok()) return true;
        // It wants no reply, or its connection is another one by now.
        if (wrong.empty()) {
            (void)requests_.ack(delivery.tag);
        } else {
            fail(exit_refused, wrong);
            (void)requests_.nack(delivery.tag, false);
        }
        return true;
    }

    std::string answer(const wire::Message& request, const transport::Delivery& delivery,
                       wire::Message& reply) const {
        const Child::Environment environment{
            {"FERRY_QUEUE", flags_.queue},
            {"FERRY_ROUTING_KEY", request.routing_key},
            {"FERRY_MESSAGE_ID", request.properties.id},
            {"FERRY_CORRELATION_ID", request.properties.correlation_id},
            {"FERRY_ATTEMPT", std::to_string(delivery.attempt)}};
        auto done = filter(flags_.command, environment, request.payload, limits::payload_bytes_max);
        if (!done.ok()) return flags_.command.front() + ": " + std::string(done.error().what);
        reply.payload = std::move(done.value().output);
        if (done.value().status == 0) return {};
        return flags_.command.front() + " ended with status " + std::to_string(done.value().status);
    }

    transport::Client& client_;
    transport::Subscription& requests_;
    const ServeFlags& flags_;
    std::atomic<std::uint64_t> taken_{0};
    std::atomic<bool> failed_{false};
};

int serve(const Context& context, const ServeFlags& flags) {
    catch_interrupts();
    transport::ClientOptions options;
    options.publisher = false;
    options.name = "ferry serve " + flags.queue.substr(0, 200);
    auto client = connect(context, std::move(options));
    if (!client.ok()) return fail(client.error());
    transport::SubscribeOptions how;
    how.window_messages = flags.parallel;
    auto requests = client.value()->subscribe(flags.queue, how);
    if (!requests.ok()) return fail(requests.error());
    const int status = Server(*client.value(), *requests.value(), flags).run();
    (void)client.value()->close(Timeout{5000});
    return status;
}

}  // namespace

void add_call(Command& app, Context& context) {
    auto flags = std::make_shared<CallFlags>();
    Command* command =
        app.add_subcommand("call", "Send a request and print the reply that comes back");
    command->add_option("queue", flags->queue, "Queue of requests; with --exchange: routing key")
        ->required();
    command->add_option("body", flags->body, "The request; default: stdin");
    command->add_option("--exchange", flags->exchange, "Send it to this exchange");
    command->add_option("--header", flags->headers, "Header name=value; may be repeated")
        ->allow_extra_args(false);
    command->add_option("--content-type", flags->content_type, "Content type");
    add_duration(*command, "--timeout", flags->timeout, "Wait so long for the reply")
        ->capture_default_str();
    command->add_flag("--wait", flags->wait,
                      "Wait for somebody to serve the queue, instead of failing at once");
    command->footer(
        examples({"ferry call prices 'chair'", "ferry call prices --timeout 2s < request.json",
                  "ferry call prices chair --json"}));
    command->callback(
        [&context, flags] { context.run = [&context, flags] { return call(context, *flags); }; });
}

void add_serve(Command& app, Context& context) {
    auto flags = std::make_shared<ServeFlags>();
    Command* command = app.add_subcommand(
        "serve", "Answer requests with a command: request on stdin, reply on stdout");
    command->add_option("queue", flags->queue, "Queue of requests")->required();
    command->add_option("command", flags->command, "The command and its arguments, behind --")
        ->required();
    command->add_option("--count", flags->count, "End after so many requests");
    command->add_option("--parallel", flags->parallel, "So many at a time")
        ->range(1, 256)
        ->capture_default_str();
    command->footer(examples({"ferry serve shout -- tr a-z A-Z",
                              "ferry serve prices --parallel 4 -- ./price-of"}) +
                    "\n\nA request is acked with its reply, in one step. If the command fails the "
                    "reply says so in its\nheader ferry-error, and is not tried again.");
    command->callback(
        [&context, flags] { context.run = [&context, flags] { return serve(context, *flags); }; });
}

}  // namespace ferry::cli
