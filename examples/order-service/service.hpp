#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/outbox/relay.hpp"

/// What both services of the example need: a database with an inbox, an outbox and a table, a relay
/// beside the application, and a handler for one queue until somebody stops the service.
namespace example {

inline std::atomic<bool> stopping{false};

inline int fail(const std::string& why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 1;
}

/// Makes the application's table, the inbox and the outbox in one database file; again is nothing.
inline std::string prepare(const std::string& path, const std::string& table) {
    if (auto made = ferry::consumer::Inbox::init(path); !made.ok()) return made.error().text;
    ferry::outbox::Options options;
    options.init = true;
    auto outbox = ferry::outbox::Outbox::open(path, options);
    if (!outbox.ok()) return outbox.error().text;
    auto made = outbox.value().database().run(table);
    return made.ok() ? "" : made.error().text;
}

/// Handles `queue` with the inbox until SIGTERM; sends what the outbox holds.
inline int serve(const std::string& name, const std::string& path, const std::string& url,
                 const std::string& queue, const ferry::consumer::Effect& effect) {
    using namespace ferry;
    std::signal(SIGTERM, [](int) { stopping = true; });

    transport::ClientOptions connection;
    connection.url = url;
    connection.name = name;
    connection.connect_retry = true;
    auto client = transport::Client::connect(connection);
    if (!client.ok()) return fail(client.error().text);
    for (const std::string& wanted :
         {std::string("payments"), std::string("order-events"), queue + ".dead"}) {
        if (auto declared = client.value()->declare_queue(wanted); !declared.ok()) {
            return fail(declared.error().text);
        }
    }

    outbox::relay::Options relay_options;
    relay_options.database = path;
    relay_options.url = url;
    relay_options.lease_ms = 2'000;  // a killed service is back soon
    auto relay = outbox::relay::Relay::start(relay_options);
    if (!relay.ok()) return fail(relay.error().text);

    consumer::InboxOptions inbox_options;
    inbox_options.consumer = name;
    auto inbox = consumer::Inbox::open(path, inbox_options);
    if (!inbox.ok()) return fail(inbox.error().text);

    consumer::BrokerSourceOptions source_options;
    source_options.queue = queue;
    source_options.dead_letter_queue = queue + ".dead";
    auto source = consumer::broker_source(*client.value(), source_options);
    if (!source.ok()) return fail(source.error().text);

    consumer::RuntimeOptions options;
    options.name = name;
    options.inbox = inbox.value().get();
    auto runtime = consumer::Runtime::start(
        std::move(source).value(),
        [&](const consumer::Incoming& message) { return inbox.value()->apply(message, effect); },
        options);
    if (!runtime.ok()) return fail(inbox.value()->last_problem());

    std::printf("%s is ready\n", name.c_str());
    std::fflush(stdout);
    while (!stopping && !runtime.value()->ended()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const bool stopped = runtime.value()->stop(std::chrono::seconds(10)).ok();
    return relay.value()->stop(std::chrono::seconds(10)) && stopped ? 0 : 1;
}

}  // namespace example
