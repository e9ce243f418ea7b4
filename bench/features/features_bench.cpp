// What queues cost that do more than keep messages, beside the same load without it.
//
// Against a running broker: features_bench --url ferry://127.0.0.1:7420 --pid $(pidof ferryd) MODE
//
//   delayed   messages with a time each, added, beside plain ones; and the broker's memory for them
//   ttl       published, delivered and acked with an expires at, beside the same without
//   lateness  delayed messages that come due while another queue carries a load; how late they are
//
// Another feature is another entry in `modes`: it needs properties of its messages, or options of
// its queue, and end_to_end() or add() does the rest.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "cpu_meter.hpp"
#include "ferry/transport/client.hpp"

namespace {

using namespace ferry;
using transport::Client;
using Clock = std::chrono::steady_clock;

struct Options {
    std::string url = "ferry://127.0.0.1:7420";
    std::string mode;
    std::uint64_t count = 1'000'000;
    std::uint32_t size = 100;
    std::uint64_t load = 100'000;  // messages a second beside `lateness`
    std::uint32_t seconds = 20;
    int rounds = 3;
    int pid = 0;
};

[[noreturn]] void give_up(const std::string& what) {
    std::fprintf(stderr, "features_bench: %s\n", what.c_str());
    std::exit(1);
}

template <class T>
void need(const T& done, const char* doing) {
    if (!done.ok()) give_up(std::string(doing) + " failed");
}

std::unique_ptr<Client> connect(const Options& options) {
    transport::ClientOptions wanted;
    wanted.url = options.url;
    auto client = Client::connect(std::move(wanted));
    if (!client.ok()) give_up(client.error().text);
    return std::move(client).value();
}

std::uint64_t wall_ms() {
    using namespace std::chrono;
    return static_cast<std::uint64_t>(
        duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
}

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

double resident_mib(int pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    std::string word;
    while (file >> word) {
        if (word != "VmRSS:") continue;
        double kib = 0;
        file >> kib;
        return kib / 1024;
    }
    return 0;
}

/// Properties of the `i`-th message; empty: none.
using Properties = std::function<void(std::uint64_t i, wire::Properties& out)>;

/// Of the rounds of one kind.
struct Figures {
    std::vector<double> rate;
    std::vector<double> broker_us;
    std::vector<double> client_us;

    void measure(const Options& options, const std::function<double()>& run) {
        const bench::CpuMeter meter(options.pid);
        rate.push_back(run());
        broker_us.push_back(meter.broker_us(options.count));
        client_us.push_back(meter.own_us(options.count));
    }
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
}

void make_queue(Client& client, const std::string& name, const transport::QueueOptions& queue) {
    client.delete_queue(name).ignore("it may not be there");
    need(client.declare_queue(name, queue), "declaring");
}

void send_all(Client& client, const Options& options, const std::string& queue,
              const Properties& properties) {
    const std::string payload(options.size, 'x');
    wire::Buffer encoded;
    for (std::uint64_t i = 0; i < options.count; ++i) {
        encoded.clear();
        if (properties) {
            wire::Properties wanted;
            properties(i, wanted);
            wire::Encoder encoder(encoded);
            wire::write_properties(encoder, wanted);
            if (encoded.size() == 1) encoded.clear();  // nil: there are none
        }
        need(client.enqueue("", queue, as_bytes(payload), encoded), "publishing");
    }
    need(client.flush(std::chrono::minutes(5)), "confirming");
}

/// Messages a second from the first to the last confirm.
double add(const Options& options, const std::string& queue, const Properties& properties) {
    const auto client = connect(options);
    make_queue(*client, queue, {});
    const auto begin = Clock::now();
    send_all(*client, options, queue, properties);
    return static_cast<double>(options.count) / seconds_since(begin);
}

/// Counts deliveries and wakes whoever waits for the last one.
struct Counter {
    std::atomic<std::uint64_t> seen{0};
    std::mutex mutex;
    std::condition_variable changed;

    void add(std::uint64_t n, std::uint64_t wanted) {
        if (seen.fetch_add(n) + n < wanted) return;
        const std::lock_guard lock(mutex);
        changed.notify_all();
    }
    void wait(std::uint64_t wanted) {
        std::unique_lock lock(mutex);
        const bool all =
            changed.wait_for(lock, std::chrono::minutes(5), [&] { return seen.load() >= wanted; });
        if (!all) give_up("not everything was delivered within five minutes");
    }
};

/// Published, delivered and acked: messages a second.
double end_to_end(const Options& options, const std::string& queue,
                  const transport::QueueOptions& settings, const Properties& properties) {
    const auto publisher = connect(options);
    make_queue(*publisher, queue, settings);
    Counter counter;  // outlives the consumer, whose thread counts
    const auto consumer = connect(options);
    transport::SubscribeOptions wanted;
    wanted.window_messages = 4096;
    const auto begin = Clock::now();
    auto subscribed =
        consumer->subscribe(queue, wanted, [&](std::span<const transport::Delivery> deliveries) {
            for (const transport::Delivery& one : deliveries)
                consumer->ack(one.tag).ignore("a broken connection shows as missing messages");
            counter.add(deliveries.size(), options.count);
        });
    need(subscribed, "subscribing");
    send_all(*publisher, options, queue, properties);
    counter.wait(options.count);
    return static_cast<double>(options.count) / seconds_since(begin);
}

void print_rates(const char* name, const Figures& plain, const Figures& with) {
    std::printf("%-10s plain %10.0f/s, with %10.0f/s, %.2f x (medians of %zu)\n", name,
                median(plain.rate), median(with.rate), median(with.rate) / median(plain.rate),
                plain.rate.size());
    const double of_broker = median(with.broker_us);
    std::printf("%-10s CPU us a message: broker %.3f, with %.3f, %.2f x; client %.3f, with %.3f\n",
                "", median(plain.broker_us), of_broker,
                of_broker > 0 ? median(plain.broker_us) / of_broker : 0, median(plain.client_us),
                median(with.client_us));
}

void bench_delayed(const Options& options) {
    Figures plain;
    Figures with;
    double memory = 0;
    for (int round = 0; round < options.rounds; ++round) {
        plain.measure(options, [&] { return add(options, "bench-plain", {}); });
        const auto client = connect(options);
        client->delete_queue("bench-plain").ignore("it was there");
        const double before = options.pid != 0 ? resident_mib(options.pid) : 0;
        // No two neighbours are due together: nothing is saved by runs.
        const std::uint64_t begin = wall_ms() + 3'600'000;
        const auto far = [&](std::uint64_t i, wire::Properties& out) {
            out.deliver_at_ms = begin + i * 7919 % 86'400'000;
        };
        with.measure(options, [&] { return add(options, "bench-delayed", far); });
        if (options.pid != 0) memory = std::max(memory, resident_mib(options.pid) - before);
        client->delete_queue("bench-delayed").ignore("it was there");
    }
    print_rates("delayed", plain, with);
    if (options.pid != 0) {
        std::printf("memory     %.1f MiB more for %llu of them, %.0f bytes each\n", memory,
                    static_cast<unsigned long long>(options.count),
                    memory * 1048576 / static_cast<double>(options.count));
    }
}

void bench_ttl(const Options& options) {
    Figures plain;
    Figures with;
    for (int round = 0; round < options.rounds; ++round) {
        // The plain load looks at the clock, too: that is not what is measured.
        const auto none = [](std::uint64_t, wire::Properties& p) {
            p.expires_at_ms = wall_ms() == 0 ? 1 : 0;
        };
        const auto expires = [](std::uint64_t, wire::Properties& p) {
            p.expires_at_ms = wall_ms() + 3'600'000;
        };
        plain.measure(options, [&] { return end_to_end(options, "bench-plain", {}, none); });
        with.measure(options, [&] { return end_to_end(options, "bench-ttl", {}, expires); });
    }
    print_rates("ttl", plain, with);
}

/// Publishes at a pace until told to stop; somebody else consumes.
void carry_load(const Options& options, const std::atomic<bool>& stop, std::uint64_t& sent) {
    const auto client = connect(options);
    const std::string payload(options.size, 'x');
    const auto begin = Clock::now();
    while (!stop) {
        const auto due =
            static_cast<std::uint64_t>(seconds_since(begin) * static_cast<double>(options.load));
        for (; sent < due; ++sent)
            need(client->enqueue("", "bench-load", as_bytes(payload)), "publishing");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    need(client->flush(std::chrono::minutes(1)), "confirming");
}

void bench_lateness(const Options& options) {
    const auto client = connect(options);
    make_queue(*client, "bench-load", {});
    make_queue(*client, "bench-timed", {});
    constexpr std::uint64_t timed_per_second = 1000;
    const std::uint64_t timed = options.seconds * timed_per_second;
    const std::uint64_t begin = wall_ms() + 3'000;
    std::vector<std::uint64_t> late;
    late.reserve(timed);
    Counter counter;
    const auto drain = connect(options);
    transport::SubscribeOptions wanted;
    wanted.no_ack = true;
    auto loads = drain->subscribe("bench-load", wanted, [](auto) {});
    need(loads, "subscribing");
    const auto consumer = connect(options);
    auto watched = consumer->subscribe(
        "bench-timed", wanted, [&](std::span<const transport::Delivery> deliveries) {
            const std::uint64_t now = wall_ms();
            for (const transport::Delivery& one : deliveries) {
                wire::Properties properties;
                if (wire::read_properties(one.message.properties, properties))
                    late.push_back(now - std::min(now, properties.deliver_at_ms));
            }
            counter.add(deliveries.size(), timed);
        });
    need(watched, "subscribing");
    Options messages = options;
    messages.count = timed;
    send_all(*client, messages, "bench-timed", [&](std::uint64_t i, wire::Properties& out) {
        out.deliver_at_ms = begin + i * 1000 / timed_per_second;
    });
    std::atomic<bool> stop{false};
    std::uint64_t sent = 0;
    std::thread load([&] { carry_load(options, stop, sent); });
    counter.wait(timed);
    stop = true;
    load.join();
    std::sort(late.begin(), late.end());
    const auto at = [&](double share) {
        return late.empty()
                   ? 0
                   : late[static_cast<std::size_t>(share * static_cast<double>(late.size() - 1))];
    };
    std::printf(
        "lateness   of %zu delayed messages beside %.0f/s: p50 %llu ms, p99 %llu ms, "
        "max %llu ms\n",
        late.size(), static_cast<double>(sent) / (options.seconds + 3.0),
        static_cast<unsigned long long>(at(0.5)), static_cast<unsigned long long>(at(0.99)),
        static_cast<unsigned long long>(at(1.0)));
}

struct Mode {
    const char* name;
    void (*run)(const Options&);
};
constexpr Mode modes[] = {
    {"delayed", bench_delayed},
    {"ttl", bench_ttl},
    {"lateness", bench_lateness},
};

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("What delays, times to live and the like cost", "features_bench");
    app.add_option("mode", options.mode, "delayed, ttl, lateness or all")->required();
    app.add_option("--url", options.url, "The broker");
    app.add_option("--count", options.count, "Messages of each run");
    app.add_option("--size", options.size, "Bytes of a payload");
    app.add_option("--load", options.load, "lateness: messages a second beside it");
    app.add_option("--seconds", options.seconds, "lateness: for so long");
    app.add_option("--rounds", options.rounds, "Runs of each kind, taking turns");
    app.add_option("--pid", options.pid,
                   "The broker's process, to look at its memory and processor time");
    CLI11_PARSE(app, argc, argv);
    bool ran = false;
    for (const Mode& mode : modes) {
        if (options.mode != "all" && options.mode != mode.name) continue;
        mode.run(options);
        ran = true;
    }
    if (!ran) give_up("there is no mode " + options.mode);
    return 0;
}
