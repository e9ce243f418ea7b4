// Two participants of an order in C++: stock and payment, each with a database of its own.
//
//   order-saga-participant stock|payment DB URL
//
// What a handler writes, what the barrier remembers and the answer are one transaction.

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
    std::fprintf(stderr, "order-saga-participant: %s\n", why.c_str());
    return 1;
}

// ---- stock ----

constexpr const char* stock_tables =
    "CREATE TABLE IF NOT EXISTS stock(item TEXT PRIMARY KEY, free INTEGER NOT NULL CHECK(free >= "
    "0)); INSERT OR IGNORE INTO stock VALUES('book', 100000), ('chair', 3);"
    "CREATE TABLE IF NOT EXISTS reservation(order_id TEXT NOT NULL, item TEXT, count INTEGER)";

Said reserve(Call& call) {
    call.effects.run(
        "UPDATE stock SET free = free - json_extract(?1, '$.count') WHERE item = json_extract(?1, "
        "'$.item') AND free >= json_extract(?1, '$.count')",
        call.payload);
    if (call.effects.changes() == 0) return Said::failed("sold out");
    call.effects.run(
        "INSERT INTO reservation SELECT json_extract(?1, '$.order'), json_extract(?1, '$.item'), "
        "json_extract(?1, '$.count')",
        call.payload);
    return Said::done();
}

Said release(Call& call) {
    call.effects.run(
        "UPDATE stock SET free = free + json_extract(?1, '$.count') WHERE item = json_extract(?1, "
        "'$.item')",
        call.payload);
    call.effects.run("DELETE FROM reservation WHERE order_id = json_extract(?1, '$.order')",
                     call.payload);
    return Said::done();
}

// ---- payment ----

constexpr const char* payment_tables =
    "CREATE TABLE IF NOT EXISTS charge(order_id TEXT NOT NULL, cents INTEGER NOT NULL)";

Said charge(Call& call) {
    std::int64_t bad = 0;
    call.effects.integer(bad, "SELECT json_extract(?1, '$.card') = 'bad'", call.payload);
    if (bad != 0) return Said::failed("the card was refused");
    call.effects.run(
        "INSERT INTO charge SELECT json_extract(?1, '$.order'), json_extract(?1, '$.cents')",
        call.payload);
    return Said::done();
}

Said refund(Call& call) {
    call.effects.run("DELETE FROM charge WHERE order_id = json_extract(?1, '$.order')",
                     call.payload);
    return Said::done();
}

struct Role {
    std::string act;
    std::string undo;
    saga::CallHandler acts;
    saga::CallHandler undoes;
    const char* tables;
};

int serve(const Role& role, const std::string& name, const std::string& path,
          const std::string& url) {
    if (auto made = saga::Participant::init(path); !made.ok()) return fail(made.error().text);
    auto database = sqlite::Database::open(path, sqlite::Database::Access::read_write);
    if (!database.ok()) return fail(database.error().text);
    if (auto made = database.value().run(role.tables); !made.ok()) return fail(made.error().text);

    const consumer::Duration patience{30'000};
    if (auto made = consumer::ensure_queues(url, name, {role.act, role.undo}, patience);
        !made.ok()) {
        return fail(made.error().text);
    }

    outbox::relay::Options sending;
    sending.database = path;
    sending.url = url;
    sending.lease_ms = 1'000;  // one that was killed is followed soon
    auto relay = outbox::relay::Relay::start(sending);
    if (!relay.ok()) return fail(relay.error().text);

    saga::ParticipantOptions options;
    options.database = path;
    options.name = name;
    auto participant = saga::Participant::open(options);
    if (!participant.ok()) return fail(participant.error().text);
    participant.value()->act(role.act, role.acts);
    participant.value()->undo(role.undo, role.undoes);
    for (const std::string& queue : {role.act, role.undo}) {
        consumer::BrokerSourceOptions source_options;
        source_options.queue = queue;
        auto source = consumer::open_source(url, name, source_options, patience);
        if (!source.ok()) return fail(source.error().text);
        if (!participant.value()->run(std::move(source).value(), queue).ok()) {
            return fail("cannot take commands from " + queue);
        }
    }
    std::printf("%s is ready\n", name.c_str());
    std::fflush(stdout);
    while (!stopping && !participant.value()->ended()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const bool stopped = participant.value()->stop(std::chrono::seconds(10)).ok();
    const bool sent = relay.value()->stop(std::chrono::seconds(10));
    participant.value().reset();
    return stopped && sent ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGTERM, [](int) { stopping = true; });
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() == 3 && words[0] == "stock") {
        return serve({"stock.reserve", "stock.release", reserve, release, stock_tables}, "stock",
                     words[1], words[2]);
    }
    if (words.size() == 3 && words[0] == "payment") {
        return serve({"payment.charge", "payment.refund", charge, refund, payment_tables},
                     "payment", words[1], words[2]);
    }
    return fail("usage: order-saga-participant stock|payment DB URL");
}
