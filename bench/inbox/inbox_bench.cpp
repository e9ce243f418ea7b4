// What an inbox costs, without a broker: effects per second one by one, from several threads that
// share commits, and in batches; each beside the bare transaction that does the same writes.
//
//   inbox_bench [DIRECTORY]        a directory on the disk to measure (default: the current one)

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "ferry/consumer/inbox.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"

namespace {

using namespace ferry;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t single_count = 4'000;
constexpr std::uint64_t batched_count = 400'000;

consumer::Incoming message(std::uint64_t sequence) {
    wire::Message made;
    made.routing_key = "queue";
    made.payload = std::string(100, 'x');
    made.properties.id = "4f2a90c1d5e84b7f8a3b1c2d3e4f5a6b:1:" + std::to_string(sequence);
    made.properties.headers.emplace_back("ferry-floor", static_cast<std::int64_t>(sequence));
    auto bytes = std::make_shared<std::vector<std::byte>>();
    wire::Encoder encoder(*bytes);
    wire::write_message(encoder, made);
    transport::Received received;
    wire::Cursor cursor(*bytes);
    if (!wire::read_message(cursor, received.delivery.message)) std::abort();
    received.bytes = std::move(bytes);
    received.delivery.position = sequence;
    return std::move(consumer::read_incoming(std::move(received))).value();
}

double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Took {
    double wall = 0;
    double cpu = 0;  // comparable also on a machine that others use
};

Took seconds(const std::function<void()>& work) {
    const auto began = Clock::now();
    const double cpu = cpu_seconds();
    work();
    return {std::chrono::duration<double>(Clock::now() - began).count(), cpu_seconds() - cpu};
}

consumer::Handled effect(consumer::Effects& effects) {
    effects.run("INSERT INTO effect(payload) VALUES(?1)", effects.message().payload());
    return consumer::Handled::done();
}

struct Bench {
    explicit Bench(const std::string& directory) : path(directory + "/inbox_bench.db") {
        remove();
        if (!consumer::Inbox::init(path).ok()) std::abort();
        auto opened = sqlite::Database::open(path, sqlite::Database::Access::read_write);
        if (!opened.ok()) std::abort();
        auto made = opened.value().run("CREATE TABLE effect(id INTEGER PRIMARY KEY, payload BLOB)");
        if (!made.ok()) std::abort();
        consumer::InboxOptions options;
        options.consumer = "bench";
        auto inbox_opened = consumer::Inbox::open(path, options);
        if (!inbox_opened.ok()) std::abort();
        inbox = std::move(inbox_opened).value();
        database.emplace(std::move(opened).value());
    }
    ~Bench() {
        inbox.reset();
        database.reset();
        remove();
    }
    void remove() const {
        for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
    }

    std::string path;
    std::unique_ptr<consumer::Inbox> inbox;
    std::optional<sqlite::Database> database;
    std::uint64_t sequence = 0;
};

/// One row written and committed, with nothing of ours.
Took bare_single(Bench& bench) {
    auto insert = bench.database->prepare("INSERT INTO effect(payload) VALUES(?1)");
    if (!insert.ok()) std::abort();
    const std::string payload(100, 'x');
    return seconds([&] {
        for (std::uint64_t i = 0; i < single_count; ++i) {
            auto transaction = sqlite::Transaction::begin(*bench.database);
            if (!insert.value().bind(1, std::string_view(payload)).run().ok()) std::abort();
            if (!transaction.value().commit().ok()) std::abort();
        }
    });
}

Took single(Bench& bench, std::vector<double>& latencies) {
    std::vector<consumer::Incoming> messages;
    for (std::uint64_t i = 0; i < single_count; ++i) messages.push_back(message(++bench.sequence));
    return seconds([&] {
        for (const auto& one : messages) {
            const auto began = Clock::now();
            if (bench.inbox->apply(one, effect).kind != consumer::Handled::Kind::done) std::abort();
            latencies.push_back(std::chrono::duration<double>(Clock::now() - began).count());
        }
    });
}

Took shared(Bench& bench, std::uint64_t threads) {
    std::vector<std::vector<consumer::Incoming>> messages(threads);
    for (std::uint64_t i = 0; i < single_count * 2; ++i) {
        messages[i % threads].push_back(message(++bench.sequence));
    }
    return seconds([&] {
        std::vector<std::thread> running;
        for (auto& mine : messages) {
            running.emplace_back([&bench, &mine] {
                for (const auto& one : mine) {
                    const auto handled = bench.inbox->apply(one, effect);
                    if (handled.kind != consumer::Handled::Kind::done) std::abort();
                }
            });
        }
        for (auto& thread : running) thread.join();
    });
}

Took batched(Bench& bench, std::size_t size, std::uint64_t step) {
    std::vector<consumer::Incoming> messages;
    for (std::uint64_t i = 0; i < batched_count; ++i) {
        messages.push_back(message(bench.sequence += step));
    }
    std::vector<consumer::Handled> handled(size);
    return seconds([&] {
        for (std::size_t i = 0; i < messages.size(); i += size) {
            const std::size_t count = std::min(size, messages.size() - i);
            bench.inbox->apply_batch({messages.data() + i, count}, {handled.data(), count}, effect);
            if (handled[count - 1].kind != consumer::Handled::Kind::done) std::abort();
        }
    });
}

void print(const char* what, double count, const Took& took) {
    std::printf("%-52s %10.0f /s %8.1f us CPU each\n", what, count / took.wall,
                took.cpu / count * 1e6);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    Bench bench(argc > 1 ? argv[1] : ".");
    print("bare transaction of one row", single_count, bare_single(bench));
    std::vector<double> latencies;
    print("one effect at a time", single_count, single(bench, latencies));
    std::sort(latencies.begin(), latencies.end());
    std::printf("%-52s %7.0f and %.0f us\n", "  of it p50 and p99",
                latencies[latencies.size() / 2] * 1e6,
                latencies[latencies.size() * 99 / 100] * 1e6);
    print("one effect at a time on each of 8 threads", single_count * 2, shared(bench, 8));
    print("batches of 1,000, every sequence here", batched_count, batched(bench, 1000, 1));
    print("batches of 1,000, every other sequence elsewhere", batched_count,
          batched(bench, 1000, 2));
    const auto figures = bench.inbox->figures();
    std::printf("%llu effects in %llu transactions\n",
                static_cast<unsigned long long>(figures.applied),
                static_cast<unsigned long long>(figures.transactions));
    return 0;
}
