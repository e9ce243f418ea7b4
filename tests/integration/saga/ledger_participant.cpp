// A participant for tests: serves NAME.act and NAME.undo, and keeps in one table which effect it
// had when, by a clock that all processes of the machine share.
//
//   ledger_participant NAME DB URL
//
// The payload {"fail": STEP} lets a step of this name fail.

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "ferry/outbox/relay.hpp"
#include "ferry/saga/participant.hpp"

namespace {

using namespace ferry;
using saga::Call;
using saga::Said;

std::atomic<bool> stopping{false};

int fail(const std::string& why) {
    std::fprintf(stderr, "ledger_participant: %s\n", why.c_str());
    return 1;
}

void note(Call& call, const char* op) {
    const std::uint64_t now = system_clock().now().mono.ns;
    call.effects.run("INSERT INTO ledger(at_ns, saga, step, op) VALUES(?1, ?2, ?3, ?4)", now,
                     std::string_view(call.saga), std::string_view(call.step),
                     std::string_view(op));
}

Said act(Call& call) {
    std::int64_t asked_to = 0;
    call.effects.integer(asked_to, "SELECT coalesce(json_extract(?1, '$.fail') = ?2, 0)",
                         call.payload, std::string_view(call.step));
    note(call, "act");  // taken back with the failure
    return asked_to != 0 ? Said::failed("asked to") : Said::done();
}

Said undo(Call& call) {
    note(call, "undo");
    return Said::done();
}

std::unique_ptr<consumer::Source> source_of(transport::Client& client, const std::string& queue) {
    while (!stopping) {
        consumer::BrokerSourceOptions options;
        options.queue = queue;
        if (client.declare_queue(queue).ok()) {
            auto source = consumer::broker_source(client, options);
            if (source.ok()) return std::move(source).value();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return nullptr;
}

int serve(const std::string& name, const std::string& path, const std::string& url) {
    if (auto made = saga::Participant::init(path); !made.ok()) return fail(made.error().text);
    auto database = sqlite::Database::open(path, sqlite::Database::Access::read_write);
    if (!database.ok()) return fail(database.error().text);
    auto made = database.value().run(
        "CREATE TABLE IF NOT EXISTS ledger(at_ns INTEGER, saga TEXT, step TEXT, op TEXT)");
    if (!made.ok()) return fail(made.error().text);
    transport::ClientOptions connection;
    connection.url = url;
    connection.name = name;
    connection.connect_retry = true;
    connection.connect_timeout_ms = 60'000;
    connection.backoff_max_ms = 200;
    auto client = transport::Client::connect(connection);
    if (!client.ok()) return fail(client.error().text);
    outbox::relay::Options sending;
    sending.database = path;
    sending.url = url;
    sending.lease_ms = 300;  // one that was killed is followed soon
    sending.rules.backoff_max_ms = 200;
    auto relay = outbox::relay::Relay::start(sending);
    if (!relay.ok()) return fail(relay.error().text);
    saga::ParticipantOptions options;
    options.database = path;
    options.name = name;
    auto participant = saga::Participant::open(options);
    if (!participant.ok()) return fail(participant.error().text);
    participant.value()->act(name + ".act", act);
    participant.value()->undo(name + ".undo", undo);
    for (const std::string& queue : {name + ".act", name + ".undo"}) {
        auto source = source_of(*client.value(), queue);
        if (!source || !participant.value()->run(std::move(source), queue).ok()) {
            return fail("cannot take commands from " + queue);
        }
    }
    std::printf("%s is ready\n", name.c_str());
    std::fflush(stdout);
    while (!stopping && !participant.value()->ended()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    participant.value()->stop(std::chrono::seconds(10)).ignore("what is left is done by the next");
    relay.value()->stop(std::chrono::seconds(10));
    participant.value().reset();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGTERM, [](int) { stopping = true; });
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() != 3) return fail("usage: ledger_participant NAME DB URL");
    return serve(words[0], words[1], words[2]);
}
