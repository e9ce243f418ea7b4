// What locks and calls cost beside the floor that bounds each: a publish that waits for its
// confirm, and a round trip through the loopback.
//
//   locks_bench lock FERRYD [rounds]    acquire and release beside one publish at a time
//   locks_bench line FERRYD [waiters]   hand-overs along a line of waiters
//   locks_bench call FERRYD [calls]     a call through a transient queue beside a round trip
//   locks_bench services FERRYD [count] memory of the broker for so many instances, all watched

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "broker_child.hpp"
#include "ferry/transport/client.hpp"
#include "loop_echo.hpp"

namespace ferry::bench {
namespace {

using Clock = std::chrono::steady_clock;
using transport::Client;
using transport::Timeout;

constexpr int rounds_each = 3;
constexpr int call_turns = 15;
constexpr Timeout long_enough{60'000};

template <class T>
T need(transport::Answer<T> answer) {
    if (answer.ok()) return std::move(answer).value();
    std::fprintf(stderr, "failed: %s\n", answer.error().text.c_str());
    std::exit(1);
}

std::unique_ptr<Client> connect(const BrokerChild& broker) {
    transport::ClientOptions options;
    options.url = broker.url();
    return need(Client::connect(options));
}

transport::Message message_to(const std::string& queue) {
    transport::Message message;
    message.routing_key = queue;
    message.payload.assign(100, 'x');
    return message;
}

struct Times {
    std::vector<double> us;

    template <class F>
    void take(F&& run) {
        const auto from = Clock::now();
        run();
        us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - from).count());
    }
    void add(const Times& more) { us.insert(us.end(), more.us.begin(), more.us.end()); }
    [[nodiscard]] double at(double part) {
        std::sort(us.begin(), us.end());
        return us[static_cast<std::size_t>(static_cast<double>(us.size() - 1) * part)];
    }
};

void show(const char* what, Times& times) {
    std::printf("%-34s p50 %8.1f us  p99 %8.1f us  %8.0f/s\n", what, times.at(0.5), times.at(0.99),
                1e6 / times.at(0.5));
}

// ---- locks ----

void lock_and_publish(const BrokerChild& broker, int rounds) {
    const auto client = connect(broker);
    need(client->declare_queue("q"));
    for (int each = 0; each < rounds_each; ++each) {
        Times publish;
        Times acquire;
        Times release;
        for (int i = 0; i < rounds; ++i) {
            publish.take([&] { need(client->publish(message_to("q"))); });
            std::unique_ptr<transport::Lock> lock;
            acquire.take([&] { lock = need(client->try_lock("job")); });
            release.take([&] { need(lock->release()); });
        }
        show("publish, confirmed", publish);
        show("acquire", acquire);
        show("release", release);
    }
}

void line(const BrokerChild& broker, int waiters) {
    const auto client = connect(broker);
    auto first = need(client->try_lock("job"));
    std::vector<std::thread> threads;
    std::atomic<int> held{0};
    for (int i = 0; i < waiters; ++i) {
        threads.emplace_back([&] {
            const auto lock = need(client->lock("job", {}, long_enough));
            ++held;
            need(lock->release());
        });
    }
    while (need(client->show_lock("job")).waiting < static_cast<std::uint64_t>(waiters))
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    const auto from = Clock::now();
    need(first->release());
    for (std::thread& thread : threads) thread.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
    std::printf("%d hand-overs in %.3f s: %.0f us each\n", held.load(), seconds,
                seconds * 1e6 / waiters);
}

// ---- calls ----

// Each call begins in the callback of the one before: no thread of the application takes part.
Times calls(Client& client, const std::string& queue, int count) {
    struct Chain {
        Client& client;
        transport::Message request;
        int left;
        Times times;
        Clock::time_point from;
        std::promise<void> done;

        void next() {
            from = Clock::now();
            const Status begun = client.call_async(
                request, [this](const transport::Answer<transport::Message>& reply) {
                    if (!reply.ok()) std::fprintf(stderr, "%s\n", reply.error().text.c_str());
                    const auto took = Clock::now() - from;
                    times.us.push_back(std::chrono::duration<double, std::micro>(took).count());
                    if (--left == 0) return done.set_value();
                    next();
                });
            if (!begun.ok()) std::abort();
        }
    };
    Chain chain{client, message_to(queue), count, {}, {}, {}};
    auto done = chain.done.get_future();
    chain.next();
    done.wait();
    return std::move(chain.times);
}

// In short turns, so that what else the machine does is in both.
void call(const BrokerChild& broker, int count) {
    LoopEcho echo;  // before there are threads: it forks
    const auto caller = connect(broker);
    const auto server = connect(broker);
    transport::QueueOptions transient;
    transient.durable = false;
    need(server->declare_queue("fast", transient));
    need(server->declare_queue("kept"));
    transport::Message reply;
    reply.payload.assign(100, 'y');
    const auto serve = [&](std::span<const transport::Delivery> requests) {
        for (const transport::Delivery& request : requests) {
            if (!server->reply(request, reply).ok()) std::abort();
        }
    };
    const auto fast = need(server->subscribe("fast", {}, serve));
    const auto kept = need(server->subscribe("kept", {}, serve));
    Times ratios;
    Times floors;
    Times transients;
    Times waiting;
    Times durables;
    for (int turn = 0; turn < call_turns; ++turn) {
        Times floor{echo.round_trips(count)};
        Times transient_calls = calls(*caller, "fast", count);
        for (int i = 0; i < count / 4; ++i)
            waiting.take([&] { need(caller->call(message_to("fast"))); });
        Times durable_calls = calls(*caller, "kept", count / 4);
        ratios.us.push_back(transient_calls.at(0.5) / floor.at(0.5));
        floors.add(floor);
        transients.add(transient_calls);
        durables.add(durable_calls);
    }
    show("round trip of two event loops", floors);
    show("call, transient queue", transients);
    show("  ... from a waiting thread", waiting);
    show("call, durable queue", durables);
    std::printf("call / round trip: %.2f (median of %d turns, %.2f to %.2f)\n", ratios.at(0.5),
                call_turns, ratios.at(0), ratios.at(1));
}

// ---- services ----

double resident_mib(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::atof(line.c_str() + 6) / 1024;
    }
    return 0;
}

void services(const BrokerChild& broker, int count) {
    constexpr int connections = 10;
    const double before = resident_mib(broker.pid());
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<std::unique_ptr<transport::ServiceWatch>> watches;
    std::vector<std::unique_ptr<transport::Registration>> registered;
    for (int i = 0; i < connections; ++i) {
        clients.push_back(connect(broker));
        watches.push_back(need(clients.back()->watch_service("")));
    }
    const auto from = Clock::now();
    for (int i = 0; i < count; ++i) {
        transport::RegisterOptions options;
        options.metadata = {{"address", "10.0.0." + std::to_string(i)}, {"zone", "somewhere"}};
        registered.push_back(
            need(clients[static_cast<std::size_t>(i % connections)]->register_service(
                "service-" + std::to_string(i % 100), options)));
    }
    for (const auto& watch : watches) {
        while (watch->instances().size() < static_cast<std::size_t>(count))
            std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
    const double after = resident_mib(broker.pid());
    std::printf("%d instances, %d watchers of all: %.1f s, broker %.1f MiB (%.1f before)\n", count,
                connections, seconds, after, before);
}

}  // namespace
}  // namespace ferry::bench

int main(int argc, char** argv) {
    const std::string what = argc > 2 ? argv[1] : "";
    const int count = argc > 3 ? std::atoi(argv[3]) : 2000;
    std::string directory = (std::filesystem::current_path() / "locks-bench-XXXXXX").string();
    if (::mkdtemp(directory.data()) == nullptr || count < 4) return 2;
    int status = 0;
    {
        const ferry::bench::BrokerChild broker(argc > 2 ? argv[2] : "", directory + "/log");
        if (what == "lock") {
            ferry::bench::lock_and_publish(broker, count);
        } else if (what == "line") {
            ferry::bench::line(broker, count);
        } else if (what == "call") {
            ferry::bench::call(broker, count);
        } else if (what == "services") {
            ferry::bench::services(broker, count);
        } else {
            std::fprintf(stderr, "locks_bench lock|line|call|services FERRYD [count]\n");
            status = 2;
        }
    }
    std::filesystem::remove_all(directory);
    return status;
}
