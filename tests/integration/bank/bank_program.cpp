// The roles of the bank: a process each, to be killed at any moment.
//
//   bank_program produce DB QUEUE...      transfers, some rolled back, some to each queue
//   bank_program apply DB URL QUEUE       credits transfers and publishes a receipt for each
//   bank_program receive DB URL QUEUE     writes down receipts
//
// Nothing here keeps a second effect from happening but the inbox: no UNIQUE, no "insert if not
// there". bank_check.py counts what came out.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/random.hpp"

namespace {

using namespace ferry;
using consumer::Duration;
using consumer::Effects;
using consumer::Handled;

std::atomic<bool> asked_to_stop{false};

int die(const std::string& why) {
    std::fprintf(stderr, "bank: %s\n", why.c_str());
    return 1;
}

/// token|key|number|amount
std::vector<std::string> parts(std::string_view text) {
    std::vector<std::string> all(1);
    for (const char c : text) {
        if (c == '|') {
            all.emplace_back();
        } else {
            all.back() += c;
        }
    }
    return all;
}

// ---- producing ----

/// One transfer; true: committed. Rolled-back ones are written down before they are rolled back: a
/// token in that file was never committed, whenever the process ends.
bool transfer(outbox::Outbox& box, std::FILE* rolled_back, const std::vector<std::string>& queues) {
    const sqlite::Database& db = box.database();
    auto transaction = sqlite::Transaction::begin(db);
    if (!transaction.ok()) return false;
    const std::uint64_t dice = system_random().next();
    const std::string key = "account" + std::to_string(dice % 10);
    const std::int64_t amount = static_cast<std::int64_t>(dice / 10 % 100) + 1;
    const std::string token = std::to_string(system_random().next());
    auto debit = db.prepare(
        "UPDATE account SET balance = balance - ?2, sent = sent + 1 WHERE key = ?1 "
        "RETURNING sent");
    if (!debit.ok()) return false;
    auto row = debit.value().bind(1, std::string_view(key)).bind(2, amount).step();
    if (!row.ok() || !row.value()) return false;
    const std::string number = std::to_string(debit.value().integer(0));
    debit.value().reset();
    auto order = db.prepare("INSERT INTO orders(token, key, number, amount) VALUES(?1,?2,?3,?4)");
    if (!order.ok()) return false;
    order.value().bind(1, std::string_view(token)).bind(2, std::string_view(key));
    if (!order.value().bind(3, std::string_view(number)).bind(4, amount).run().ok()) return false;
    const std::string payload = token + "|" + key + "|" + number + "|" + std::to_string(amount);
    outbox::Message message;
    message.routing_key = queues[dice % 10 % queues.size()];
    message.payload = as_bytes(payload);
    message.ordering_key = key;
    if (!box.enqueue(message).ok()) return false;
    if (dice / 1000 % 10 == 0) {
        std::fprintf(rolled_back, "%s\n", token.c_str());
        std::fflush(rolled_back);
        transaction.value().rollback();
        return false;
    }
    return transaction.value().commit().ok();
}

int produce(const std::string& path, const std::vector<std::string>& queues) {
    outbox::Options options;
    options.init = true;
    auto box = outbox::Outbox::open(path, options);
    if (!box.ok()) return die(box.error().text);
    auto made = box.value().database().run(
        "BEGIN IMMEDIATE;"
        "CREATE TABLE IF NOT EXISTS account(key TEXT PRIMARY KEY, balance INTEGER, sent INTEGER);"
        "CREATE TABLE IF NOT EXISTS orders(token TEXT, key TEXT, number INTEGER, amount INTEGER);"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9) "
        "INSERT INTO account SELECT 'account' || i, 1000000, 0 FROM n WHERE true "
        "ON CONFLICT DO NOTHING; COMMIT");
    if (!made.ok()) return die(made.error().text);
    std::FILE* const rolled_back = std::fopen((path + ".rolled-back").c_str(), "ab");
    if (rolled_back == nullptr) return die("cannot write " + path + ".rolled-back");
    while (!asked_to_stop) {
        transfer(box.value(), rolled_back, queues);
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
    std::fclose(rolled_back);
    return 0;
}

// ---- consuming ----

Handled credit(Effects& effects) {
    const auto order = parts(effects.message().payload());
    if (order.size() != 4) return Handled::poison("not a transfer");
    const std::string_view token = order[0];
    const std::string_view key = order[1];
    const std::int64_t amount = std::stoll(order[3]);
    effects.run("INSERT INTO ledger(token, key, number, amount) VALUES(?1, ?2, ?3, ?4)", token, key,
                std::string_view(order[2]), amount);
    effects.run("UPDATE account SET balance = balance + ?2 WHERE key = ?1", key, amount);
    if (effects.changes() == 0) {
        effects.run("INSERT INTO account(key, balance) VALUES(?1, ?2)", key, amount);
    }
    effects.publish({.routing_key = "receipts", .payload = as_bytes(token)});
    // Now and then a partner is away, after the writes.
    if (system_random().next() % 20 == 0) return Handled::retry("no answer");
    return Handled::done();
}

Handled receive(Effects& effects) {
    effects.run("INSERT INTO receipt(token) VALUES(?1)", effects.message().payload());
    return Handled::done();
}

/// A short one lets a process that is stopped lose its messages to another.
Duration lease() {
    const char* const ms = std::getenv("BANK_LEASE_MS");
    return ms != nullptr ? Duration(std::atoll(ms)) : consumer::BrokerSourceOptions{}.lease;
}

int consume(const std::string& role, const std::string& path, const std::string& url,
            const std::string& queue) {
    if (auto made = consumer::Inbox::init(path); !made.ok()) return die(made.error().text);
    {
        outbox::Options options;
        options.init = true;
        auto box = outbox::Outbox::open(path, options);
        if (!box.ok()) return die(box.error().text);
        auto tables = box.value().database().run(
            "CREATE TABLE IF NOT EXISTS account(key TEXT PRIMARY KEY, balance INTEGER);"
            "CREATE TABLE IF NOT EXISTS ledger(token TEXT, key TEXT, number INTEGER, amount "
            "INTEGER); CREATE TABLE IF NOT EXISTS receipt(token TEXT)");
        if (!tables.ok()) return die(tables.error().text);
    }
    consumer::InboxOptions inbox_options;
    inbox_options.consumer = role;
    auto inbox = consumer::Inbox::open(path, inbox_options);
    if (!inbox.ok()) return die(inbox.error().text);
    consumer::BrokerSourceOptions source_options;
    source_options.queue = queue;
    source_options.lease = lease();
    auto source = consumer::open_source(url, "bank", source_options, Duration(30'000));
    if (!source.ok()) return die(source.error().text);
    consumer::RuntimeOptions options;
    options.name = role;
    options.lease = lease();
    options.inbox = inbox.value().get();
    options.retry.first = Duration(5);
    options.retry.cap = Duration(50);
    options.retry.attempts_max = 1'000'000;
    options.retry.deliveries_max = 1'000'000;
    options.on_event = [](std::string_view text) {
        std::fprintf(stderr, "bank: %.*s\n", static_cast<int>(text.size()), text.data());
    };
    const auto effect = role == "apply" ? credit : receive;
    auto runtime = consumer::Runtime::start(
        std::move(source).value(),
        [&](const consumer::Incoming& message) { return inbox.value()->apply(message, effect); },
        options);
    if (!runtime.ok()) {
        return die(std::string(runtime.error().what) + " " + inbox.value()->last_problem());
    }
    while (!asked_to_stop && !runtime.value()->ended()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (!runtime.value()->stop(Duration(10'000)).ok()) return die("handlers still run");
    return runtime.value()->ended() && !asked_to_stop ? 2 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGTERM, [](int) { asked_to_stop = true; });
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() >= 3 && arguments[0] == "produce") {
        return produce(arguments[1], {arguments.begin() + 2, arguments.end()});
    }
    if (arguments.size() == 4 && (arguments[0] == "apply" || arguments[0] == "receive")) {
        return consume(arguments[0], arguments[1], arguments[2], arguments[3]);
    }
    return die("usage: bank_program produce DB QUEUE... | apply|receive DB URL QUEUE");
}
