// What a relay costs and how fast it is, with a running broker:
//
//   relay_bench drain   URL DB ROWS              a backlog: rows/s until all is confirmed and until
//                                                all is deleted, memory
//   relay_bench latency URL DB RATE SECONDS      commit to handler in another process
//   relay_bench effect  URL DB DB2 RATE SECONDS  commit to an effect committed in DB2 by another
//                                                process, through an inbox
//   relay_bench writer  URL DB ROWS SECONDS [PACE]  the application's own commits, 500 a second, in
//                                                turns alone and while a backlog drains
//
// DB and DB2 must not exist. Payloads have 100 bytes.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "arrivals.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/outbox/relay.hpp"
#include "ferry/transport/client.hpp"

namespace {

using namespace ferry;
using Time = std::chrono::steady_clock;

constexpr std::size_t payload_bytes = 100;

double seconds_since(Time::time_point begin) {
    return std::chrono::duration<double>(Time::now() - begin).count();
}

[[noreturn]] void die(const std::string& why) {
    std::cerr << "relay_bench: " << why << "\n";
    std::exit(1);
}

outbox::Outbox open_outbox(const std::string& path) {
    outbox::Options options;
    options.init = true;
    auto opened = outbox::Outbox::open(path, options);
    if (!opened.ok()) die(opened.error().text);
    return std::move(opened).value();
}

void enqueue(outbox::Outbox& to, const std::string& payload) {
    outbox::Message message;
    message.routing_key = "bench";
    message.payload = as_bytes(payload);
    const auto stored = to.enqueue(message);
    if (!stored.ok()) die(stored.error().text);
}

void fill(outbox::Outbox& to, std::uint64_t rows) {
    const std::string payload(payload_bytes, 'x');
    for (std::uint64_t done = 0; done < rows;) {
        if (!to.database().run("BEGIN IMMEDIATE").ok()) die("cannot begin");
        for (int i = 0; i < 10'000 && done < rows; ++i, ++done) enqueue(to, payload);
        if (!to.database().run("COMMIT").ok()) die("cannot commit");
    }
}

std::unique_ptr<outbox::relay::Relay> start_relay(const std::string& url, const std::string& path,
                                                  std::uint64_t pace = 0) {
    outbox::relay::Options options;
    if (pace != 0) options.active_rows_per_s = pace;
    options.database = path;
    options.url = url;
    options.log = [](outbox::relay::LogLevel level, std::string_view line) {
        if (level != outbox::relay::LogLevel::info) std::cerr << line << "\n";
    };
    auto started = outbox::relay::Relay::start(std::move(options));
    if (!started.ok()) die(started.error().text);
    return std::move(started).value();
}

std::unique_ptr<transport::Client> connect(const std::string& url) {
    transport::ClientOptions options;
    options.url = url;
    options.publisher = false;
    auto connected = transport::Client::connect(options);
    if (!connected.ok()) die(connected.error().text);
    auto client = std::move(connected).value();
    if (const auto declared = client->declare_queue("bench"); !declared.ok()) {
        die(declared.error().text);
    }
    if (const auto purged = client->purge_queue("bench"); !purged.ok()) die(purged.error().text);
    return client;
}

std::uint64_t memory_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
    }
    return 0;
}

double percentile(std::vector<double> values, double part) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1,
                           static_cast<std::size_t>(part * static_cast<double>(values.size())))];
}

void print_percentiles(const char* what, const std::vector<double>& ms) {
    std::printf("%s: n=%zu p50=%.3f p90=%.3f p99=%.3f max=%.3f ms\n", what, ms.size(),
                percentile(ms, 0.5), percentile(ms, 0.9), percentile(ms, 0.99), percentile(ms, 1));
}

int drain(const std::string& url, const std::string& path, std::uint64_t rows) {
    auto app = open_outbox(path);
    fill(app, rows);
    const auto client = connect(url);
    const std::uint64_t before = memory_kib();
    std::uint64_t most = before;
    const auto begin = Time::now();
    const auto relay = start_relay(url, path);
    double sent = 0;
    while (relay->figures().marked < rows) {
        if (sent == 0 && relay->figures().sent >= rows) sent = seconds_since(begin);
        most = std::max(most, memory_kib());
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    const double marked = seconds_since(begin);
    if (sent == 0) sent = marked;
    std::printf(
        "drain: %llu rows confirmed in %.2f s (%.0f/s), deleted in %.2f s (%.0f/s), memory +%llu "
        "KiB\n",
        static_cast<unsigned long long>(rows), sent, static_cast<double>(rows) / sent, marked,
        static_cast<double>(rows) / marked, static_cast<unsigned long long>(most - before));
    return 0;
}

/// With a database for the other process: to the effect that its inbox committed there.
int latency(const std::string& url, const std::string& path, std::uint64_t rate, double seconds,
            const std::string& effects = {}) {
    bench::OtherProcess other(url, effects);
    auto app = open_outbox(path);
    const auto relay = start_relay(url, path);
    while (!relay->figures().connected) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::vector<std::pair<std::int64_t, std::int64_t>> commits;  // begin, end
    std::string payload(payload_bytes, 'x');
    const auto begin = Time::now();
    while (seconds_since(begin) < seconds) {
        const std::uint64_t number = commits.size();
        std::this_thread::sleep_until(begin +
                                      std::chrono::nanoseconds(number * 1'000'000'000 / rate));
        std::memcpy(payload.data(), &number, sizeof number);
        const std::int64_t from = bench::steady_ns();
        if (!app.database().run("BEGIN IMMEDIATE").ok()) die("cannot begin");
        enqueue(app, payload);
        if (!app.database().run("COMMIT").ok()) die("cannot commit");
        commits.emplace_back(from, bench::steady_ns());
    }
    std::vector<double> from_begin, from_end, own;
    for (const bench::Arrival& arrival : other.arrivals(commits.size())) {
        const auto [first, last] = commits[arrival.number];
        from_begin.push_back(static_cast<double>(arrival.at_ns - first) / 1e6);
        from_end.push_back(static_cast<double>(arrival.at_ns - last) / 1e6);
    }
    for (const auto& [first, last] : commits)
        own.push_back(static_cast<double>(last - first) / 1e6);
    const std::string what = effects.empty() ? "handler" : "committed effect";
    print_percentiles(("end of commit to " + what + " in another process").c_str(), from_end);
    print_percentiles("begin of transaction to the same", from_begin);
    print_percentiles("the application's own transactions", own);
    return 0;
}

std::vector<double> write_for(outbox::Outbox& app, double seconds, std::uint64_t rate) {
    std::vector<double> commits;
    const std::string payload(payload_bytes, 'x');
    const auto begin = Time::now();
    for (std::uint64_t count = 0; seconds_since(begin) < seconds; ++count) {
        std::this_thread::sleep_until(begin +
                                      std::chrono::nanoseconds(count * 1'000'000'000 / rate));
        const auto from = Time::now();
        if (!app.database().run("BEGIN IMMEDIATE; INSERT INTO business(x) VALUES (1)").ok()) {
            die("cannot begin");
        }
        enqueue(app, payload);
        if (!app.database().run("COMMIT").ok()) die("cannot commit");
        commits.push_back(seconds_since(from) * 1000);
    }
    return commits;
}

// Alone and beside the relay in turns of a second and a half, so that a disk that is busy for
// reasons of its own is so for both.
int writer(const std::string& url, const std::string& path, std::uint64_t rows, double seconds,
           std::uint64_t pace) {
    constexpr std::uint64_t rate = 500;
    constexpr double turn_seconds = 1.5;
    auto app = open_outbox(path);
    if (!app.database().run("CREATE TABLE business(id INTEGER PRIMARY KEY, x)").ok())
        die("no table");
    const auto client = connect(url);
    fill(app, rows);
    std::vector<double> alone, beside;
    std::uint64_t sent = 0;
    for (double passed = 0; passed < seconds; passed += turn_seconds) {
        const auto append = [](std::vector<double>& to, const std::vector<double>& more) {
            to.insert(to.end(), more.begin(), more.end());
        };
        append(alone, write_for(app, turn_seconds, rate));
        const auto relay = start_relay(url, path, pace);
        while (!relay->figures().connected)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        append(beside, write_for(app, turn_seconds, rate));
        sent += relay->figures().sent;
        if (!relay->stop(std::chrono::seconds(10))) die("the relay does not end");
    }
    print_percentiles("commits alone", alone);
    print_percentiles("commits while the backlog drains", beside);
    std::printf("p99: %.2f x; meanwhile %llu sent: %s\n",
                percentile(beside, 0.99) / percentile(alone, 0.99),
                static_cast<unsigned long long>(sent),
                sent < rows ? "there was a backlog all the time" : "TOO FEW ROWS for a backlog");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() == 4 && arguments[0] == "drain") {
        return drain(arguments[1], arguments[2], std::stoull(arguments[3]));
    }
    if (arguments.size() == 5 && arguments[0] == "latency") {
        return latency(arguments[1], arguments[2], std::stoull(arguments[3]),
                       std::stod(arguments[4]));
    }
    if ((arguments.size() == 5 || arguments.size() == 6) && arguments[0] == "writer") {
        return writer(arguments[1], arguments[2], std::stoull(arguments[3]),
                      std::stod(arguments[4]),
                      arguments.size() == 6 ? std::stoull(arguments[5]) : 0);
    }
    if (arguments.size() == 6 && arguments[0] == "effect") {
        return latency(arguments[1], arguments[2], std::stoull(arguments[4]),
                       std::stod(arguments[5]), arguments[3]);
    }
    die("drain URL DB ROWS | latency URL DB RATE SECONDS | effect URL DB DB2 RATE SECONDS | "
        "writer URL DB ROWS SECONDS [PACE]");
}
