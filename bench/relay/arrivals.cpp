#include "arrivals.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::bench {
namespace {

constexpr int pipe_bytes = 1 << 20;  // so that noting never waits for the reader

[[noreturn]] void die(const std::string& why) {
    std::cerr << "relay_bench, consumer: " << why << "\n";
    std::_Exit(1);
}

void note(int to, std::string_view payload) {
    Arrival arrival;
    if (payload.size() >= sizeof arrival.number) {
        std::memcpy(&arrival.number, payload.data(), sizeof arrival.number);
    }
    arrival.at_ns = steady_ns();
    if (::write(to, &arrival, sizeof arrival) < 0) std::_Exit(0);
}

std::unique_ptr<transport::Client> connect(const std::string& url) {
    transport::ClientOptions options;
    options.url = url;
    auto connected = transport::Client::connect(options);
    if (!connected.ok()) die(connected.error().text);
    auto client = std::move(connected).value();
    if (const auto made = client->declare_queue("bench"); !made.ok()) die(made.error().text);
    if (const auto purged = client->purge_queue("bench"); !purged.ok()) die(purged.error().text);
    return client;
}

[[noreturn]] void handle(const std::string& url, int to) {
    const auto client = connect(url);
    transport::SubscribeOptions options;
    options.no_ack = true;
    const auto subscribed =
        client->subscribe("bench", options, [to](std::span<const transport::Delivery> deliveries) {
            for (const auto& delivery : deliveries) note(to, as_text(delivery.message.payload));
        });
    if (!subscribed.ok()) die(subscribed.error().text);
    note(to, {});
    while (true) ::pause();
}

[[noreturn]] void apply(const std::string& url, const std::string& database, int to) {
    if (!consumer::Inbox::init(database).ok()) die("no inbox in " + database);
    const auto connection = sqlite::Database::open(database, sqlite::Database::Access::read_write);
    if (!connection.ok() ||
        !connection.value().run("CREATE TABLE effect(id INTEGER PRIMARY KEY, number)").ok()) {
        die("no table in " + database);
    }
    consumer::InboxOptions inbox_options;
    inbox_options.consumer = "bench";
    inbox_options.outgoing = false;
    auto opened = consumer::Inbox::open(database, inbox_options);
    if (!opened.ok()) die(opened.error().text);
    consumer::Inbox& inbox = *opened.value();
    const auto client = connect(url);
    consumer::BrokerSourceOptions source_options;
    source_options.queue = "bench";
    auto source = consumer::broker_source(*client, source_options);
    if (!source.ok()) die(source.error().text);
    const auto handler = [&inbox, to](const consumer::Incoming& message) {
        auto handled = inbox.apply(message, [](consumer::Effects& effects) {
            effects.run("INSERT INTO effect(number) VALUES (1)");
            return effects.handled();
        });
        note(to, message.payload());
        return handled;
    };
    consumer::RuntimeOptions options;
    options.inbox = &inbox;
    const auto runtime =
        consumer::Runtime::start(std::move(source).value(), handler, std::move(options));
    if (!runtime.ok()) die("the runtime did not start");
    note(to, {});
    while (true) ::pause();
}

}  // namespace

OtherProcess::OtherProcess(const std::string& url, const std::string& database) {
    int ends[2];
    if (::pipe(ends) != 0 || ::fcntl(ends[1], F_SETPIPE_SZ, pipe_bytes) < 0) die("no pipe");
    process_ = ::fork();
    if (process_ == 0) {
        ::close(ends[0]);
        if (database.empty()) handle(url, ends[1]);
        apply(url, database, ends[1]);
    }
    ::close(ends[1]);
    from_ = ends[0];
    if (arrivals(1).empty()) die("the consumer did not start");
}

OtherProcess::~OtherProcess() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    ::close(from_);
}

std::vector<Arrival> OtherProcess::arrivals(std::uint64_t count) {
    std::vector<Arrival> out;
    Arrival next;
    while (out.size() < count && ::read(from_, &next, sizeof next) == sizeof next) {
        out.push_back(next);
    }
    return out;
}

}  // namespace ferry::bench
